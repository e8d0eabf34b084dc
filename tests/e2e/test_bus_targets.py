"""Targets of rules that are down, refuse, or are elsewhere; and what `tidegate event trace` says of it."""

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, BIN, REGION, ROLE, create_stream, let_in, read_stream, rule_arn, wait_for


class Endpoint:
    """An HTTP endpoint that keeps what it gets and answers what it is told."""

    def __init__(self):
        self.seen, self.answer, self.lock = [], lambda path, headers, body: (200, b""), threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {k.lower(): v for k, v in self.headers.items()}
                status, text = outer.answer(self.path, headers, body)
                with outer.lock:
                    outer.seen.append((self.path, headers, body, status))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def taken(self, path):
        with self.lock:
            return [(headers, json.loads(body)) for at, headers, body, status in self.seen if at == path and status == 200]


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.httpd.shutdown()
    endpoint.httpd.server_close()


def trace(server, event):
    answer = subprocess.run([BIN, "event", "trace", event], env=server.client_env(), capture_output=True, text=True, timeout=60)
    return json.loads(answer.stdout) if answer.stdout else None


def outcomes(server, event):
    way = trace(server, event)
    return {(bus["bus"], rule["rule"], target["id"]): target for bus in way["buses"] for rule in bus["rules"] for target in rule["targets"]}


def put(server, source, **detail):
    entries = [{"Source": source, "DetailType": "t", "Detail": json.dumps(detail)}]
    answer = server.client("events").put_events(Entries=entries)
    assert answer["FailedEntryCount"] == 0
    return answer["Entries"][0]["EventId"]


def rule(server, name, targets, bus="default"):
    events = server.client("events")
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"source": [name]}))
    assert events.put_targets(Rule=name, EventBusName=bus, Targets=targets)["FailedEntryCount"] == 0


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"]


