"""Traffic, quotas and on-demand scaling of data streams, through the real binary."""

import json
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from conftest import ACCESS_KEY, REGION, SECRET_KEY, Server, wait_for


def traffic(server, stream):
    """What the server tells of a stream's shards, by a signed call."""
    request = AWSRequest("GET", f"{server.url}/_tidegate/streams/{stream}/traffic")
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "tidegate", REGION).add_auth(request)
    signed = urllib.request.Request(request.url, headers=dict(request.headers.items()))
    with urllib.request.urlopen(signed, timeout=10) as answer:
        return json.load(answer)


def put(kinesis, stream, count, size, key):
    records = [{"Data": b"x" * size, "PartitionKey": key(n)} for n in range(count)]
    return kinesis.put_records(StreamName=stream, Records=records)


def test_a_hot_key_is_seen(server, unique):
    kinesis, name = server.client("kinesis"), unique
    kinesis.create_stream(StreamName=name, ShardCount=2)
    for _ in range(4):
        put(kinesis, name, 300, 500, lambda n: "the-hot-one" if n % 3 else f"key-{n}")
    shards = traffic(server, name)["shards"]
    assert [shard["shardId"] for shard in shards] == ["shardId-000000000000", "shardId-000000000001"]
    assert abs(sum(shard["share"] for shard in shards) - 1) < 0.01
    hottest = max(shards, key=lambda shard: shard["share"])["heaviestKeys"][0]
    assert hottest["key"] == "the-hot-one" and hottest["share"] > 0.7, hottest
    status, _ = server.get(f"/_tidegate/streams/{name}/traffic")
    assert status in (401, 403), "the traffic is for callers who prove themselves"
    kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["IncomingRecords"])
    _, text = server.get("/_tidegate/metrics", auth=(ACCESS_KEY, SECRET_KEY))
    counts = [int(line.split()[-1]) for line in text.splitlines()
              if line.startswith("tidegate_shard_in_records_total{") and f'stream="{name}"' in line]
    assert len(counts) == 2 and sum(counts) == 1200, counts
    assert f'tidegate_shard_in_bytes_total{{region="{REGION}",stream="{name}"' not in text
    kinesis.disable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["ALL"])
    _, text = server.get("/_tidegate/metrics", auth=(ACCESS_KEY, SECRET_KEY))
    assert f'shard_in_records_total{{region="{REGION}",stream="{name}"' not in text


def test_with_aws_limits_an_sdk_is_throttled_and_its_retry_gets_through(tmp_path):
    server = Server(tmp_path / "data", env={"TIDEGATE_STREAMS_AWS_LIMITS": "true"}).start()
    try:
        kinesis = server.client("kinesis")
        kinesis.create_stream(StreamName="s", ShardCount=1)
        # One call of 2 MB to a shard that takes 1 MB a second, so that no pause of the machine lets more through.
        answer = put(kinesis, "s", 500, 4_000, lambda n: f"key-{n}")
        refused = [record for record in answer["Records"] if "ErrorCode" in record]
        assert answer["FailedRecordCount"] == len(refused) and 230 < len(refused) < 250
        assert {record["ErrorCode"] for record in refused} == {"ProvisionedThroughputExceededException"}
        assert refused[0]["ErrorMessage"] == (
            "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000.")
        patient = server.client("kinesis", retries=10)
        answers = [patient.describe_limits() for _ in range(5)]
        assert sum(answer["ResponseMetadata"]["RetryAttempts"] for answer in answers) > 0, "one a second is allowed"
    finally:
        server.stop()


def test_an_on_demand_stream_divides_itself_under_load(tmp_path):
    server = Server(tmp_path / "data", env={"TIDEGATE_STREAMS_SPLIT_BYTES_PER_SECOND": "20000"}).start()
    try:
        kinesis = server.client("kinesis")
        kinesis.create_stream(StreamName="s", StreamModeDetails={"StreamMode": "ON_DEMAND"})
        assert len(kinesis.list_shards(StreamName="s")["Shards"]) == 4
        sent = 0

        def divided():
            nonlocal sent
            answer = put(kinesis, "s", 400, 2000, lambda n: f"key-{n}")
            assert answer["FailedRecordCount"] == 0
            sent += 400
            return len(kinesis.list_shards(StreamName="s")["Shards"]) > 8

        wait_for(divided, 60, "a split")
        got = 0
        for shard in kinesis.list_shards(StreamName="s")["Shards"]:
            iterator = kinesis.get_shard_iterator(
                StreamName="s", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
            while iterator:
                answer = kinesis.get_records(ShardIterator=iterator)
                got += len(answer["Records"])
                iterator = answer.get("NextShardIterator") if answer["Records"] else None
        assert got == sent, "nothing is lost or doubled by a split"
    finally:
        server.stop()
