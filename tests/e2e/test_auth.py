"""Who may call: each refusal with the code that AWS gives."""

import http.client
import json
from datetime import datetime, timedelta, timezone

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from conftest import ACCESS_KEY, REGION, SECRET_KEY, create_function


def signed(server, body=b"{}", target="Kinesis_20131202.ListStreams", service="kinesis", when=None, monkeypatch=None,
           key=ACCESS_KEY, secret=SECRET_KEY, region=REGION):
    """The headers of a signed call."""
    request = AWSRequest("POST", server.url + "/", data=body, headers={
        "X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"})
    if when:
        import botocore.auth
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: when)
    SigV4Auth(Credentials(key, secret), service, region).add_auth(request)
    return dict(request.headers)


def call(server, headers, body=b"{}", method="POST", path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def code(text):
    return json.loads(text)["__type"].split("#")[-1]


def test_a_right_signature_is_let_in(server):
    status, text = call(server, signed(server))
    assert status == 200 and "StreamNames" in json.loads(text)


def test_wrong_secret(server):
    with pytest.raises(ClientError) as error:
        server.client("kinesis", secret="wrong" * 8).list_streams()
    assert error.value.response["Error"]["Code"] == "InvalidSignatureException"
    with pytest.raises(ClientError) as error:
        server.client("sns", secret="wrong" * 8).list_topics()
    assert error.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_unknown_key(server):
    with pytest.raises(ClientError) as error:
        server.client("kinesis", key="AKIANOTHERENOTHERE00").list_streams()
    assert error.value.response["Error"]["Code"] == "UnrecognizedClientException"
    with pytest.raises(ClientError) as error:
        server.client("sns", key="AKIANOTHERENOTHERE00").list_topics()
    assert error.value.response["Error"]["Code"] == "InvalidClientTokenId"


@pytest.mark.parametrize("minutes", [-6, 6])
def test_expired_or_future_date(server, monkeypatch, minutes):
    when = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(minutes=minutes)
    status, text = call(server, signed(server, when=when, monkeypatch=monkeypatch))
    assert status == 400 and code(text) == "InvalidSignatureException"
    assert ("expired" if minutes < 0 else "not yet current") in text


def test_tampered_body(server):
    status, text = call(server, signed(server, body=b'{"Limit": 1}'), body=b'{"Limit": 9}')
    assert status == 400 and code(text) == "InvalidSignatureException"


def test_a_header_added_after_signing(server):
    status, text = call(server, signed(server) | {"X-Amz-Security-Token": "smuggled"})
    assert status in (400, 403) and code(text) in ("InvalidSignatureException", "UnrecognizedClientException")


def test_another_service_s_scope(server):
    status, text = call(server, signed(server, service="sns"))
    assert status in (400, 403, 404), text


def test_no_signature(server):
    status, text = call(server, {"X-Amz-Target": "Kinesis_20131202.ListStreams", "Content-Type": "application/x-amz-json-1.1"})
    assert status in (400, 403) and code(text) in ("MissingAuthenticationTokenException", "MissingAuthenticationToken")
    status, text = call(server, {"Authorization": "nonsense", "X-Amz-Target": "Kinesis_20131202.ListStreams"})
    assert status in (400, 403) and "IncompleteSignature" in text


@pytest.mark.parametrize("path", ["/", "/_tidegate/metrics", "/_tidegate/logs/x", "/2015-03-31/functions", "/index/_search",
                                  "/_bulk", "/_cat/indices", "/_tidegate/ingest/cloudtrail", "/_tidegate/unknown"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_nothing_but_health_answers_without_a_signature(server, method, path):
    status, text = call(server, {}, body=b"" if method == "GET" else b"{}", method=method, path=path)
    assert status in (400, 401, 403), (status, text)


def test_function_keys_need_their_token_and_may_only_handle_data(server, unique):
    source = """
import os, json, boto3
from botocore.exceptions import ClientError
def attempt(call):
    try:
        call(); return "allowed"
    except ClientError as e:
        return e.response["Error"]["Code"]
def handler(event, context):
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    bare = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret)
    return {
        "environment": sorted(os.environ),
        "who": boto3.client("sts").get_caller_identity()["Arn"],
        "put": attempt(lambda: boto3.client("events").put_events(Entries=[{"Source": "app", "DetailType": "t", "Detail": "{}"}])),
        "create": attempt(lambda: boto3.client("kinesis").create_stream(StreamName="mine", ShardCount=1)),
        "no token": attempt(lambda: bare.client("events").put_events(Entries=[{"Source": "app", "DetailType": "t", "Detail": "{}"}])),
    }
"""
    create_function(server, unique, source, Timeout=30)
    answer = server.client("lambda").invoke(FunctionName=unique)
    result = json.loads(answer["Payload"].read())
    assert result["put"] == "allowed", result
    assert result["create"] == "AccessDeniedException"
    assert result["no token"] in ("UnrecognizedClientException", "InvalidClientTokenId", "MissingAuthenticationToken")
    assert "assumed-role/worker" in result["who"]
    assert not [name for name in result["environment"] if name.startswith("TIDEGATE_ROOT")]
