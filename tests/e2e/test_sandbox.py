"""The walls around functions on a real server: as root, as an ordinary user, and where they cannot be built."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from conftest import BIN, Server, create_function, wait_for

LOOKS = """
import os, socket
def attempt(what):
    try:
        return what()
    except OSError as error:
        return type(error).__name__
def handler(event, context):
    def connect():
        return socket.create_connection(("127.0.0.1", event["port"]), 2).recv(1)
    return {
        "data": attempt(lambda: os.listdir(event["data"])),
        "key": attempt(lambda: open(event["data"] + "/master.key").read()),
        "credentials": attempt(lambda: open(event["data"] + "/credentials").read()),
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "user": os.getuid(), "port": attempt(connect), "task": os.getcwd(),
    }
"""
# Where nobody may make a user namespace and root of one has one user only: a container as most are.
CONTAINER = ["unshare", "--user", "--map-root-user", "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\""]
NOBODY = 65534


def looks(server, name):
    create_function(server, name, LOOKS, Timeout=20)
    event = {"data": str(server.folder), "port": 9}
    answer = server.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
    result = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, result
    return result


def walled(result):
    closed = {"data": "FileNotFoundError", "key": "FileNotFoundError", "credentials": "FileNotFoundError",
              "processes": 2, "port": "ConnectionRefusedError", "task": "/var/task"}
    return {key: value for key, value in result.items() if key != "user"} == closed


def groups():
    """Control groups of servers on this machine."""
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if "/tidegate-" in folder]


def test_a_function_sees_nothing_of_the_server(server, unique):
    result = looks(server, unique)
    assert walled(result), result
    assert result["user"] >= 1_900_000_000 or os.getuid() != 0


def test_the_temporary_folder_is_as_large_as_it_was_asked_to_be(server, unique):
    source = "import os\ndef handler(event, context):\n    found = os.statvfs('/tmp')\n    return found.f_blocks * found.f_frsize >> 20\n"
    create_function(server, unique, source, EphemeralStorage={"Size": 2048})
    client = server.client("lambda", parameter_validation=False)
    assert client.get_function_configuration(FunctionName=unique)["EphemeralStorage"] == {"Size": 2048}
    size = lambda: json.loads(client.invoke(FunctionName=unique)["Payload"].read())
    assert size() == 2048
    client.update_function_configuration(FunctionName=unique, EphemeralStorage={"Size": 600})
    assert size() == 600
    for wrong in (511, 10_241):
        with pytest.raises(ClientError) as refused:
            client.update_function_configuration(FunctionName=unique, EphemeralStorage={"Size": wrong})
        assert refused.value.response["Error"]["Code"] in ("InvalidParameterValueException", "ValidationException")


def test_nothing_is_left_of_environments_after_kill_9(new_server):
    others = set(groups())
    server = new_server().start()
    looks(server, "gone")
    own = set(groups()) - others
    assert own or os.getuid() != 0
    server.kill()
    wait_for(lambda: not own & set(groups()), 20, "the end of the control groups")
    server.start()
    assert walled(looks(server, "again"))
    assert server.stop() == 0
    assert [line for line in server.log().splitlines() if "without a wall" in line] == [] or os.getuid() != 0


def test_an_ordinary_user_has_walls_too(request):
    interpreter = Path("/usr/bin/python3")
    if os.getuid() != 0 or not shutil.which("setpriv") or not interpreter.exists():
        pytest.skip("needs root, setpriv and a python3 of the system's")
    folder = Path(tempfile.mkdtemp(prefix="tidegate-user-"))
    os.chown(folder, NOBODY, NOBODY)
    request.addfinalizer(lambda: shutil.rmtree(folder))
    server = Server(folder / "data", env={"TIDEGATE_RUNTIMES_PYTHON_INTERPRETER": str(interpreter)},
                    prefix=["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"])
    try:
        server.start()
        result = looks(server, "user")
        assert walled(result), result
        told = [line for line in server.log().splitlines() if "without a wall" in line]
        assert any("a user of its own" in line for line in told), told
        doctor = subprocess.run([*server.prefix, BIN, "doctor"], env=server.env(), capture_output=True, text=True, timeout=60)
        assert doctor.returncode == 0 and "a user of its own" in doctor.stdout, doctor
    finally:
        server.kill()


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
@pytest.mark.parametrize("sandbox", ["full", "reduced"])
def test_where_the_walls_cannot_be_built(new_server, sandbox):
    server = new_server(env={"TIDEGATE_FUNCTIONS_SANDBOX": sandbox}, prefix=CONTAINER).start()
    doctor = subprocess.run([*CONTAINER, BIN, "doctor"], env=server.env(), capture_output=True, text=True, timeout=60)
    assert "REQUIRED" in doctor.stdout and doctor.returncode == (1 if sandbox == "full" else 0), doctor
    if sandbox == "full":
        with pytest.raises(ClientError) as refused:
            create_function(server, "refused", LOOKS)
        error = refused.value.response["Error"]
        assert error["Code"] == "InvalidParameterValueException"
        assert "TIDEGATE_FUNCTIONS_SANDBOX=reduced" in error["Message"] and "namespaces" in error["Message"], error
        assert "functions are not run" in server.log()
    else:
        assert "master.key" in looks(server, "reduced")["data"], "this is what the word reduced means"
    # Everything else works.
    assert server.client("kinesis").list_streams()["StreamNames"] == ["tidegate-audit"]
