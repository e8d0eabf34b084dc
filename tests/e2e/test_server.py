"""The binary itself: start, stop, settings, metrics, and the AWS CLI."""

import json
import os
import shlex
import stat
import subprocess
import urllib.request
from pathlib import Path

import pytest
from conftest import ACCESS_KEY, BIN, REGION, ROLE, SECRET_KEY, create_stream, free_port, let_in, rule_arn, wait_for
from pipeline import Pipeline

AWS = str(Path(os.sys.executable).parent / "aws")


def run(*args, env=None, **more):
    return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, timeout=60, env=env, **more)


def test_health_and_a_clean_stop(new_server):
    server = new_server().start()
    status, text = server.get("/_tidegate/health")
    assert status == 200 and json.loads(text)
    create_stream(server, "s")
    assert server.stop() == 0
    server.start()
    assert "s" in server.client("kinesis").list_streams()["StreamNames"]


def test_metrics_need_a_key_and_tell_of_the_streams(new_server):
    server = new_server().start()
    create_stream(server, "measured")
    server.client("kinesis").put_records(StreamName="measured", Records=[{"PartitionKey": "k", "Data": b"x" * 100}] * 10)
    assert server.get("/_tidegate/metrics")[0] in (401, 403)
    assert server.get("/_tidegate/metrics", (ACCESS_KEY, "wrong"))[0] in (401, 403)
    status, text = server.get("/_tidegate/metrics", (ACCESS_KEY, SECRET_KEY))
    assert status == 200
    assert any("measured" in line and "records" in line and line.endswith(" 10") for line in text.splitlines()), text
    assert "fsync" in text and "# HELP" in text


