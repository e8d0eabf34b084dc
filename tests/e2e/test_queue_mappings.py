"""Queues as event sources of functions, through boto3."""

import json
import os
import threading

import pytest
from botocore.exceptions import ClientError
from conftest import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY, create_function, wait_for

# Answers with what it got, puts it on a queue of results, and fails what says so.
SOURCE = """
import json, os, time
import boto3

def handler(event, context):
    boto3.client("sqs").send_message(QueueUrl=os.environ["RESULTS"], MessageBody=json.dumps(event))
    bodies = [record["body"] for record in event["Records"]]
    if any(body.startswith("slow") for body in bodies):
        time.sleep(0.5)
    if "raise" in bodies:
        raise ValueError("bad luck")
    failed = [record["messageId"] for record in event["Records"] if record["body"].startswith("bad")]
    return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}
"""


def queue(server, name, **attributes):
    attributes = {key: str(value) for key, value in attributes.items()}
    url = server.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def function(server, name, **settings):
    results, _ = queue(server, f"{name}-results")
    create_function(server, name, SOURCE, Timeout=4, Environment={"Variables": {"RESULTS": results}}, **settings)
    return results


def events(server, results, enough, timeout=30):
    """The events that the function got, in the order of their arrival, once `enough` says so of all their records."""
    sqs, got = server.client("sqs"), []

    def more():
        for message in sqs.receive_message(QueueUrl=results, MaxNumberOfMessages=10).get("Messages", []):
            got.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=results, ReceiptHandle=message["ReceiptHandle"])
        return enough([record for event in got for record in event["Records"]])

    wait_for(more, timeout, "what the function got")
    return got


def count(server, url):
    attributes = server.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"]), int(attributes["ApproximateNumberOfMessagesNotVisible"])


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_the_event_is_lambdas_and_the_messages_go(server, unique):
    client, sqs = server.client("lambda"), server.client("sqs")
    url, arn = queue(server, unique)
    results = function(server, unique)
    made = client.create_event_source_mapping(
        FunctionName=unique, EventSourceArn=arn, MetricsConfig={"Metrics": ["EventCount"]})
    assert made["BatchSize"] == 10 and made["MaximumBatchingWindowInSeconds"] == 0 and made["State"] == "Enabled"
    assert not {"StartingPosition", "ParallelizationFactor", "MaximumRetryAttempts", "BisectBatchOnFunctionError",
                "DestinationConfig", "TumblingWindowInSeconds", "ScalingConfig"} & made.keys()
    sent = sqs.send_message(QueueUrl=url, MessageBody="Grüße \"1\"", MessageAttributes={
        "text": {"DataType": "String", "StringValue": "x"}, "bytes": {"DataType": "Binary", "BinaryValue": b"hi"}})
    [event] = events(server, results, lambda records: len(records) == 1)
    [record] = event["Records"]
    assert record.pop("receiptHandle")
    attributes = record.pop("attributes")
    assert attributes["ApproximateReceiveCount"] == "1" and attributes.keys() == {
        "ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"}
    lists = {"stringListValues": [], "binaryListValues": []}
    assert record == {
        "messageId": sent["MessageId"], "body": "Grüße \"1\"", "md5OfBody": sent["MD5OfMessageBody"],
        "md5OfMessageAttributes": sent["MD5OfMessageAttributes"], "eventSource": "aws:sqs", "eventSourceARN": arn,
        "awsRegion": REGION,
        "messageAttributes": {"text": {"stringValue": "x", "dataType": "String"} | lists,
                              "bytes": {"binaryValue": "aGk=", "dataType": "Binary"} | lists}}
    wait_for(lambda: count(server, url) == (0, 0), what="an empty queue")
    wait_for(lambda: client.get_event_source_mapping(UUID=made["UUID"])["LastProcessingResult"] == "OK")
    _, metrics = server.get("/_tidegate/metrics", (ACCESS_KEY, SECRET_KEY))
    for name in "polled", "invoked", "deleted":
        assert f'tidegate_lambda_{name}_event_count_total{{mapping="{made["UUID"]}"}} 1' in metrics


