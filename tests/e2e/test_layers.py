"""Layers through boto3, and AWS Lambda Powertools for Python as one."""

import io
import json
import subprocess
import zipfile

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, BIN, REGION, ROLE, ROOT, create_function, create_stream, wait_for, zipped

POWERTOOLS = ROOT / "tests/e2e/handlers/powertools"


def layer_arn(name, number=None):
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{name}" + (f":{number}" if number else "")


def folder(path):
    """A zip of a folder, without what Python compiled."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, file.relative_to(path))
    return out.getvalue()


def test_layers_are_published_used_listed_and_deleted(server, unique):
    client = server.client("lambda")
    first = client.publish_layer_version(
        LayerName=unique, Description="texts", Content={"ZipFile": zipped({"python/texts.py": "TEXT = 'one'"})},
        CompatibleRuntimes=["python3.12"], CompatibleArchitectures=["x86_64"], LicenseInfo="MIT")
    assert (first["LayerArn"], first["LayerVersionArn"], first["Version"]) == (layer_arn(unique), layer_arn(unique, 1), 1)
    assert first["Content"]["CodeSize"] > 0 and first["Content"]["CodeSha256"] and first["LicenseInfo"] == "MIT"
    second = client.publish_layer_version(
        LayerName=layer_arn(unique), Content={"ZipFile": zipped({"python/texts.py": "TEXT = 'two'"})}, CompatibleRuntimes=["python3.13"])
    assert second["Version"] == 2

    source = {"main.py": "import texts\ndef handler(event, context):\n    return texts.TEXT\n"}
    create_function(server, unique, source, Layers=[first["LayerVersionArn"]])
    shown = client.get_function_configuration(FunctionName=unique)["Layers"]
    assert shown == [{"Arn": first["LayerVersionArn"], "CodeSize": first["Content"]["CodeSize"]}]
    said = lambda: json.loads(client.invoke(FunctionName=unique)["Payload"].read())  # noqa: E731
    assert said() == "one"
    client.update_function_configuration(FunctionName=unique, Layers=[second["LayerVersionArn"]])
    assert said() == "two"

    one = client.get_layer_version(LayerName=unique, VersionNumber=1)
    assert one["Description"] == "texts" and one["CompatibleArchitectures"] == ["x86_64"]
    assert client.get_layer_version_by_arn(Arn=layer_arn(unique, 2))["Version"] == 2
    listed = client.list_layer_versions(LayerName=unique)["LayerVersions"]
    assert [version["Version"] for version in listed] == [2, 1]
    matching = client.list_layers(CompatibleRuntime="python3.12")["Layers"]
    assert [layer["LatestMatchingVersion"]["Version"] for layer in matching if layer["LayerName"] == unique] == [1]
    pages = client.get_paginator("list_layer_versions").paginate(LayerName=unique, PaginationConfig={"PageSize": 1})
    assert [version["Version"] for page in pages for version in page["LayerVersions"]] == [2, 1]

    client.delete_layer_version(LayerName=unique, VersionNumber=2)
    client.delete_layer_version(LayerName=unique, VersionNumber=2)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_layer_version(LayerName=unique, VersionNumber=2)
    assert said() == "two", "who uses a deleted version keeps it"
    client.update_function_configuration(FunctionName=unique, Layers=[])
    assert "Layers" not in client.get_function_configuration(FunctionName=unique)
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=f"{unique}:2 does not exist"):
        client.update_function_configuration(FunctionName=unique, Layers=[layer_arn(unique, 2)])
    with pytest.raises(ClientError) as refused:
        client.publish_layer_version(LayerName=unique, Content={"S3Bucket": "bucket", "S3Key": "key"})
    assert refused.value.response["Error"]["Code"] == "NotImplemented"


def test_powertools_for_python(server, unique):
    assert (POWERTOOLS / "target/python").exists(), "run scripts/sdks powertools"
    client, kinesis = server.client("lambda"), server.client("kinesis")
    layer = client.publish_layer_version(LayerName=unique, Content={"ZipFile": folder(POWERTOOLS / "target")})
    source = {"main.py": (POWERTOOLS / "main.py").read_text()}
    create_function(server, unique, source, Layers=[layer["LayerVersionArn"]], Timeout=60, MemorySize=512)
    stream = create_stream(server, unique)
    findings = [{"number": n, "kind": "poison" if n == 3 else "finding"} for n in range(6)]
    kinesis.put_records(StreamName=unique, Records=[{"Data": json.dumps(f), "PartitionKey": "one"} for f in findings])
    client.create_event_source_mapping(
        FunctionName=unique, EventSourceArn=stream, StartingPosition="TRIM_HORIZON", BatchSize=10,
        FunctionResponseTypes=["ReportBatchItemFailures"], MaximumRetryAttempts=1, BisectBatchOnFunctionError=True)

    def lines():
        out = subprocess.run([BIN, "logs", unique], env=server.client_env(), capture_output=True, text=True, timeout=30)
        return [json.loads(line[line.index("{"):]) for line in out.stdout.splitlines() if '{"' in line]

    def taken():
        return {line["number"] for line in lines() if line.get("message") == "taken"} == {0, 1, 2, 4, 5}

    wait_for(taken, timeout=60, what="every finding but the poisoned one")
    logged = lines()
    told = next(line for line in logged if line.get("message") == "taken")
    assert (told["service"], told["level"], told["function_name"]) == ("intake", "INFO", unique)
    assert told["function_arn"].endswith(f":function:{unique}") and told["function_request_id"] and told["cold_start"] in (True, False)
    assert told["xray_trace_id"].startswith("1-"), "the logger finds the trace header"
    metrics = [line for line in logged if "_aws" in line]
    counted = [sum(line["Taken"]) if isinstance(line["Taken"], list) else line["Taken"] for line in metrics if "Taken" in line]
    assert sum(counted) >= 5 and all(line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Tidegate" for line in metrics)
    assert any(line.get("ColdStart") for line in metrics)
