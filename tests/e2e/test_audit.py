"""The audit trail: calls become CloudTrail records, durably, without secrets."""

import json

import pytest
from botocore.exceptions import ClientError

from conftest import ACCESS_KEY, ACCOUNT, REGION, create_stream, let_in, read_stream, rule_arn, wait_for

TRAIL = "tidegate-audit"


def lookup(server, key=None, value=None, **more):
    attributes = {"LookupAttributes": [{"AttributeKey": key, "AttributeValue": value}]} if key else {}
    paginator = server.client("cloudtrail").get_paginator("lookup_events")
    return [event for page in paginator.paginate(**attributes, **more) for event in page["Events"]]


def trail(server):
    """Every record in the stream, the oldest first."""
    return [json.loads(record["Data"]) for records in read_stream(server, TRAIL).values() for record in records]


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_a_call_is_looked_up_in_the_stream_and_given_to_a_rule(server, unique):
    events, sqs, stream = server.client("events"), server.client("sqs"), f"{unique}-stream"
    queue = sqs.create_queue(QueueName=unique)["QueueUrl"]
    events.put_rule(Name=unique, EventPattern=json.dumps({
        "source": ["aws.kinesis"], "detail-type": ["AWS API Call via CloudTrail"],
        "detail": {"eventName": ["CreateStream"], "requestParameters": {"streamName": [stream]}}}))
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{unique}"
    let_in(server, "events", arn, rule_arn(unique))
    events.put_targets(Rule=unique, Targets=[{"Id": "q", "Arn": arn}])
    answer = server.client("kinesis").create_stream(StreamName=stream, ShardCount=3)

    [found] = lookup(server, "ResourceName", stream)
    assert (found["EventName"], found["EventSource"], found["ReadOnly"]) == ("CreateStream", "kinesis.amazonaws.com", "false")
    assert (found["Username"], found["AccessKeyId"]) == ("root", ACCESS_KEY)
    assert found["Resources"] == [{"ResourceType": "AWS::Kinesis::Stream", "ResourceName": stream}]
    record = json.loads(found["CloudTrailEvent"])
    assert record["requestParameters"] == {"streamName": stream, "shardCount": 3}
    assert record["requestID"] == answer["ResponseMetadata"]["RequestId"]
    assert record["sourceIPAddress"] == "127.0.0.1" and record["userAgent"].startswith("Boto3/")
    assert (record["awsRegion"], record["eventID"]) == (REGION, found["EventId"])
    assert record in trail(server)
    assert [event["EventId"] for event in lookup(server, "EventId", found["EventId"])] == [found["EventId"]]

    got = wait_for(lambda: sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5).get("Messages"))
    event = json.loads(got[0]["Body"])
    assert (event["source"], event["detail-type"]) == ("aws.kinesis", "AWS API Call via CloudTrail")
    assert event["detail"] == record


def test_refused_calls_are_recorded_and_wrong_signatures_are_not(server, unique):
    kinesis = server.client("kinesis")
    assert refused(kinesis.describe_stream, StreamName=unique)[0] == "ResourceNotFoundException"
    [found] = lookup(server, "ResourceName", unique)
    record = json.loads(found["CloudTrailEvent"])
    assert (record["eventName"], record["errorCode"], record["readOnly"]) == ("DescribeStream", "ResourceNotFoundException", True)
    assert unique in record["errorMessage"] and record["responseElements"] is None
    stranger = server.client("kinesis", secret="x" * 40)
    refused(stranger.create_stream, StreamName=f"{unique}-stranger", ShardCount=1)
    assert lookup(server, "ResourceName", f"{unique}-stranger") == []


