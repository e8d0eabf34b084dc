"""Options of event-source mappings through boto3: what each of them does, and that none is accepted and ignored."""

import json
import subprocess
import threading

import pytest
from botocore.exceptions import ClientError
from conftest import ACCESS_KEY, BIN, SECRET_KEY, create_function, create_stream, wait_for
from test_mappings import logged, put, queue

TAKES = """
import base64
def handler(event, context):
    for record in event["Records"]:
        print("took", base64.b64decode(record["kinesis"]["data"]).decode(), "from", record["eventSourceARN"])
"""


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def test_a_registered_consumer_is_an_event_source(server, unique):
    stream = create_stream(server, unique)
    for function in (unique, f"{unique}-2"):
        create_function(server, function, TAKES)
    kinesis, client = server.client("kinesis"), server.client("lambda")
    consumer = kinesis.register_stream_consumer(StreamARN=stream, ConsumerName="c")["Consumer"]["ConsumerARN"]
    shard = kinesis.list_shards(StreamName=unique)["Shards"][0]["ShardId"]
    mine = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition={"Type": "LATEST"})
    source = {"EventSourceArn": consumer, "StartingPosition": "TRIM_HORIZON"}
    mapping = client.create_event_source_mapping(FunctionName=unique, **source)
    assert (mapping["EventSourceArn"], mapping["State"]) == (consumer, "Enabled")
    put(server, unique, "a")
    wait_for(lambda: logged(server, unique, f"took a from {consumer}"), 30, "the record")

    # It is the mapping's alone: the subscription that there was has ended, and there is none beside it.
    with pytest.raises(Exception, match="ResourceInUseException"):
        for _ in mine["EventStream"]:
            pass
    code, message = refused(kinesis.subscribe_to_shard, ConsumerARN=consumer, ShardId=shard,
                            StartingPosition={"Type": "LATEST"})
    assert code == "ResourceInUseException" and "active subscription" in message
    code, message = refused(client.create_event_source_mapping, FunctionName=f"{unique}-2", **source)
    assert code == "ResourceConflictException" and mapping["UUID"] in message
    listed = client.list_event_source_mappings(EventSourceArn=consumer)["EventSourceMappings"]
    assert [one["UUID"] for one in listed] == [mapping["UUID"]]
    assert client.list_event_source_mappings(EventSourceArn=stream)["EventSourceMappings"] == []

    # Without its consumer it keeps its place and says so; one that is registered anew is another.
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)
    put(server, unique, "b")
    problem = f"PROBLEM: Stream consumer not found: {consumer}"
    wait_for(lambda: client.get_event_source_mapping(UUID=mapping["UUID"])["LastProcessingResult"] == problem, 30, "it")
    again = kinesis.register_stream_consumer(StreamARN=stream, ConsumerName="c")["Consumer"]["ConsumerARN"]
    assert again != consumer
    code, message = refused(client.create_event_source_mapping, FunctionName=unique, **source)
    assert code in ("InvalidParameterValueException", "ResourceConflictException")
    client.delete_event_source_mapping(UUID=mapping["UUID"])
    code, message = refused(client.create_event_source_mapping, FunctionName=unique, **source)
    assert (code, message) == ("InvalidParameterValueException", f"Stream consumer not found: {consumer}")
    client.create_event_source_mapping(FunctionName=unique, EventSourceArn=again, StartingPosition="TRIM_HORIZON")
    wait_for(lambda: logged(server, unique, f"took b from {again}"), 30, "what came meanwhile")


def test_a_mapping_has_tags(new_server, unique):
    server = new_server().start()
    stream = create_stream(server, unique)
    create_function(server, unique, TAKES)
    client = server.client("lambda")
    mapping = client.create_event_source_mapping(
        EventSourceArn=stream, FunctionName=unique, StartingPosition="LATEST", Tags={"team": "blue", "x": "1"})
    arn = mapping["EventSourceMappingArn"]
    assert arn.endswith(f":event-source-mapping:{mapping['UUID']}")
    client.tag_resource(Resource=arn, Tags={"team": "red", "new": ""})
    client.untag_resource(Resource=arn, TagKeys=["x", "never"])
    assert client.list_tags(Resource=arn)["Tags"] == {"team": "red", "new": ""}
    assert client.get_event_source_mapping(UUID=mapping["UUID"])["LastModified"] == mapping["LastModified"]
    server.kill()
    server.start()
    assert client.list_tags(Resource=arn)["Tags"] == {"team": "red", "new": ""}
    assert client.list_tags(Resource=f"{arn.split(':event')[0]}:function:{unique}")["Tags"] == {}
    for tags in ({"aws:x": "1"}, {str(n): "" for n in range(50)}):
        assert refused(client.tag_resource, Resource=arn, Tags=tags)[0] == "InvalidParameterValueException"
    client.delete_event_source_mapping(UUID=mapping["UUID"])
    assert refused(client.list_tags, Resource=arn)[0] == "ResourceNotFoundException"


