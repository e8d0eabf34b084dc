"""Event-source mappings through boto3 and `tidegate mapping`: what is given up, stuck shards, skipping, redriving."""

import json
import subprocess

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, BIN, REGION, create_function, create_stream, wait_for, zipped

POISONED = """
import base64, json
def handler(event, context):
    for record in event["Records"]:
        text = base64.b64decode(record["kinesis"]["data"]).decode()
        if text.startswith("poison"):
            print("poisoned by", text)
            raise ValueError("poison")
        print("took", text)
"""
CURED = POISONED.replace("raise ValueError", "print")


def cli(server, *args):
    done = subprocess.run([BIN, "mapping", *args], env=server.client_env(), capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def put(server, stream, *texts):
    client = server.client("kinesis")
    return [client.put_record(StreamName=stream, PartitionKey="k", Data=text.encode()) for text in texts]


def mapped(server, name, **settings):
    create_stream(server, name)
    create_function(server, name, POISONED)
    stream = server.client("kinesis").describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    mapping = server.client("lambda").create_event_source_mapping(
        EventSourceArn=stream, FunctionName=name, StartingPosition="TRIM_HORIZON", **settings)
    return mapping["UUID"], stream


def queue(server, name):
    client = server.client("sqs")
    url = client.create_queue(QueueName=name)["QueueUrl"]
    return url, client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def logged(server, name, text):
    out = subprocess.run([BIN, "logs", name], env=server.client_env(), capture_output=True, text=True, timeout=30)
    return text in out.stdout


def test_what_is_given_up_is_told_with_the_documented_message(server, unique):
    url, arn = queue(server, unique)
    mapping, stream = mapped(server, unique, MaximumRetryAttempts=0, BisectBatchOnFunctionError=True,
                             DestinationConfig={"OnFailure": {"Destination": arn}})
    client = server.client("lambda")
    assert client.get_event_source_mapping(UUID=mapping)["DestinationConfig"]["OnFailure"]["Destination"] == arn
    placed = put(server, unique, "a", "poison", "b")[1]
    message = wait_for(lambda: server.client("sqs").receive_message(QueueUrl=url).get("Messages"), 30, "the message")[0]
    told = json.loads(message["Body"])
    info = told["KinesisBatchInfo"]
    assert info["startSequenceNumber"] == info["endSequenceNumber"] == placed["SequenceNumber"]
    assert (info["batchSize"], info["shardId"], info["streamArn"]) == (1, placed["ShardId"], stream)
    assert told["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert told["requestContext"]["functionArn"].endswith(f":function:{unique}")
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    wait_for(lambda: logged(server, unique, "took b"), 30, "the record behind it")
    assert cli(server, "status", mapping)[1]["quarantine"]["records"] == 0
    shown = client.update_event_source_mapping(UUID=mapping, DestinationConfig={"OnFailure": {}})
    assert "Destination" not in shown["DestinationConfig"]["OnFailure"]


def test_a_stuck_shard_is_seen_skipped_and_redriven(server, unique):
    mapping, _ = mapped(server, unique)
    placed = put(server, unique, "a", "poison", "b")[1]
    status = wait_for(lambda: cli(server, "status", mapping)[1]["stuck"], 30, "the stuck shard")[0]
    assert status["shard"] == placed["ShardId"] and status["failures"] >= 2
    assert status["error"] == "the function failed: Unhandled: ValueError: poison"
    assert "poisoned by poison" in wait_for(lambda: cli(server, "status", mapping)[1]["stuck"][0]["log"], 30, "its log")
    code, one = cli(server, "status", mapping)
    assert code == 1 and one["last_result"] == "PROBLEM: Function call failed" and one["age_s"] > 0
    assert server.client("lambda").get_event_source_mapping(UUID=mapping)["LastProcessingResult"] == one["last_result"]
    sequence = placed["SequenceNumber"]
    assert cli(server, "skip", mapping, "--shard", "0", "--sequence", sequence)[0] == 0
    wait_for(lambda: logged(server, unique, "took b"), 30, "the record behind it")
    wait_for(lambda: cli(server, "status", mapping)[0] == 0, 30, "all to be well")
    assert [r["sequence"] for r in cli(server, "status", mapping)[1]["quarantine"]["first"]] == [sequence]
    code, failed = cli(server, "redrive", mapping)
    assert (code, failed["succeeded"], failed["failed"][0]["sequence"]) == (1, 0, sequence)
    server.client("lambda").update_function_code(FunctionName=unique, ZipFile=zipped({"main.py": CURED}))
    assert cli(server, "redrive", mapping) == (0, {"succeeded": 1, "failed": [], "interrupted": None})
    wait_for(lambda: logged(server, unique, "took poison"), 30, "the redriven record")
    assert cli(server, "status", mapping)[1]["quarantine"]["records"] == 0
    assert mapping in [m["id"] for m in cli(server, "status")[1]["mappings"]]
    code, error = cli(server, "skip", mapping, "--shard", "0", "--sequence", sequence)
    assert code == 2 and "has dealt with" in error


@pytest.mark.parametrize("destination, word", [
    ("arn:aws:s3:::bucket", "is a bucket, which is not available"),
    (f"arn:aws:sqs:{REGION}:{ACCOUNT}:never-made", "cannot be used"),
    (f"arn:aws:sqs:us-west-2:{ACCOUNT}:elsewhere", "is not in this account and region"),
    ("arn:aws:sns:us-east-1:000000000000:topic.fifo", "is FIFO"),
])
def test_destinations_that_cannot_be_told_are_refused(server, unique, destination, word):
    with pytest.raises(ClientError) as error:
        mapped(server, unique, DestinationConfig={"OnFailure": {"Destination": destination}})
    refused = error.value.response["Error"]
    assert refused["Code"] == "InvalidParameterValueException" and word in refused["Message"]


def test_windows_and_lanes_are_changed_live(server, unique):
    create_stream(server, unique)
    create_function(server, unique, """
def handler(event, context):
    state = event.get("state", {})
    state["n"] = state.get("n", 0) + len(event["Records"])
    if event.get("isFinalInvokeForWindow"):
        print("window of", state["n"])
    elif "window" not in event:
        print("no window", len(event["Records"]))
    return {"state": state}
""")
    client = server.client("lambda")
    stream = server.client("kinesis").describe_stream_summary(StreamName=unique)["StreamDescriptionSummary"]["StreamARN"]
    mapping = client.create_event_source_mapping(
        EventSourceArn=stream, FunctionName=unique, StartingPosition="TRIM_HORIZON", BatchSize=2, TumblingWindowInSeconds=1)
    assert (mapping["TumblingWindowInSeconds"], mapping["ParallelizationFactor"]) == (1, 1)
    records = [{"PartitionKey": "k", "Data": b"x"}] * 5
    server.client("kinesis").put_records(StreamName=unique, Records=records)
    wait_for(lambda: logged(server, unique, "window of 5"), 30, "the window's end")
    with pytest.raises(ClientError) as error:
        client.update_event_source_mapping(UUID=mapping["UUID"], ParallelizationFactor=4)
    assert error.value.response["Error"]["Code"] == "InvalidParameterValueException"
    shown = client.update_event_source_mapping(UUID=mapping["UUID"], ParallelizationFactor=4, TumblingWindowInSeconds=0)
    assert (shown["TumblingWindowInSeconds"], shown["ParallelizationFactor"]) == (0, 4)
    server.client("kinesis").put_records(StreamName=unique, Records=records)
    wait_for(lambda: logged(server, unique, "no window 2"), 30, "records without windows")
