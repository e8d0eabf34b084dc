"""What the server calls for others, and what it cannot be made to call: spellings of addresses, names, redirects, proxies."""

import json
import socket
import threading

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, REGION, ROLE, Server, confirmed_subscription, let_in, rule_arn, wait_for
from test_bus_targets import Endpoint, put, rule
from test_topics import make_queue, receive


class Trap:
    """A port of this machine that counts who comes."""

    def __init__(self):
        self.socket, self.visits = socket.create_server(("127.0.0.1", 0)), 0
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.wait, daemon=True).start()

    def wait(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.visits += 1
            connection.close()


@pytest.fixture
def trap():
    trap = Trap()
    yield trap
    assert trap.visits == 0, "somebody was led into the trap"
    trap.socket.close()


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A server that calls the public internet only, which no test does."""
    server = Server(tmp_path_factory.mktemp("closed") / "data", {"TIDEGATE_OUTGOING_NETWORKS": "none"}).start()
    yield server
    assert server.stop() == 0 and "panicked" not in server.log()


@pytest.fixture(scope="module")
def open_wide(tmp_path_factory):
    """A server that may call every network that can be listed."""
    server = Server(tmp_path_factory.mktemp("open") / "data", {"TIDEGATE_OUTGOING_NETWORKS": "0.0.0.0/0, ::/0"}).start()
    yield server
    assert server.stop() == 0 and "panicked" not in server.log()


NOT_LISTED = ["127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[::1]", "[::ffff:127.0.0.1]",
              "[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]",
              "[2001:0:808:808:3:4:80ff:fffe]", "[2606:2800::5efe:127.0.0.1]", "[fd12::1]"]
DISGUISED = ["2130706433", "017700000001", "0x7f000001", "0X7F.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "0x7f.1.",
             "0", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376"]
NEVER = ["169.254.169.254", "169.254.170.2", "[fe80::1]", "[::ffff:169.254.169.254]", "[::169.254.169.254]",
         "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[2606:2800::5efe:169.254.169.254]",
         "[fd00:ec2::254]", "[fd20:ce::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "[::]",
         "255.255.255.255", "[ff02::1]"]
NO_URL = ["user@127.0.0.1", "user:secret@127.0.0.1", "93.184.216.34:80@127.0.0.1", "example.com\\@127.0.0.1", "127%2e0%2e0%2e1",
          "[fe80::1%25lo]", "[fe80::1%lo]", "[::1%lo]", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021", "\uff11\uff12\uff17.0.0.1",
          "127.0.0.1 example.com", "", "[::1"]
SAID = {"not listed": "is not called: it is .*list its network in outgoing.networks", "never": "is never called: ",
        "disguised": "write an IPv4 address as four decimal numbers",
        "no url": "it is not a URL|zones are not supported|it names no host|user and password in the URL are not supported"}


def cases(*kinds):
    hosts = {"not listed": NOT_LISTED, "never": NEVER, "disguised": DISGUISED, "no url": NO_URL}
    return [(kind, host) for kind in kinds for host in hosts[kind]]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_endpoint_in_disguise_cannot_be_subscribed(closed, trap, scheme):
    sns = closed.client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    for kind, host in cases("not listed", "never", "disguised", "no url"):
        with pytest.raises(ClientError, match=SAID[kind]) as error:
            sns.subscribe(TopicArn=topic, Protocol=scheme, Endpoint=f"{scheme}://{host}:{trap.port}/latest/meta-data/")
        assert error.value.response["Error"]["Code"] == "InvalidParameter", host
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


def test_a_destination_in_disguise_cannot_be_made(closed, trap):
    events = closed.client("events")
    basic = {"BasicAuthParameters": {"Username": "u", "Password": "p"}}
    connection = events.create_connection(Name="c", AuthorizationType="BASIC", AuthParameters=basic)["ConnectionArn"]
    for kind, host in cases("not listed", "never", "disguised", "no url"):
        url = f"https://{host}:{trap.port}/"
        with pytest.raises(ClientError) as error:
            events.create_api_destination(Name="d", ConnectionArn=connection, HttpMethod="POST", InvocationEndpoint=url)
        assert error.value.response["Error"]["Code"] == "ValidationException", host
        oauth = {"OAuthParameters": {"ClientParameters": {"ClientID": "me", "ClientSecret": "s3cret"},
                                     "AuthorizationEndpoint": url, "HttpMethod": "POST"}}
        with pytest.raises(ClientError) as error:
            events.create_connection(Name="o", AuthorizationType="OAUTH_CLIENT_CREDENTIALS", AuthParameters=oauth)
        assert error.value.response["Error"]["Code"] == "ValidationException", host


def test_metadata_is_not_called_whatever_is_listed(open_wide):
    sns = open_wide.client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    for kind, host in cases("never", "disguised"):
        with pytest.raises(ClientError, match=SAID[kind]):
            sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"http://{host}/latest/meta-data/")


def names_of_this_machine():
    """Names that lead here without anybody being asked."""
    names = ["localhost", "LOCALHOST", "localhost.", "ip6-localhost", socket.gethostname()]

    def leads_inside(name):
        try:
            addresses = {info[4][0] for info in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)}
        except OSError:
            return False
        return all(address.startswith(("127.", "10.", "192.168.", "172.")) or address == "::1" for address in addresses)

    return [name for name in names if leads_inside(name)]


def test_a_name_that_stands_for_this_machine_is_not_called(closed, trap):
    sns = closed.client("sns")
    topic = sns.create_topic(Name="names")["TopicArn"]
    names = names_of_this_machine()
    assert "localhost" in names
    for name in names:
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"http://{name}:{trap.port}/")
    refusals = lambda: [line for line in closed.log().splitlines()
                        if "the confirmation could not be sent" in line and "is not called: it is a" in line and ":names" in line]
    wait_for(lambda: len(refusals()) >= len(names), 30, "the refusals")


def test_a_destination_whose_name_stands_for_this_machine_is_a_dead_letter_that_says_why(closed, trap):
    events, sqs = closed.client("events"), closed.client("sqs")
    queue = sqs.create_queue(QueueName="dead")["QueueUrl"]
    basic = {"BasicAuthParameters": {"Username": "u", "Password": "p"}}
    connection = events.create_connection(Name="n", AuthorizationType="BASIC", AuthParameters=basic)["ConnectionArn"]
    destination = events.create_api_destination(Name="n", ConnectionArn=connection, HttpMethod="POST",
                                                InvocationEndpoint=f"https://localhost:{trap.port}/")["ApiDestinationArn"]
    let_in(closed, "events", f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead", rule_arn("names"))
    rule(closed, "names", [{"Id": "api", "Arn": destination, "RoleArn": ROLE,
                            "RetryPolicy": {"MaximumRetryAttempts": 0},
                            "DeadLetterConfig": {"Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"}}])
    put(closed, "names", n=1)
    message = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20, MessageAttributeNames=["All"])["Messages"][0]
    assert "is not called: it is a loopback address" in message["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server, unique, webhook, trap, status):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    url, arn = make_queue(server, unique)
    let_in(server, "sns", arn, topic)
    subscription = confirmed_subscription(server, topic, webhook)
    for name, value in {"RedrivePolicy": {"deadLetterTargetArn": arn}, "DeliveryPolicy": {"healthyRetryPolicy": {"numRetries": 0}}}.items():
        sns.set_subscription_attributes(SubscriptionArn=subscription, AttributeName=name, AttributeValue=json.dumps(value))
    webhook.redirect = f"http://127.0.0.1:{trap.port}/"
    webhook.answer = lambda headers, body: status
    sns.publish(TopicArn=topic, Message="m")
    assert json.loads(receive(server, url, 1)[0]["Body"])["Message"] == "m"


def test_proxies_of_the_environment_are_not_used(new_server, webhook, trap):
    proxy = f"http://127.0.0.1:{trap.port}"
    names = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
    server = new_server({name: proxy for name in names} | {"no_proxy": "", "NO_PROXY": ""}).start()
    sns = server.client("sns")
    topic = sns.create_topic(Name="t")["TopicArn"]
    confirmed_subscription(server, topic, webhook)
    sns.publish(TopicArn=topic, Message="m")
    wait_for(lambda: webhook.texts() == ["m"], what="the message")
    assert server.stop() == 0


def test_another_port_of_an_allowed_network_is_called(server, unique):
    """The guard is about addresses: what listens on loopback may be called while the server itself listens there."""
    endpoint = Endpoint()
    try:
        sns = server.client("sns")
        topic = sns.create_topic(Name=unique)["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"{endpoint.url}/x")
        wait_for(lambda: endpoint.taken("/x"), what="the confirmation")
    finally:
        endpoint.httpd.shutdown()
        endpoint.httpd.server_close()