def test_lookups_are_paged_and_what_is_wrong_with_them_is_said(server, unique):
    cloudtrail, sns = server.client("cloudtrail"), server.client("sns")
    arns = [sns.create_topic(Name=f"{unique}-{n}")["TopicArn"] for n in range(5)]
    mine = {"LookupAttributes": [{"AttributeKey": "EventName", "AttributeValue": "CreateTopic"}], "MaxResults": 2}
    first = cloudtrail.lookup_events(**mine)
    second = cloudtrail.lookup_events(**mine, NextToken=first["NextToken"])
    names = [r["ResourceName"] for event in first["Events"] + second["Events"] for r in event["Resources"]]
    assert names == [arns[4], arns[3], arns[2], arns[1]]
    assert refused(cloudtrail.lookup_events, NextToken=first["NextToken"])[0] == "InvalidNextTokenException"
    assert refused(cloudtrail.lookup_events, NextToken="???")[0] == "InvalidNextTokenException"
    assert refused(cloudtrail.lookup_events, StartTime=2_000, EndTime=1_000)[0] == "InvalidTimeRangeException"
    code, message = refused(cloudtrail.lookup_events, EventCategory="insight")
    assert code == "NotImplemented" and "insight" in message
    two = [{"AttributeKey": "EventName", "AttributeValue": "a"}, {"AttributeKey": "EventId", "AttributeValue": "b"}]
    assert refused(cloudtrail.lookup_events, LookupAttributes=two)[0] == "InvalidLookupAttributesException"
    bad = [{"AttributeKey": "ReadOnly", "AttributeValue": "yes"}]
    assert refused(cloudtrail.lookup_events, LookupAttributes=bad)[0] == "InvalidLookupAttributesException"
    assert server.client("cloudtrail", region="us-west-2").lookup_events(**mine)["Events"] == []


def test_nobody_writes_divides_or_deletes_the_trail(server, unique):
    kinesis, events = server.client("kinesis"), server.client("events")
    shard = kinesis.list_shards(StreamName=TRAIL)["Shards"]
    assert len(shard) == 1
    denied = "AccessDeniedException"
    assert refused(kinesis.put_record, StreamName=TRAIL, Data=b"{}", PartitionKey="k")[0] == denied
    assert refused(kinesis.put_records, StreamName=TRAIL, Records=[{"Data": b"{}", "PartitionKey": "k"}])[0] == denied
    assert refused(kinesis.delete_stream, StreamName=TRAIL)[0] == denied
    assert refused(kinesis.split_shard, StreamName=TRAIL, ShardToSplit=shard[0]["ShardId"], NewStartingHashKey="9")[0] == denied
    assert refused(kinesis.update_shard_count, StreamName=TRAIL, TargetShardCount=2, ScalingType="UNIFORM_SCALING")[0] == denied
    assert refused(kinesis.decrease_stream_retention_period, StreamName=TRAIL, RetentionPeriodHours=24)[0] == denied
    arn = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{TRAIL}"
    assert refused(kinesis.update_stream_mode, StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})[0] == denied
    elsewhere = server.client("kinesis", region="us-west-2")
    assert refused(elsewhere.create_stream, StreamName=TRAIL, ShardCount=1)[0] == denied
    events.put_rule(Name=unique, EventPattern=json.dumps({"source": [unique]}))
    role = f"arn:aws:iam::{ACCOUNT}:role/worker"
    try:
        failed = events.put_targets(Rule=unique, Targets=[{"Id": "t", "Arn": arn, "RoleArn": role}])["FailedEntries"]
        assert failed and "audit trail" in failed[0]["ErrorMessage"]
    except ClientError as error:
        assert "audit trail" in error.response["Error"]["Message"]
    assert kinesis.describe_stream_summary(StreamName=TRAIL)["StreamDescriptionSummary"]["RetentionPeriodHours"] == 2160


