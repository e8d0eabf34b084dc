"""SQS with boto3 (awsJson 1.0) and with the older query protocol, signed by hand."""

import hashlib
import json
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections import defaultdict

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from conftest import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY, wait_for

NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"


@pytest.fixture
def sqs(server):
    return server.client("sqs")


def make(sqs, name, tags=None, **attributes):
    return sqs.create_queue(QueueName=name, Attributes={k: str(v) for k, v in attributes.items()}, tags=tags or {})["QueueUrl"]


def refused(call, **arguments):
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    error = raised.value.response["Error"]
    # What all services share has another name in awsJson than SDKs were used to.
    name = error.get("QueryErrorCode", error["Code"])
    return error["Code"] if name == error["Code"] + "Exception" else name, error["Message"]


def code(call, **arguments):
    """The code as old and new SDKs know it."""
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


def take(sqs, url, **arguments):
    return sqs.receive_message(QueueUrl=url, **{"MaxNumberOfMessages": 10, "WaitTimeSeconds": 0} | arguments).get("Messages", [])


def attribute(sqs, url, name):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]


def arn(name):
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def test_a_message_is_sent_received_and_deleted(server, sqs):
    url = make(sqs, "first", tags={"team": "blue"})
    assert url == f"{server.url}/{ACCOUNT}/first"
    attributes = {"kind": {"DataType": "String", "StringValue": "alert"}, "raw": {"DataType": "Binary.gz", "BinaryValue": b"\x00\x01"},
                  "n": {"DataType": "Number", "StringValue": "7"}}
    # boto3 checks both digests itself.
    sent = sqs.send_message(QueueUrl=url, MessageBody="hällo ✓", MessageAttributes=attributes,
                            MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}})
    assert sent["MD5OfMessageBody"] == hashlib.md5("hällo ✓".encode()).hexdigest()
    (message,) = take(sqs, url, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"])
    assert (message["Body"], message["MessageId"], message["MessageAttributes"]) == ("hällo ✓", sent["MessageId"], attributes)
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    system = message["Attributes"]
    assert (system["ApproximateReceiveCount"], system["SenderId"], system["AWSTraceHeader"]) == ("1", ACCOUNT, "Root=1")
    assert abs(int(system["SentTimestamp"]) / 1000 - time.time()) < 60
    assert take(sqs, url) == []
    assert attribute(sqs, url, "ApproximateNumberOfMessagesNotVisible") == "1"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert attribute(sqs, url, "ApproximateNumberOfMessagesNotVisible") == "0"
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "blue"}


def test_queues_are_created_once_found_listed_and_deleted(server, sqs):
    urls = [make(sqs, f"list-{n}", VisibilityTimeout=5) for n in range(5)]
    assert make(sqs, "list-0") == urls[0] == make(sqs, "list-0", VisibilityTimeout=5)
    name, message = refused(sqs.create_queue, QueueName="list-0", Attributes={"VisibilityTimeout": "6"})
    assert name == "QueueNameExists" and message.endswith("different value for attribute VisibilityTimeout")
    assert sqs.get_queue_url(QueueName="list-3")["QueueUrl"] == urls[3]
    pages = list(sqs.get_paginator("list_queues").paginate(QueueNamePrefix="list-", PaginationConfig={"PageSize": 2}))
    assert [len(p["QueueUrls"]) for p in pages] == [2, 2, 1] and sum((p["QueueUrls"] for p in pages), []) == urls
    sqs.delete_queue(QueueUrl=urls[4])
    assert refused(sqs.get_queue_url, QueueName="list-4") == ("QueueDoesNotExist", "The specified queue does not exist.")
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.send_message(QueueUrl=urls[4], MessageBody="x")
    make(sqs, "list-4")
    for bad in ("a.b", "x" * 81, "a.fifo", ""):
        assert refused(sqs.create_queue, QueueName=bad)[0] == "InvalidParameterValue", bad
    assert refused(sqs.create_queue, QueueName="plain", Attributes={"FifoQueue": "true"})[0] == "InvalidParameterValue"
    assert sqs.list_queues(QueueNamePrefix="none").get("QueueUrls") is None


