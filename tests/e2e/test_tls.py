"""TLS, HTTP/2 and the master key: the real binary with a certificate of the test's own authority."""

import json
import os
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import (ACCESS_KEY, BIN, REGION, SECRET_KEY, Server, create_function, create_stream, free_port,
                      read_stream, wait_for)

AWS = str(Path(os.sys.executable).parent / "aws")


class Authority:
    """Certificates in files: what the server gets, and what clients trust."""

    def __init__(self, folder):
        self.folder, self.ca = folder, trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.issue()

    def issue(self, *names):
        certificate = self.ca.issue_cert("localhost", "127.0.0.1", *names)
        (self.folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        (self.folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
        (self.folder / "key.pem").chmod(0o600)
        return certificate

    def settings(self):
        return {"TIDEGATE_TLS_CERTIFICATE_FILE": str(self.folder / "cert.pem"),
                "TIDEGATE_TLS_KEY_FILE": str(self.folder / "key.pem"), "TIDEGATE_TLS_CA_FILE": self.ca_file}


class TlsServer(Server):
    """A server whose address is not a loopback one, reached by its certificate's name."""

    def __init__(self, folder, authority, env=None):
        super().__init__(folder, authority.settings() | (env or {}))
        self.authority = authority
        self.url = f"https://127.0.0.1:{self.port}"

    def start(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [BIN, "serve", "--data-dir", str(self.folder), "--listen", f"0.0.0.0:{self.port}"],
                env=self.env(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)

        def ready():
            assert self.process.poll() is None, self.log()[-4000:]
            try:
                return httpx.get(f"{self.url}/_tidegate/health", verify=self.context()).status_code == 200
            except httpx.TransportError:
                return False

        if wait:
            wait_for(ready, 60, "the server's health")
            self.give_role()
        return self

    def context(self):
        return ssl.create_default_context(cafile=self.authority.ca_file)

    def client(self, service, **more):
        os.environ["AWS_CA_BUNDLE"] = self.authority.ca_file
        try:
            return super().client(service, **more)
        finally:
            del os.environ["AWS_CA_BUNDLE"]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def tls_server(tmp_path, authority):
    server = TlsServer(tmp_path / "data", authority).start()
    yield server
    if server.process.poll() is None:
        server.kill()


def signed(url, body, target="Kinesis_20131202.ListStreams"):
    """The headers of a signed call of Kinesis."""
    headers = {"x-amz-target": target, "content-type": "application/x-amz-json-1.1"}
    request = AWSRequest("POST", url, headers, body)
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "kinesis", REGION).add_auth(request)
    return dict(request.headers)


def test_boto3_over_tls_on_every_address(tls_server):
    create_stream(tls_server, "over-tls")
    kinesis = tls_server.client("kinesis")
    for n in range(20):
        kinesis.put_record(StreamName="over-tls", PartitionKey=str(n), Data=b"x" * 10_000)
    assert sum(len(records) for records in read_stream(tls_server, "over-tls").values()) == 20
    stranger = trustme.CA()
    with pytest.raises(httpx.ConnectError):
        httpx.get(tls_server.url, verify=stranger_context(stranger))
    with pytest.raises(httpx.TransportError):
        httpx.get(tls_server.url.replace("https", "http"))
    assert tls_server.stop() == 0


def stranger_context(ca):
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(tls_server):
    context = tls_server.context()
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", tls_server.port)) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as stream:
            assert stream.version() == "TLSv1.2"
    context = tls_server.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", tls_server.port)) as plain, pytest.raises(ssl.SSLError) as error:
        context.wrap_socket(plain, server_hostname="localhost")
    assert "_ALERT_" in error.value.reason, f"the server did not refuse, but something else: {error.value}"


@pytest.mark.parametrize("http1, http2, version", [(True, True, "HTTP/2"), (True, False, "HTTP/1.1")])
def test_the_handshake_chooses_the_protocol(tls_server, http1, http2, version):
    with httpx.Client(http1=http1, http2=http2, verify=tls_server.context()) as client:
        for _ in range(3):
            answer = client.post(tls_server.url, headers=signed(tls_server.url, b"{}"), content=b"{}")
            assert (answer.status_code, answer.http_version) == (200, version), answer.text
        assert client.post(tls_server.url, content=b"{}").status_code == 403


def test_http2_without_tls(new_server):
    server = new_server(env={"TIDEGATE_SERVER_MAX_BODY_BYTES": "2000000"}).start()
    create_stream(server, "prior")
    with httpx.Client(http1=False, http2=True) as client:
        body = json.dumps({"StreamName": "prior", "Records": [
            {"PartitionKey": str(n), "Data": "eHh4" * 2_000} for n in range(200)]}).encode()
        headers = signed(server.url, body, "Kinesis_20131202.PutRecords")
        answer = client.post(server.url, headers=headers, content=body)
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2"), answer.text
        assert answer.json()["FailedRecordCount"] == 0
        too_large = b" " * 2_000_001
        answer = client.post(server.url, headers=signed(server.url, too_large), content=too_large)
        assert answer.status_code == 413


def test_functions_and_the_cli_under_tls(tls_server):
    create_stream(tls_server, "told")
    code = ("import boto3\n"
            "def handler(event, context):\n"
            "    boto3.client('kinesis').put_record(StreamName='told', PartitionKey='k', Data=b'from a function')\n")
    create_function(tls_server, "tells", code, Timeout=30)
    answer = tls_server.client("lambda").invoke(FunctionName="tells", Payload=b"{}")
    assert "FunctionError" not in answer, answer["Payload"].read()
    assert [r["Data"] for records in read_stream(tls_server, "told").values() for r in records] == [b"from a function"]

    env = {k: v for k, v in tls_server.env().items() if not k.startswith("TIDEGATE_TLS")}
    exports = subprocess.run([BIN, "env", "--data-dir", tls_server.folder], env=env, capture_output=True, text=True)
    assert exports.returncode == 0, exports.stderr
    values = dict(word.split("=", 1) for line in exports.stdout.splitlines() for word in shlex.split(line) if "=" in word)
    assert values["AWS_ENDPOINT_URL"] == tls_server.url and values["AWS_CA_BUNDLE"] == tls_server.authority.ca_file
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TIDEGATE_"))} | values
    aws = subprocess.run([AWS, "kinesis", "list-streams"], env=clean, capture_output=True, text=True, timeout=60)
    assert aws.returncode == 0 and "told" in aws.stdout, aws.stderr
    logs = subprocess.run([BIN, "logs", "tells"], env=clean, capture_output=True, text=True, timeout=60)
    assert logs.returncode == 0 and "START RequestId" in logs.stdout, logs.stderr
    del clean["AWS_CA_BUNDLE"]
    logs = subprocess.run([BIN, "logs", "tells"], env=clean, capture_output=True, text=True, timeout=60)
    assert logs.returncode != 0 and "certificate" in logs.stderr, logs.stderr


def test_a_renewed_certificate_is_served_after_sighup(tls_server):
    def served():
        with socket.create_connection(("127.0.0.1", tls_server.port)) as plain:
            with tls_server.context().wrap_socket(plain, server_hostname="localhost") as stream:
                return [name for _, name in stream.getpeercert()["subjectAltName"]]

    tls_server.authority.issue("renewed.example")
    assert "renewed.example" not in served()
    tls_server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "renewed.example" in served(), 20, "the new certificate")
    (tls_server.authority.folder / "cert.pem").write_text("nonsense")
    tls_server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the old one stays" in tls_server.log(), 20, "a line in the log")
    assert "renewed.example" in served()
    assert tls_server.stop() == 0


@pytest.mark.parametrize("change, text", [
    (lambda a: (a.folder / "cert.pem").unlink(), "cert.pem"),
    (lambda a: (a.folder / "cert.pem").write_text("nonsense"), "BEGIN CERTIFICATE"),
    (lambda a: (a.folder / "key.pem").write_bytes(trustme.CA().issue_cert("x").private_key_pem.bytes()), "issued together"),
])
def test_certificates_that_cannot_be_served_are_named(tmp_path, authority, change, text):
    change(authority)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TIDEGATE_"))} | authority.settings()
    result = subprocess.run([BIN, "serve", "--data-dir", tmp_path / "data", "--listen", f"0.0.0.0:{free_port()}"],
                            env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and text in result.stderr, result.stderr


def test_https_subscribers(tmp_path, new_server, authority):
    """A webhook behind a certificate that the machine trusts: named by SSL_CERT_FILE, as by OpenSSL."""
    received = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue().configure_cert(context)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        server = new_server(env={"SSL_CERT_FILE": authority.ca_file}).start()
        sns = server.client("sns")
        topic = sns.create_topic(Name="alerts")["TopicArn"]
        url = f"https://localhost:{httpd.server_address[1]}/hook"
        sns.subscribe(TopicArn=topic, Protocol="https", Endpoint=url)
        wait_for(lambda: received, 30, "the confirmation")
        sns.confirm_subscription(TopicArn=topic, Token=received[0]["Token"])
        assert [s["Protocol"] for s in sns.list_subscriptions()["Subscriptions"]] == ["https"]
        texts = {"default": "d", "http": "for http", "https": "for https"}
        sns.publish(TopicArn=topic, Message=json.dumps(texts), MessageStructure="json")
        wait_for(lambda: len(received) == 2, 30, "the notification")
        assert received[1]["Message"] == "for https"
    finally:
        httpd.shutdown()
        httpd.server_close()


def test_the_master_key_is_made_once_and_never_replaced(new_server):
    server = new_server().start()
    key = server.folder / "master.key"
    first = key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and len(bytes.fromhex(first)) == 32
    assert first.strip() not in server.log()
    assert server.stop() == 0
    server.start()
    assert key.read_text() == first and server.stop() == 0

    def refused(**env):
        command = [BIN, "serve", "--data-dir", server.folder, "--listen", f"127.0.0.1:{free_port()}"]
        result = subprocess.run(command, env=server.env() | env, capture_output=True, text=True, timeout=60)
        assert result.returncode != 0
        return result.stderr

    key.chmod(0o644)
    assert "chmod" in refused()
    elsewhere = server.folder.parent / "elsewhere.key"
    key.rename(elsewhere)
    elsewhere.chmod(0o600)
    assert "TIDEGATE_MASTER_KEY_FILE" in refused() and not key.exists()
    other = server.folder.parent / "other.key"
    other.write_text("ab" * 32)
    other.chmod(0o600)
    assert "another master key" in refused(TIDEGATE_MASTER_KEY_FILE=str(other))
    server.extra_env["TIDEGATE_MASTER_KEY_FILE"] = str(elsewhere)
    server.start()
    assert server.stop() == 0
