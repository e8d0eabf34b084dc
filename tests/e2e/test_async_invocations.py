"""What becomes of asynchronous invocations, and of calls that are too many, through boto3."""

import json
import urllib.error
import urllib.request

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from conftest import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY, create_function, wait_for

SOURCE = """
def handler(event, context):
    if "raise" in event:
        raise ValueError(event["raise"])
    return {"doubled": 2 * event["n"]}
"""


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def queue(server, name):
    url = server.client("sqs").create_queue(QueueName=name)["QueueUrl"]
    return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def message(server, url):
    def receive():
        return server.client("sqs").receive_message(QueueUrl=url, MessageAttributeNames=["All"]).get("Messages")
    return wait_for(receive, 30, "a message")[0]


def test_destinations_and_dead_letters(server, unique):
    client = server.client("lambda")
    good, good_arn = queue(server, f"{unique}-good")
    bad, bad_arn = queue(server, f"{unique}-bad")
    dead, dead_arn = queue(server, f"{unique}-dead")
    arn = create_function(server, unique, SOURCE, Timeout=20, DeadLetterConfig={"TargetArn": dead_arn})
    assert client.get_function_configuration(FunctionName=unique)["DeadLetterConfig"] == {"TargetArn": dead_arn}
    put = client.put_function_event_invoke_config(
        FunctionName=unique, MaximumRetryAttempts=0, MaximumEventAgeInSeconds=120,
        DestinationConfig={"OnSuccess": {"Destination": good_arn}, "OnFailure": {"Destination": bad_arn}})
    assert put["FunctionArn"] == arn + ":$LATEST" and put["MaximumRetryAttempts"] == 0

    taken = client.invoke(FunctionName=unique, InvocationType="Event", Payload=b'{"n": 21}')
    told = json.loads(message(server, good)["Body"])
    assert told["requestContext"] == {"requestId": taken["ResponseMetadata"]["RequestId"], "functionArn": arn + ":$LATEST",
                                      "condition": "Success", "approximateInvokeCount": 1}
    assert told["requestPayload"] == {"n": 21} and told["responsePayload"] == {"doubled": 42}
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"} and told["version"] == "1.0"

    taken = client.invoke(FunctionName=unique, InvocationType="Event", Payload=b'{"raise": "bad luck"}')
    told = json.loads(message(server, bad)["Body"])
    assert told["requestContext"]["condition"] == "RetriesExhausted" and told["responseContext"]["functionError"] == "Unhandled"
    assert told["responsePayload"]["errorMessage"] == "bad luck"
    letter = message(server, dead)
    assert json.loads(letter["Body"]) == {"raise": "bad luck"}
    said = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert said == {"RequestID": taken["ResponseMetadata"]["RequestId"], "ErrorCode": "200", "ErrorMessage": "bad luck"}

    client.update_function_event_invoke_config(FunctionName=unique, MaximumRetryAttempts=1)
    got = client.get_function_event_invoke_config(FunctionName=unique)
    assert (got["MaximumRetryAttempts"], got["MaximumEventAgeInSeconds"]) == (1, 120)
    assert got["DestinationConfig"]["OnSuccess"] == {"Destination": good_arn}
    assert len(client.list_function_event_invoke_configs(FunctionName=unique)["FunctionEventInvokeConfigs"]) == 1
    client.delete_function_event_invoke_config(FunctionName=unique)
    code, text = refused(client.get_function_event_invoke_config, FunctionName=unique)
    assert code == "ResourceNotFoundException" and text == f"The function {arn}:$LATEST doesn't have an EventInvokeConfig"
    for more in ({}, {"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:s3:::bucket"}}},
                 {"DestinationConfig": {"OnFailure": {"Destination": bad_arn + "-absent"}}}):
        assert refused(client.put_function_event_invoke_config, FunctionName=unique, **more)[0] == "InvalidParameterValueException"
    assert refused(client.update_function_configuration, FunctionName=unique,
                   DeadLetterConfig={"TargetArn": dead_arn + "-absent"})[0] == "InvalidParameterValueException"
    client.update_function_configuration(FunctionName=unique, DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in client.get_function_configuration(FunctionName=unique)


def call(server, name, headers=None):
    """A signed call by hand: its status, headers and body."""
    request = AWSRequest("POST", f"{server.url}/2015-03-31/functions/{name}/invocations", data=b"{}", headers=headers or {})
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "lambda", REGION).add_auth(request)
    plain = urllib.request.Request(request.url, data=b"{}", headers=dict(request.headers), method="POST")
    try:
        with urllib.request.urlopen(plain, timeout=60) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.load(error)


def test_a_throttled_call_says_which_limit_and_when(server, unique):
    create_function(server, unique, "def handler(e, c): return 1")
    server.client("lambda").put_function_concurrency(FunctionName=unique, ReservedConcurrentExecutions=0)
    status, headers, body = call(server, unique)
    assert (status, headers["Retry-After"], headers["x-amzn-ErrorType"]) == (429, "1", "TooManyRequestsException")
    assert body["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded" and body["message"].startswith("Rate Exceeded.")


def test_the_tracing_header_reaches_the_function(server, unique):
    create_function(server, unique, "import os\ndef handler(e, c): return os.environ['_X_AMZN_TRACE_ID']")
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    assert call(server, unique, {"X-Amzn-Trace-Id": header})[2] == header
    assert call(server, unique)[2].startswith("Root=1-")