def test_attributes_are_executed_or_refused(server, sqs):
    url = make(sqs, "attributes")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "3", "MaximumMessageSize": "1024", "SqsManagedSseEnabled": "true"})
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert shown["QueueArn"] == arn("attributes")
    wanted = {"DelaySeconds": "3", "MaximumMessageSize": "1024", "SqsManagedSseEnabled": "true", "VisibilityTimeout": "30",
              "MessageRetentionPeriod": "345600", "ReceiveMessageWaitTimeSeconds": "0", "ApproximateNumberOfMessages": "0"}
    assert {k: shown[k] for k in wanted} == wanted
    change = lambda **attributes: refused(sqs.set_queue_attributes, QueueUrl=url, Attributes=attributes)
    assert change(VisibilityTimeout="43201") == ("InvalidAttributeValue", "Invalid value for the parameter VisibilityTimeout.")
    assert change(Colour="blue") == ("InvalidAttributeName", "Unknown Attribute Colour.")
    assert change(FifoQueue="true")[0] == change(ContentBasedDeduplication="true")[0] == "InvalidAttributeName"
    assert change(Policy="{}")[0] == "InvalidAttributeValue"
    for name in ("KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds"):
        assert change(**{name: "{}"})[0] in ("UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation")
    assert change(RedrivePolicy="nonsense")[0] == "InvalidParameterValue"
    sqs.send_message(QueueUrl=url, MessageBody="sealed", DelaySeconds=0)
    assert [m["Body"] for m in take(sqs, url)] == ["sealed"]
    long = {"QueueUrl": url, "MessageBody": "x" * 1025}
    assert refused(sqs.send_message, **long)[1].endswith("Message must be shorter than 1024 bytes.")
    owners = refused(sqs.add_permission, QueueUrl=url, Label="l", AWSAccountIds=[ACCOUNT], Actions=["DeleteQueue"])
    assert owners[1].endswith("Only the queue owner is allowed to invoke this action.")
    sqs.tag_queue(QueueUrl=url, Tags={"a": "1", "b": "2"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"b": "2"}


def test_batches_fail_entry_by_entry(server, sqs):
    url = make(sqs, "batches")
    entry = lambda id, body="x", **more: {"Id": id, "MessageBody": body} | more
    send = lambda *entries: sqs.send_message_batch(QueueUrl=url, Entries=list(entries))
    answer = send(entry("a", "1"), entry("b", "bad \x01"), entry("c", DelaySeconds=901), entry("d", "4"))
    assert [e["Id"] for e in answer["Successful"]] == ["a", "d"]
    assert [(e["Id"], e["Code"], e["SenderFault"]) for e in answer["Failed"]] == [
        ("b", "InvalidMessageContents", True), ("c", "InvalidParameterValue", True)]
    half = "x" * (512 * 1024)
    for entries, wanted in [
        ([], "EmptyBatchRequest"), ([entry(str(n)) for n in range(11)], "TooManyEntriesInBatchRequest"),
        ([entry("a"), entry("a")], "BatchEntryIdsNotDistinct"), ([entry("a b")], "InvalidBatchEntryId"),
        ([entry("a", half), entry("b", half), entry("c")], "BatchRequestTooLong"),
    ]:
        assert refused(sqs.send_message_batch, QueueUrl=url, Entries=entries)[0] == wanted
        assert code(sqs.send_message_batch, QueueUrl=url, Entries=entries) == f"AWS.SimpleQueueService.{wanted}"
    send(entry("whole", "y" * (1 << 20)))
    got = {m["Body"][:1]: m for m in take(sqs, url) + take(sqs, url)}
    assert sorted(got) == ["1", "4", "y"] and len(got["y"]["Body"]) == 1 << 20
    receipts = [{"Id": str(n), "ReceiptHandle": h} for n, h in enumerate([got["1"]["ReceiptHandle"], "forged", got["4"]["ReceiptHandle"]])]
    answer = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[r | {"VisibilityTimeout": 60} for r in receipts])
    assert [e["Id"] for e in answer["Successful"]] == ["0", "2"] and answer["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    answer = sqs.delete_message_batch(QueueUrl=url, Entries=receipts)
    assert [e["Id"] for e in answer["Successful"]] == ["0", "2"] and [e["Id"] for e in answer["Failed"]] == ["1"]


def test_delays_visibility_and_waiting(server, sqs):
    url = make(sqs, "times", VisibilityTimeout=1)
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=1)
    assert attribute(sqs, url, "ApproximateNumberOfMessagesDelayed") == "1"
    began = time.monotonic()
    (message,) = take(sqs, url, WaitTimeSeconds=10)
    assert 0.5 < time.monotonic() - began < 5
    (again,) = take(sqs, url, WaitTimeSeconds=10, MessageSystemAttributeNames=["ApproximateReceiveCount"])
    assert again["Attributes"]["ApproximateReceiveCount"] == "2" and again["ReceiptHandle"] != message["ReceiptHandle"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=0)
    (third,) = take(sqs, url, VisibilityTimeout=100)
    late = refused(sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=5)
    assert late[0] == "InvalidParameterValue" and "not available for visibility timeout change" in late[1]
    # An earlier receipt deletes as well.
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    late = refused(sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=third["ReceiptHandle"], VisibilityTimeout=0)
    assert late[0] == "InvalidParameterValue" and take(sqs, url) == []
    sqs.send_message(QueueUrl=url, MessageBody="purged")
    # A waiting receive gets what is sent meanwhile, at once.
    got = []
    waiter = threading.Thread(target=lambda: got.extend(take(server.client("sqs"), url, WaitTimeSeconds=20)))
    sqs.purge_queue(QueueUrl=url)
    waiter.start()
    sqs.send_message(QueueUrl=url, MessageBody="now")
    waiter.join(10)
    assert [m["Body"] for m in got] == ["now"]
    assert refused(sqs.purge_queue, QueueUrl=url)[0] == "PurgeQueueInProgress"
    for name, value in [("MaxNumberOfMessages", 11), ("WaitTimeSeconds", 21), ("VisibilityTimeout", 43201)]:
        assert refused(sqs.receive_message, QueueUrl=url, **{name: value})[0] == "InvalidParameterValue"
    assert refused(sqs.delete_message, QueueUrl=url, ReceiptHandle="x")[0] == "ReceiptHandleIsInvalid"


