"""Signatures in the query string, made by botocore's own signer."""

import http.client
import json
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import ACCESS_KEY, REGION, SECRET_KEY


class QueryAuthOfBody(SigV4QueryAuth):
    """Signs the hash of a body that the signer itself would move into the query string."""

    def __init__(self, body, *arguments, **named):
        super().__init__(*arguments, **named)
        self.body = body

    def payload(self, request):
        return sha256(self.body).hexdigest()


def presigned(server, service, path="/", method="GET", body=b"", headers=None, expires=60, secret=SECRET_KEY,
              token=None):
    request = AWSRequest(method, server.url + path, headers=headers or {})
    credentials = Credentials(ACCESS_KEY, secret, token)
    QueryAuthOfBody(body, credentials, service, REGION, expires=expires).add_auth(request)
    return request.url


def call(server, url, method="GET", body=None, headers=None):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, f"{parts.path}?{parts.query}", body=body, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


TARGET = {"X-Amz-Target": "Kinesis_20131202.ListStreams", "Content-Type": "application/x-amz-json-1.1"}


def streams(server, body=b'{"Limit": 1}', sent=None, **options):
    url = presigned(server, "kinesis", method="POST", body=body, headers=TARGET, **options)
    return call(server, url, "POST", sent or body, TARGET)


def test_boto3_s_own_presigned_url(server):
    url = server.client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60)
    status, text = call(server, url, "POST")
    assert status == 200, text
    url = server.client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    status, text = call(server, url)
    assert status == 200 and ":root</Arn>" in text


def test_every_protocol(server):
    assert streams(server)[0] == 200
    status, text = call(server, presigned(server, "sns", "/?Action=ListTopics&Version=2010-03-31"))
    assert status == 200 and "<ListTopicsResult>" in text
    status, text = call(server, presigned(server, "lambda", "/2015-03-31/functions/?MaxItems=5"))
    assert status == 200 and "Functions" in json.loads(text)
    status, text = call(server, presigned(server, "es", "/_cat/indices?format=json"))
    assert status == 200 and isinstance(json.loads(text), list)
    status, text = call(server, presigned(server, "tidegate", "/_tidegate/metrics"))
    assert status == 200 and "tidegate" in text


def test_the_body_is_signed(server):
    status, text = streams(server, sent=b'{"Limit": 9}')
    assert status == 400 and json.loads(text)["__type"] == "InvalidSignatureException"


def test_wrong_secret_and_unknown_session(server):
    status, text = streams(server, secret="wrong" * 8)
    assert status == 400 and json.loads(text)["__type"] == "InvalidSignatureException"
    status, text = streams(server, token="of nobody")
    assert status == 400 and json.loads(text)["__type"] == "UnrecognizedClientException"


@pytest.mark.parametrize("age, expires, words", [(61, 60, "Signature expired"), (-400, 3600, "not yet current"),
                                                 (0, 604801, "must be less than a week"), (0, "x", "a number")])
def test_its_time(server, monkeypatch, age, expires, words):
    when = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(seconds=age)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: when)
    status, text = streams(server, expires=expires)
    assert status == 400 and words in json.loads(text)["message"]


def test_an_old_one_is_good_for_its_life(server, monkeypatch):
    when = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=6)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: when)
    assert streams(server, expires=604800)[0] == 200


def test_tampered_and_doubled(server):
    url = presigned(server, "sns", "/?Action=ListTopics&Version=2010-03-31")
    for other, code in [(url.replace("ListTopics", "ListSubscriptions"), "SignatureDoesNotMatch"),
                        (url + "&more=1", "SignatureDoesNotMatch"),
                        (url + "&X-Amz-Expires=1", "IncompleteSignature"),
                        (url.replace("X-Amz-Date", "X-Amz-Day"), "IncompleteSignature")]:
        status, text = call(server, other)
        assert status in (400, 403) and f"<Code>{code}</Code>" in text, text
    status, text = call(server, url, headers={"Authorization": "AWS4-HMAC-SHA256 x"})
    assert status == 403 and "Found both" in text
