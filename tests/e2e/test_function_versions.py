"""Versions, aliases, tags, concurrency and policies of functions through boto3."""

import json

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, REGION, ROLE, Told, create_function, create_stream, wait_for, zipped

SOURCE = "def handler(event, context):\n    return ['{}', context.function_version, context.invoked_function_arn]\n"


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def arn_of(name, qualifier=None):
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}" + (f":{qualifier}" if qualifier else "")


def called(client, name, **more):
    answer = client.invoke(FunctionName=name, **more)
    return answer["ExecutedVersion"], json.loads(answer["Payload"].read())


def test_versions_and_aliases(server, unique):
    client = server.client("lambda")
    made = client.create_function(FunctionName=unique, Runtime="python3.11", Role=ROLE, Handler="main.handler", Publish=True,
                                  Code={"ZipFile": zipped({"main.py": SOURCE.format("one")})})
    assert (made["Version"], made["FunctionArn"]) == ("1", arn_of(unique, 1))
    # Terraform asks this with every look at a function.
    signing = client.get_function_code_signing_config(FunctionName=unique)
    assert signing["FunctionName"] == unique and "CodeSigningConfigArn" not in signing
    updated = client.update_function_code(FunctionName=unique, ZipFile=zipped({"main.py": SOURCE.format("two")}), Publish=True)
    assert updated["Version"] == "2" and updated["CodeSha256"] != made["CodeSha256"]
    dry = client.update_function_code(FunctionName=unique, ZipFile=zipped({"main.py": SOURCE.format("dry")}), DryRun=True)
    assert dry["Version"] == "$LATEST" and dry["CodeSha256"] != updated["CodeSha256"]
    assert client.publish_version(FunctionName=unique)["Version"] == "2", "nothing has changed"

    alias = client.create_alias(FunctionName=unique, Name="live", FunctionVersion="1", Description="what runs")
    assert alias["AliasArn"] == arn_of(unique, "live") and alias["FunctionVersion"] == "1"
    for target, qualifier, version, text in [
        (unique, None, "$LATEST", "two"), (unique, "1", "1", "one"), (f"{unique}:2", None, "2", "two"),
        (arn_of(unique, "live"), None, "1", "one"), (unique, "live", "1", "one"), (unique, "$LATEST", "$LATEST", "two"),
    ]:
        more = {"Qualifier": qualifier} if qualifier else {}
        expected = arn_of(unique, qualifier or (target.rsplit(":", 1)[1] if ":" in target else None))
        assert called(client, target, **more) == (version, [text, version, expected]), target
    changed = client.update_alias(FunctionName=unique, Name="live", FunctionVersion="2", RevisionId=alias["RevisionId"],
                                  RoutingConfig={"AdditionalVersionWeights": {"1": 1.0}})
    assert called(client, unique, Qualifier="live")[0] == "1" and changed["RoutingConfig"]["AdditionalVersionWeights"] == {"1": 1.0}
    code, _ = refused(client.update_alias, FunctionName=unique, Name="live", RevisionId=alias["RevisionId"])
    assert code == "PreconditionFailedException"
    assert [a["Name"] for a in client.list_aliases(FunctionName=unique, FunctionVersion="1")["Aliases"]] == ["live"]

    shown = client.get_function(FunctionName=unique, Qualifier="live")["Configuration"]
    assert (shown["Version"], shown["FunctionArn"]) == ("2", arn_of(unique, "live"))
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=unique, PaginationConfig={"PageSize": 2})
    assert [v["FunctionArn"] for page in pages for v in page["Versions"]] == [arn_of(unique, q) for q in ("$LATEST", 1, 2)]
    pages = client.get_paginator("list_functions").paginate(FunctionVersion="ALL", PaginationConfig={"PageSize": 1})
    mine = [f["FunctionArn"] for page in pages for f in page["Functions"] if f["FunctionName"] == unique]
    assert mine == [arn_of(unique, q) for q in ("$LATEST", 1, 2)]

    code, message = refused(client.delete_function, FunctionName=unique, Qualifier="2")
    assert code == "ResourceConflictException" and "live" in message
    client.put_function_event_invoke_config(FunctionName=unique, Qualifier="live", MaximumRetryAttempts=0)
    client.delete_alias(FunctionName=unique, Name="live")
    assert client.list_function_event_invoke_configs(FunctionName=unique)["FunctionEventInvokeConfigs"] == []
    assert refused(client.get_alias, FunctionName=unique, Name="live") == (
        "ResourceNotFoundException", f"Cannot find alias arn: {arn_of(unique, 'live')}")
    client.delete_function(FunctionName=unique, Qualifier="1")
    assert refused(client.invoke, FunctionName=unique, Qualifier="1") == (
        "ResourceNotFoundException", f"Function not found: {arn_of(unique, 1)}")
    code, _ = refused(client.create_alias, FunctionName=unique, Name="bad", FunctionVersion="9")
    assert code == "ResourceNotFoundException"
    code, _ = refused(client.create_alias, FunctionName=unique, Name="12", FunctionVersion="2")
    assert code == "ValidationException"