def test_latest_of_a_mapping_that_is_made_disabled(server, unique):
    stream = create_stream(server, unique)
    create_function(server, unique, TAKES)
    client = server.client("lambda")
    made = client.create_event_source_mapping(
        EventSourceArn=stream, FunctionName=unique, StartingPosition="LATEST", Enabled=False)
    assert made["State"] == "Disabled"
    put(server, unique, "before")
    assert client.update_event_source_mapping(UUID=made["UUID"], Enabled=True)["State"] == "Enabled"
    put(server, unique, "after")
    wait_for(lambda: logged(server, unique, "took after"), 30, "the record")
    assert not logged(server, unique, "took before")


def test_events_are_counted_when_that_is_asked_for(server, unique):
    stream = create_stream(server, unique)
    create_function(server, unique, TAKES)
    client = server.client("lambda")
    source = {"EventSourceArn": stream, "FunctionName": unique, "StartingPosition": "TRIM_HORIZON"}
    for group in "ErrorCount", "KafkaMetrics":
        code, message = refused(client.create_event_source_mapping, **source, MetricsConfig={"Metrics": [group]})
        assert code == "InvalidParameterValueException" and group in message
    made = client.create_event_source_mapping(
        **source, MetricsConfig={"Metrics": ["EventCount"]},
        FilterCriteria={"Filters": [{"Pattern": '{"data": [{"anything-but": "no"}]}'}]})
    assert made["MetricsConfig"] == {"Metrics": ["EventCount"]}
    put(server, unique, "a", "no", "b")

    def count(name):
        _, metrics = server.get("/_tidegate/metrics", (ACCESS_KEY, SECRET_KEY))
        start = f'tidegate_lambda_{name}_event_count_total{{mapping="{made["UUID"]}"}} '
        values = [int(line.removeprefix(start)) for line in metrics.splitlines() if line.startswith(start)]
        return values[0] if values else None

    wait_for(lambda: count("invoked") == 2, 30, "both records")
    assert [count(name) for name in ("polled", "filtered_out", "failed_invoke", "dropped")] == [3, 1, 0, 0]
    shown = client.update_event_source_mapping(UUID=made["UUID"], MetricsConfig={"Metrics": []})
    assert "MetricsConfig" not in shown
    put(server, unique, "c")
    wait_for(lambda: logged(server, unique, "took c"), 30, "the record")
    assert count("polled") == 3
    _, metrics = server.get("/_tidegate/metrics", (ACCESS_KEY, SECRET_KEY))
    for name in "invocations_total", "duration_seconds_count", "concurrent_executions":
        assert f'tidegate_lambda_{name}{{function="{unique}"' in metrics
    assert f'tidegate_lambda_iterator_age_seconds_count{{function="{unique}",mapping="{made["UUID"]}"}}' in metrics


# What the calls that make and change a mapping do, and what they refuse: with the code, and a value that asks for it.
EXECUTED = {
    "EventSourceArn", "FunctionName", "Enabled", "BatchSize", "FilterCriteria", "MetricsConfig", "ScalingConfig",
    "MaximumBatchingWindowInSeconds", "ParallelizationFactor", "StartingPosition", "StartingPositionTimestamp",
    "DestinationConfig", "MaximumRecordAgeInSeconds", "BisectBatchOnFunctionError", "MaximumRetryAttempts", "Tags",
    "TumblingWindowInSeconds", "FunctionResponseTypes", "UUID"}
OTHERS = "InvalidParameterValueException"
REFUSED = {
    "KMSKeyArn": ("NotImplemented", "arn:aws:kms:us-east-1:000000000000:key/k"),
    "LoggingConfig": (OTHERS, {"SystemLogLevel": "DEBUG"}),
    "Topics": (OTHERS, ["topic"]),
    "Queues": (OTHERS, ["queue"]),
    "SourceAccessConfigurations": (OTHERS, [{"Type": "BASIC_AUTH", "URI": "arn"}]),
    "SelfManagedEventSource": (OTHERS, {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["broker:9092"]}}),
    "AmazonManagedKafkaEventSourceConfig": (OTHERS, {"ConsumerGroupId": "group"}),
    "SelfManagedKafkaEventSourceConfig": (OTHERS, {"ConsumerGroupId": "group"}),
    "DocumentDBEventSourceConfig": (OTHERS, {"DatabaseName": "d"}),
    "ProvisionedPollerConfig": ("NotImplemented", {"MinimumPollers": 2})}
