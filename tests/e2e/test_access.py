"""Who may do what: users, sessions and functions on the real server, through the SDK and the command line."""

import json
import subprocess
from datetime import datetime, timedelta, timezone

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from conftest import ACCOUNT, BIN, REGION, create_function, create_stream, policy, wait_for

DENIED = {"kinesis": "AccessDeniedException", "lambda": "AccessDeniedException", "events": "AccessDeniedException",
          "sns": "AuthorizationError", "sqs": "AccessDenied", "iam": "AccessDenied"}


def allow(action, resource):
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def code(call, **arguments):
    try:
        call(**arguments)
        return None
    except ClientError as error:
        return error.response["Error"]["Code"]


class User:
    """A user with one inline policy and a key."""

    def __init__(self, server, name, *statements):
        self.server, self.name, self.iam = server, name, server.client("iam")
        self.arn = self.iam.create_user(UserName=name)["User"]["Arn"]
        if statements:
            self.allow(*statements)
        self.key = self.iam.create_access_key(UserName=name)["AccessKey"]

    def allow(self, *statements):
        self.iam.put_user_policy(UserName=self.name, PolicyName="own", PolicyDocument=policy(*statements))

    def client(self, service):
        return self.server.client(service, key=self.key["AccessKeyId"], secret=self.key["SecretAccessKey"])


