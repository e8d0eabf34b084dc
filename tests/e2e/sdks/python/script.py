"""The script of this folder's README in Python: python3 script.py STREAM. What it sees goes out as lines of JSON."""

import base64
import json
import sys
import threading
import time

import boto3
from botocore.config import Config

kinesis = boto3.client("kinesis", config=Config(read_timeout=60))
lock = threading.Lock()


def say(step, **what):
    with lock:
        print(json.dumps({"step": step, **what}), flush=True)


def say_record(step, shard, record):
    say(step, shard=shard, sequence=record["SequenceNumber"], key=record["PartitionKey"],
        data=base64.b64encode(record["Data"]).decode())


def until(condition):
    """Asks until the answer is true."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the server does not come to it")
        time.sleep(0.05)


def active(stream):
    return kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"


def put(stream, phase):
    records = [{"PartitionKey": f"schlüssel-{n}", "Data": f"{phase}:{n}".encode()} for n in range(100)]
    answer = kinesis.put_records(StreamName=stream, Records=records)
    assert answer["FailedRecordCount"] == 0, answer
    for record, done in zip(records, answer["Records"]):
        say_record("put", done["ShardId"], record | done)


def subscribe(consumer, shard):
    """Says what is pushed, up to the shard's end. Returns when the subscription stands."""
    pushed = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition={"Type": "LATEST"})

    def listen():
        children = []
        for event in pushed["EventStream"]:
            for record in event["SubscribeToShardEvent"]["Records"]:
                say_record("pushed", shard, record)
            children += [c["ShardId"] for c in event["SubscribeToShardEvent"].get("ChildShards", [])]
        say("pushed-end", shard=shard, children=children)

    listener = threading.Thread(target=listen)
    listener.start()
    return listener


def read(stream, shard):
    iterator = kinesis.get_shard_iterator(
        StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    while iterator:
        answer = kinesis.get_records(ShardIterator=iterator)
        for record in answer["Records"]:
            say_record("read", shard, record)
        iterator = answer.get("NextShardIterator")
        if not iterator:
            say("closed", shard=shard, children=[c["ShardId"] for c in answer.get("ChildShards", [])])
        elif not answer["Records"] and answer["MillisBehindLatest"] == 0:
            return


def refused(call, expected, attempt):
    try:
        attempt()
    except expected as error:
        say("refused", call=call, type=type(error).__name__, message=error.response["Error"]["Message"])


def main(stream):
    kinesis.create_stream(StreamName=stream, ShardCount=2)
    until(lambda: active(stream))
    arn = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]["StreamARN"]
    shards = kinesis.list_shards(StreamName=stream)["Shards"]
    say("created", arn=arn, shards=[s["ShardId"] for s in shards])

    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="pushed-to")["Consumer"]["ConsumerARN"]
    until(lambda: kinesis.describe_stream_consumer(ConsumerARN=consumer)
          ["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE")
    parent = shards[0]["ShardId"]
    listener = subscribe(consumer, parent)

    record = {"PartitionKey": "bytes", "Data": bytes(range(256))}
    done = kinesis.put_record(StreamName=stream, **record)
    say_record("put", done["ShardId"], record | done)
    put(stream, 1)
    start, end = (int(shards[0]["HashKeyRange"][k]) for k in ("StartingHashKey", "EndingHashKey"))
    kinesis.split_shard(StreamName=stream, ShardToSplit=parent, NewStartingHashKey=str((start + end) // 2 + 1))
    until(lambda: active(stream))
    put(stream, 2)
    listener.join(60)

    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        if shard.get("ParentShardId"):
            say("child", shard=shard["ShardId"], parent=shard["ParentShardId"])
        read(stream, shard["ShardId"])

    errors = kinesis.exceptions
    refused("describe-absent", errors.ResourceNotFoundException,
            lambda: kinesis.describe_stream_summary(StreamName=f"{stream}-absent"))
    refused("create-again", errors.ResourceInUseException,
            lambda: kinesis.create_stream(StreamName=stream, ShardCount=1))
    refused("read-nonsense", errors.InvalidArgumentException, lambda: kinesis.get_records(ShardIterator="nonsense"))
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)
    kinesis.delete_stream(StreamName=stream, EnforceConsumerDeletion=True)
    say("done")


main(sys.argv[1])