def test_a_fifo_queue_keeps_groups_in_order_and_takes_repeats_once(server, sqs):
    url = make(sqs, "order.fifo", FifoQueue="true", VisibilityTimeout=30)
    send = lambda body, group, id: sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=id)
    first = send("a1", "a", "1")
    assert send("other text", "a", "1") | {"MD5OfMessageBody": 0, "ResponseMetadata": 0} == first | {"MD5OfMessageBody": 0, "ResponseMetadata": 0}
    for n in (2, 3):
        send(f"a{n}", "a", str(n))
    later = send("b1", "b", "4")
    assert int(later["SequenceNumber"]) > int(first["SequenceNumber"])
    (a1,) = take(sqs, url, MaxNumberOfMessages=1, MessageSystemAttributeNames=["All"])
    assert (a1["Body"], a1["Attributes"]["MessageGroupId"], a1["Attributes"]["SequenceNumber"]) == ("a1", "a", first["SequenceNumber"])
    assert [m["Body"] for m in take(sqs, url)] == ["b1"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=a1["ReceiptHandle"])
    again = take(sqs, url, ReceiveRequestAttemptId="try")
    assert [m["Body"] for m in again] == ["a2", "a3"]
    repeated = take(sqs, url, ReceiveRequestAttemptId="try")
    assert [m["ReceiptHandle"] for m in repeated] == [m["ReceiptHandle"] for m in again]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=again[1]["ReceiptHandle"], VisibilityTimeout=0)
    assert take(sqs, url) == []
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=again[0]["ReceiptHandle"], VisibilityTimeout=0)
    assert refused(sqs.delete_message, QueueUrl=url, ReceiptHandle=again[0]["ReceiptHandle"])[1].endswith("The receipt handle has expired.")
    assert [m["Body"] for m in take(sqs, url)] == ["a2", "a3"]
    for more, wanted in [({}, "MissingParameter"), ({"MessageGroupId": "g"}, "InvalidParameterValue"),
                         ({"MessageGroupId": "g", "MessageDeduplicationId": "x", "DelaySeconds": 2}, "InvalidParameterValue")]:
        assert refused(sqs.send_message, QueueUrl=url, MessageBody="x", **more)[0] == wanted
    content = make(sqs, "content.fifo", FifoQueue="true", ContentBasedDeduplication="true", DeduplicationScope="messageGroup",
                   FifoThroughputLimit="perMessageGroupId")
    ids = {sqs.send_message(QueueUrl=content, MessageBody="same", MessageGroupId=g)["MessageId"] for g in ("g", "g", "h")}
    assert len(ids) == 2 and len(take(sqs, content)) == 2


