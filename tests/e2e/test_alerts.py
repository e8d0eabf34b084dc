"""Alerts to people with boto3: mails by SMTP and in the outbox, and the words of Slack, Teams and PagerDuty."""

import email
import email.policy
import json
import re
import ssl
import urllib.request
from pathlib import Path

import pytest
import trustme
from botocore.exceptions import ClientError
from conftest import free_port, let_in, wait_for
from smtp_server import MailServer
from test_topics import make_queue, receive, verify

KEY = "0123456789abcdef0123456789abcdef"


def link_in(text, action):
    return re.search(rf"https?://\S+Action={action}\S*", text).group()


def opened(link):
    with urllib.request.urlopen(link, timeout=10) as answer:
        return answer.status


def pending(sns, topic):
    return [s["SubscriptionArn"] for s in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]].count("PendingConfirmation")


def subscribe(sns, mails, topic, address, protocol="email"):
    sns.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=address)
    text = wait_for(lambda: mails(address), 30, "the mail that asks")[-1].get_content()
    link = json.loads(text)["SubscribeURL"] if protocol == "email-json" else link_in(text, "ConfirmSubscription")
    assert opened(link) == 200
    assert pending(sns, topic) == 0


@pytest.fixture
def mail_server():
    servers = []

    def make(**how):
        servers.append(MailServer(**how))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def settings(mail, **more):
    return {"TIDEGATE_MAIL_HOST": "127.0.0.1", "TIDEGATE_MAIL_PORT": str(mail.port), "TIDEGATE_MAIL_TLS": "off",
            "TIDEGATE_MAIL_SENDER": "alerts@example.com"} | {f"TIDEGATE_MAIL_{k.upper()}": str(v) for k, v in more.items()}


def test_mails_go_to_the_mail_server(new_server, mail_server):
    mail = mail_server()
    server = new_server(settings(mail)).start()
    sns = server.client("sns")
    topic = sns.create_topic(Name="alerts", Attributes={"DisplayName": "Grüße"})["TopicArn"]
    subscribe(sns, mail.to, topic, "ops@example.com")
    subscribe(sns, mail.to, topic, "robot@example.com", "email-json")
    asked = mail.to("ops@example.com")[0]
    assert asked["subject"] == "Notification - Subscription Confirmation" and topic in asked.get_content()
    assert asked["from"].addresses[0].addr_spec == "alerts@example.com" and asked["auto-submitted"] == "auto-generated"

    long = "x" * 100_000
    message = f"Zeile 1\r\n.\r\nBcc: evil@example.com\n{long}"
    sns.publish(TopicArn=topic, Subject="Root login, sehr böse", Message=message)
    told = wait_for(lambda: mail.to("ops@example.com")[1:], 30, "the notification")[0]
    assert told["subject"] == "Root login, sehr böse" and told["from"].addresses[0].display_name == "Grüße"
    assert told["bcc"] is None and told["to"] == "ops@example.com"
    text = told.get_content()
    assert text.replace("\r\n", "\n").startswith(message.replace("\r\n", "\n") + "\n\n--\n")
    robot = wait_for(lambda: mail.to("robot@example.com")[1:], 30, "the notification for programs")[0]
    body = json.loads(robot.get_content())
    assert (body["Type"], body["Message"]) == ("Notification", message)
    verify(body)
    assert opened(link_in(text, "Unsubscribe")) == 200
    left = wait_for(lambda: mail.to("ops@example.com")[2:], 30, "the question whether that was meant")[0]
    assert left["subject"] == "Notification - Unsubscribe Confirmation"
    assert server.stop() == 0


