"""Delivery streams that records are put on: by boto3, by rules, by topics."""

import json
import time
import urllib.error

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, REGION, ROLE, create_stream, wait_for


def destination(index):
    return {
        "RoleARN": ROLE, "DomainARN": f"arn:aws:es:{REGION}:{ACCOUNT}:domain/tidegate", "IndexName": index,
        "IndexRotationPeriod": "NoRotation", "BufferingHints": {"IntervalInSeconds": 1, "SizeInMBs": 1},
        "S3Configuration": {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::backup"},
    }


@pytest.fixture
def delivery(server, unique):
    """A delivery stream that takes records, into an index of its name."""
    firehose = server.client("firehose")
    made = firehose.create_delivery_stream(
        DeliveryStreamName=unique, DeliveryStreamType="DirectPut", AmazonopensearchserviceDestinationConfiguration=destination(unique))
    yield made["DeliveryStreamARN"]
    firehose.delete_delivery_stream(DeliveryStreamName=unique)


def found(server, index):
    try:
        answer = server.search(index, {"query": {"match_all": {}}, "size": 1000, "track_total_hits": True})
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return []
        raise
    return answer["hits"]["hits"]


def wait_for_documents(server, index, count):
    wait_for(lambda: len(found(server, index)) >= count, what=f"{count} documents")
    return found(server, index)


def test_batches_of_boto3_are_in_the_index_under_the_ids_that_were_answered(server, unique, delivery):
    firehose = server.client("firehose")
    one = firehose.put_record(DeliveryStreamName=unique, Record={"Data": json.dumps({"n": -1}).encode()})
    records = [{"Data": json.dumps({"n": n}).encode()} for n in range(500)]
    answer = firehose.put_record_batch(DeliveryStreamName=unique, Records=records)
    assert answer["FailedPutCount"] == 0 and answer["Encrypted"] is False
    ids = [one["RecordId"], *(entry["RecordId"] for entry in answer["RequestResponses"])]
    documents = wait_for_documents(server, unique, 501)
    assert len(documents) == 501
    by_id = {hit["_id"].split(".")[1]: hit["_source"]["n"] for hit in documents}
    assert by_id == dict(zip(ids, range(-1, 500)))
    shown = firehose.describe_delivery_stream(DeliveryStreamName=unique)["DeliveryStreamDescription"]
    assert shown["DeliveryStreamType"] == "DirectPut" and shown["DeliveryStreamARN"] == delivery and "Source" not in shown
    assert unique in firehose.list_delivery_streams(DeliveryStreamType="DirectPut", Limit=100)["DeliveryStreamNames"]


def test_limits_are_those_of_the_service(server, unique, delivery):
    firehose = server.client("firehose")

    def refused(call, **arguments):
        with pytest.raises(ClientError) as error:
            call(**arguments)
        return error.value.response["Error"]

    record = {"Data": b"x" * 1_024_000}
    big = refused(firehose.put_record_batch, DeliveryStreamName=unique, Records=[record] * 5)
    assert big == {"Code": "InvalidArgumentException", "Message": "Records size exceeds 4 MB limit"}
    many = refused(firehose.put_record_batch, DeliveryStreamName=unique, Records=[{"Data": b"x"}] * 501)
    assert many["Code"] == "ValidationException" and "less than or equal to 500" in many["Message"]
    long = refused(firehose.put_record, DeliveryStreamName=unique, Record={"Data": b"x" * 1_024_001})
    assert long["Code"] == "ValidationException" and "less than or equal to 1024000" in long["Message"]
    assert refused(firehose.put_record, DeliveryStreamName=f"{unique}-none", Record=record)["Code"] == "ResourceNotFoundException"
    stream = create_stream(server, unique)
    firehose.create_delivery_stream(
        DeliveryStreamName=f"{unique}-s", DeliveryStreamType="KinesisStreamAsSource",
        KinesisStreamSourceConfiguration={"KinesisStreamARN": stream, "RoleARN": ROLE},
        AmazonopensearchserviceDestinationConfiguration=destination(unique))
    wrong = refused(firehose.put_record, DeliveryStreamName=f"{unique}-s", Record={"Data": b"{}"})
    assert wrong["Code"] == "InvalidArgumentException" and "not permitted on KinesisStreamAsSource" in wrong["Message"]


def test_a_rule_delivers_every_event_once(server, unique, delivery):
    events = server.client("events")
    events.put_rule(Name=unique, EventPattern=json.dumps({"source": [unique]}))
    target = {"Id": "search", "Arn": delivery, "RoleArn": ROLE}
    assert events.put_targets(Rule=unique, Targets=[target])["FailedEntryCount"] == 0
    ids = []
    for call in range(5):
        entries = [{"Source": unique, "DetailType": "t", "Detail": json.dumps({"n": call * 10 + n})} for n in range(10)]
        ids += [entry["EventId"] for entry in events.put_events(Entries=entries)["Entries"]]
    documents = wait_for_documents(server, unique, 50)
    assert sorted(hit["_source"]["id"] for hit in documents) == sorted(ids)
    assert sorted(hit["_source"]["detail"]["n"] for hit in documents) == list(range(50))


def test_a_topic_delivers_notifications_and_raw_messages(server, unique, delivery):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    attributes = {"SubscriptionRoleArn": ROLE}
    arn = sns.subscribe(TopicArn=topic, Protocol="firehose", Endpoint=delivery, Attributes=attributes)["SubscriptionArn"]
    shown = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert shown["SubscriptionRoleArn"] == ROLE and shown["Protocol"] == "firehose" and shown["PendingConfirmation"] == "false"
    sent = sns.publish(TopicArn=topic, Subject="s", Message="text",
                       MessageAttributes={"a": {"DataType": "String", "StringValue": "v"}})
    notification = wait_for_documents(server, unique, 1)[0]["_source"]
    assert set(notification) == {"Type", "MessageId", "TopicArn", "Subject", "Message", "Timestamp", "UnsubscribeURL", "MessageAttributes"}
    assert notification["MessageId"] == sent["MessageId"] and notification["Message"] == "text"
    assert notification["MessageAttributes"] == {"a": {"Type": "String", "Value": "v"}}
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="true")
    sns.publish(TopicArn=topic, Message=json.dumps({"raw": True}))
    wait_for(lambda: {"raw": True} in [hit["_source"] for hit in found(server, unique)], what="the raw message")
    with pytest.raises(ClientError, match="SubscriptionRoleArn"):
        queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes=attributes)


def test_a_schedule_delivers_its_input(server, unique, delivery):
    scheduler = server.client("scheduler")
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 2))
    scheduler.create_schedule(
        Name=unique, ScheduleExpression=f"at({at})", FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": delivery, "RoleArn": ROLE, "Input": json.dumps({"scheduled": unique})})
    assert wait_for_documents(server, unique, 1)[0]["_source"] == {"scheduled": unique}