# The members of what is executed: all of them are done, or refused by tests of their own.
WITHIN = {
    "FilterCriteria": {"Filters"}, "Filter": {"Pattern"}, "EventSourceMappingMetricsConfig": {"Metrics"},
    "ScalingConfig": {"MaximumConcurrency"}, "DestinationConfig": {"OnSuccess", "OnFailure"},
    "OnSuccess": {"Destination"}, "OnFailure": {"Destination"}}


def structures(shape):
    """The structures within a shape, itself first."""
    if shape.type_name == "list":
        yield from structures(shape.member)
    elif shape.type_name == "structure":
        yield shape
        for member in shape.members.values():
            yield from structures(member)


@pytest.mark.parametrize("operation", ["CreateEventSourceMapping", "UpdateEventSourceMapping"])
@pytest.mark.parametrize("source", ["stream", "queue"])
def test_every_member_is_executed_or_refused_by_its_name(server, unique, operation, source):
    client = server.client("lambda")
    members = client.meta.service_model.operation_model(operation).input_shape.members
    undecided = set(members) - EXECUTED - set(REFUSED)
    assert not undecided, f"nothing is decided about {undecided}"
    for name in set(members) & EXECUTED:
        for structure in structures(members[name]):
            assert set(structure.members) == WITHIN[structure.name], f"{structure.name} in {name}"
    create_function(server, unique, TAKES)
    if source == "stream":
        whole = {"EventSourceArn": create_stream(server, unique), "StartingPosition": "LATEST"}
    else:
        whole = {"EventSourceArn": queue(server, unique)[1]}
    whole["FunctionName"] = unique
    call = client.create_event_source_mapping
    if operation == "UpdateEventSourceMapping":
        whole = {"UUID": call(**whole)["UUID"]}
        call = client.update_event_source_mapping
    for name in set(members) & set(REFUSED):
        expected, value = REFUSED[name]
        code, message = refused(call, **whole, **{name: value})
        assert code == expected and name in message, f"{name}: {code} {message}"
    if source == "stream":
        code, message = refused(call, **whole, ScalingConfig={"MaximumConcurrency": 2})
        assert code == OTHERS and "ScalingConfig" in message
    success = {"OnSuccess": {"Destination": "arn:aws:sqs:us-east-1:000000000000:q"}}
    code, message = refused(call, **whole, DestinationConfig=success)
    assert "OnSuccess" in message or "DestinationConfig" in message


def test_a_running_mapping_is_planned(server, unique):
    stream = create_stream(server, unique)
    create_function(server, unique, """
import time
def handler(event, context):
    time.sleep(0.25)
""")
    client, kinesis = server.client("lambda"), server.client("kinesis")
    mapping = client.create_event_source_mapping(
        EventSourceArn=stream, FunctionName=unique, StartingPosition="TRIM_HORIZON", BatchSize=10)["UUID"]
    stopping, rate = threading.Event(), [5]

    def keep_putting():
        while not stopping.wait(0.2):
            kinesis.put_records(StreamName=unique, Records=[{"PartitionKey": "k", "Data": b"x"}] * rate[0])

    def plan(*more):
        done = subprocess.run([BIN, "plan", "--mapping", mapping, "--over", "4s", *more],
                              env=server.client_env(), capture_output=True, text=True, timeout=60)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    putting = threading.Thread(target=keep_putting)
    putting.start()
    try:
        # 25 records a second come, and 10 in a quarter of a second can be handled: 40.
        wait_for(lambda: "OK" == client.get_event_source_mapping(UUID=mapping)["LastProcessingResult"], 30, "a batch")
        code, kept = plan("--batch", "10")
        assert code == 0 and kept["outlook"] in ("keeps up", "catches up"), kept
        assert (kept["shards"], kept["parallelization"], kept["retries"]) == (1, 1, 0)
        assert 0.25 <= kept["duration_s"] < 0.4 and 10 < kept["incoming_per_s"] <= 27
        # 100 a second are too many for one lane; four would do.
        rate[0] = 20
        wait_for(lambda: plan()[1]["incoming_per_s"] > 60, 30, "more records")
        code, late = plan()
        assert code == 1 and late["outlook"] == "falls behind" and late["capacity_per_s"] <= 40
        assert late["batch"] == 10 and late["behind"] > 0 and late["remedies"]["parallelization"] > 1, late
        assert plan("--parallelization", "10")[0] == 0
    finally:
        stopping.set()
        putting.join()
    done = subprocess.run([BIN, "plan", "--mapping", "00000000-0000-4000-8000-000000000000", "--over", "1s"],
                          env=server.client_env(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "cannot be read" in done.stderr
