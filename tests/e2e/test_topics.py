"""Topics with boto3: queues, functions, webhooks, signatures, FIFO, dead letters."""

import base64
import json
import urllib.request

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from conftest import confirmed_subscription, create_function, let_in, wait_for


def make_queue(server, name, **attributes):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def receive(server, url, count):
    sqs, got = server.client("sqs"), []

    def enough():
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"], AttributeNames=["All"])
        for message in answer.get("Messages", []):
            got.append(message)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return len(got) >= count

    wait_for(enough, 30, f"{count} messages")
    return got


def verify(body, context=None):
    """As "Verifying the signatures of Amazon SNS messages" says, by hand."""
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if body["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{body[name]}\n" for name in names if name in body)
    with urllib.request.urlopen(body["SigningCertURL"], timeout=10, context=context) as answer:
        certificate = x509.load_pem_x509_certificate(answer.read())
    algorithm = {"1": hashes.SHA1, "2": hashes.SHA256}[body["SignatureVersion"]]()
    certificate.public_key().verify(base64.b64decode(body["Signature"]), text.encode(), padding.PKCS1v15(), algorithm)


def test_a_queue_and_a_function_are_told(server, unique):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    whole, raw = make_queue(server, f"{unique}-w"), make_queue(server, f"{unique}-r")
    log, _ = make_queue(server, f"{unique}-out")
    code = (
        "import boto3, json\n"
        "def handler(event, context):\n"
        f"    boto3.client('sqs').send_message(QueueUrl={log!r}, MessageBody=json.dumps(event))\n"
    )
    function = create_function(server, unique, code)
    for subscriber in (whole[1], raw[1], function):
        let_in(server, "sns", subscriber, topic)
    arn = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=whole[1])["SubscriptionArn"]
    assert arn.startswith(topic + ":")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=raw[1], Attributes={"RawMessageDelivery": "true"})
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
    sns.publish(TopicArn=topic, Subject="s", MessageStructure="json",
                Message=json.dumps({"default": "d", "sqs": "q", "lambda": "l"}),
                MessageAttributes={"a": {"DataType": "Binary", "BinaryValue": b"\x00\x01"}})
    body = json.loads(receive(server, whole[0], 1)[0]["Body"])
    assert (body["Message"], body["Subject"], body["MessageAttributes"]["a"]) == ("q", "s", {"Type": "Binary", "Value": "AAE="})
    verify(body)
    message = receive(server, raw[0], 1)[0]
    assert (message["Body"], message["MessageAttributes"]["a"]["BinaryValue"]) == ("q", b"\x00\x01")
    event = json.loads(receive(server, log, 1)[0]["Body"])
    record = event["Records"][0]
    assert (record["EventSource"], record["Sns"]["Message"]) == ("aws:sns", "l")


@pytest.mark.parametrize("version", ["1", "2"])
def test_notifications_and_confirmations_are_signed(server, unique, webhook, version):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique, Attributes={"SignatureVersion": version})["TopicArn"]
    confirmed_subscription(server, topic, webhook)
    sns.publish(TopicArn=topic, Message="text with \"quotes\"\nand lines", Subject="s")
    sns.publish(TopicArn=topic, Message="without subject")
    wait_for(lambda: len(webhook.texts()) == 2, what="both notifications")
    bodies = [json.loads(body) for _, _, body in webhook.messages] + webhook.confirmations
    for body in bodies:
        assert body["SignatureVersion"] == version
        verify(body)
    with pytest.raises(Exception):
        verify(bodies[0] | {"Message": "another"})


def test_a_link_ends_a_subscription(server, unique, webhook):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    confirmed_subscription(server, topic, webhook)
    sns.publish(TopicArn=topic, Message="m")
    wait_for(webhook.texts, what="the notification")
    link = json.loads(webhook.messages[0][2])["UnsubscribeURL"]
    urllib.request.urlopen(link, timeout=10).read()
    listed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [s["SubscriptionArn"] for s in listed] == ["PendingConfirmation"]


def test_fifo_topics(server, unique):
    sns = server.client("sns")
    topic = sns.create_topic(Name=f"{unique}.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    queue = make_queue(server, f"{unique}.fifo", FifoQueue="true")
    let_in(server, "sns", queue[1], topic)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue[1], Attributes={"RawMessageDelivery": "true"})
    entries = [{"Id": str(n), "Message": f"m{n}", "MessageGroupId": "g", "MessageDeduplicationId": str(n % 8)} for n in range(10)]
    answer = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
    ids = [e["MessageId"] for e in sorted(answer["Successful"], key=lambda e: e["Id"])]
    assert ids[8:] == ids[:2] and all(e["SequenceNumber"] for e in answer["Successful"])
    got = receive(server, queue[0], 8)
    assert [m["Body"] for m in got] == [f"m{n}" for n in range(8)]
    with pytest.raises(ClientError, match="MessageGroupId parameter is required"):
        sns.publish(TopicArn=topic, Message="x")
    with pytest.raises(ClientError, match="Invalid protocol type"):
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint="http://127.0.0.1:1/")


def test_what_a_webhook_refuses_is_in_the_dead_letter_queue(server, unique, webhook):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    dead = make_queue(server, unique)
    let_in(server, "sns", dead[1], topic)
    arn = confirmed_subscription(server, topic, webhook)
    policy = json.dumps({"deadLetterTargetArn": dead[1]})
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="RedrivePolicy", AttributeValue=policy)
    webhook.answer = lambda headers, body: 403
    sns.publish(TopicArn=topic, Message="refused")
    body = json.loads(receive(server, dead[0], 1)[0]["Body"])
    assert body["Message"] == "refused"
    verify(body)
    assert json.loads(sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["RedrivePolicy"]) == json.loads(policy)


@pytest.mark.parametrize(("protocol", "endpoint", "text"), [
    ("sms", "+491234", "not available"), ("application", "arn:aws:sns:eu-central-1:000000000000:app/x", "not available"),
    ("firehose", "arn:aws:firehose:eu-central-1:000000000000:deliverystream/x", "SubscriptionRoleArn is needed"),
    ("pigeon", "x", "does not support this protocol string"), ("sqs", "q", "SQS endpoint ARN"),
    ("sqs", "arn:aws:sqs:eu-central-1:000000000000:q.fifo", "FIFO SQS Queues can not be subscribed"),
    ("lambda", "arn:aws:lambda:eu-central-1:000000000000:function:none", "Lambda endpoint ARN"),
])
def test_what_cannot_be_subscribed_is_refused(server, unique, protocol, endpoint, text):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    with pytest.raises(ClientError, match=text) as error:
        sns.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
    assert error.value.response["Error"]["Code"] == "InvalidParameter"


def test_limits_of_filter_policies(server, unique):
    sns = server.client("sns")
    topic = sns.create_topic(Name=unique)["TopicArn"]
    queue = make_queue(server, unique)
    arn = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue[1])["SubscriptionArn"]
    for policy, text in [
        ({k: ["x"] for k in "abcdef"}, "more than 5 keys"),
        ({"a": [str(n) for n in range(151)]}, "too complex"),
        ({"a": {"b": ["x"]}}, "does not support nested"),
    ]:
        with pytest.raises(ClientError, match=text):
            sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue=json.dumps(policy))
