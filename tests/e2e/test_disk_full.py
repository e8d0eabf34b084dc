"""A disk that runs full under load and is freed: no crash, nothing acknowledged is lost, and no help is needed.

The data folder is a small file system of its own, which needs root; without it the test is skipped.
"""

import itertools
import subprocess
import threading

import pytest
from botocore.exceptions import ClientError

from conftest import create_stream, read_stream, wait_for

SIZE, BALLAST = 26 << 20, 10 << 20


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
def test_a_full_disk_that_is_freed_needs_no_help(small_disk, new_server, killed):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(BALLAST))
    server = new_server(env={"TIDEGATE_LOG_SEGMENT_BYTES": str(2 << 20)}).start()
    create_stream(server, "filling", 2)
    create_stream(server, "before", 1)
    kinesis, acknowledged, errors, batches = server.client("kinesis"), [], [], itertools.count()

    def put():
        """Whether all of a batch was taken."""
        first = 200 * next(batches)
        records = [{"Data": f"{n:08}/".encode() + b"x" * 900, "PartitionKey": str(n)} for n in range(first, first + 200)]
        try:
            answer = kinesis.put_records(StreamName="filling", Records=records)
        except ClientError as error:
            errors.append((error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]))
            return False
        acknowledged.extend(r["Data"] for r, a in zip(records, answer["Records"]) if "ErrorCode" not in a)
        return answer["FailedRecordCount"] == 0

    def read():
        return {record["Data"] for records in read_stream(server, "filling").values() for record in records}

    pause = threading.Event()
    failed = 0
    for _ in range(2_000):
        failed = 0 if put() else failed + 1
        if failed >= 20:
            break
        # The log tries to go on by itself meanwhile.
        pause.wait(0.05 if failed else 0)
    assert failed >= 20 and len(acknowledged) > 5_000, f"the disk never was full: {len(acknowledged)} records, {errors[-3:]}"
    assert set(errors) == {(503, "ServiceUnavailable")}, "clients are told to come again"
    assert server.process.poll() is None, server.log()[-4000:]
    assert server.get("/_tidegate/health")[0] == 200, "it can be read from"
    assert set(acknowledged) <= read(), "what is there is read while the disk is full"

    if killed:
        server.kill()
    ballast.unlink()
    if killed:
        server.start()
    wait_for(put, 30, f"a record after the disk was freed ({errors[-3:]})")
    kinesis.put_record(StreamName="before", Data=b"goes on", PartitionKey="k")
    create_stream(server, "after", 1)

    def verify():
        found = [r["Data"] for records in read_stream(server, "filling").values() for r in records]
        assert set(acknowledged) <= set(found) and len(found) == len(set(found))
        assert [r["Data"] for r in next(iter(read_stream(server, "before").values()))] == [b"goes on"]

    verify()
    assert server.stop() == 0, server.log()[-4000:]
    assert "panicked" not in server.log()
    server.start()
    verify()
    assert server.stop() == 0, server.log()[-4000:]