def test_failures_come_back_alone_or_whole_and_die(server, unique):
    client, sqs = server.client("lambda"), server.client("sqs")
    dead, dead_arn = queue(server, f"{unique}-dead")
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = queue(server, unique, VisibilityTimeout=4, RedrivePolicy=policy)
    results = function(server, unique)
    made = client.create_event_source_mapping(
        FunctionName=unique, EventSourceArn=arn, FunctionResponseTypes=["ReportBatchItemFailures"], BatchSize=100,
        MaximumBatchingWindowInSeconds=1)
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(["good", "bad", "fine"])]
    sqs.send_message_batch(QueueUrl=url, Entries=entries)
    got = events(server, results, lambda records: len(records) == 4)
    assert [[record["body"] for record in event["Records"]] for event in got] == [["good", "bad", "fine"], ["bad"]]
    # The third receive would be one too many.
    letter = wait_for(lambda: sqs.receive_message(QueueUrl=dead).get("Messages"), 30, "the dead letter")
    assert letter[0]["Body"] == "bad" and count(server, url) == (0, 0)
    assert client.get_event_source_mapping(UUID=made["UUID"])["LastProcessingResult"] == "PROBLEM: Function call failed"
    assert "a batch failed" in server.log()


def test_fifo_groups_keep_their_order(server, unique):
    client, sqs = server.client("lambda"), server.client("sqs")
    url, arn = queue(server, f"{unique}.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    results = function(server, unique)
    client.create_event_source_mapping(FunctionName=unique, EventSourceArn=arn, BatchSize=4)
    for n in range(10):
        for group in ("a", "b"):
            sqs.send_message(QueueUrl=url, MessageBody=f"slow-{group}{n}", MessageGroupId=group)
    got = events(server, results, lambda records: len(records) == 20)
    assert all(len(event["Records"]) <= 4 for event in got)
    for group in ("a", "b"):
        of_group = [record for event in got for record in event["Records"]
                    if record["attributes"]["MessageGroupId"] == group]
        assert [record["body"] for record in of_group] == [f"slow-{group}{n}" for n in range(10)]
        assert of_group == sorted(of_group, key=lambda record: record["attributes"]["SequenceNumber"])


def test_filters_scaling_and_changes_while_it_runs(server, unique):
    client, sqs = server.client("lambda"), server.client("sqs")
    url, arn = queue(server, unique)
    results = function(server, unique)
    criteria = {"Filters": [{"Pattern": json.dumps({"body": {"kind": ["wanted"]}})}]}
    made = client.create_event_source_mapping(
        FunctionName=unique, EventSourceArn=arn, FilterCriteria=criteria, ScalingConfig={"MaximumConcurrency": 2},
        Enabled=False)
    assert made["ScalingConfig"] == {"MaximumConcurrency": 2} and made["FilterCriteria"] == criteria
    assert made["State"] == "Disabled"
    wanted = json.dumps({"kind": "wanted"})
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"kind": "other"}))
    sqs.send_message(QueueUrl=url, MessageBody=wanted)
    assert count(server, url) == (2, 0)
    changed = client.update_event_source_mapping(UUID=made["UUID"], Enabled=True, BatchSize=1)
    assert changed["BatchSize"] == 1 and changed["ScalingConfig"] == {"MaximumConcurrency": 2}
    [event] = events(server, results, lambda records: len(records) == 1)
    assert event["Records"][0]["body"] == wanted
    wait_for(lambda: count(server, url) == (0, 0), what="an empty queue")
    changed = client.update_event_source_mapping(UUID=made["UUID"], ScalingConfig={}, FilterCriteria={"Filters": []})
    assert "ScalingConfig" not in changed and "FilterCriteria" not in changed
    [listed] = client.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
    assert listed["UUID"] == made["UUID"]
    assert client.delete_event_source_mapping(UUID=made["UUID"])["State"] == "Deleting"
    sqs.send_message(QueueUrl=url, MessageBody="left")
    assert count(server, url) == (1, 0)