def test_dead_letters_move_once_and_back(server, sqs):
    dead = make(sqs, "dead", RedriveAllowPolicy=json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [arn("work")]}))
    policy = json.dumps({"deadLetterTargetArn": arn("dead"), "maxReceiveCount": "2"})
    work = make(sqs, "work", RedrivePolicy=policy, VisibilityTimeout=0)
    assert json.loads(attribute(sqs, work, "RedrivePolicy"))["maxReceiveCount"] == 2
    assert refused(sqs.create_queue, QueueName="other", Attributes={"RedrivePolicy": policy})[0] == "InvalidParameterValue"
    nowhere = json.dumps({"deadLetterTargetArn": arn("none"), "maxReceiveCount": 1})
    assert refused(sqs.set_queue_attributes, QueueUrl=work, Attributes={"RedrivePolicy": nowhere})[1].endswith("Dead letter target does not exist.")
    ids = {sqs.send_message(QueueUrl=work, MessageBody=str(n))["MessageId"] for n in range(3)}
    for _ in range(2):
        assert len(take(sqs, work)) == 3
    assert take(sqs, work) == [] and attribute(sqs, work, "ApproximateNumberOfMessages") == "0"
    letters = take(sqs, dead, VisibilityTimeout=0, MessageSystemAttributeNames=["All"])
    assert {m["MessageId"] for m in letters} == ids
    assert {m["Attributes"]["DeadLetterQueueSourceArn"] for m in letters} == {arn("work")}
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [work]
    handle = sqs.start_message_move_task(SourceArn=arn("dead"), MaxNumberOfMessagesPerSecond=100)["TaskHandle"]
    done = lambda: sqs.list_message_move_tasks(SourceArn=arn("dead"))["Results"][0]["Status"] == "COMPLETED"
    wait_for(done, what="the move task's end")
    result = sqs.list_message_move_tasks(SourceArn=arn("dead"))["Results"][0]
    assert (result["ApproximateNumberOfMessagesMoved"], result["ApproximateNumberOfMessagesToMove"]) == (3, 3)
    back = take(sqs, work, MessageSystemAttributeNames=["All"])
    assert sorted(m["Body"] for m in back) == ["0", "1", "2"] and {m["Attributes"]["ApproximateReceiveCount"] for m in back} == {"1"}
    assert refused(sqs.cancel_message_move_task, TaskHandle=handle)[0] == "ResourceNotFoundException"
    assert refused(sqs.start_message_move_task, SourceArn=arn("work"))[0] == "InvalidParameterValue"
    # A slow one can be stopped.
    for m in range(5):
        sqs.send_message(QueueUrl=dead, MessageBody=f"direct {m}")
    handle = sqs.start_message_move_task(SourceArn=arn("dead"), DestinationArn=arn("work"), MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    assert refused(sqs.start_message_move_task, SourceArn=arn("dead"), DestinationArn=arn("work"))[0] == "InvalidParameterValue"
    sqs.cancel_message_move_task(TaskHandle=handle)
    wait_for(lambda: sqs.list_message_move_tasks(SourceArn=arn("dead"))["Results"][0]["Status"] == "CANCELLED", what="the end of a cancelled task")
    assert len(sqs.list_message_move_tasks(SourceArn=arn("dead"), MaxResults=10)["Results"]) == 2


class Query:
    """The query protocol as SDKs spoke it before 2023."""

    def __init__(self, server):
        self.server = server

    def __call__(self, action, path="/", method="POST", **parameters):
        form = urllib.parse.urlencode({"Action": action, "Version": "2012-11-05"} | parameters)
        url = self.server.url + path + ("?" + form if method == "GET" else "")
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"} if method == "POST" else {}
        request = AWSRequest(method=method, url=url, data=form if method == "POST" else None, headers=headers)
        SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "sqs", REGION).add_auth(request)
        plain = urllib.request.Request(url, data=form.encode() if method == "POST" else None, headers=dict(request.headers), method=method)
        try:
            with urllib.request.urlopen(plain, timeout=30) as answer:
                return answer.status, ElementTree.fromstring(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, ElementTree.fromstring(error.read())


def texts(tree, name):
    return [element.text for element in tree.iter(NAMESPACE + name)]


def test_the_query_protocol_says_the_same(server, sqs):
    query = Query(server)
    status, tree = query("CreateQueue", QueueName="old", **{"Attribute.1.Name": "VisibilityTimeout", "Attribute.1.Value": "7",
                                                            "Tag.1.Key": "k", "Tag.1.Value": "v"})
    (url,) = texts(tree, "QueueUrl")
    assert (status, tree.tag, url) == (200, NAMESPACE + "CreateQueueResponse", f"{server.url}/{ACCOUNT}/old")
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"k": "v"}
    status, tree = query("SendMessage", QueueUrl=url, MessageBody="one & <two>", **{
        "MessageAttribute.1.Name": "kind", "MessageAttribute.1.Value.DataType": "String", "MessageAttribute.1.Value.StringValue": "x"})
    assert status == 200 and texts(tree, "MD5OfMessageBody") == [hashlib.md5(b"one & <two>").hexdigest()]
    # By path, and by GET.
    assert query("SendMessage", path=f"/{ACCOUNT}/old", MessageBody="by path")[0] == 200
    assert query("SendMessage", path=f"/{ACCOUNT}/old", method="GET", MessageBody="by get")[0] == 200
    status, tree = query("SendMessageBatch", QueueUrl=url, **{
        "SendMessageBatchRequestEntry.1.Id": "a", "SendMessageBatchRequestEntry.1.MessageBody": "batched",
        "SendMessageBatchRequestEntry.2.Id": "b", "SendMessageBatchRequestEntry.2.MessageBody": "\x01"})
    assert [e.find(NAMESPACE + "Id").text for e in tree.iter(NAMESPACE + "SendMessageBatchResultEntry")] == ["a"]
    assert [e.find(NAMESPACE + "Code").text for e in tree.iter(NAMESPACE + "BatchResultErrorEntry")] == ["InvalidMessageContents"]
    status, tree = query("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages="10",
                         **{"AttributeName.1": "All", "MessageAttributeName.1": "All"})
    messages = list(tree.iter(NAMESPACE + "Message"))
    assert sorted(m.find(NAMESPACE + "Body").text for m in messages) == ["batched", "by get", "by path", "one & <two>"]
    with_attribute = [m for m in messages if m.find(NAMESPACE + "MessageAttribute") is not None]
    assert [texts(m.find(NAMESPACE + "MessageAttribute"), "StringValue") for m in with_attribute] == [["x"]]
    assert all("ApproximateReceiveCount" in texts(m, "Name") for m in messages)
    handles = {f"DeleteMessageBatchRequestEntry.{n}.{k}": v for n, m in enumerate(messages, 1)
               for k, v in (("Id", f"m{n}"), ("ReceiptHandle", m.find(NAMESPACE + "ReceiptHandle").text))}
    status, tree = query("DeleteMessageBatch", QueueUrl=url, **handles)
    assert len(list(tree.iter(NAMESPACE + "DeleteMessageBatchResultEntry"))) == 4
    status, tree = query("GetQueueAttributes", QueueUrl=url, **{"AttributeName.1": "All"})
    shown = {e.find(NAMESPACE + "Name").text: e.find(NAMESPACE + "Value").text for e in tree.iter(NAMESPACE + "Attribute")}
    assert (shown["VisibilityTimeout"], shown["ApproximateNumberOfMessagesNotVisible"]) == ("7", "0")
    status, tree = query("ListQueues", QueueNamePrefix="old")
    assert texts(tree, "QueueUrl") == [url]
    status, tree = query("SendMessage", QueueUrl=url + "x", MessageBody="x")
    assert (status, texts(tree, "Code")) == (400, ["AWS.SimpleQueueService.NonExistentQueue"])
    assert query("DeleteMessage", QueueUrl=url, ReceiptHandle="x")[0] == 404
    assert query("DeleteQueue", QueueUrl=url)[0] == 200