@pytest.mark.parametrize("implicit", [False, True])
def test_mails_by_tls_with_a_password_that_nobody_sees(new_server, mail_server, tmp_path, implicit):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    mail = mail_server(tls=context, implicit=implicit, login=("kim", "hunter2-hunter2"))
    (tmp_path / "password").write_text("hunter2-hunter2\n")
    env = settings(mail, tls="always" if implicit else "starttls", user="kim", password_file=tmp_path / "password",
                   ca_file=tmp_path / "ca.pem")
    server = new_server(env | {"TIDEGATE_LOGGING_LEVEL": "debug"}).start()
    sns = server.client("sns")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    subscribe(sns, mail.to, topic, "ops@example.com")
    assert mail.sessions[0] == {"tls": True, "login": ("kim", "hunter2-hunter2")}
    mail.login = ("kim", "another")
    sns.publish(TopicArn=topic, Message="kept for later")
    wait_for(lambda: "a notification is sent again later" in server.log(), 30, "a failed attempt")
    mail.login = ("kim", "hunter2-hunter2")
    wait_for(lambda: len(mail.to("ops@example.com")) == 2, 60, "the mail, once the password is right again")
    assert "hunter2" not in server.log()
    assert server.stop() == 0


def test_a_server_that_nobody_vouches_for_gets_no_password(new_server, mail_server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    strict, plain = mail_server(tls=context, login=("kim", "hunter2-hunter2")), mail_server(login=("kim", "hunter2-hunter2"))
    for n, mail in enumerate((strict, plain)):
        server = new_server(settings(mail, tls="starttls", user="kim", password="hunter2-hunter2"), name=f"data{n}").start()
        sns = server.client("sns")
        topic = sns.create_topic(Name="alerts")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="ops@example.com")
        wait_for(lambda: "the confirmation could not be sent" in server.log(), 30, "the failure")
        assert mail.sessions and all(session["login"] is None for session in mail.sessions) and mail.mails == []
        server.kill()


def test_an_address_that_is_none_is_a_dead_letter(new_server, mail_server):
    mail = mail_server()
    server = new_server(settings(mail)).start()
    sns = server.client("sns")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    url, arn = make_queue(server, "dead")
    subscribe(sns, mail.to, topic, "gone@example.com")
    subscription = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"][0]["SubscriptionArn"]
    let_in(server, "sns", arn, topic)
    policy = json.dumps({"deadLetterTargetArn": arn})
    sns.set_subscription_attributes(SubscriptionArn=subscription, AttributeName="RedrivePolicy", AttributeValue=policy)
    mail.refuse = lambda to: "550 5.1.1 no such mailbox"
    sns.publish(TopicArn=topic, Message="unread")
    assert json.loads(receive(server, url, 1)[0]["Body"])["Message"] == "unread"
    assert server.stop() == 0


def test_without_a_mail_server_mails_can_be_read_in_the_data_folder(server, unique):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    address = f"{unique}@example.com"

    def mails(to):
        files = sorted(Path(server.folder, "mail-outbox").glob("*.eml"))
        read = [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]
        return [mail for mail in read if mail["to"] == to]

    subscribe(sns, mails, topic, address)
    sns.publish(TopicArn=topic, Subject="s", Message="zähle auf mich")
    told = wait_for(lambda: mails(address)[1:], 30, "the notification")[0]
    assert told["subject"] == "s" and told.get_content().startswith("zähle auf mich\r\n")
    files = [file for file in Path(server.folder, "mail-outbox").glob("*.eml") if address.encode() in file.read_bytes()]
    texts = [file.read_text() for file in files]
    assert any("zähle auf mich" in text and link_in(text, "Unsubscribe") in text for text in texts), "readable as it is"
    assert any(link_in(text, "ConfirmSubscription").rpartition("=")[2].isalnum() for text in texts if "Confirmation" in text)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


@pytest.mark.parametrize("address", ["ops", "a@b@c", "a@h, b@h", "a@h\r\nBcc: b@h", "<a@h>", "a@"])
def test_what_is_no_address_is_refused(server, unique, address):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    with pytest.raises(ClientError, match="Invalid parameter: Email address") as error:
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint=address)
    assert error.value.response["Error"]["Code"] == "InvalidParameter"