def test_a_user_may_what_is_allowed_where_it_is_allowed_and_no_more(server, unique):
    mine, other = create_stream(server, unique), create_stream(server, f"{unique}-other")
    user = User(server, unique, allow(["kinesis:PutRecord", "kinesis:GetShardIterator", "kinesis:GetRecords"], mine))
    kinesis = user.client("kinesis")
    kinesis.put_record(StreamName=unique, PartitionKey="k", Data=b"x")
    with pytest.raises(ClientError) as refused:
        kinesis.put_record(StreamARN=other, PartitionKey="k", Data=b"x")
    assert refused.value.response["Error"] == {"Code": "AccessDeniedException", "Message":
        f"User: {user.arn} is not authorized to perform: kinesis:PutRecord on resource: {other} "
        "because no identity-based policy allows the kinesis:PutRecord action"}
    assert code(kinesis.put_records, StreamName=unique, Records=[{"Data": b"x", "PartitionKey": "k"}]) == "AccessDeniedException"
    # An iterator says whose it is, whatever else the call says.
    shard = {"ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
    theirs = server.client("kinesis").get_shard_iterator(StreamName=f"{unique}-other", **shard)["ShardIterator"]
    assert code(kinesis.get_records, ShardIterator=theirs) == "AccessDeniedException"
    assert code(kinesis.get_records, ShardIterator=theirs, StreamARN=mine) == "AccessDeniedException"
    own = kinesis.get_shard_iterator(StreamName=unique, **shard)["ShardIterator"]
    assert len(kinesis.get_records(ShardIterator=own)["Records"]) == 1
    for service, call in [("lambda", "list_functions"), ("events", "list_rules"), ("sns", "list_topics"), ("sqs", "list_queues"),
                          ("iam", "list_users")]:
        assert code(getattr(user.client(service), call)) == DENIED[service], service
    # What changes holds at once; a deny wins.
    user.allow(allow("*", "*"), {"Effect": "Deny", "Action": "kinesis:Put*", "Resource": mine})
    user.client("sqs").list_queues()
    with pytest.raises(ClientError, match="with an explicit deny in an identity-based policy"):
        kinesis.put_record(StreamName=unique, PartitionKey="k", Data=b"x")
    kinesis.put_record(StreamARN=other, PartitionKey="k", Data=b"x")


def test_a_key_is_good_until_it_is_switched_off(server, unique):
    user = User(server, unique, allow("sqs:ListQueues", "*"))
    assert user.client("sts").get_caller_identity()["Arn"] == user.arn
    user.client("sqs").list_queues()
    user.iam.update_access_key(UserName=user.name, AccessKeyId=user.key["AccessKeyId"], Status="Inactive")
    assert code(user.client("sqs").list_queues) in ("InvalidClientTokenId", "UnrecognizedClientException")
    user.iam.update_access_key(UserName=user.name, AccessKeyId=user.key["AccessKeyId"], Status="Active")
    user.client("sqs").list_queues()
    user.iam.delete_access_key(UserName=user.name, AccessKeyId=user.key["AccessKeyId"])
    assert code(user.client("sts").get_caller_identity) in ("InvalidClientTokenId", "UnrecognizedClientException")


def test_conditions_see_the_request(server, unique):
    user = User(server, unique)
    sqs = user.client("sqs")

    def listed(condition):
        user.allow(allow("sqs:ListQueues", "*") | {"Condition": condition})
        return code(sqs.list_queues) is None

    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert listed({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}) and not listed({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})
    assert listed({"Bool": {"aws:SecureTransport": "false"}}) and not listed({"Bool": {"aws:SecureTransport": "true"}})
    assert listed({"StringEquals": {"aws:RequestedRegion": REGION}}) and not listed({"StringEquals": {"aws:RequestedRegion": "us-east-1"}})
    assert listed({"DateLessThan": {"aws:CurrentTime": tomorrow}}) and not listed({"DateGreaterThan": {"aws:CurrentTime": tomorrow}})
    assert listed({"StringEquals": {"aws:username": unique}}) and not listed({"StringEquals": {"aws:username": "another"}})
    assert listed({"StringLike": {"aws:UserAgent": "Boto3/*"}})
    user.allow(allow("sqs:CreateQueue", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{unique}*") | {
        "Condition": {"StringEquals": {"aws:RequestTag/team": "blue"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}})
    assert code(sqs.create_queue, QueueName=unique[:70], tags={"team": "red"}) == "AccessDenied"
    assert code(sqs.create_queue, QueueName=unique[:70], tags={"team": "blue", "cost": "1"}) == "AccessDenied"
    sqs.create_queue(QueueName=unique[:70], tags={"team": "blue"})


def test_a_role_is_passed_by_who_may_pass_it(server, unique):
    role = server.create_role(unique[:60], policy(allow("sqs:ListQueues", "*")), ["lambda.amazonaws.com", "scheduler.amazonaws.com"])
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{unique}"
    user = User(server, unique, allow("lambda:*", function))
    arguments = {"FunctionName": unique, "Runtime": "python3.11", "Role": role, "Handler": "main.handler", "Code": {"ZipFile": b""}}
    with pytest.raises(ClientError, match=f"not authorized to perform: iam:PassRole on resource: {role}"):
        user.client("lambda").create_function(**arguments)
    passes = allow("iam:PassRole", role) | {"Condition": {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}}
    user.allow(allow("lambda:*", function), passes)
    assert code(user.client("lambda").create_function, **arguments) == "AccessDeniedException"
    passes["Condition"]["StringEquals"]["iam:PassedToService"] = "lambda.amazonaws.com"
    user.allow(allow("lambda:*", function), passes)
    # The permission is there: what is wrong now is the empty package.
    assert code(user.client("lambda").create_function, **arguments) == "InvalidParameterValueException"


STOLEN = """
import os
def handler(event, context):
    return {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")}
"""


def test_a_stolen_function_session_is_worth_what_its_role_is(server, unique):
    mine, other = create_stream(server, unique), create_stream(server, f"{unique}-other")
    role = server.create_role(unique[:60], policy(allow("kinesis:PutRecord", mine)))
    server.client("lambda").create_function(
        FunctionName=unique, Runtime="python3.11", Role=role, Handler="main.handler", Code={"ZipFile": zipped_main(STOLEN)})
    create_function(server, f"{unique}-other", STOLEN)
    stolen = json.loads(server.client("lambda").invoke(FunctionName=unique)["Payload"].read())

    def client(service, **changed):
        keys = stolen | changed
        return server.client(service, key=keys["AWS_ACCESS_KEY_ID"], secret=keys["AWS_SECRET_ACCESS_KEY"], token=keys["AWS_SESSION_TOKEN"])

    client("kinesis").put_record(StreamName=unique, PartitionKey="k", Data=b"x")
    assert client("sts").get_caller_identity()["Arn"].endswith(f":assumed-role/{unique[:60]}/{unique}")
    assert code(client("kinesis").put_record, StreamARN=other, PartitionKey="k", Data=b"x") == "AccessDeniedException"
    assert code(client("lambda").get_function, FunctionName=f"{unique}-other") == "AccessDeniedException"
    assert code(client("lambda").invoke, FunctionName=f"{unique}-other") == "AccessDeniedException"
    assert code(client("events").list_connections) == "AccessDeniedException"
    assert code(client("iam").list_access_keys, UserName="anybody") == "AccessDenied"
    assert code(client("iam").create_access_key, UserName="anybody") == "AccessDenied"
    # Without its token, with another one, and signed for another region or service, it is worth nothing.
    refused = ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
               "MissingAuthenticationTokenException", "InvalidAccessKeyId")
    assert code(client("kinesis", AWS_SESSION_TOKEN="another").put_record, StreamName=unique, PartitionKey="k", Data=b"x") in refused
    assert code(client("kinesis", AWS_SECRET_ACCESS_KEY="another").put_record, StreamName=unique, PartitionKey="k", Data=b"x") in refused
    log = AWSRequest("GET", f"{server.url}/_tidegate/logs/{unique}-other")
    SigV4Auth(Credentials(*stolen.values()), "tidegate", REGION).add_auth(log)
    status, text = plain(log)
    assert (status, "tidegate:ReadFunctionLog" in text) == (403, True), text


def zipped_main(source):
    from conftest import zipped
    return zipped({"main.py": source})


def plain(request):
    import urllib.error
    import urllib.request
    try:
        with urllib.request.urlopen(urllib.request.Request(request.url, headers=dict(request.headers)), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def tidegate(server, *arguments):
    done = subprocess.run([BIN, *arguments], env=server.client_env(), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_it_says_why_and_what_is_enough(server, unique):
    stream = create_stream(server, unique)
    role = server.create_role(unique[:60], policy(allow("*", "*") | {"Sid": "everything"}))
    ask = ("auth", "explain", "--principal", role, "--action", "kinesis:PutRecord", "--resource", stream)
    status, out, _ = tidegate(server, *ask)
    assert status == 0 and json.loads(out)["by"] | {"kind": ""} == {
        "effect": "Allow", "kind": "", "policy": "own", "sid": "everything", "number": 1}
    source = f"""
import boto3
def handler(event, context):
    boto3.client("kinesis").put_record(StreamName="{unique}", PartitionKey="k", Data=b"x")
"""
    server.client("lambda").create_function(
        FunctionName=unique, Runtime="python3.11", Role=role, Handler="main.handler", Code={"ZipFile": zipped_main(source)}, Timeout=30)
    assert "FunctionError" not in server.client("lambda").invoke(FunctionName=unique)
    status, out, error = tidegate(server, "auth", "suggest", "--role", role)
    assert (status, json.loads(out)["Statement"]) == (0, [{"Effect": "Allow", "Action": ["kinesis:PutRecord"], "Resource": [stream]}]), error
    # With exactly that it still works; without it not, and it is said why.
    iam = server.client("iam")
    iam.put_role_policy(RoleName=unique[:60], PolicyName="own", PolicyDocument=out)
    assert "FunctionError" not in server.client("lambda").invoke(FunctionName=unique)
    iam.delete_role_policy(RoleName=unique[:60], PolicyName="own")
    answer = server.client("lambda").invoke(FunctionName=unique)
    assert "not authorized to perform: kinesis:PutRecord" in json.loads(answer["Payload"].read())["errorMessage"]
    status, out, _ = tidegate(server, *ask)
    assert status == 1 and json.loads(out)["decision"] == "implicitDeny" and "no identity-based policy" in json.loads(out)["reason"]
    assert tidegate(server, "auth", "explain", "--principal", "nobody", "--action", "a:B")[0] == 2


def test_an_audit_does_what_it_notes(new_server, unique):
    server = new_server(env={"TIDEGATE_IDENTITY_MODE": "audit"}).start()
    user = User(server, unique, allow("sqs:ListQueues", "*"))
    user.client("kinesis").create_stream(StreamName=unique, ShardCount=1)
    wait_for(lambda: "kinesis:CreateStream" in server.log() and "identity.mode" in server.log(), what="the note")
    metrics = server.get("/_tidegate/metrics", auth=("AKIATESTTESTTESTTEST", "test-secret-test-secret-test-secret-0000"))[1]
    assert 'tidegate_denied_total{action="kinesis:CreateStream",refused="false"} 1' in metrics
