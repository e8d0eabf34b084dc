"""The life of streams through boto3: shards that split and merge, consumers, subscriptions, settings, and what peers get wrong."""

import base64
import json
import threading
import urllib.request
from datetime import datetime, timedelta, timezone

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EventStreamError
from conftest import ACCESS_KEY, REGION, SECRET_KEY, create_stream, wait_for

HALF = str(2**127)


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def raw(server, operation, body):
    """A signed call with a body that boto3 would not send: (status, answer)."""
    headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": "application/x-amz-json-1.1"}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = AWSRequest("POST", server.url + "/", headers=headers, data=data)
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "kinesis", REGION).add_auth(request)
    sent = urllib.request.Request(server.url + "/", method="POST", data=data, headers=dict(request.headers))
    try:
        with urllib.request.urlopen(sent, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def read_shard(kinesis, stream, shard):
    """All records of a shard from its oldest on, and the answer that ended the reading."""
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    records = []
    while True:
        answer = kinesis.get_records(ShardIterator=iterator)
        records += answer["Records"]
        iterator = answer.get("NextShardIterator")
        if iterator is None or (not answer["Records"] and answer["MillisBehindLatest"] == 0):
            return records, answer


def pushed(events):
    """The next event that says something: one without records or children only says that the connection lives."""
    events = (event["SubscribeToShardEvent"] for event in events)
    return next(event for event in events if event["Records"] or event.get("ChildShards"))


def test_parents_are_read_before_their_children_across_splits_and_merges(server, unique):
    create_stream(server, unique)
    kinesis = server.client("kinesis")
    put = []

    def write():
        for _ in range(5):
            answer = kinesis.put_record(StreamName=unique, PartitionKey="k", Data=str(len(put)).encode())
            put.append(answer["SequenceNumber"])

    def open_shards():
        return kinesis.list_shards(StreamName=unique, ShardFilter={"Type": "AT_LATEST"})["Shards"]

    write()
    kinesis.split_shard(StreamName=unique, ShardToSplit="shardId-000000000000", NewStartingHashKey=HALF)
    write()
    one, other = [s["ShardId"] for s in open_shards()]
    kinesis.merge_shards(StreamName=unique, ShardToMerge=one, AdjacentShardToMerge=other)
    write()
    for target in (2, 4, 3):
        kinesis.update_shard_count(StreamName=unique, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
        write()
    kinesis.get_waiter("stream_exists").wait(StreamName=unique, WaiterConfig={"Delay": 1})
    # The reader of the Developer Guide: from the oldest shards on, each to its end, then its children.
    todo = [s["ShardId"] for s in kinesis.list_shards(StreamName=unique, ShardFilter={"Type": "AT_TRIM_HORIZON"})["Shards"]]
    done, read = set(), []
    parents = {s["ShardId"]: {s.get("ParentShardId"), s.get("AdjacentParentShardId")} - {None}
               for s in kinesis.list_shards(StreamName=unique)["Shards"]}
    assert todo == ["shardId-000000000000"]
    while todo:
        shard = todo.pop(0)
        records, end = read_shard(kinesis, unique, shard)
        read += [r["SequenceNumber"] for r in records]
        done.add(shard)
        if "NextShardIterator" not in end:
            children = [c["ShardId"] for c in end["ChildShards"]]
            assert children, "a closed shard has children"
            todo += [c for c in children if parents[c] <= done and c not in todo]
    assert read == put and all(len(n) == 56 and n[0] != "0" for n in read)
    assert done == set(parents)
    shards = open_shards()
    assert len(shards) == 3
    bounds = sorted((int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"])) for s in shards)
    assert bounds[0][0] == 0 and bounds[-1][1] == 2**128 - 1
    assert all(a[1] + 1 == b[0] for a, b in zip(bounds, bounds[1:]))


def test_a_consumer_is_pushed_to_until_its_shard_ends(server, unique):
    arn = create_stream(server, unique)
    kinesis = server.client("kinesis")
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c", Tags={"team": "red"})["Consumer"]
    assert consumer["ConsumerStatus"] == "ACTIVE"
    assert kinesis.list_tags_for_resource(ResourceARN=consumer["ConsumerARN"])["Tags"] == [{"Key": "team", "Value": "red"}]
    kinesis.put_record(StreamName=unique, PartitionKey="k", Data=b"first")
    # boto3 reads the initial response before it returns.
    answer = kinesis.subscribe_to_shard(ConsumerARN=consumer["ConsumerARN"], ShardId="shardId-000000000000",
                                        StartingPosition={"Type": "TRIM_HORIZON"})
    events = iter(answer["EventStream"])
    # Within five seconds of the first, so before anything that takes its time.
    code, message = refused(kinesis.subscribe_to_shard, ConsumerARN=consumer["ConsumerARN"],
                            ShardId="shardId-000000000000", StartingPosition={"Type": "LATEST"})
    assert code == "ResourceInUseException" and "Another active subscription" in message
    first = pushed(events)
    assert [r["Data"] for r in first["Records"]] == [b"first"]
    assert first["ContinuationSequenceNumber"] == first["Records"][0]["SequenceNumber"]
    later = threading.Timer(0.2, lambda: kinesis.put_record(StreamName=unique, PartitionKey="k", Data=b"second"))
    later.start()
    second = pushed(events)
    later.join()
    assert [r["Data"] for r in second["Records"]] == [b"second"] and second["MillisBehindLatest"] == 0
    kinesis.split_shard(StreamName=unique, ShardToSplit="shardId-000000000000", NewStartingHashKey=HALF)
    last = pushed(events)
    assert [c["ShardId"] for c in last["ChildShards"]] == ["shardId-000000000001", "shardId-000000000002"]
    assert "ContinuationSequenceNumber" not in last
    assert list(events) == []


def test_a_subscription_ends_with_its_consumer(server, unique):
    arn = create_stream(server, unique)
    kinesis = server.client("kinesis")
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    answer = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId="shardId-000000000000",
                                        StartingPosition={"Type": "LATEST"})
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)
    kinesis.put_record(StreamName=unique, PartitionKey="k", Data=b"x")
    with pytest.raises(EventStreamError) as error:
        list(answer["EventStream"])
    assert "ResourceNotFoundException" in str(error.value)


def test_consumers_are_listed_and_guard_their_stream(server, unique):
    arn = create_stream(server, unique)
    kinesis = server.client("kinesis")
    for n in range(5):
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=f"c{n}")
    pages = kinesis.get_paginator("list_stream_consumers").paginate(StreamARN=arn, PaginationConfig={"PageSize": 2})
    assert [c["ConsumerName"] for page in pages for c in page["Consumers"]] == [f"c{n}" for n in range(5)]
    described = kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName="c3")["ConsumerDescription"]
    assert described["ConsumerARN"].startswith(f"{arn}/consumer/c3:") and described["StreamARN"] == arn
    code, message = refused(kinesis.delete_stream, StreamName=unique)
    assert code == "ResourceInUseException" and "EnforceConsumerDeletion" in message
    kinesis.delete_stream(StreamName=unique, EnforceConsumerDeletion=True)
    create_stream(server, unique)
    assert kinesis.list_stream_consumers(StreamARN=arn)["Consumers"] == []


