"""EventBridge and SNS through boto3."""

import json

import pytest
from botocore.exceptions import ClientError
from conftest import (
    ACCOUNT, REGION, ROLE, confirmed_subscription, create_function, create_stream, let_in, read_stream, rule_arn, wait_for,
)


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def event(source="app.orders", kind="order", **detail):
    return {"Source": source, "DetailType": kind, "Detail": json.dumps(detail)}


def records_of(server, stream):
    return [json.loads(r["Data"]) for shard in read_stream(server, stream).values() for r in shard]


def test_a_rule_selects_and_its_life(server, unique):
    arn = create_stream(server, unique)
    events = server.client("events")
    events.put_rule(Name=unique, EventPattern=json.dumps({"source": [unique], "detail": {"amount": [{"numeric": [">", 10]}]}}))
    events.put_targets(Rule=unique, Targets=[{"Id": "1", "Arn": arn, "RoleArn": ROLE}])
    assert [t["Arn"] for t in events.list_targets_by_rule(Rule=unique)["Targets"]] == [arn]
    answer = events.put_events(Entries=[event(unique, amount=n) for n in (5, 15, 25)])
    assert answer["FailedEntryCount"] == 0 and all(e["EventId"] for e in answer["Entries"])
    wait_for(lambda: len(records_of(server, unique)) == 2, 20, "two selected events")
    got = records_of(server, unique)
    assert [e["detail"]["amount"] for e in got] == [15, 25]
    assert got[0]["id"] == answer["Entries"][1]["EventId"] and got[0]["account"] == ACCOUNT and got[0]["region"] == REGION

    events.disable_rule(Name=unique)
    assert events.describe_rule(Name=unique)["State"] == "DISABLED"
    events.put_events(Entries=[event(unique, amount=99)])
    events.enable_rule(Name=unique)
    events.put_events(Entries=[event(unique, amount=100)])
    wait_for(lambda: len(records_of(server, unique)) >= 3, 20, "the event after enabling")
    assert [e["detail"]["amount"] for e in records_of(server, unique)][2:] == [100]

    assert refused(events.delete_rule, Name=unique) == "ValidationException"
    events.remove_targets(Rule=unique, Ids=["1"])
    events.delete_rule(Name=unique)
    assert refused(events.describe_rule, Name=unique) == "ResourceNotFoundException"


def test_put_events_refuses_as_aws_does(server):
    events = server.client("events")
    answer = events.put_events(Entries=[
        event("aws.ec2"), event(), {"Source": "a", "DetailType": "b", "Detail": "not json"}, {"Source": "a", "Detail": "{}"}])
    assert answer["FailedEntryCount"] == 3
    codes = [e.get("ErrorCode") for e in answer["Entries"]]
    assert codes == ["NotAuthorizedForSourceException", None, "MalformedDetail", "InvalidArgument"]
    assert refused(events.put_events, Entries=[event()] * 11) == "ValidationException"


