"""Kinesis through boto3."""

from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from conftest import ACCOUNT, REGION, create_stream, read_stream


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_put_and_read_in_order(server, unique):
    create_stream(server, unique, 3)
    kinesis = server.client("kinesis")
    for batch in range(4):
        answer = kinesis.put_records(StreamName=unique, Records=[
            {"PartitionKey": f"key-{n % 10}", "Data": f"{batch}:{n}".encode()} for n in range(100)])
        assert answer["FailedRecordCount"] == 0 and len(answer["Records"]) == 100
    shards = read_stream(server, unique)
    assert sum(map(len, shards.values())) == 400
    by_key = {}
    for records in shards.values():
        numbers = [r["SequenceNumber"] for r in records]
        assert numbers == sorted(set(numbers)) and all(len(n) == 56 and n[0] != "0" for n in numbers)
        for r in records:
            by_key.setdefault(r["PartitionKey"], []).append(r["Data"].decode())
    assert by_key["key-3"] == [f"{b}:{n}" for b in range(4) for n in range(3, 100, 10)]


def test_all_five_iterators(server, unique):
    create_stream(server, unique)
    kinesis = server.client("kinesis")
    put = [kinesis.put_record(StreamName=unique, PartitionKey="k", Data=str(n).encode()) for n in range(5)]
    shard = put[0]["ShardId"]

    def read(kind, **more):
        iterator = kinesis.get_shard_iterator(StreamName=unique, ShardId=shard, ShardIteratorType=kind, **more)["ShardIterator"]
        return [r["Data"].decode() for r in kinesis.get_records(ShardIterator=iterator)["Records"]]

    third = put[2]["SequenceNumber"]
    assert read("TRIM_HORIZON") == list("01234")
    assert read("AT_SEQUENCE_NUMBER", StartingSequenceNumber=third) == list("234")
    assert read("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=third) == list("34")
    assert read("LATEST") == []
    assert read("AT_TIMESTAMP", Timestamp=datetime.now(timezone.utc) - timedelta(hours=1)) == list("01234")
    assert refused(kinesis.get_shard_iterator, StreamName=unique, ShardId=shard, ShardIteratorType="AT_TIMESTAMP",
                   Timestamp=datetime.now(timezone.utc) + timedelta(hours=1))[0] == "InvalidArgumentException"
    latest = kinesis.get_shard_iterator(StreamName=unique, ShardId=shard, ShardIteratorType="LATEST")["ShardIterator"]
    kinesis.put_record(StreamName=unique, PartitionKey="k", Data=b"new")
    answer = kinesis.get_records(ShardIterator=latest)
    assert [r["Data"] for r in answer["Records"]] == [b"new"] and answer["MillisBehindLatest"] == 0


def test_explicit_hash_keys_choose_the_shard(server, unique):
    create_stream(server, unique, 2)
    kinesis = server.client("kinesis")
    ids = {kinesis.put_record(StreamName=unique, PartitionKey="same", ExplicitHashKey=h, Data=b"x")["ShardId"]
           for h in ("0", str(2**128 - 1))}
    assert len(ids) == 2
    assert refused(kinesis.put_record, StreamName=unique, PartitionKey="k", ExplicitHashKey=str(2**128), Data=b"x")[0] == "InvalidArgumentException"


def test_regions_do_not_see_each_other(server, unique):
    create_stream(server, unique)
    elsewhere = server.client("kinesis", region="us-west-2")
    assert unique not in elsewhere.list_streams()["StreamNames"]
    code, message = refused(elsewhere.describe_stream, StreamName=unique)
    assert (code, message) == ("ResourceNotFoundException", f"Stream {unique} under account {ACCOUNT} not found.")


def test_by_arn_and_lifecycle(server, unique):
    arn = create_stream(server, unique)
    assert arn == f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{unique}"
    kinesis = server.client("kinesis")
    assert kinesis.put_record(StreamARN=arn, PartitionKey="k", Data=b"x")["ShardId"] == "shardId-000000000000"
    description = kinesis.describe_stream(StreamName=unique)["StreamDescription"]
    assert description["StreamStatus"] == "ACTIVE" and description["RetentionPeriodHours"] == 24
    ranges = description["Shards"][0]["HashKeyRange"]
    assert (ranges["StartingHashKey"], ranges["EndingHashKey"]) == ("0", str(2**128 - 1))
    assert refused(kinesis.create_stream, StreamName=unique, ShardCount=1)[0] == "ResourceInUseException"
    kinesis.delete_stream(StreamName=unique)
    kinesis.get_waiter("stream_not_exists").wait(StreamName=unique, WaiterConfig={"Delay": 1})
    assert refused(kinesis.put_record, StreamName=unique, PartitionKey="k", Data=b"x")[0] == "ResourceNotFoundException"


def test_bad_input(server, unique):
    create_stream(server, unique)
    kinesis = server.client("kinesis")
    code, message = refused(kinesis.put_records, StreamName=unique, Records=[{"PartitionKey": "k", "Data": b"x"}] * 501)
    assert code in ("ValidationException", "InvalidArgumentException") and "500" in message
    code, message = refused(kinesis.put_record, StreamName=unique, PartitionKey="k", Data=b"x" * (1024 * 1024 + 1))
    assert code in ("ValidationException", "InvalidArgumentException") and "1048576" in message
    code, message = refused(kinesis.put_record, StreamName="bad name!", PartitionKey="k" * 257, Data=b"x")
    assert code == "ValidationException" and message.startswith("2 validation errors detected: ")
    assert refused(kinesis.get_records, ShardIterator="nonsense")[0] == "InvalidArgumentException"
    assert refused(kinesis.put_record, StreamName="absent", PartitionKey="k", Data=b"x")[0] == "ResourceNotFoundException"
    # refused calls left nothing behind
    assert sum(map(len, read_stream(server, unique).values())) == 0
    kinesis.put_record(StreamName=unique, PartitionKey="k", Data=b"x" * (1024 * 1024 - 1))
    assert sum(map(len, read_stream(server, unique).values())) == 1


def test_what_is_not_done_yet_is_refused_by_name(server):
    code, message = refused(server.client("kinesis").list_queues)
    assert code == "NotImplemented" and "ListQueues" in message


def test_list_streams_pages(server, unique):
    names = sorted(f"{unique}-{n}" for n in range(5))
    for name in names:
        server.client("kinesis").create_stream(StreamName=name, ShardCount=1)
    found = []
    for page in server.client("kinesis").get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 2}):
        found += page["StreamNames"]
    assert [n for n in found if n in names] == names


def test_records_survive_a_restart(new_server):
    server = new_server().start()
    create_stream(server, "kept", 2)
    kinesis = server.client("kinesis")
    kinesis.put_records(StreamName="kept", Records=[{"PartitionKey": str(n), "Data": str(n).encode()} for n in range(200)])
    before = read_stream(server, "kept")
    server.kill()
    server.start()
    assert read_stream(server, "kept") == before
    assert server.stop() == 0
    server.start()
    assert read_stream(server, "kept") == before
