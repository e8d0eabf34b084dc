"""The real binary and what the tests put around it: a server on a folder of its own, clients, a webhook."""

import base64
import io
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
BIN = os.environ.get("TIDEGATE_BIN", str(ROOT / "target/debug/tidegate"))
DATA = Path(os.environ.get("TIDEGATE_TEST_DATA", ROOT.parent / "shared/data"))
ACCESS_KEY = "AKIATESTTESTTESTTEST"
SECRET_KEY = "test-secret-test-secret-test-secret-0000"
REGION = "eu-central-1"
ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
# What the tests' functions, targets, mappings and deliveries do: they move data, and change no resource.
ROLE_ACTIONS = [
    "es:ESHttpGet", "es:ESHttpHead", "es:ESHttpPost", "es:ESHttpPut", "events:InvokeApiDestination", "events:PutEvents",
    "firehose:PutRecord*", "kinesis:Describe*", "kinesis:Get*", "kinesis:List*", "kinesis:PutRecord*", "kinesis:SubscribeToShard",
    "lambda:InvokeFunction", "s3:*Object*", "sns:Publish", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:Get*", "sqs:List*",
    "sqs:ReceiveMessage", "sqs:SendMessage",
]
SERVICES = [f"{name}.amazonaws.com" for name in ("events", "firehose", "lambda", "scheduler", "sns")]


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def wait_for(condition, timeout=30.0, what="the condition"):
    """The first true answer of `condition`, asked again and again until a deadline."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {timeout} s")
        pause.wait(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A `tidegate serve` process on one data folder; it can be killed and started again."""

    def __init__(self, folder, env=None, args=(), authority=None, prefix=()):
        """With an authority (of trustme) it speaks TLS with a certificate of it. The prefix is a command that becomes it."""
        self.folder, self.port = Path(folder), free_port()
        self.url = f"{'https' if authority else 'http'}://127.0.0.1:{self.port}"
        self.extra_env, self.args, self.ca_file, self.trust = env or {}, list(args), None, None
        if authority:
            self.use_tls(authority)
        self.log_path = self.folder.parent / f"{self.folder.name}.log"
        self.process, self.prefix, self.has_role = None, list(prefix), False

    def use_tls(self, authority):
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        files = {name: self.folder.parent / f"{self.folder.name}-{name}.pem" for name in ("ca", "certificate", "key")}
        authority.cert_pem.write_to_path(files["ca"])
        for part in certificate.cert_chain_pems:
            part.write_to_path(files["certificate"], append=True)
        certificate.private_key_pem.write_to_path(files["key"])
        self.ca_file = str(files["ca"])
        self.trust = ssl.create_default_context(cafile=self.ca_file)
        self.extra_env = {"TIDEGATE_TLS_CERTIFICATE_FILE": str(files["certificate"]), "TIDEGATE_TLS_CA_FILE": self.ca_file,
                          "TIDEGATE_TLS_KEY_FILE": str(files["key"])} | self.extra_env

    def env(self):
        """The server's environment: nothing of the caller's AWS settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TIDEGATE_TEST", "TIDEGATE_BIN", "TIDEGATE_KILLS"))}
        return kept | {
            "TIDEGATE_ROOT_ACCESS_KEY_ID": ACCESS_KEY,
            "TIDEGATE_ROOT_SECRET_ACCESS_KEY": SECRET_KEY,
            "TIDEGATE_ACCOUNT_REGION": REGION,
        } | self.extra_env

    def client_env(self):
        """What points the AWS CLI and `tidegate ingest` at this server."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TIDEGATE_"))}
        return kept | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        } | ({"AWS_CA_BUNDLE": self.ca_file} if self.ca_file else {})

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, BIN, "serve", "--data-dir", str(self.folder), "--listen", f"127.0.0.1:{self.port}", *self.args],
                env=self.env(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )
        if wait:
            self.wait_ready()
            self.give_role()
        return self

    def give_role(self):
        """Makes the role of the tests' functions, targets and deliveries, once."""
        if not self.has_role:
            self.create_role("worker", policy({"Effect": "Allow", "Action": ROLE_ACTIONS, "Resource": "*"}))
            self.has_role = True

    def create_role(self, name, allowed, services=SERVICES):
        """A role that services may act as, with one inline policy; its ARN."""
        iam = self.client("iam")
        trust = policy({"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"})
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=allowed)
        return arn

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()[-4000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/_tidegate/health", timeout=2, context=self.trust) as answer:
                    return answer.status == 200
            except OSError:
                return False

        wait_for(ready, 60, "the server's health")

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=30):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def client(self, service, region=REGION, retries=0, key=ACCESS_KEY, secret=SECRET_KEY, token=None, **config):
        return boto3.session.Session().client(
            service, endpoint_url=self.url, region_name=region, aws_access_key_id=key, aws_secret_access_key=secret,
            aws_session_token=token, verify=self.ca_file,
            config=Config(retries={"max_attempts": retries}, read_timeout=90, connect_timeout=5, **config),
        )

    def get(self, path, auth=None):
        """A plain GET, with HTTP Basic when `auth` is a pair: (status, text)."""
        request = urllib.request.Request(self.url + path)
        if auth:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(auth).encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def search(self, index, body):
        """The answer of `_search` as JSON, asked with HTTP Basic."""
        request = urllib.request.Request(
            f"{self.url}/{index}/_search", method="POST", data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json",
                     "Authorization": "Basic " + base64.b64encode(f"{ACCESS_KEY}:{SECRET_KEY}".encode()).decode()},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture
