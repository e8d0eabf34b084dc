"""The talk's pipeline with roles that may no more than they need: each permission that is taken away stops its step, where its
owner sees it, and what waited goes on when it is given back. Nothing is restarted and nothing is lost."""

import json
import subprocess

import pytest

from conftest import ACCOUNT, ACCESS_KEY, BIN, REGION, SECRET_KEY, confirmed_subscription, create_stream, let_in, policy, rule_arn, wait_for, zipped

READS = ["kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator",
         "kinesis:ListShards"]
CODE = """
import base64, json, os
import boto3
sns = boto3.client("sns")
def handler(batch, context):
    for record in batch["Records"]:
        event = json.loads(base64.b64decode(record["kinesis"]["data"]))
        sns.publish(TopicArn=os.environ["TOPIC"], Message=event["detail"]["word"])
"""
# A mapping and a delivery stream ask again within a minute.
HEALED = 120


def allow(action, resource):
    return {"Effect": "Allow", "Action": action, "Resource": resource}


class Guarded:
    """Rule → stream → function → topic → webhook, and stream → delivery → index, with a role each."""

    def __init__(self, server, webhook):
        self.server, self.webhook, self.iam = server, webhook, server.client("iam")
        self.stream = create_stream(server, "trail")
        self.topic = server.client("sns").create_topic(Name="alerts")["TopicArn"]
        confirmed_subscription(server, self.topic, webhook)
        sqs = server.client("sqs")
        self.undelivered = sqs.create_queue(QueueName="undelivered")["QueueUrl"]
        self.may = {
            "alert": {"reads": allow(READS, self.stream), "publishes": allow("sns:Publish", self.topic)},
            "search": {"reads": allow(READS, self.stream),
                       "writes": allow("es:ESHttpPost", f"arn:aws:es:{REGION}:{ACCOUNT}:domain/tidegate/*"),
                       "keeps": allow("s3:PutObject", "arn:aws:s3:::refused/*")},
            "route": {"puts": allow("kinesis:PutRecord", self.stream)},
        }
        services = {"alert": "lambda", "search": "firehose", "route": "events"}
        roles = {role: server.create_role(role, policy(*may.values()), [f"{services[role]}.amazonaws.com"])
                 for role, may in self.may.items()}
        aws_lambda = server.client("lambda")
        aws_lambda.create_function(
            FunctionName="alert", Runtime="python3.11", Role=roles["alert"], Handler="main.handler", Timeout=30,
            Code={"ZipFile": zipped({"main.py": CODE})}, Environment={"Variables": {"TOPIC": self.topic}})
        self.mapping = aws_lambda.create_event_source_mapping(
            FunctionName="alert", EventSourceArn=self.stream, StartingPosition="TRIM_HORIZON")["UUID"]
        server.client("firehose").create_delivery_stream(
            DeliveryStreamName="search", DeliveryStreamType="KinesisStreamAsSource",
            KinesisStreamSourceConfiguration={"KinesisStreamARN": self.stream, "RoleARN": roles["search"]},
            AmazonopensearchserviceDestinationConfiguration={
                "RoleARN": roles["search"], "DomainARN": f"arn:aws:es:{REGION}:{ACCOUNT}:domain/tidegate", "IndexName": "trail",
                "IndexRotationPeriod": "NoRotation", "BufferingHints": {"IntervalInSeconds": 1},
                "S3Configuration": {"RoleARN": roles["search"], "BucketARN": "arn:aws:s3:::refused"}})
        events = server.client("events")
        events.put_rule(Name="words", EventPattern=json.dumps({"source": ["words"]}))
        dead = sqs.get_queue_attributes(QueueUrl=self.undelivered, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        let_in(server, "events", dead, rule_arn("words"))
        answer = events.put_targets(Rule="words", Targets=[
            {"Id": "1", "Arn": self.stream, "RoleArn": roles["route"], "DeadLetterConfig": {"Arn": dead}}])
        assert answer["FailedEntryCount"] == 0, answer

    def say(self, word):
        answer = self.server.client("events").put_events(
            Entries=[{"Source": "words", "DetailType": "word", "Detail": json.dumps({"word": word})}])
        assert answer["FailedEntryCount"] == 0

    def take(self, role, what):
        rest = [statement for name, statement in self.may[role].items() if name != what]
        if rest:
            self.iam.put_role_policy(RoleName=role, PolicyName="own", PolicyDocument=policy(*rest))
        else:
            self.iam.delete_role_policy(RoleName=role, PolicyName="own")

    def give_back(self, role):
        self.iam.put_role_policy(RoleName=role, PolicyName="own", PolicyDocument=policy(*self.may[role].values()))

    def indexed(self, word):
        try:
            found = self.server.search("trail", {"query": {"match": {"detail.word": word}}})
        except OSError:
            return False
        return found["hits"]["total"]["value"] == 1

    def alerted(self, word):
        return word in self.webhook.texts()

    def stuck(self):
        """What `tidegate mapping status` says of the mapping."""
        done = subprocess.run([BIN, "mapping", "status", self.mapping], env=self.server.client_env(), capture_output=True, text=True)
        return done.stdout if done.returncode == 1 else ""

    def denials(self, action):
        metrics = self.server.get("/_tidegate/metrics", auth=(ACCESS_KEY, SECRET_KEY))[1]
        return [line for line in metrics.splitlines() if line.startswith("tidegate_role_denials_total{") and action in line]


@pytest.fixture
def guarded(new_server, webhook):
    pipeline = Guarded(new_server().start(), webhook)
    pipeline.say("first")
    wait_for(lambda: pipeline.alerted("first") and pipeline.indexed("first"), HEALED, "the first word at both ends")
    return pipeline


def test_without_its_read_permission_a_mapping_waits_and_says_so(guarded):
    guarded.take("alert", "reads")
    guarded.say("unread")
    wait_for(lambda: "kinesis:" in guarded.stuck(), HEALED, "the mapping's denial")
    wait_for(lambda: guarded.indexed("unread"), HEALED, "the other branch, which goes on")
    assert not guarded.alerted("unread")
    guarded.give_back("alert")
    wait_for(lambda: guarded.alerted("unread"), HEALED, "the word that waited")
    wait_for(lambda: not guarded.stuck(), HEALED, "a mapping that is well")


def test_without_its_publish_permission_a_function_fails_and_says_so(guarded):
    guarded.take("alert", "publishes")
    guarded.say("untold")
    wait_for(lambda: "not authorized to perform: sns:Publish" in guarded.stuck(), HEALED,
             "the function's error")
    wait_for(lambda: guarded.indexed("untold"), HEALED, "the other branch, which goes on")
    guarded.give_back("alert")
    wait_for(lambda: guarded.alerted("untold"), HEALED, "the word that waited")


def test_without_its_write_permission_a_delivery_waits_and_says_so(guarded):
    guarded.take("search", "writes")
    guarded.say("unindexed")
    wait_for(lambda: guarded.denials("es:ESHttpPost"), HEALED, "the delivery's denial")
    wait_for(lambda: guarded.alerted("unindexed"), HEALED, "the other branch, which goes on")
    assert not guarded.indexed("unindexed")
    guarded.give_back("search")
    wait_for(lambda: guarded.indexed("unindexed"), HEALED, "the word that waited")


def test_without_its_put_permission_a_target_fails_and_its_events_are_kept(guarded):
    guarded.take("route", "puts")
    guarded.say("unrouted")
    sqs = guarded.server.client("sqs")
    answer = wait_for(lambda: sqs.receive_message(
        QueueUrl=guarded.undelivered, WaitTimeSeconds=1, MessageAttributeNames=["All"]).get("Messages"), HEALED, "the dead letter")
    assert json.loads(answer[0]["Body"])["detail"] == {"word": "unrouted"}
    assert answer[0]["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"
    guarded.give_back("route")
    guarded.say("routed")
    wait_for(lambda: guarded.alerted("routed") and guarded.indexed("routed"), HEALED, "the next word")
    assert not guarded.alerted("unrouted")