def test_what_a_target_refuses_is_a_dead_letter_and_its_way_is_told(server, unique):
    sqs, kinesis, events = server.client("sqs"), server.client("kinesis"), server.client("events")
    queue = sqs.create_queue(QueueName=unique)["QueueUrl"]
    dead = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{unique}"
    gone, here = create_stream(server, f"{unique}-gone"), create_stream(server, f"{unique}-here")
    let_in(server, "events", dead, rule_arn(unique))
    letters = {"Id": "gone", "Arn": gone, "RoleArn": ROLE, "DeadLetterConfig": {"Arn": dead}, "RetryPolicy": {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 3600}}
    rule(server, unique, [letters, {"Id": "here", "Arn": here, "RoleArn": ROLE}])
    assert events.list_targets_by_rule(Rule=unique)["Targets"][0] == letters
    kinesis.delete_stream(StreamName=f"{unique}-gone")
    event = put(server, unique, n=1)
    message = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20, MessageAttributeNames=["All"])["Messages"][0]
    assert json.loads(message["Body"])["id"] == event
    said = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert said["RULE_ARN"] == f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{unique}" and said["TARGET_ARN"] == gone
    assert said["ERROR_CODE"] == "NO_RESOURCE" and said["RETRY_ATTEMPTS"] == "0" and "ERROR_MESSAGE" in said
    wait_for(lambda: sum(map(len, read_stream(server, f"{unique}-here").values())) == 1, what="the other target")
    told = outcomes(server, event)
    assert told[("default", unique, "here")]["outcome"] == "delivered"
    assert told[("default", unique, "gone")]["outcome"] == "dead-lettered"
    assert told[("default", unique, "gone")]["failures"][0]["error"].startswith("NO_RESOURCE")
    fifo = sqs.create_queue(QueueName=f"{unique}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    as_letters = {"Id": "x", "Arn": here, "RoleArn": ROLE, "DeadLetterConfig": {"Arn": f"{dead}.fifo"}}
    assert refused(events.put_targets, Rule=unique, Targets=[as_letters]) == "ValidationException"
    to_fifo = {"Id": "x", "Arn": f"{dead}.fifo"}
    assert refused(events.put_targets, Rule=unique, Targets=[to_fifo]) == "ValidationException"
    let_in(server, "events", f"{dead}.fifo", rule_arn(unique))
    events.put_targets(Rule=unique, Targets=[to_fifo | {"SqsParameters": {"MessageGroupId": "g"}}])
    event = put(server, unique, n=2)
    message = sqs.receive_message(QueueUrl=fifo, WaitTimeSeconds=20, AttributeNames=["All"])["Messages"][0]
    assert json.loads(message["Body"])["id"] == event and message["Attributes"]["MessageGroupId"] == "g"
    assert trace(server, "00000000-0000-7000-8000-000000000000")["buses"] == []


def test_an_event_goes_on_to_another_bus(server, unique):
    events = server.client("events")
    other = events.create_event_bus(Name=unique)["EventBusArn"]
    stream = create_stream(server, unique)
    let_in(server, "events", other, rule_arn(unique))
    rule(server, unique, [{"Id": "bus", "Arn": other}])
    rule(server, unique, [{"Id": "stream", "Arn": stream, "RoleArn": ROLE}], bus=unique)
    event = put(server, unique, n=1)
    wait_for(lambda: sum(map(len, read_stream(server, unique).values())) == 1, what="the event on the other bus")
    record = next(r for shard in read_stream(server, unique).values() for r in shard)
    assert json.loads(record["Data"])["id"] == event and record["PartitionKey"] == event
    told = outcomes(server, event)
    assert {place: target["outcome"] for place, target in told.items()} == {
        ("default", unique, "bus"): "delivered", (unique, unique, "stream"): "delivered"}
    transformed = {"Id": "bus", "Arn": other, "Input": "{}"}
    assert refused(events.put_targets, Rule=unique, Targets=[transformed]) == "ValidationException"


def test_an_api_destination_gets_events_and_its_secret_is_seen_by_nobody_else(server, unique, endpoint):
    events = server.client("events")
    secret = f"hunter2-{unique}"
    connection = events.create_connection(
        Name=unique, AuthorizationType="API_KEY",
        AuthParameters={
            "ApiKeyAuthParameters": {"ApiKeyName": "x-api-key", "ApiKeyValue": secret},
            "InvocationHttpParameters": {
                "HeaderParameters": [{"Key": "x-team", "Value": "soc", "IsValueSecret": False}],
                "BodyParameters": [{"Key": "hidden", "Value": secret, "IsValueSecret": True}],
            },
        })
    assert connection["ConnectionState"] == "AUTHORIZED"
    shown = events.describe_connection(Name=unique)
    assert secret not in str(shown) and shown["AuthParameters"]["ApiKeyAuthParameters"] == {"ApiKeyName": "x-api-key"}
    assert shown["AuthParameters"]["InvocationHttpParameters"]["HeaderParameters"][0]["Value"] == "soc"
    destination = events.create_api_destination(
        Name=unique, ConnectionArn=connection["ConnectionArn"], HttpMethod="POST",
        InvocationEndpoint=f"{endpoint.url}/users/*/alerts", InvocationRateLimitPerSecond=50)
    assert destination["ApiDestinationState"] == "ACTIVE"
    failures = iter([500, 429])
    endpoint.answer = lambda path, headers, body: (next(failures, 200), b"")
    target = {
        "Id": "api", "Arn": destination["ApiDestinationArn"], "RoleArn": ROLE,
        "InputTransformer": {"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": '{"number": <n>}'},
        "HttpParameters": {"PathParameterValues": ["$.detail.user"], "HeaderParameters": {"x-id": "$.id"},
                           "QueryStringParameters": {"v": "1"}},
    }
    rule(server, unique, [target])
    assert events.list_targets_by_rule(Rule=unique)["Targets"] == [target]
    event = put(server, unique, n=7, user="kim")
    taken = wait_for(lambda: endpoint.taken("/users/kim/alerts?v=1"), 40, "the call after two failures")
    headers, body = taken[0]
    assert (headers["x-api-key"], headers["x-team"], headers["x-id"]) == (secret, "soc", event)
    assert body == {"number": 7, "hidden": secret}
    told = wait_for(lambda: (t := outcomes(server, event)[("default", unique, "api")])["outcome"] == "delivered" and t)
    assert [failure["error"].split(":")[0] for failure in told["failures"]] == ["ERROR_FROM_TARGET", "THROTTLING"]
    assert secret not in server.log()
    events.update_connection(Name=unique, AuthorizationType="BASIC",
                             AuthParameters={"BasicAuthParameters": {"Username": "kim", "Password": "pw"}})
    put(server, unique, n=8, user="basic")
    headers, _ = wait_for(lambda: endpoint.taken("/users/basic/alerts?v=1"))[0]
    assert headers["authorization"] == "Basic a2ltOnB3" and "x-api-key" not in headers
    assert events.deauthorize_connection(Name=unique)["ConnectionState"] == "DEAUTHORIZED"
    assert events.describe_api_destination(Name=unique)["ApiDestinationState"] == "INACTIVE"
    assert [d["Name"] for d in events.list_api_destinations(NamePrefix=unique)["ApiDestinations"]] == [unique]
    assert [c["Name"] for c in events.list_connections(NamePrefix=unique)["Connections"]] == [unique]
    events.remove_targets(Rule=unique, Ids=["api"])
    events.delete_api_destination(Name=unique)
    events.delete_connection(Name=unique)
    assert refused(events.describe_connection, Name=unique) == "ResourceNotFoundException"


def test_an_api_destination_by_oauth(server, unique, endpoint):
    events = server.client("events")

    def answer(path, headers, body):
        if path == "/token":
            good = b"client_secret=s3cret" in body
            return (200, b'{"access_token": "tok", "token_type": "bearer", "expires_in": 3600}') if good else (401, b"")
        return (200, b"") if headers.get("authorization") == "Bearer tok" else (401, b"")

    endpoint.answer = answer
    connection = events.create_connection(
        Name=unique, AuthorizationType="OAUTH_CLIENT_CREDENTIALS",
        AuthParameters={"OAuthParameters": {
            "ClientParameters": {"ClientID": "me", "ClientSecret": "s3cret"},
            "AuthorizationEndpoint": f"{endpoint.url}/token", "HttpMethod": "POST"}})
    destination = events.create_api_destination(
        Name=unique, ConnectionArn=connection["ConnectionArn"], HttpMethod="POST", InvocationEndpoint=f"{endpoint.url}/hook")
    target = {"Id": "api", "Arn": destination["ApiDestinationArn"]}
    rule(server, unique, [target | {"RoleArn": ROLE}])
    assert refused(events.put_targets, Rule=unique, Targets=[target]) == "ValidationException"
    event = put(server, unique, n=1)
    _, body = wait_for(lambda: endpoint.taken("/hook"), 20, "the call")[0]
    assert body["id"] == event


def test_what_cannot_be_a_destination_is_refused(server, unique):
    events = server.client("events")
    basic = {"BasicAuthParameters": {"Username": "u", "Password": "p"}}
    assert refused(events.create_connection, Name=unique, AuthorizationType="API_KEY", AuthParameters=basic) == "ValidationException"
    made = events.create_connection(Name=unique, AuthorizationType="BASIC", AuthParameters=basic)
    again = dict(Name=unique, AuthorizationType="BASIC", AuthParameters=basic)
    assert refused(events.create_connection, **again) == "ResourceAlreadyExistsException"
    api = dict(Name=unique, ConnectionArn=made["ConnectionArn"], HttpMethod="POST")
    for endpoint in ("http://example.com/", "http://169.254.169.254/"):
        assert refused(events.create_api_destination, InvocationEndpoint=endpoint, **api) == "ValidationException"
    missing = api | {"ConnectionArn": made["ConnectionArn"].replace(unique, f"{unique}-no")}
    assert refused(events.create_api_destination, InvocationEndpoint="https://example.com/", **missing) == "ResourceNotFoundException"
    entry = {"Source": "a", "DetailType": "b", "Detail": json.dumps({"x": "y" * (1 << 20)})}
    assert refused(events.put_events, Entries=[entry]) == "ValidationException"
    assert refused(events.create_partner_event_source, Name="a", Account=ACCOUNT) == "NotImplemented"