def test_a_mapping_and_an_asynchronous_call_keep_their_version(server, unique):
    client = server.client("lambda")
    told = Told(server, unique)
    source = told.source + """
def handler(event, context):
    tell(context.function_version + " " + context.invoked_function_arn.split(":", 6)[6] + " %s")
"""
    create_function(server, unique, source % "old", Timeout=20)
    client.publish_version(FunctionName=unique)
    client.create_alias(FunctionName=unique, Name="live", FunctionVersion="1")
    client.update_function_code(FunctionName=unique, ZipFile=zipped({"main.py": source % "new"}))
    stream = create_stream(server, unique)
    mapping = client.create_event_source_mapping(FunctionName=arn_of(unique, "live"), EventSourceArn=stream, StartingPosition="TRIM_HORIZON")
    assert mapping["FunctionArn"] == arn_of(unique, "live")
    server.client("kinesis").put_record(StreamName=unique, PartitionKey="k", Data=b"x")
    wait_for(lambda: len(told.words()) == 1, 30, "the mapping's call")
    client.invoke(FunctionName=unique, Qualifier="1", InvocationType="Event")
    wait_for(lambda: len(told.words()) == 2, 30, "the asynchronous call")
    assert told.words() == [f"1 {unique}:live old", f"1 {unique}:1 old"]
    found = client.list_event_source_mappings(FunctionName=f"{unique}:live")["EventSourceMappings"]
    assert [m["UUID"] for m in found] == [mapping["UUID"]]
    client.delete_event_source_mapping(UUID=mapping["UUID"])


def test_tags_concurrency_and_policy(server, unique):
    client = server.client("lambda")
    arn = create_function(server, unique, "def handler(e, c): return 1", Tags={"team": "blue"})
    client.tag_resource(Resource=arn, Tags={"stage": "test"})
    client.untag_resource(Resource=arn, TagKeys=["team"])
    assert client.list_tags(Resource=arn)["Tags"] == {"stage": "test"} == client.get_function(FunctionName=unique)["Tags"]

    limit = client.get_account_settings()["AccountLimit"]
    assert client.put_function_concurrency(FunctionName=unique, ReservedConcurrentExecutions=2)["ReservedConcurrentExecutions"] == 2
    assert client.get_function_concurrency(FunctionName=unique)["ReservedConcurrentExecutions"] == 2
    assert client.get_function(FunctionName=unique)["Concurrency"] == {"ReservedConcurrentExecutions": 2}
    now = client.get_account_settings()["AccountLimit"]
    assert now["UnreservedConcurrentExecutions"] == limit["UnreservedConcurrentExecutions"] - 2
    code, message = refused(client.put_function_concurrency, FunctionName=unique, ReservedConcurrentExecutions=limit["ConcurrentExecutions"])
    assert code == "InvalidParameterValueException" and "UnreservedConcurrentExecution" in message
    client.put_function_concurrency(FunctionName=unique, ReservedConcurrentExecutions=0)
    assert refused(client.invoke, FunctionName=unique)[0] == "TooManyRequestsException"
    client.delete_function_concurrency(FunctionName=unique)
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=unique)
    assert called(client, unique) == ("$LATEST", 1)

    added = client.add_permission(FunctionName=unique, StatementId="topic", Action="lambda:InvokeFunction", Principal="sns.amazonaws.com",
                                  SourceArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:t")
    statement = json.loads(added["Statement"])
    assert statement["Principal"] == {"Service": "sns.amazonaws.com"} and statement["Resource"] == arn
    assert json.loads(client.get_policy(FunctionName=unique)["Policy"])["Statement"] == [statement]
    code, _ = refused(client.add_permission, FunctionName=unique, StatementId="url", Action="lambda:InvokeFunctionUrl", Principal="*",
                      FunctionUrlAuthType="NONE")
    assert code == "NotImplemented"
    client.remove_permission(FunctionName=unique, StatementId="topic")
    assert refused(client.get_policy, FunctionName=unique)[0] == "ResourceNotFoundException"
    assert refused(client.create_function_url_config, FunctionName=unique, AuthType="NONE")[0] == "NotImplemented"