def test_canary_secrets_are_nowhere_in_the_trail(new_server):
    server = new_server().start()
    canary = "canary-7d1f-canary"
    events, sns, sqs, scheduler = (server.client(name) for name in ("events", "sns", "sqs", "scheduler"))
    awslambda = server.client("lambda")
    role = f"arn:aws:iam::{ACCOUNT}:role/worker"

    def attempt(call, **arguments):
        """What is refused is recorded as well."""
        try:
            return call(**arguments)
        except ClientError as error:
            return error.response

    for secret in (canary, "x" + canary * 100):
        attempt(awslambda.create_function, FunctionName="f", Runtime="python3.13", Handler="h.h", Role=role,
                Code={"ZipFile": secret.encode()}, Environment={"Variables": {"KEY_" + canary.replace("-", "_"): secret}})
        attempt(awslambda.update_function_configuration, FunctionName="f", Environment={"Variables": {"KEY": secret}})
        attempt(awslambda.invoke, FunctionName="f", Payload=json.dumps({"secret": secret}).encode())
        attempt(events.create_connection, Name="api", AuthorizationType="API_KEY",
                AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "x-key", "ApiKeyValue": secret}})
        attempt(events.create_connection, Name="basic", AuthorizationType="BASIC",
                AuthParameters={"BasicAuthParameters": {"Username": "me", "Password": secret}})
        attempt(events.update_connection, Name="api",
                AuthParameters={"ApiKeyAuthParameters": {"ApiKeyName": "x-key", "ApiKeyValue": secret}})
        attempt(events.create_api_destination, Name="chat", ConnectionArn=f"arn:aws:events:{REGION}:{ACCOUNT}:connection/api/0",
                InvocationEndpoint=f"https://hooks.example.com/{canary}", HttpMethod="POST")
        attempt(events.test_event_pattern, EventPattern='{"source": ["x"]}', Event=json.dumps({"id": secret}))
        attempt(events.put_rule, Name="r", EventPattern='{"source": ["x"]}')
        attempt(events.put_targets, Rule="r", Targets=[{"Id": "t", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:q", "Input": json.dumps(secret)}])
        topic = sns.create_topic(Name="t")["TopicArn"]
        attempt(sns.subscribe, TopicArn=topic, Protocol="https", Endpoint=f"https://127.0.0.1:1/{canary}")
        attempt(sns.subscribe, TopicArn=topic, Protocol="https", Endpoint="https://127.0.0.1:1/x",
                Attributes={"WebhookFormat": "pagerduty", "WebhookRoutingKey": secret})
        attempt(sns.confirm_subscription, TopicArn=topic, Token=secret)
        attempt(sns.publish, TopicArn=topic, Message=secret, Subject=canary)
        queue = sqs.create_queue(QueueName="q")["QueueUrl"]
        attempt(sqs.send_message, QueueUrl=queue, MessageBody=secret)
        attempt(scheduler.create_schedule, Name="s", ScheduleExpression="at(2100-01-01T00:00:00)", FlexibleTimeWindow={"Mode": "OFF"},
                Target={"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:q", "RoleArn": role, "Input": json.dumps(secret)})
    records = trail(server)
    names = {record["eventName"] for record in records}
    assert {"CreateFunction20150331", "UpdateFunctionConfiguration20150331v2", "CreateConnection", "PutTargets", "Subscribe",
            "ConfirmSubscription", "CreateSchedule", "TestEventPattern"} <= names
    assert not names & {"Invoke", "Publish", "SendMessage"}, "data events are off"
    found = [record for record in records if "canary" in json.dumps(record)]
    assert found == []
    looked_up = json.dumps(lookup(server), default=str)
    assert "CreateConnection" in looked_up and "canary" not in looked_up


def test_data_events_are_recorded_where_the_settings_say_so(new_server):
    server = new_server(env={"TIDEGATE_AUDIT_DATA": "kinesis,sqs"}).start()
    arn = create_stream(server, "s")
    server.client("kinesis").put_record(StreamName="s", Data=b"canary", PartitionKey="canary")
    queue = server.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    server.client("sqs").send_message(QueueUrl=queue, MessageBody="canary")
    server.client("sns").create_topic(Name="t")
    data = {record["eventName"]: record for record in trail(server) if record["eventCategory"] == "Data"}
    assert {"PutRecord", "SendMessage"} <= set(data)
    assert data["PutRecord"]["resources"] == [{"accountId": ACCOUNT, "type": "AWS::Kinesis::Stream", "ARN": arn}]
    assert data["PutRecord"]["managementEvent"] is False and "canary" not in json.dumps(list(data.values()))
    assert {event["EventName"] for event in lookup(server)} & set(data) == set()


def test_a_service_without_data_events_is_refused(new_server):
    server = new_server(env={"TIDEGATE_AUDIT_DATA": "kinesis,sts"})
    server.start(wait=False)
    assert server.process.wait(30) != 0
    assert "sts" in server.log() and "data events" in server.log()


def test_records_survive_a_kill_right_after_the_answer(new_server):
    server = new_server().start()
    sns = server.client("sns")
    names = []
    for turn in range(3):
        for n in range(20):
            names.append(f"t{turn}-{n}")
            sns.create_topic(Name=names[-1])
        server.kill()
        server.start()
    found = [record["requestParameters"]["name"] for record in trail(server) if record["eventName"] == "CreateTopic"]
    assert found == names
    assert len(lookup(server, "EventName", "CreateTopic")) == len(names)