def new_server(tmp_path):
    """Makes servers that are gone at the test's end."""
    servers = []

    def make(env=None, args=(), name="data", prefix=()):
        server = Server(tmp_path / name, env, args, prefix=prefix)
        servers.append(server)
        return server

    yield make
    for server in servers:
        if server.process and server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """One server for the tests that only need their own names in it."""
    server = Server(tmp_path_factory.mktemp("server") / "data").start()
    yield server
    assert server.stop() == 0, server.log()[-4000:]
    assert "panicked" not in server.log(), server.log()[-4000:]


@pytest.fixture
def server(shared_server):
    assert shared_server.process.poll() is None, shared_server.log()[-4000:]
    return shared_server


@pytest.fixture
def unique(request):
    """A name of this test's own, cases of one test apart."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name).strip("-").lower()
    return f"{name[:32].rstrip('-')}-{zlib.crc32(request.node.nodeid.encode()):08x}"


class Webhook:
    """An HTTP receiver that keeps what it gets and can be told how to answer."""

    def __init__(self):
        self.messages, self.confirmations, self.lock = [], [], threading.Lock()
        self.answer = lambda headers, body: 200
        self.confirm, self.redirect = True, None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.received(self, dict(self.headers), body, time.time())

            def log_message(self, *args):
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}/hook"
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def received(self, handler, headers, body, when):
        headers = {k.lower(): v for k, v in headers.items()}
        kind = headers.get("x-amz-sns-message-type")
        status = 200 if kind == "SubscriptionConfirmation" else self.answer(headers, body)
        with self.lock:
            if kind == "SubscriptionConfirmation":
                self.confirmations.append(json.loads(body))
            elif status == 200:
                self.messages.append((when, headers, body))
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        if self.redirect:
            handler.send_header("Location", self.redirect)
        handler.end_headers()
        if kind == "SubscriptionConfirmation" and self.confirm:
            urllib.request.urlopen(json.loads(body)["SubscribeURL"], timeout=10).read()

    def texts(self):
        """The `Message` of every notification so far."""
        with self.lock:
            return [json.loads(body)["Message"] for _, _, body in self.messages]

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()


@pytest.fixture
def webhook():
    hook = Webhook()
    yield hook
    hook.close()


def zipped(files):
    """A zip of {name: text}."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o755 << 16
            z.writestr(info, text)
    return out.getvalue()