def connections(server):
    text = server.get("/_tidegate/metrics", (ACCESS_KEY, SECRET_KEY))[1]
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("tidegate_connections"))


def test_a_long_poll_whose_client_is_gone_takes_nothing(server, sqs):
    url = make(sqs, "left", VisibilityTimeout=60)
    form = urllib.parse.urlencode({"Action": "ReceiveMessage", "Version": "2012-11-05", "WaitTimeSeconds": "20", "QueueUrl": url})
    request = AWSRequest("POST", server.url + "/", data=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "sqs", REGION).add_auth(request)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    before = connections(server)
    with socket.create_connection(("127.0.0.1", server.port)) as stream:
        text = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {len(form)}\r\n{head}\r\n{form}"
        stream.sendall(text.encode())
        wait_for(lambda: connections(server) > before, what="the waiting connection")
        # It waits by now: what others ask for afterwards is answered.
        assert take(sqs, url) == []
    wait_for(lambda: connections(server) == before, timeout=10, what="the end of the connection, long before its wait")
    sqs.send_message(QueueUrl=url, MessageBody="x")
    (message,) = take(sqs, url, MessageSystemAttributeNames=["ApproximateReceiveCount"])
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def test_refusals_are_in_the_words_of_the_protocol(server, sqs):
    query = Query(server)
    status, tree = query("SendMessage", QueueUrl=make(sqs, "words"))
    assert (status, texts(tree, "Code"), texts(tree, "Message")) == (
        400, ["MissingParameter"], ["The request must contain the parameter MessageBody."])
    form = b"Action=ListQueues&Version=2012-11-05"
    request = AWSRequest("POST", server.url + "/", data=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    SigV4Auth(Credentials(ACCESS_KEY, "not the secret"), "sqs", REGION).add_auth(request)
    with pytest.raises(urllib.error.HTTPError) as away:
        urllib.request.urlopen(urllib.request.Request(request.url, data=form, headers=dict(request.headers)), timeout=10)
    answer = away.value.read().decode()
    assert away.value.code == 403 and "<Code>SignatureDoesNotMatch</Code>" in answer, answer
    # A form of names that mean nothing, and one of too many.
    assert query("ListQueues", **{".".join(["0001"] + ["1"] * 15): "x"})[0] == 200
    assert query("ListQueues", **{f"a{n}": "x" for n in range(3_000)})[0] == 400


def test_a_stop_ends_waiting_receives(new_server):
    server = new_server().start()
    sqs, waiting = server.client("sqs"), server.client("sqs")
    url, other, answers = make(sqs, "waiting"), make(sqs, "other"), []
    before = connections(server)
    waiter = threading.Thread(target=lambda: answers.append(take(waiting, url, WaitTimeSeconds=20)))
    waiter.start()
    wait_for(lambda: connections(server) > before, what="the waiting connection")
    # Calls that came later are answered, so its own has come.
    for _ in range(20):
        sqs.send_message(QueueUrl=other, MessageBody="x")
    began = time.monotonic()
    assert server.stop() == 0
    waiter.join(30)
    assert time.monotonic() - began < 10 and answers == [[]]


class Sender(threading.Thread):
    """Sends numbered messages until told to stop, and keeps what was acknowledged."""

    def __init__(self, server, url, name, stopping, group=None):
        super().__init__(daemon=True)
        self.server, self.url, self.label, self.stopping, self.group = server, url, name, stopping, group
        self.acknowledged, self.unknown, self.count = [], set(), 0

    def run(self):
        client = self.server.client("sqs")
        while not self.stopping.is_set():
            body = f"{self.label}:{self.count}"
            self.count += 1
            more = {"MessageGroupId": self.group, "MessageDeduplicationId": body.replace(":", "-")} if self.group else {}
            try:
                client.send_message(QueueUrl=self.url, MessageBody=body, **more)
                self.acknowledged.append(body)
            except (ClientError, BotoCoreError):
                self.unknown.add(body)
                self.stopping.wait(0.02)


class Receiver(threading.Thread):
    """Receives and deletes until told to stop, and keeps what it saw and what was acknowledged as deleted."""

    def __init__(self, server, url, stopping):
        super().__init__(daemon=True)
        self.server, self.url, self.stopping = server, url, stopping
        self.seen, self.deleted = [], []

    def run(self):
        client = self.server.client("sqs")
        while not self.stopping.is_set():
            try:
                answer = client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=2,
                                                MessageSystemAttributeNames=["ApproximateReceiveCount"])
                for message in answer.get("Messages", []):
                    count = int(message["Attributes"]["ApproximateReceiveCount"])
                    self.seen.append((time.monotonic(), message["Body"], count))
                for message in answer.get("Messages", []):
                    client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                    self.deleted.append((time.monotonic(), message["Body"]))
            except (ClientError, BotoCoreError):
                self.stopping.wait(0.02)