def test_what_a_queue_does_not_have_is_refused_by_name(server, unique):
    client = server.client("lambda")
    _, arn = queue(server, unique, VisibilityTimeout=2)
    function(server, unique)
    create = dict(call=client.create_event_source_mapping, FunctionName=unique, EventSourceArn=arn)
    code = "InvalidParameterValueException"
    assert refused(**create) == (
        code, "Queue visibility timeout: 2 seconds is less than Function timeout: 4 seconds")
    server.client("sqs").set_queue_attributes(
        QueueUrl=server.client("sqs").get_queue_url(QueueName=unique)["QueueUrl"], Attributes={"VisibilityTimeout": "4"})
    of_streams = {
        "StartingPosition": "LATEST", "ParallelizationFactor": 1, "BisectBatchOnFunctionError": False,
        "MaximumRetryAttempts": 1, "MaximumRecordAgeInSeconds": 60, "TumblingWindowInSeconds": 0,
        "DestinationConfig": {"OnFailure": {"Destination": arn}}}
    for name, value in of_streams.items():
        assert refused(**create, **{name: value}) == (code, f"{name} is not valid for SQS event sources."), name
    assert refused(**create, BatchSize=11) == (
        code, "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
    _, fifo = queue(server, f"{unique}.fifo", FifoQueue="true")
    assert refused(**create | {"EventSourceArn": fifo}, BatchSize=11)[0] == code
    assert refused(**create | {"EventSourceArn": fifo}, MaximumBatchingWindowInSeconds=1) == (
        code, "Batching window is not supported for FIFO queues")
    assert "NonExistentQueue" in refused(**create | {"EventSourceArn": arn + "-absent"})[1]
    assert refused(**create, ProvisionedPollerConfig={"MaximumPollers": 5})[0] == "NotImplemented"
    made = client.create_event_source_mapping(FunctionName=unique, EventSourceArn=arn)
    assert refused(**create) == (
        "ResourceConflictException",
        f'An event source mapping with SQS arn (" {arn} ") and function (" {unique} ") already exists. Please update or '
        f'delete the existing mapping with UUID {made["UUID"]}')
    for name, value in of_streams.items():
        if name != "StartingPosition":
            assert refused(client.update_event_source_mapping, UUID=made["UUID"], **{name: value})[0] == code, name


def test_a_kill_loses_nothing(new_server):
    server = new_server().start()
    client, sqs = server.client("lambda"), server.client("sqs")
    url, arn = queue(server, "work", VisibilityTimeout=4)
    results = function(server, "work")
    client.create_event_source_mapping(FunctionName="work", EventSourceArn=arn, BatchSize=2)
    bodies = {f"slow-{n}" for n in range(30)}
    for body in sorted(bodies):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    wait_for(lambda: count(server, url)[1] > 0, what="a batch under way")
    server.kill()
    server.start()
    got = events(server, results, lambda records: {record["body"] for record in records} == bodies, 60)
    handled = [record["body"] for event in got for record in event["Records"]]
    # What was in flight comes again: five batches of two at the most at the beginning.
    assert len(handled) <= len(bodies) + 20, handled
    wait_for(lambda: count(server, url) == (0, 0), 30, "an empty queue")


def cpu(pid):
    """Seconds of processor time that a process has taken."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_idle_mappings_cost_nothing_to_speak_of(new_server):
    server = new_server().start()
    client = server.client("lambda")
    create_function(server, "idle", SOURCE, Timeout=3)
    pause = threading.Event()

    def spent():
        before = cpu(server.process.pid)
        pause.wait(3)
        return cpu(server.process.pid) - before

    arns = [queue(server, f"q{n}")[1] for n in range(200)]
    pause.wait(1)
    without = spent()
    for arn in arns:
        client.create_event_source_mapping(FunctionName="idle", EventSourceArn=arn)
    pause.wait(1)
    assert spent() - without < 0.1, "seconds of three that 200 idle mappings take"