def test_settings_survive_a_kill(new_server):
    server = new_server().start()
    kinesis = server.client("kinesis")
    kinesis.create_stream(StreamName="s", StreamModeDetails={"StreamMode": "ON_DEMAND"}, Tags={"a": "1"}, MaxRecordSizeInKiB=2048)
    kinesis.create_stream(StreamName="plain", ShardCount=1)
    kinesis.put_record(StreamName="plain", PartitionKey="k", Data=b"y" * (1 << 16))
    arn = kinesis.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "PROVISIONED"})
    kinesis.increase_stream_retention_period(StreamName="s", RetentionPeriodHours=48)
    kinesis.start_stream_encryption(StreamName="s", EncryptionType="KMS", KeyId="alias/aws/kinesis")
    kinesis.enable_enhanced_monitoring(StreamName="s", ShardLevelMetrics=["ALL"])
    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=10240)
    kinesis.add_tags_to_stream(StreamName="s", Tags={"b": "2"})
    kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")
    kinesis.update_shard_count(StreamName="s", TargetShardCount=8, ScalingType="UNIFORM_SCALING")
    assert kinesis.put_record(StreamName="s", PartitionKey="k", Data=b"x" * (9 << 20))["EncryptionType"] == "KMS"

    def state():
        kinesis = server.client("kinesis")
        summary = kinesis.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]
        return (summary, kinesis.list_shards(StreamName="s")["Shards"], kinesis.list_tags_for_stream(StreamName="s")["Tags"],
                kinesis.list_stream_consumers(StreamARN=arn)["Consumers"])

    before = state()
    summary = before[0]
    assert (summary["RetentionPeriodHours"], summary["OpenShardCount"], summary["ConsumerCount"]) == (48, 8, 1)
    assert (summary["EncryptionType"], summary["KeyId"]) == ("KMS", "alias/aws/kinesis")
    assert summary["StreamModeDetails"] == {"StreamMode": "PROVISIONED"} and summary["MaxRecordSizeInKiB"] == 10240
    assert len(summary["EnhancedMonitoring"][0]["ShardLevelMetrics"]) == 7
    server.kill()
    server.start()
    assert state() == before
    sizes = [len(r["Data"]) for s in before[1] for r in read_shard(server.client("kinesis"), "s", s["ShardId"])[0]]
    assert sizes == [9 << 20]
    # What was encrypted is not on the disk as it came; what was not is, so this looks where the records are.
    files = [path.read_bytes() for path in (server.folder / "journal").iterdir()]
    assert any(b"y" * 4096 in content for content in files)
    assert not any(b"x" * 4096 in content for content in files)