def test_bad_patterns_and_targets(server, unique):
    events = server.client("events")
    for pattern in ("{", '{"a": 1}', '{"a": [{"nonsense": 1}]}', '{"a": []}', '[]'):
        assert refused(events.put_rule, Name=unique, EventPattern=pattern) == "InvalidEventPatternException", pattern
    events.put_rule(Name=unique, EventPattern='{"source": ["x"]}')
    stream = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/absent-{unique}"
    with_dead_letter = {"Id": "1", "Arn": stream, "RoleArn": ROLE, "DeadLetterConfig": {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"}}
    assert refused(events.put_targets, Rule=unique, Targets=[with_dead_letter]) == "ResourceNotFoundException"


def test_a_rule_on_a_schedule(server, unique):
    arn = create_stream(server, unique)
    events = server.client("events")
    for wrong in ("rate(5 minute)", "cron(0 10 * * * *)", "at(2030-01-01T00:00:00)"):
        with pytest.raises(ClientError) as error:
            events.put_rule(Name=unique, ScheduleExpression=wrong)
        assert error.value.response["Error"] == {"Code": "ValidationException", "Message": "Parameter ScheduleExpression is not valid."}
    rule = events.put_rule(Name=unique, ScheduleExpression="cron(* * * * ? *)")["RuleArn"]
    assert events.describe_rule(Name=unique)["ScheduleExpression"] == "cron(* * * * ? *)"
    events.put_targets(Rule=unique, Targets=[{"Id": "1", "Arn": arn, "RoleArn": ROLE}])
    wait_for(lambda: records_of(server, unique), 75, "the next whole minute")
    got = records_of(server, unique)[0]
    assert (got["source"], got["detail-type"], got["resources"], got["detail"]) == ("aws.events", "Scheduled Event", [rule], {})
    assert got["time"].endswith(":00Z")
    events.remove_targets(Rule=unique, Ids=["1"])
    events.delete_rule(Name=unique)


def test_test_event_pattern(server):
    events = server.client("events")
    body = {"id": "1", "source": "s", "detail-type": "t", "account": ACCOUNT, "time": "2026-01-01T00:00:00Z", "region": REGION,
            "resources": ["a"], "detail": {"ip": "10.1.2.3", "name": "Alice"}}

    def test(pattern):
        return events.test_event_pattern(EventPattern=json.dumps(pattern), Event=json.dumps(body))["Result"]

    assert test({"detail": {"ip": [{"cidr": "10.0.0.0/8"}]}})
    assert not test({"detail": {"ip": [{"cidr": "11.0.0.0/8"}]}})
    assert test({"$or": [{"source": ["nope"]}, {"detail": {"name": [{"equals-ignore-case": "aLICE"}]}}]})
    assert test({"detail": {"name": [{"wildcard": "A*e"}]}})
    assert not test({"detail": {"name": [{"anything-but": {"prefix": "Al"}}]}})
    assert test({"detail": {"missing": [{"exists": False}]}})


def test_a_topic_as_target_and_its_subscriber(server, unique, webhook):
    sns, events = server.client("sns"), server.client("events")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    assert sns.create_topic(Name=unique)["TopicArn"] == topic
    confirmed_subscription(server, topic, webhook)
    events.put_rule(Name=unique, EventPattern=json.dumps({"source": [unique]}))
    let_in(server, "events", topic, rule_arn(unique))
    events.put_targets(Rule=unique, Targets=[{"Id": "1", "Arn": topic}])
    events.put_events(Entries=[event(unique, n=1)])
    wait_for(lambda: webhook.messages, 20, "the notification")
    _, headers, body = webhook.messages[0]
    message = json.loads(body)
    assert message["Type"] == "Notification" and message["TopicArn"] == topic
    assert headers["x-amz-sns-message-type"] == "Notification" and headers["x-amz-sns-topic-arn"] == topic
    assert json.loads(message["Message"])["detail"] == {"n": 1}


def test_a_function_as_target(server, unique, webhook):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    confirmed_subscription(server, topic, webhook)
    function = create_function(server, unique, f"""
import boto3
def handler(event, context):
    boto3.client("sns").publish(TopicArn="{topic}", Message="got " + event["detail"]["word"])
""", Timeout=20)
    events = server.client("events")
    events.put_rule(Name=unique, EventPattern=json.dumps({"source": [unique]}))
    let_in(server, "events", function, rule_arn(unique))
    events.put_targets(Rule=unique, Targets=[{"Id": "1", "Arn": function}])
    events.put_events(Entries=[event(unique, word="this")])
    wait_for(lambda: webhook.texts() == ["got this"], 30, "the function's message")


def test_a_failing_subscriber_is_tried_again_and_does_not_hold_up_others(server, unique, webhook):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    failures = []

    def answer(headers, body):
        if json.loads(body)["Message"] == "hard" and len(failures) < 2:
            failures.append(headers)
            return 500
        return 200

    webhook.answer = answer
    confirmed_subscription(server, topic, webhook)
    sns.publish(TopicArn=topic, Message="hard")
    for n in range(5):
        sns.publish(TopicArn=topic, Message=f"easy {n}")
    wait_for(lambda: len(webhook.texts()) == 6, 60, "all six messages")
    assert sorted(webhook.texts()) == sorted(["hard"] + [f"easy {n}" for n in range(5)])
    assert len(failures) == 2


def test_an_unconfirmed_subscriber_gets_nothing(server, unique, webhook):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    webhook.confirm = False
    assert sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=webhook.url)["SubscriptionArn"] == "pending confirmation"
    wait_for(lambda: webhook.confirmations, 20, "the confirmation request")
    sns.publish(TopicArn=topic, Message="secret")
    with pytest.raises(ClientError) as error:
        sns.confirm_subscription(TopicArn=topic, Token="0" * 64)
    assert error.value.response["Error"]["Code"] in ("InvalidParameter", "NotFound")
    assert webhook.messages == []


def test_sns_bad_input(server, unique):
    sns = server.client("sns")
    assert refused(sns.publish, TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:absent", Message="x") == "NotFound"
    assert refused(sns.create_topic, Name="bad name!") == "InvalidParameter"
    topic = sns.create_topic(Name=unique)["TopicArn"]
    assert refused(sns.subscribe, TopicArn=topic, Protocol="sms", Endpoint="+491234") == "InvalidParameter"
    assert refused(sns.publish, TopicArn=topic, Message="x" * (256 * 1024 + 1)) == "InvalidParameter"
    assert refused(sns.publish, TopicArn=topic, Message="") == "InvalidParameter"
