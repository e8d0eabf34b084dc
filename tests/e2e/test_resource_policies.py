"""Policies of topics, queues, buses and streams, with boto3: who is let in by one, and that a service is let in by nothing else."""

import json

import pytest
from botocore.exceptions import ClientError
from conftest import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY, create_stream, let_in, policy, rule_arn, wait_for
from test_bus_targets import outcomes, put, rule


def queue(server, name):
    return server.client("sqs").create_queue(QueueName=name)["QueueUrl"], f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def take(server, url):
    messages = server.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20).get("Messages", [])
    for message in messages:
        server.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [message["Body"] for message in messages]


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def user(server, name):
    """A user without any permission: a client factory with their key, and their ARN."""
    iam = server.client("iam")
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return lambda service: server.client(service, key=key["AccessKeyId"], secret=key["SecretAccessKey"]), arn


def test_a_rule_reaches_a_queue_only_by_its_policy_and_for_that_rule_alone(server, unique):
    url, arn = queue(server, unique)
    rule(server, unique, [{"Id": "q", "Arn": arn}])
    event = put(server, unique, n=1)
    told = wait_for(lambda: outcomes(server, event).get(("default", unique, "q")), 20, "the target's outcome")
    assert told["outcome"] == "given up" and told["failures"][0]["error"].startswith("NO_PERMISSIONS"), told
    assert "no resource-based policy allows the sqs:SendMessage action" in told["failures"][0]["error"]
    # A policy for another rule is none for this one: the confused deputy.
    let_in(server, "events", arn, rule_arn(f"{unique}-other"))
    event = put(server, unique, n=2)
    told = wait_for(lambda: outcomes(server, event).get(("default", unique, "q")), 20, "the target's outcome")
    assert told["outcome"] == "given up", told
    let_in(server, "events", arn, rule_arn(unique))
    event = put(server, unique, n=3)
    assert [json.loads(body)["id"] for body in take(server, url)] == [event]


def test_a_topic_reaches_a_queue_only_by_its_policy(server, unique):
    sns = server.client("sns")
    topic, other = (sns.create_topic(Name=f"{unique}-{name}")["TopicArn"] for name in "ab")
    url, arn = queue(server, unique)
    let_in(server, "sns", arn, topic)
    for of in (topic, other):
        sns.subscribe(TopicArn=of, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    sns.publish(TopicArn=other, Message="kept out")
    sns.publish(TopicArn=topic, Message="let in")
    assert take(server, url) == ["let in"]

    def denied():
        metrics = server.get("/_tidegate/metrics", auth=(ACCESS_KEY, SECRET_KEY))[1]
        return any(unique in line and "sqs:SendMessage" in line for line in metrics.splitlines() if line.startswith("tidegate_role_denials_total"))
    wait_for(denied, 20, "the denial's count")


def test_a_user_without_permissions_is_let_in_by_each_kind_of_policy(server, unique):
    client, arn = user(server, unique)
    url, queue_arn = queue(server, unique)
    topic = server.client("sns").create_topic(Name=unique)["TopicArn"]
    bus = server.client("events").create_event_bus(Name=unique)["EventBusArn"]
    stream = create_stream(server, unique)

    def lets(action, resource):
        return policy({"Effect": "Allow", "Principal": {"AWS": arn}, "Action": action, "Resource": resource})

    def tries():
        calls = {
            "sqs": lambda: client("sqs").send_message(QueueUrl=url, MessageBody="m"),
            "sns": lambda: client("sns").publish(TopicArn=topic, Message="m"),
            "events": lambda: client("events").put_events(Entries=[{"EventBusName": unique, "Source": "s", "DetailType": "t", "Detail": "{}"}]),
            "kinesis": lambda: client("kinesis").put_record(StreamARN=stream, PartitionKey="k", Data=b"d"),
        }
        done = set()
        for name, call in calls.items():
            try:
                call()
                done.add(name)
            except ClientError as error:
                assert "no identity-based policy allows" in error.response["Error"]["Message"], error
        return done

    assert tries() == set()
    server.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": lets("sqs:SendMessage", queue_arn)})
    assert tries() == {"sqs"}
    server.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=lets("sns:Publish", topic))
    assert tries() == {"sqs", "sns"}
    server.client("events").put_permission(EventBusName=unique, Policy=lets("events:PutEvents", bus))
    assert tries() == {"sqs", "sns", "events"}
    server.client("kinesis").put_resource_policy(ResourceARN=stream, Policy=lets("kinesis:PutRecord", stream))
    assert tries() == {"sqs", "sns", "events", "kinesis"}
    server.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    server.client("kinesis").delete_resource_policy(ResourceARN=stream)
    server.client("events").remove_permission(EventBusName=unique, RemoveAllPermissions=True)
    assert tries() == {"sns"}