def create_function(server, name, code, handler="main.handler", runtime="python3.11", **more):
    """Creates a function from one Python file and gives its ARN."""
    files = code if isinstance(code, dict) else {"main.py": code}
    answer = server.client("lambda").create_function(
        FunctionName=name, Runtime=runtime, Role=ROLE, Handler=handler, Code={"ZipFile": zipped(files)}, **more)
    return answer["FunctionArn"]


def let_in(server, service, arn, source=None):
    """Gives a queue, topic, bus or function the policy by which a service may use it by itself, for one source if that is named."""
    kind, name = arn.split(":")[2], arn.split(":", 5)[5]
    action = {"sqs": "sqs:SendMessage", "sns": "sns:Publish", "events": "events:PutEvents", "lambda": "lambda:InvokeFunction"}[kind]
    principal = f"{service}.amazonaws.com"
    if kind == "lambda":
        more = {"SourceArn": source} if source else {}
        return server.client("lambda").add_permission(
            FunctionName=arn, StatementId=f"{service}-{zlib.crc32((source or '').encode()):08x}", Action=action, Principal=principal, **more)
    statement = {"Sid": service, "Effect": "Allow", "Principal": {"Service": principal}, "Action": action, "Resource": arn}
    text = policy(statement | ({"Condition": {"ArnEquals": {"aws:SourceArn": source}}} if source else {}))
    client = server.client(kind)
    if kind == "sqs":
        return client.set_queue_attributes(QueueUrl=client.get_queue_url(QueueName=name)["QueueUrl"], Attributes={"Policy": text})
    if kind == "sns":
        return client.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=text)
    return client.put_permission(EventBusName=name.removeprefix("event-bus/"), Policy=text)


def rule_arn(name, bus="default"):
    return f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name if bus == 'default' else f'{bus}/{name}'}"


def create_stream(server, name, shards=1):
    kinesis = server.client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]


class Told:
    """What functions tell the test: words on a stream. A function reaches nothing but the server."""

    SOURCE = """
import boto3
_told = boto3.client("kinesis")
def tell(word):
    _told.put_record(StreamName="STREAM", PartitionKey="k", Data=word.encode())
"""

    def __init__(self, server, name):
        self.server, self.stream = server, f"{name}-told"
        create_stream(server, self.stream)
        self.source = self.SOURCE.replace("STREAM", self.stream)
        self.iterator, self.heard = None, []

    def words(self):
        """All that was told so far, in order."""
        kinesis = self.server.client("kinesis")
        if self.iterator is None:
            shard = kinesis.list_shards(StreamName=self.stream)["Shards"][0]["ShardId"]
            self.iterator = kinesis.get_shard_iterator(
                StreamName=self.stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        while True:
            answer = kinesis.get_records(ShardIterator=self.iterator)
            self.iterator = answer["NextShardIterator"]
            self.heard += [record["Data"].decode() for record in answer["Records"]]
            if not answer["Records"] and not answer["MillisBehindLatest"]:
                return self.heard


def read_stream(server, name):
    """Every record of a stream, shard by shard: {shard id: [record]}."""
    kinesis, shards = server.client("kinesis"), {}
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        records = shards.setdefault(shard["ShardId"], [])
        while iterator:
            answer = kinesis.get_records(ShardIterator=iterator)
            records += answer["Records"]
            iterator = answer["NextShardIterator"] if answer["Records"] or answer["MillisBehindLatest"] else None
    return shards


def confirmed_subscription(server, topic_arn, webhook):
    """Subscribes the webhook and waits until it has confirmed."""
    sns = server.client("sns")
    sns.subscribe(TopicArn=topic_arn, Protocol="http", Endpoint=webhook.url)

    def confirmed():
        subscriptions = sns.list_subscriptions_by_topic(TopicArn=topic_arn)["Subscriptions"]
        arns = [s["SubscriptionArn"] for s in subscriptions if s["Endpoint"] == webhook.url]
        return arns and arns[0].startswith("arn:") and arns[0]

    return wait_for(confirmed, 30, "the subscription's confirmation")
