"""Far more than the log may queue: the answers are throttling errors that SDKs retry, and memory stays bounded."""

import http.client
import json
import threading
import time
from collections import Counter

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from conftest import ACCESS_KEY, REGION, SECRET_KEY, Server

MIB = 1 << 20
# One call of 500 KB may wait for the disk; the clients send 48 at once.
QUEUE, INFLIGHT, CACHE = 5 * MIB // 8, 80 * MIB, 8 * MIB
CLIENTS, SECONDS = 48, 8
# Bodies being handled are held once as they came and once decoded, and once more in the log's queue and cache.
BOUND = 3 * INFLIGHT + QUEUE + 2 * CACHE


def signed(server, number):
    """A PutRecords call of 500 records of 1 KB, signed once and sent as often as it takes."""
    data = "A" * 1368
    records = [{"Data": data, "PartitionKey": f"{number}-{n}"} for n in range(500)]
    body = json.dumps({"StreamName": "flood", "Records": records}).encode()
    request = AWSRequest("POST", server.url + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202.PutRecords",
    })
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "kinesis", REGION).add_auth(request)
    return body, dict(request.headers.items())


def rss(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def flood(server, number, until, results):
    """Sends again and again; counts calls by their outcome, and records that were written."""
    body, headers = signed(server, number)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    while time.monotonic() < until:
        try:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            results["broken"] += 1
            connection.close()
            continue
        if answer.status == 200:
            parsed = json.loads(text)
            codes = Counter(record.get("ErrorCode", "written") for record in parsed["Records"])
            assert codes.total() - codes["written"] == parsed["FailedRecordCount"]
            results.update({f"records {code}": count for code, count in codes.items()})
        else:
            results[f"{answer.status} {json.loads(text)['__type']}"] += 1


def test_an_overloaded_server_throttles_and_does_not_grow(tmp_path):
    server = Server(tmp_path / "data", env={
        "TIDEGATE_LOG_QUEUE_BYTES": str(QUEUE),
        "TIDEGATE_LOG_TAIL_CACHE_BYTES": str(CACHE),
        "TIDEGATE_SERVER_MAX_INFLIGHT_BYTES": str(INFLIGHT),
    }).start()
    try:
        kinesis = server.client("kinesis")
        kinesis.create_stream(StreamName="flood", ShardCount=8)
        before, results, seen = rss(server), [Counter() for _ in range(CLIENTS)], []
        until = time.monotonic() + SECONDS
        threads = [threading.Thread(target=flood, args=(server, n, until, results[n])) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        pause = threading.Event()
        while any(thread.is_alive() for thread in threads):
            seen.append(rss(server))
            pause.wait(0.05)
        total = sum(results, Counter())
        print(f"\nresident memory: {before / MIB:.0f} MiB before, {max(seen) / MIB:.0f} MiB at most, "
              f"{rss(server) / MIB:.0f} MiB after; {dict(total)}")
        assert total["records written"] > 0
        assert set(total) <= {
            "records written", "records ProvisionedThroughputExceededException",
            "400 ProvisionedThroughputExceededException",
        }, total
        assert total.total() > total["records written"], f"it was no overload: {total}"
        assert max(seen) - before < BOUND, f"{(max(seen) - before) / MIB:.0f} MiB more"
        # Once it is over, a call succeeds at once, and everything that was acknowledged is there.
        kinesis.put_record(StreamName="flood", Data=b"x", PartitionKey="after")
        assert count(server) == total["records written"] + 1
    finally:
        server.stop()


def count(server):
    """How many records the stream's shards have written, by the server's own count."""
    _, text = server.get("/_tidegate/metrics", auth=(ACCESS_KEY, SECRET_KEY))
    lines = [line for line in text.splitlines() if line.startswith("tidegate_stream_records_in_total{") and "flood" in line]
    return sum(int(float(line.split()[-1])) for line in lines)