def subscribe_chat(sns, topic, webhook, **attributes):
    """Subscribes, and opens the link that a person would."""
    webhook.confirm = False
    made = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=webhook.url, Attributes=attributes, ReturnSubscriptionArn=True)
    asked = wait_for(lambda: webhook.confirmations, 20, "the question")[0]
    return made["SubscriptionArn"], asked


def told(sns, topic, webhook, **message):
    sns.publish(TopicArn=topic, **message)
    _, headers, body = wait_for(lambda: webhook.messages, 20, "the message")[0]
    assert headers["content-type"] == "application/json"
    return json.loads(body)


ALERT = {"Subject": "Root login", "Message": "<!channel> from 203.0.113.66\n[evil](http://evil.example)"}


def test_slack(server, unique, webhook):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    arn, asked = subscribe_chat(sns, topic, webhook, WebhookFormat="slack")
    assert opened(asked["blocks"][3]["elements"][0]["url"]) == 200
    body = told(sns, topic, webhook, **ALERT)
    assert body["text"] == "Root login"
    assert [block["type"] for block in body["blocks"]] == ["header", "section", "context"]
    assert body["blocks"][1]["text"] == {"type": "plain_text", "text": ALERT["Message"], "emoji": False}
    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert attributes["WebhookFormat"] == "slack" and "application/json" in attributes["EffectiveDeliveryPolicy"]


def test_teams(server, unique, webhook):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    _, asked = subscribe_chat(sns, topic, webhook, WebhookFormat="teams")
    assert opened(asked["attachments"][0]["content"]["actions"][0]["url"]) == 200
    body = told(sns, topic, webhook, **ALERT)
    (attachment,) = body["attachments"]
    assert body["type"] == "message" and attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert [block["inlines"][0]["text"] for block in attachment["content"]["body"]][:2] == ["Root login", ALERT["Message"]]


def test_pagerduty_and_its_key(server, unique, webhook):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    arn, asked = subscribe_chat(sns, topic, webhook, WebhookFormat="pagerduty", WebhookRoutingKey=KEY)
    assert asked["routing_key"] == KEY and asked["payload"]["severity"] == "info"
    assert opened(asked["links"][0]["href"]) == 200
    severity = {"severity": {"DataType": "String", "StringValue": "critical"}}
    body = told(sns, topic, webhook, MessageAttributes=severity, **ALERT)
    assert (body["routing_key"], body["event_action"]) == (KEY, "trigger")
    assert (body["payload"]["summary"], body["payload"]["severity"], body["payload"]["source"]) == ("Root login", "critical", topic)
    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert attributes["WebhookRoutingKey"] == "(hidden)" and KEY not in str(attributes) and KEY not in server.log()
    rotated = "f" * 32
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="WebhookRoutingKey", AttributeValue=rotated)
    webhook.messages.clear()
    assert told(sns, topic, webhook, **ALERT)["routing_key"] == rotated


def test_a_webhook_s_path_is_a_secret_and_in_no_log(server, unique):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"http://127.0.0.1:{free_port()}/services/hunter2-{unique}",
                  Attributes={"WebhookFormat": "slack"})
    wait_for(lambda: any(unique in line and "could not be sent" in line for line in server.log().splitlines()), 30, "the failure")
    assert "hunter2" not in server.log()


@pytest.mark.parametrize(("attributes", "text"), [
    ({"WebhookFormat": "discord"}, "slack, teams or pagerduty"), ({"WebhookFormat": "pagerduty"}, "WebhookRoutingKey"),
    ({"WebhookFormat": "pagerduty", "WebhookRoutingKey": "short"}, "32 letters and digits"),
    ({"WebhookRoutingKey": KEY}, "only the WebhookFormat pagerduty"),
    ({"WebhookFormat": "slack", "RawMessageDelivery": "true"}, "raw"),
])
def test_formats_that_are_refused(server, unique, webhook, attributes, text):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    with pytest.raises(ClientError, match=text) as error:
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=webhook.url, Attributes=attributes)
    assert error.value.response["Error"]["Code"] == "InvalidParameter" and KEY not in str(error.value)