def test_ten_mebibytes_in_one_call(server, unique):
    arn = create_stream(server, unique)
    kinesis = server.client("kinesis")
    full = [{"PartitionKey": "k", "Data": b"x" * ((1 << 20) - 1)} for _ in range(10)]
    assert kinesis.put_records(StreamName=unique, Records=full)["FailedRecordCount"] == 0
    more = full + [{"PartitionKey": "k", "Data": b""}]
    assert refused(kinesis.put_records, StreamName=unique, Records=more)[0] == "InvalidArgumentException"
    code, message = refused(kinesis.update_max_record_size, StreamARN=arn, MaxRecordSizeInKiB=10241)
    assert code == "ValidationException" and "10240" in message
    # An answer has at most 10 MiB, and the rest comes with the next one.
    kinesis.put_records(StreamName=unique, Records=full)
    records, _ = read_shard(kinesis, unique, "shardId-000000000000")
    assert len(records) == 20
    iterator = kinesis.get_shard_iterator(StreamName=unique, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")
    answer = kinesis.get_records(ShardIterator=iterator["ShardIterator"])
    assert 1 <= len(answer["Records"]) <= 10


def test_what_peers_let_pass_is_refused(server, unique):
    create_stream(server, unique)
    kinesis = server.client("kinesis")
    number = kinesis.put_record(StreamName=unique, PartitionKey="k", Data=b"x")["SequenceNumber"]
    entry = {"PartitionKey": "k", "Data": base64.b64encode(b"x").decode()}
    record = {"StreamName": unique, **entry}
    iterator = {"StreamName": unique, "ShardId": "shardId-000000000000", "ShardIteratorType": "AT_SEQUENCE_NUMBER"}
    for operation, body, codes in [
        ("PutRecords", {"StreamName": unique, "Records": [entry] * 501}, ("ValidationException",)),
        ("PutRecords", {"StreamName": unique, "Records": []}, ("ValidationException",)),
        ("PutRecord", record | {"PartitionKey": ""}, ("ValidationException",)),
        ("PutRecord", record | {"Data": "not base64!"}, ("SerializationException",)),
        ("PutRecord", record | {"Data": "eA"}, ("SerializationException",)),
        ("PutRecord", record | {"ExplicitHashKey": str(2**128)}, ("InvalidArgumentException",)),
        ("PutRecord", record | {"ExplicitHashKey": "01"}, ("ValidationException",)),
        ("PutRecord", record | {"SequenceNumberForOrdering": "5"}, ("InvalidArgumentException",)),
        ("PutRecord", b"{", ("SerializationException",)),
        ("GetRecords", {"ShardIterator": "x" * 513}, ("ValidationException",)),
        ("GetRecords", {"ShardIterator": "AAAAAAAAAAHSywljv0zEgPX4NyKdZ5wryMzP9yALs8NeKbUjp1IxtZs1Sp"}, ("InvalidArgumentException",)),
        ("GetRecords", {"ShardIterator": "AAAA", "Limit": 10001}, ("ValidationException",)),
        ("GetShardIterator", iterator | {"StartingSequenceNumber": "0" + number}, ("ValidationException",)),
        ("GetShardIterator", iterator | {"StartingSequenceNumber": "5"}, ("InvalidArgumentException",)),
        ("GetShardIterator", iterator, ("InvalidArgumentException",)),
        ("GetShardIterator", iterator | {"ShardId": "shardId-000000000001"}, ("ResourceNotFoundException",)),
        ("GetShardIterator", iterator | {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": datetime.now().timestamp() + 3600},
         ("InvalidArgumentException",)),
        ("DescribeStream", {"StreamName": unique, "StreamId": "a" * 20 + "-abc"}, ("NotImplemented",)),
        ("UpdateShardCount", {"StreamName": unique, "TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"},
         ("InvalidArgumentException",)),
    ]:
        status, answer = raw(server, operation, body)
        code = answer["__type"].split("#")[-1]
        assert status in (400, 501) and code in codes, (operation, str(body)[:200], answer)
    records, _ = read_shard(kinesis, unique, "shardId-000000000000")
    assert len(records) == 1, "refused calls left nothing behind"


def test_shard_filters(server, unique):
    create_stream(server, unique)
    kinesis = server.client("kinesis")
    before = datetime.now(timezone.utc)
    wait_for(lambda: datetime.now(timezone.utc) - before > timedelta(milliseconds=20))
    kinesis.split_shard(StreamName=unique, ShardToSplit="shardId-000000000000", NewStartingHashKey=HALF)

    def ids(**more):
        return [int(s["ShardId"][-12:]) for s in kinesis.list_shards(StreamName=unique, **more)["Shards"]]

    assert ids() == [0, 1, 2]
    assert ids(ShardFilter={"Type": "AT_LATEST"}) == [1, 2]
    assert ids(ShardFilter={"Type": "AT_TRIM_HORIZON"}) == [0]
    assert ids(ShardFilter={"Type": "FROM_TRIM_HORIZON"}) == [0, 1, 2]
    assert ids(ShardFilter={"Type": "AT_TIMESTAMP", "Timestamp": before}) == [0]
    assert ids(ShardFilter={"Type": "FROM_TIMESTAMP", "Timestamp": before}) == [0, 1, 2]
    assert ids(ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001"}) == [2]
    # boto3's paginator repeats the stream's name, which the service refuses beside a token.
    listed, more = [], {"StreamName": unique, "MaxResults": 1}
    while more:
        page = kinesis.list_shards(**more)
        listed += [int(s["ShardId"][-12:]) for s in page["Shards"]]
        more = {"NextToken": page["NextToken"], "MaxResults": 1} if "NextToken" in page else None
    assert listed == [0, 1, 2]


def test_limits_and_account_settings(new_server):
    server = new_server(env={"TIDEGATE_STREAMS_MAX_SHARDS": "5"}).start()
    kinesis = server.client("kinesis")
    kinesis.create_stream(StreamName="s", ShardCount=4)
    code, message = refused(kinesis.create_stream, StreamName="t", ShardCount=2)
    assert code == "LimitExceededException" and "Limit: 5." in message
    assert refused(kinesis.update_shard_count, StreamName="s", TargetShardCount=8, ScalingType="UNIFORM_SCALING")[0] == "LimitExceededException"
    limits = kinesis.describe_limits()
    assert (limits["ShardLimit"], limits["OpenShardCount"], limits["OnDemandStreamCount"]) == (5, 4, 0)
    assert kinesis.describe_account_settings()["MinimumThroughputBillingCommitment"]["Status"] == "DISABLED"
    enabled = kinesis.update_account_settings(MinimumThroughputBillingCommitment={"Status": "ENABLED"})
    assert enabled["MinimumThroughputBillingCommitment"]["Status"] == "ENABLED"