def test_root_keys_are_made_once_and_shown_on_a_terminal_only(tmp_path):
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TIDEGATE_ROOT"))}

    def serve(folder, terminal):
        """What a server says from its start to its stop, and what `tidegate env` prints meanwhile."""
        ours, theirs = os.openpty() if terminal else os.pipe()
        process = subprocess.Popen([BIN, "serve", "--data-dir", folder, "--listen", f"127.0.0.1:{port}"],
                                   env=env, stdout=theirs, stderr=theirs)
        os.close(theirs)

        def ready():
            assert process.poll() is None
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/_tidegate/health", timeout=2).status == 200
            except OSError:
                return False
        wait_for(ready, 30, "health")
        exports = run("env", "--data-dir", folder, env=env)
        assert exports.returncode == 0, exports.stderr
        words = [word for line in exports.stdout.splitlines() for word in shlex.split(line) if "=" in word]
        values = dict(word.split("=", 1) for word in words)
        aws = subprocess.run([AWS, "sts", "get-caller-identity"], env=env | values, capture_output=True, text=True, timeout=60)
        assert aws.returncode == 0, aws.stderr
        process.terminate()
        assert process.wait(timeout=30) == 0
        said = b""
        try:
            while part := os.read(ours, 65_536):
                said += part
        except OSError:  # how a terminal ends
            pass
        os.close(ours)
        return said.decode(), values

    folder = tmp_path / "data"
    first, values = serve(folder, terminal=True)
    assert values["AWS_SECRET_ACCESS_KEY"] in first and values["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{port}"
    assert stat.S_IMODE((folder / "credentials").stat().st_mode) == 0o600
    again, same = serve(folder, terminal=True)
    assert same == values and values["AWS_SECRET_ACCESS_KEY"] not in again
    quiet, others = serve(tmp_path / "other", terminal=False)
    assert others["AWS_ACCESS_KEY_ID"] in quiet and others["AWS_SECRET_ACCESS_KEY"] not in quiet
    # The server is gone, and so is what told of it.
    assert not (folder / "server.json").exists()


def test_a_shell_that_evaluates_a_failed_env_fails(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TIDEGATE_ROOT"))}
    script = f'eval "$({shlex.quote(BIN)} env --data-dir {tmp_path}/none)" && echo went on'
    result = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and result.stdout == "" and "no root key" in result.stderr


def test_a_level_that_is_none_is_refused(tmp_path):
    result = run("serve", "--data-dir", tmp_path / "data", "--logging-level", "nonsense")
    assert result.returncode != 0 and "logging.level 'nonsense' is not a level or filter" in result.stderr


def test_a_folder_serves_one_process(new_server):
    server = new_server().start()
    other = run("serve", "--data-dir", server.folder, "--listen", f"127.0.0.1:{free_port()}", env=server.env())
    assert other.returncode != 0 and str(server.folder) in other.stderr


@pytest.mark.parametrize("args, env, text", [
    (["--listen", "0.0.0.0:4566"], {}, "TLS"),
    (["--listen", "nonsense"], {}, "nonsense"),
    (["--config", "/absent.toml"], {}, "/absent.toml"),
    ([], {"TIDEGATE_SERVER_LISTENN": "127.0.0.1:1"}, "TIDEGATE_SERVER_LISTENN"),
    ([], {"TIDEGATE_ROOT_ACCESS_KEY_ID": "AKIAONLYHALF00000000"}, "TIDEGATE_ROOT_SECRET_ACCESS_KEY"),
])
def test_wrong_settings_are_refused(tmp_path, args, env, text):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TIDEGATE_"))}
    result = run("serve", "--data-dir", tmp_path / "data", *args, env=kept | env)
    assert result.returncode != 0 and text in result.stderr, result.stderr


def test_settings_from_file_environment_and_flags(new_server, tmp_path):
    config = tmp_path / "tidegate.toml"
    config.write_text('[account]\nid = "111111111111"\n')
    server = new_server(args=["--config", str(config)]).start()
    assert server.client("sts").get_caller_identity()["Account"] == "111111111111"
    assert server.stop() == 0
    over = new_server(args=["--config", str(config)], env={"TIDEGATE_ACCOUNT_ID": "222222222222"}, name="over").start()
    assert over.client("sts").get_caller_identity()["Account"] == "222222222222"
    config.write_text("[acount]\nid = '1'\n")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TIDEGATE_"))}
    result = run("serve", "--data-dir", tmp_path / "x", "--config", config, env=kept)
    assert result.returncode != 0 and "acount" in result.stderr


def test_malformed_requests_are_answered(server):
    import http.client
    from test_auth import call, code, signed
    status, text = call(server, signed(server, body=b"{not json"), body=b"{not json")
    assert status == 400 and code(text) == "SerializationException"
    status, text = call(server, signed(server, target="Kinesis_20131202.Nonsense"))
    assert status == 400 and code(text) == "UnknownOperationException"
    status, text = call(server, signed(server, body=b'{"Limit": "ten"}'), body=b'{"Limit": "ten"}')
    assert status == 400 and code(text) == "SerializationException"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status in (400, 403, 413)


def test_the_aws_cli(server, unique):
    def aws(*args):
        out = subprocess.run([AWS, *args, "--output", "json"], env=server.client_env(), capture_output=True, text=True, timeout=60)
        assert out.returncode == 0, out.stderr
        return json.loads(out.stdout or "null")

    aws("kinesis", "create-stream", "--stream-name", unique, "--shard-count", "1")
    put = aws("kinesis", "put-record", "--stream-name", unique, "--partition-key", "k", "--data", "aGVsbG8=")
    iterator = aws("kinesis", "get-shard-iterator", "--stream-name", unique, "--shard-id", put["ShardId"],
                   "--shard-iterator-type", "TRIM_HORIZON")["ShardIterator"]
    records = aws("kinesis", "get-records", "--shard-iterator", iterator)["Records"]
    assert [r["SequenceNumber"] for r in records] == [put["SequenceNumber"]]
    rule = aws("events", "put-rule", "--name", unique, "--event-pattern", '{"source": ["cli"]}')
    assert rule["RuleArn"].endswith(f":rule/{unique}")
    assert unique in [r["Name"] for r in aws("events", "list-rules")["Rules"]]
    topic = aws("sns", "create-topic", "--name", unique)["TopicArn"]
    assert topic in [t["TopicArn"] for t in aws("sns", "list-topics")["Topics"]]
    assert aws("lambda", "list-functions")["Functions"] is not None
    assert aws("firehose", "list-delivery-streams")["HasMoreDeliveryStreams"] is False


def test_the_aws_cli_drives_rules_schedules_topics_and_queues(server, unique):
    def aws(*args):
        # Its version 1 has an address of its own for SQS, which no variable changes.
        place = ["--endpoint-url", server.url] if args[0] == "sqs" else []
        out = subprocess.run([AWS, *place, *args, "--output", "json"], env=server.client_env(), capture_output=True, text=True,
                             timeout=60)
        assert out.returncode == 0, out.stderr
        return json.loads(out.stdout or "null")

    url = aws("sqs", "create-queue", "--queue-name", unique, "--attributes", "VisibilityTimeout=5")["QueueUrl"]
    queue = aws("sqs", "get-queue-attributes", "--queue-url", url, "--attribute-names", "All")["Attributes"]["QueueArn"]

    def received():
        got = aws("sqs", "receive-message", "--queue-url", url, "--wait-time-seconds", "20")["Messages"][0]
        aws("sqs", "delete-message", "--queue-url", url, "--receipt-handle", got["ReceiptHandle"])
        return got["Body"]

    aws("sqs", "send-message", "--queue-url", url, "--message-body", "by hand")
    assert received() == "by hand"

    aws("events", "put-rule", "--name", unique, "--event-pattern", json.dumps({"source": [unique]}))
    let_in(server, "events", queue, rule_arn(unique))
    target = {"Id": "1", "Arn": queue, "InputTransformer": {"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": '"n is <n>"'}}
    assert aws("events", "put-targets", "--rule", unique, "--targets", json.dumps([target]))["FailedEntryCount"] == 0
    event = {"Source": unique, "DetailType": "t", "Detail": json.dumps({"n": 7})}
    aws("events", "put-events", "--entries", json.dumps([event]))
    assert received() == '"n is 7"'
    whole = json.dumps({"id": "i", "detail-type": "t", "source": "s", "account": "000000000000", "time": "2026-01-01T00:00:00Z",
                        "region": REGION, "resources": [], "detail": {}})
    assert aws("events", "test-event-pattern", "--event-pattern", '{"source":["s"]}', "--event", whole) == {"Result": True}
    archive = aws("events", "create-archive", "--archive-name", unique[:40], "--event-source-arn",
                  f"arn:aws:events:{REGION}:000000000000:event-bus/default", "--retention-days", "1")
    assert archive["State"] == "ENABLED"

    aws("scheduler", "create-schedule", "--name", unique, "--schedule-expression", "at(2099-01-01T00:00:00)",
        "--flexible-time-window", "Mode=OFF", "--target",
        json.dumps({"Arn": queue, "RoleArn": ROLE, "Input": "later"}))
    assert aws("scheduler", "get-schedule", "--name", unique)["State"] == "ENABLED"
    aws("scheduler", "delete-schedule", "--name", unique)

    topic = aws("sns", "create-topic", "--name", unique)["TopicArn"]
    let_in(server, "sns", queue, topic)
    aws("sns", "subscribe", "--topic-arn", topic, "--protocol", "sqs", "--notification-endpoint", queue,
        "--attributes", "RawMessageDelivery=true")
    aws("sns", "publish", "--topic-arn", topic, "--message", "an alert")
    assert received() == "an alert"
    aws("events", "delete-archive", "--archive-name", unique[:40])
    aws("sqs", "purge-queue", "--queue-url", url)


def test_help_teaches():
    for command in ([], ["serve"], ["env"], ["ingest"], ["logs"], ["plan"], ["event"], ["rule"], ["demo"]):
        result = run(*command, "--help")
        assert result.returncode == 0 and "tidegate" in result.stdout.lower(), command
    text = run("serve", "--help").stdout
    for flag in ("--data-dir", "--listen", "--config"):
        assert flag in text


def test_the_demo_plays_once_and_exits(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {"TMPDIR": str(tmp_path), "NO_COLOR": "1"}
    result = subprocess.run([BIN, "demo", "--once"], env=env, capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr
    assert "terminated instance" in result.stdout


def test_metrics_tell_of_every_stage(new_server, webhook):
    """Records and bytes in and out, put latency, iterator age, invocations, errors, throttles, duration, fsync latency."""
    server = new_server().start()
    code = "def handler(event, context):\n    if event.get('fail'): raise ValueError('on purpose')\n"
    pipeline = Pipeline(server, webhook, name="staged", shards=1, code=code)
    kinesis, functions = server.client("kinesis"), server.client("lambda")
    kinesis.put_records(StreamName="staged", Records=[{"PartitionKey": "k", "Data": b'{"n": 1}'}] * 3)
    wait_for(lambda: pipeline.count() == 3, 60, "the documents")
    assert functions.invoke(FunctionName="staged-alert", Payload=b'{"fail": true}')["FunctionError"] == "Unhandled"

    def value(name, *labels):
        text = server.get("/_tidegate/metrics", (ACCESS_KEY, SECRET_KEY))[1]
        lines = [line for line in text.splitlines() if line.startswith(name) and all(label in line for label in labels)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines) if lines else None

    assert value("tidegate_stream_records_in_total{", '"staged"') == 3
    assert value("tidegate_stream_bytes_in_total{", '"staged"') >= 24
    assert value("tidegate_stream_records_out_total{", '"staged"') >= 6
    assert value("tidegate_stream_bytes_out_total{", '"staged"') >= 48
    assert value("tidegate_log_put_latency_seconds_count") > 0
    assert value("tidegate_log_fsync_latency_seconds_count") > 0
    wait_for(lambda: value("tidegate_lambda_invocations_total{", "staged-alert") >= 2, 20, "the mapping's invocation")
    assert value("tidegate_lambda_errors_total{", "staged-alert") == 1
    assert value("tidegate_lambda_throttles_total{", "staged-alert") == 0
    assert value("tidegate_lambda_duration_seconds_count{", "staged-alert") >= 2
    for consumer in ("mapping:", "delivery:"):
        assert value("tidegate_consumer_iterator_age_seconds{", consumer, "shardId-000000000000") == 0, consumer