@pytest.mark.parametrize("kind", ["standard", "fifo"])
def test_kills_lose_nothing_and_bring_nothing_back(new_server, kind):
    server = new_server().start()
    sqs = server.client("sqs", retries=5)
    fifo = kind == "fifo"
    url = make(sqs, "kill.fifo", FifoQueue="true") if fifo else make(sqs, "kill")
    stop_sending, stop = threading.Event(), threading.Event()
    senders = [Sender(server, url, f"s{n}", stop_sending, f"g{n}" if fifo else None) for n in range(3)]
    receivers = [Receiver(server, url, stop) for _ in range(2)]
    for thread in senders + receivers:
        thread.start()
    for _ in range(4):
        before = sum(len(s.acknowledged) for s in senders)
        wait_for(lambda: sum(len(s.acknowledged) for s in senders) > before + 30, what="more messages")
        server.kill()
        server.start()
    stop_sending.set()
    for sender in senders:
        sender.join(30)

    def empty():
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return all(counts[name] == "0" for name in names)

    wait_for(empty, 60, "an empty queue")
    stop.set()
    for receiver in receivers:
        receiver.join(30)
    acknowledged = {body for s in senders for body in s.acknowledged}
    unknown = {body for s in senders for body in s.unknown}
    seen = sorted(entry for r in receivers for entry in r.seen)
    bodies = {body for _, body, _ in seen}
    assert len(acknowledged) > 120
    assert acknowledged - bodies == set(), "acknowledged and never seen"
    assert bodies - acknowledged - unknown == set(), "never sent"
    counts = defaultdict(list)
    for _, body, count in seen:
        counts[body].append(count)
    assert all(list(c) == sorted(set(c)) for c in counts.values()), "a count went back"
    for at, body in ((at, body) for r in receivers for at, body in r.deleted):
        assert not [again for again, other, _ in seen if other == body and again > at + 0.3], f"{body} came back"
    if fifo:
        for sender in senders:
            first = {}
            for _, body, _ in seen:
                if body.startswith(sender.label + ":"):
                    first.setdefault(int(body.split(":")[1]), len(first))
            order = list(first)
            assert order == sorted(order), "a group's order was broken"
