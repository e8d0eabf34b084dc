"""The talk's pipeline, end to end, on real CloudTrail events."""

import gzip
import json
import subprocess

import pytest
from conftest import BIN, DATA, wait_for, read_stream
from pipeline import Pipeline

TRAIL = DATA / "cloudtrail"


def real_records():
    if not TRAIL.is_dir():
        pytest.skip(f"the CloudTrail data set is not at {TRAIL}; set TIDEGATE_TEST_DATA")
    records = []
    for path in sorted(TRAIL.glob("*.json.gz")):
        records += json.loads(gzip.decompress(path.read_bytes()))["Records"]
    return records


def ingest(server, *paths):
    return subprocess.run([BIN, "ingest", *map(str, paths)], env=server.client_env(), capture_output=True, text=True, timeout=300)


def function_saw(server, name):
    """(shard, sequence number, event id) of every record that the function printed, in the order of its log."""
    out = subprocess.run([BIN, "logs", name], env=server.client_env(), capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    seen = []
    for line in out.stdout.splitlines():
        words = line.split()
        if "saw" in words:
            number, shard, event = words[words.index("saw") + 1:][:3]
            seen.append((shard, number, event))
    return seen


def test_the_talk_s_pipeline_on_real_events(new_server, webhook):
    records = real_records()
    writes = {r["eventID"]: r for r in records if r["readOnly"] is False}
    assert (len(records), len(writes)) == (2900, 574)
    server = new_server().start()
    pipeline = Pipeline(server, webhook)

    result = ingest(server, TRAIL)
    assert result.returncode == 0, result.stderr

    wait_for(lambda: pipeline.count() >= len(writes), 120, "the last document")
    wait_for(lambda: len(webhook.texts()) >= 2, 60, "two alerts")
    again = ingest(server, TRAIL)
    assert again.returncode == 0, again.stderr

    # exactly the write events reached the stream and the function, in order per shard
    in_stream = {}
    for shard, found in read_stream(server, pipeline.name).items():
        in_stream[shard] = [(r["SequenceNumber"], json.loads(r["Data"])["id"]) for r in found]
    ids = [event for shard in in_stream.values() for _, event in shard]
    assert sorted(ids) == sorted(writes)
    wait_for(lambda: len(function_saw(server, "trail-alert")) >= len(writes), 60, "the function's log")
    seen = function_saw(server, "trail-alert")
    for shard, found in in_stream.items():
        assert [(n, e) for s, n, e in seen if s == shard] == found, f"order on {shard}"
        assert found == sorted(found)

    # each of the two TerminateInstances gave its alert, once
    expected = {
        f"user {r['userIdentity']['arn']} terminated instance {item['instanceId']} from IP {r['sourceIPAddress']} at {r['eventTime']}"
        for r in writes.values() if r["eventName"] == "TerminateInstances"
        for item in r["requestParameters"]["instancesSet"]["items"]
    }
    assert len(expected) == 2
    assert sorted(webhook.texts()) == sorted(expected)

    # every write event is found by search exactly once, also after ingesting twice
    documents = pipeline.documents()
    assert sorted(d["_source"]["id"] for d in documents) == sorted(writes)
    numbers = {n for shard in in_stream.values() for n, _ in shard}
    assert all(any(n in d["_id"] for n in numbers) for d in documents[:20])
    assert pipeline.count({"match": {"detail.eventName": "TerminateInstances"}}) == 2
    assert pipeline.count({"query_string": {"query": "detail.eventName:TerminateInstances AND detail.sourceIPAddress:192.168.10.20"}}) == 2
    assert pipeline.count({"bool": {"must_not": [{"term": {"source.keyword": "aws.ec2"}}]}}) == sum(
        r["eventSource"] != "ec2.amazonaws.com" for r in writes.values())
    assert server.stop() == 0, server.log()[-4000:]


def test_a_rule_for_all_management_events_sees_reads_too(new_server, webhook):
    records = real_records()
    server = new_server().start()
    pipeline = Pipeline(server, webhook, state="ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS")
    assert ingest(server, TRAIL).returncode == 0
    wait_for(lambda: pipeline.count() >= len(records), 120, "the last document")
    assert sorted(d["_source"]["id"] for d in pipeline.documents()) == sorted(r["eventID"] for r in records)


def test_events_carry_what_aws_puts_on_the_bus(new_server, webhook):
    records = {r["eventID"]: r for r in real_records()}
    server = new_server().start()
    pipeline = Pipeline(server, webhook, shards=1)
    assert ingest(server, TRAIL).returncode == 0
    wait_for(lambda: pipeline.count() >= 574, 120, "the last document")
    kinds = {"AwsApiCall": "AWS API Call via CloudTrail", "AwsConsoleSignIn": "AWS Console Sign In via CloudTrail",
             "AwsServiceEvent": "AWS Service Event via CloudTrail"}
    for found in read_stream(server, pipeline.name).values():
        for record in found:
            event = json.loads(record["Data"])
            detail = records[event["id"]]
            assert event["detail"] == detail
            assert event["version"] == "0"
            assert event["detail-type"] == kinds[detail["eventType"]]
            assert event["source"] == "aws." + detail["eventSource"].split(".")[0]
            assert (event["account"], event["region"]) == (detail["recipientAccountId"], detail["awsRegion"])
            assert event["time"] == detail["eventTime"]
            assert isinstance(event["resources"], list)


def test_refused_documents_go_to_the_backup_bucket(new_server, webhook):
    server = new_server().start()
    pipeline = Pipeline(server, webhook, shards=1, code="def handler(event, context): pass")
    server.client("kinesis").put_record(StreamName=pipeline.name, PartitionKey="k", Data=b"this is no JSON")
    server.client("kinesis").put_record(StreamName=pipeline.name, PartitionKey="k", Data=b'{"id": "fine"}')
    wait_for(lambda: pipeline.count() == 1, 60, "the good document")
    folder = server.folder / "objects" / "backup" / "trail"
    files = wait_for(lambda: folder.is_dir() and [p for p in folder.rglob("*") if p.is_file()], 60, "the refused document")
    import base64
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert [base64.b64decode(line["rawData"]) for line in lines] == [b"this is no JSON"]
    assert lines[0]["errorMessage"]


def test_a_broken_file_is_named_and_the_rest_goes_on(new_server, webhook, tmp_path):
    server = new_server().start()
    pipeline = Pipeline(server, webhook, shards=1, code="def handler(event, context): pass")
    record = {"eventVersion": "1.08", "eventSource": "ec2.amazonaws.com", "eventName": "RunInstances", "awsRegion": "us-east-1",
              "eventTime": "2026-01-01T00:00:00Z", "readOnly": False, "eventType": "AwsApiCall", "managementEvent": True,
              "recipientAccountId": "111111111111", "sourceIPAddress": "198.51.100.1", "userIdentity": {"type": "IAMUser"}}
    folder = tmp_path / "trail"
    folder.mkdir()
    (folder / "1.json").write_text(json.dumps({"Records": [record | {"eventID": "one"}]}))
    (folder / "2.json").write_text('{"Records": [{"eventID": "two", ')
    (folder / "3.json.gz").write_bytes(gzip.compress(json.dumps({"Records": [record | {"eventID": "three"}]}).encode()))
    (folder / "4.ndjson").write_text(json.dumps(record | {"eventID": "four"}) + "\nnot json\n" + json.dumps(record | {"eventID": "five"}) + "\n")
    result = ingest(server, folder)
    assert result.returncode == 1
    assert "2.json" in result.stderr and "4.ndjson" in result.stderr
    wait_for(lambda: pipeline.count() == 4, 60, "the good events")
    assert sorted(d["_source"]["id"] for d in pipeline.documents()) == ["five", "four", "one", "three"]