def test_a_policy_that_denies_everybody_binds_the_owner_who_can_still_change_it(server, unique):
    sqs = server.client("sqs")
    url, arn = queue(server, unique)
    closed = policy({"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": arn})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": closed})
    assert refused(sqs.send_message, QueueUrl=url, MessageBody="m") == "AccessDenied"
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    sqs.send_message(QueueUrl=url, MessageBody="m")


def test_policies_are_shown_as_they_were_written_changed_by_statement_and_survive_a_crash(new_server):
    server = new_server().start()
    sns, sqs, events, kinesis = (server.client(name) for name in ("sns", "sqs", "events", "kinesis"))
    topic = sns.create_topic(Name="t")["TopicArn"]
    url, _ = queue(server, "q")
    stream = create_stream(server, "s")

    def of_topic():
        return json.loads(sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])

    assert [s["Sid"] for s in of_topic()["Statement"]] == ["__default_statement_ID"]
    sns.add_permission(TopicArn=topic, Label="mine", AWSAccountId=[ACCOUNT], ActionName=["Publish"])
    assert refused(sns.add_permission, TopicArn=topic, Label="mine", AWSAccountId=[ACCOUNT], ActionName=["Publish"]) == "InvalidParameter"
    assert refused(sns.add_permission, TopicArn=topic, Label="x", AWSAccountId=[ACCOUNT], ActionName=["ListTopics"]) == "InvalidParameter"
    sns.remove_permission(TopicArn=topic, Label="__default_statement_ID")
    sqs.add_permission(QueueUrl=url, Label="mine", AWSAccountIds=[ACCOUNT], Actions=["SendMessage"])
    events.put_permission(Action="events:PutEvents", Principal=ACCOUNT, StatementId="mine")
    assert refused(events.remove_permission, StatementId="other") == "ResourceNotFoundException"
    assert kinesis.get_resource_policy(ResourceARN=stream)["Policy"] == "{}"
    kept = policy({"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kinesis:GetRecords", "Resource": stream})
    kinesis.put_resource_policy(ResourceARN=stream, Policy=kept)
    for wrong in ("{}", kept.replace("kinesis:", "sns:")):
        assert refused(kinesis.put_resource_policy, ResourceARN=stream, Policy=wrong) == "InvalidArgumentException"
    server.kill()
    server.start()
    assert [s["Sid"] for s in of_topic()["Statement"]] == ["mine"]
    shown = json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"])
    assert [s["Sid"] for s in shown["Statement"]] == ["mine"]
    shown = json.loads(events.describe_event_bus()["Policy"])
    assert shown["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert [bus["Name"] for bus in events.list_event_buses()["EventBuses"]] == ["default"]
    assert kinesis.get_resource_policy(ResourceARN=stream)["Policy"] == kept
    # A topic of the same name that is made anew has nothing of it.
    sns.delete_topic(TopicArn=topic)
    sns.create_topic(Name="t")
    assert [s["Sid"] for s in of_topic()["Statement"]] == ["__default_statement_ID"]
