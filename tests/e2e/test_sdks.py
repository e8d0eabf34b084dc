"""The AWS SDKs for Python, JavaScript, Java and Go, each as it comes: put, read across a split, subscribe, be refused."""

import base64
import json
import os
import shutil
import subprocess
import sys

import pytest
import trustme
from conftest import ACCOUNT, BIN, REGION, ROOT, Server

SDKS = ROOT / "tests/e2e/sdks"
MAX_SECONDS = 120

# Each with the tool it runs on.
PROGRAMS = {
    "python": [sys.executable, str(SDKS / "python/script.py")],
    "javascript": ["node", str(SDKS / "javascript/script.mjs")],
    "java": ["java", "-cp", f"{SDKS}/java/target/classes:{SDKS}/java/target/lib/*", "tidegate.Script"],
    "go": [str(SDKS / "go/target/script")],
}


def run_script(sdk, server, stream, env=None):
    """What the SDK's program saw: a list of lines."""
    program = PROGRAMS[sdk]
    assert shutil.which(program[0]), f"{program[0]} is not there: run scripts/sdks"
    done = subprocess.run([*program, stream], env=server.client_env() | (env or {}), capture_output=True, text=True,
                          encoding="utf-8", stdin=subprocess.DEVNULL, timeout=MAX_SECONDS)
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-6000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(lines, step):
    return [line for line in lines if line["step"] == step]


def records(lines, step):
    """The records of a step by shard, in the order in which they were seen."""
    shards = {}
    for line in of(lines, step):
        shards.setdefault(line["shard"], []).append((line["sequence"], line["key"], line["data"]))
    return shards


def check(lines, stream):
    [created] = of(lines, "created")
    first, second = created["shards"]
    assert created["arn"] == f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{stream}"
    assert [first, second] == ["shardId-000000000000", "shardId-000000000001"]

    # every record is read once, in the order it was put, bytes and all
    put, read = records(lines, "put"), records(lines, "read")
    assert sum(map(len, put.values())) == 201 and read == put
    bytes_put = [base64.b64decode(data) for shard in read.values() for _, key, data in shard if key == "bytes"]
    assert bytes_put == [bytes(range(256))]

    # after the split the parent got nothing and its children took over
    children = sorted(line["shard"] for line in of(lines, "child"))
    assert children == ["shardId-000000000002", "shardId-000000000003"]
    assert {line["parent"] for line in of(lines, "child")} == {first}
    assert set(put) == {first, second, *children}
    phases = {shard: {base64.b64decode(d).split(b":")[0] for _, k, d in found if k != "bytes"} for shard, found in put.items()}
    assert phases == {first: {b"1"}, second: {b"1", b"2"}, children[0]: {b"2"}, children[1]: {b"2"}}
    assert [(line["shard"], sorted(line["children"])) for line in of(lines, "closed")] == [(first, children)]
    parents_last = max(int(sequence) for sequence, _, _ in put[first])
    assert all(int(sequence) > parents_last for child in children for sequence, _, _ in put[child])

    # what was pushed is what was put, up to the shard's end
    assert records(lines, "pushed") == {first: put[first]}
    assert [(line["shard"], sorted(line["children"])) for line in of(lines, "pushed-end")] == [(first, children)]

    refused = {line["call"]: (line["type"], line["message"]) for line in of(lines, "refused")}
    assert {call: kind for call, (kind, _) in refused.items()} == {
        "describe-absent": "ResourceNotFoundException",
        "create-again": "ResourceInUseException",
        "read-nonsense": "InvalidArgumentException",
    }
    assert refused["describe-absent"][1] == f"Stream {stream}-absent under account {ACCOUNT} not found."
    assert lines[-1] == {"step": "done"}


@pytest.mark.parametrize("sdk", PROGRAMS)
def test_put_split_read_subscribe(server, unique, sdk):
    check(run_script(sdk, server, unique), unique)


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    server = Server(folder / "data", authority=trustme.CA()).start()
    yield server
    assert server.stop() == 0 and "panicked" not in server.log(), server.log()[-4000:]


@pytest.fixture(scope="module")
def trust(tls_server):
    """What makes each SDK trust the server's authority, beside AWS_CA_BUNDLE, which two of them heed."""
    store = f"{tls_server.ca_file}.p12"
    subprocess.run(["keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", tls_server.ca_file, "-keystore", store,
                    "-storetype", "PKCS12", "-storepass", "changeit"], check=True, capture_output=True, timeout=60)
    options = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=changeit"
    return {"python": {}, "go": {}, "javascript": {"NODE_EXTRA_CA_CERTS": tls_server.ca_file},
            "java": {"JAVA_TOOL_OPTIONS": options}}


@pytest.mark.parametrize("sdk", PROGRAMS)
def test_the_same_over_tls(tls_server, trust, unique, sdk):
    check(run_script(sdk, tls_server, unique, trust[sdk]), unique)


def test_topics_queues_and_the_bus_over_tls(tls_server, unique):
    env = tls_server.client_env() | {"NODE_EXTRA_CA_CERTS": tls_server.ca_file}
    done = subprocess.run(["node", str(SDKS / "javascript/alerts.mjs"), unique], env=env, capture_output=True, text=True,
                          encoding="utf-8", stdin=subprocess.DEVNULL, timeout=MAX_SECONDS)
    assert done.returncode == 0, f"{done.stdout[-1000:]}\n{done.stderr[-6000:]}"
    lines = {line["step"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert lines["made"]["subscription"].startswith(f"{lines['made']['topic']}:")
    published = {"message": "größer\nals eine Zeile", "version": "1", "subject": "s", "forged": False}
    assert lines["published"] == {"step": "published"} | published
    assert (lines["batch"]["good"], lines["batch"]["bad"]) == (["good"], [["bad", "InvalidParameter"]])
    assert (lines["batched"]["version"], lines["batched"]["forged"]) == ("2", False)
    assert json.loads(lines["ruled"]["message"]) == {"n": 1} and lines["ruled"]["forged"] is False
    assert lines["refused"] == {"step": "refused", "type": "InvalidParameterException", "known": True}
    assert "done" in lines


def test_the_command_line_over_tls(tls_server, unique):
    env = tls_server.client_env()

    def tidegate(*args, **more):
        return subprocess.run([BIN, *args], capture_output=True, text=True, timeout=60, **{"env": env} | more)

    aws = subprocess.run([f"{os.path.dirname(sys.executable)}/aws", "kinesis", "create-stream", "--stream-name", unique,
                          "--shard-count", "1"], env=env, capture_output=True, text=True, timeout=60)
    assert aws.returncode == 0, aws.stderr
    assert tidegate("stream", "put", unique, "sealed").returncode == 0
    assert json.loads(tidegate("stream", "tail", unique).stdout)["data"] == "sealed"
    stranger = tidegate("stream", "ls", env={k: v for k, v in env.items() if k != "AWS_CA_BUNDLE"})
    assert stranger.returncode == 2 and "certificate" in stranger.stderr
