"""Lambda through boto3: functions as ordinary processes, and the bad ones."""

import base64
import io
import json
import subprocess
import zipfile

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, BIN, REGION, ROLE, Told, create_function, create_stream, wait_for, zipped


def invoke(server, name, payload=None, **more):
    answer = server.client("lambda").invoke(FunctionName=name, Payload=json.dumps(payload).encode(), **more)
    return answer, json.loads(answer["Payload"].read() or b"null")


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_invoke_log_and_report(server, unique):
    create_function(server, unique, """
import logging
def handler(event, context):
    print("hello", event["name"])
    logging.getLogger().warning("careful")
    return {"id": context.aws_request_id, "left": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn}
""")
    answer, result = invoke(server, unique, {"name": "you"}, LogType="Tail")
    assert answer["StatusCode"] == 200 and "FunctionError" not in answer and answer["ExecutedVersion"] == "$LATEST"
    assert result["id"] == answer["ResponseMetadata"]["RequestId"] or len(result["id"]) == 36
    assert 0 < result["left"] <= 3000
    assert result["arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{unique}"
    tail = base64.b64decode(answer["LogResult"]).decode()
    for part in ("START RequestId: ", "hello you", "careful", "END RequestId: ", "REPORT RequestId: ", "Billed Duration: ", "Max Memory Used: "):
        assert part in tail, tail

    def logged():
        out = subprocess.run([BIN, "logs", unique], env=server.client_env(), capture_output=True, text=True, timeout=30)
        return "hello you" in out.stdout and "REPORT RequestId: " in out.stdout
    wait_for(logged, 20, "the function's log")
    search = [BIN, "logs", f"/aws/lambda/{unique}", "--match", "careful", "--match", result["id"]]
    found = subprocess.run(search, env=server.client_env(), capture_output=True, text=True, timeout=30).stdout.splitlines()
    assert len(found) == 1 and "careful" in found[0], found


def test_environments_are_kept_warm(server, unique):
    create_function(server, unique, "count = 0\ndef handler(event, context):\n    global count\n    count += 1\n    return count\n")
    assert [invoke(server, unique)[1] for _ in range(3)] == [1, 2, 3]
    server.client("lambda").update_function_code(
        FunctionName=unique, ZipFile=zipped({"main.py": "def handler(event, context):\n    return 'new'\n"}))
    assert invoke(server, unique)[1] == "new"


def test_asynchronous_invocation(server, unique):
    told = Told(server, unique)
    create_function(server, unique, told.source + """
def handler(event, context):
    tell(event["word"])
""", Timeout=20)
    answer = server.client("lambda").invoke(FunctionName=unique, InvocationType="Event", Payload=b'{"word": "later"}')
    assert answer["StatusCode"] == 202
    wait_for(lambda: told.words() == ["later"], 30, "the asynchronous call")


def test_a_provided_runtime_runs_any_executable(server, unique):
    bootstrap = """#!/usr/bin/env python3
import os, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
while True:
    with urllib.request.urlopen(api + "next") as answer:
        body, request = answer.read(), answer.headers["Lambda-Runtime-Aws-Request-Id"]
    urllib.request.urlopen(urllib.request.Request(api + request + "/response", data=b'{"echo": ' + body + b"}", method="POST"))
"""
    create_function(server, unique, {"bootstrap": bootstrap}, runtime="provided.al2023", handler="any")
    assert invoke(server, unique, [1, 2])[1] == {"echo": [1, 2]}


@pytest.mark.parametrize("source, error_type, text", [
    ("def other(event, context): pass", "Runtime.HandlerNotFound", "handler"),
    ("import no_such_module\ndef handler(event, context): pass", "Runtime.ImportModuleError", "no_such_module"),
    ("def handler(event, context):\n    raise ValueError('bad luck')", "ValueError", "bad luck"),
    ("import sys\ndef handler(event, context):\n    sys.exit(3)", None, "exit"),
    ("import os\ndef handler(event, context):\n    os._exit(3)", "Runtime.ExitError", "exit status 3"),
    ("import os, signal\ndef handler(event, context):\n    os.kill(os.getpid(), signal.SIGSEGV)", "Runtime.ExitError", "segmentation fault"),
    ("def handler(event, context):\n    return object()", "Runtime.MarshalError", ""),
    ("def handler(event, context)\n", "Runtime.UserCodeSyntaxError", ""),
])
def test_a_broken_function_says_what_is_wrong(server, unique, source, error_type, text):
    create_function(server, unique, source)
    answer, result = invoke(server, unique)
    assert answer["FunctionError"] == "Unhandled"
    if error_type:
        assert result["errorType"] == error_type, result
    assert text in json.dumps(result).lower() if text == "handler" else text in json.dumps(result), result
    # nobody else is disturbed
    assert server.get("/_tidegate/health")[0] == 200


def test_a_hanging_function_is_killed_with_its_children(server, unique, tmp_path):
    marker = f"tidegate-test-{unique}-sleeper"
    create_function(server, unique, f"""
import subprocess, time
def handler(event, context):
    subprocess.Popen(["sh", "-c", "exec -a {marker} sleep 1000 || sleep 1000", "{marker}"])
    time.sleep(1000)
""", Timeout=1)
    answer, result = invoke(server, unique)
    assert answer["FunctionError"] == "Unhandled" and "Task timed out after 1.00 seconds" in result["errorMessage"]
    wait_for(lambda: subprocess.run(["pgrep", "-f", marker], capture_output=True).returncode == 1, 10, "the end of the children")


def test_ten_megabytes_of_output_disturb_nobody(server, unique):
    create_function(server, unique, "def handler(event, context):\n    for n in range(10_000):\n        print('x' * 1023)\n    return 'done'\n", Timeout=30)
    assert invoke(server, unique)[1] == "done"
    assert server.get("/_tidegate/health")[0] == 200


def zip_with(name, data=b"x", link=False):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (0o120777 if link else 0o100644) << 16
        z.writestr(info, data)
    return out.getvalue()


@pytest.mark.parametrize("package, text", [
    (b"this is no zip", "unzip"),
    (zip_with("../outside.py"), "../outside.py"),
    (zip_with("/etc/absolute.py"), "absolute"),
    (zip_with("link", b"/etc/passwd", link=True), "link"),
])
def test_bad_packages_are_refused(server, unique, package, text):
    code, message = refused(server.client("lambda").create_function, FunctionName=unique, Runtime="python3.11", Role=ROLE,
                            Handler="main.handler", Code={"ZipFile": package})
    assert code == "InvalidParameterValueException" and text in message.lower(), message
    assert refused(server.client("lambda").get_function, FunctionName=unique)[0] == "ResourceNotFoundException"
    assert not list(server.folder.rglob("outside.py"))


def test_a_zip_bomb_is_refused(server, unique):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for n in range(3):
            z.writestr(f"zeroes-{n}", b"\0" * (100 * 1024 * 1024))
    code, message = refused(server.client("lambda").create_function, FunctionName=unique, Runtime="python3.11", Role=ROLE,
                            Handler="main.handler", Code={"ZipFile": out.getvalue()})
    assert code == "InvalidParameterValueException", message


def test_unsupported_options_are_refused(server, unique):
    create = server.client("lambda", parameter_validation=False).create_function
    base = dict(FunctionName=unique, Runtime="python3.11", Role=ROLE, Handler="main.handler", Code={"ZipFile": zipped({"main.py": ""})})
    for more in ({"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}}, {"Layers": ["arn:aws:lambda:eu-central-1:000000000000:layer:l:1"]},
                 {"DeadLetterConfig": {"TargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"}}, {"Runtime": "go1.x"}, {"MemorySize": 64}, {"Timeout": 901}):
        code, message = refused(create, **(base | more))
        assert code in ("InvalidParameterValueException", "ValidationException", "NotImplemented"), (more, code, message)


def test_a_mapping_retries_in_order_and_leaves_others_alone(server, unique):
    """A batch that fails first is delivered again before anything later of its shard."""
    arn = create_stream(server, unique)
    told = Told(server, unique)
    create_function(server, unique, told.source + """
import base64
failed = False
def handler(event, context):
    global failed
    words = [base64.b64decode(r["kinesis"]["data"]).decode() for r in event["Records"]]
    if not failed:
        failed = True
        raise RuntimeError("first try")
    for word in words:
        tell(word)
""", Timeout=20)
    mapping = server.client("lambda").create_event_source_mapping(
        EventSourceArn=arn, FunctionName=unique, StartingPosition="TRIM_HORIZON", BatchSize=2)
    assert mapping["BatchSize"] == 2
    for n in range(6):
        server.client("kinesis").put_record(StreamName=unique, PartitionKey="k", Data=str(n).encode())
    wait_for(lambda: len(told.words()) >= 6, 40, "all six records")
    assert told.words() == list("012345")
    server.client("lambda").delete_event_source_mapping(UUID=mapping["UUID"])
    wait_for(lambda: not server.client("lambda").list_event_source_mappings(FunctionName=unique)["EventSourceMappings"], 20, "the mapping's end")


def test_mapping_needs_a_stream_and_a_function(server, unique):
    create_function(server, unique, "def handler(e, c): pass")
    code, message = refused(server.client("lambda").create_event_source_mapping, FunctionName=unique, StartingPosition="LATEST",
                            EventSourceArn=f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/absent")
    assert code in ("InvalidParameterValueException", "ResourceNotFoundException") and "absent" in message
