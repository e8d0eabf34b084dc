"""What runs by the clock: EventBridge Scheduler, archives and replays through boto3."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError
from conftest import ACCOUNT, REGION, ROLE, Server, create_stream, read_stream, wait_for

OFF = {"Mode": "OFF"}


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def data_of(server, stream):
    return [r["Data"].decode() for shard in read_stream(server, stream).values() for r in shard]


def queue(server, name):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    return sqs, url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def test_a_schedule_and_its_life(server, unique):
    arn = create_stream(server, unique)
    scheduler = server.client("scheduler")
    target = {"Arn": arn, "RoleArn": ROLE, "Input": "<aws.scheduler.scheduled-time>", "KinesisParameters": {"PartitionKey": "k"}}
    made = scheduler.create_schedule(
        Name=unique, ScheduleExpression="rate(1 minutes)", FlexibleTimeWindow=OFF, Target=target, Description="d")["ScheduleArn"]
    assert made == f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{unique}"
    wait_for(lambda: data_of(server, unique), 20, "the first run, which is at once")
    shown = scheduler.get_schedule(Name=unique)
    assert (shown["State"], shown["GroupName"], shown["ScheduleExpressionTimezone"]) == ("ENABLED", "default", "UTC")
    assert shown["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert shown["Target"]["KinesisParameters"] == {"PartitionKey": "k"} and shown["ActionAfterCompletion"] == "NONE"
    scheduler.update_schedule(Name=unique, ScheduleExpression="cron(0 9 ? * MON-FRI *)", State="DISABLED",
                              ScheduleExpressionTimezone="Europe/Berlin", FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
                              Target=target)
    shown = scheduler.get_schedule(Name=unique)
    assert (shown["State"], shown["ScheduleExpressionTimezone"]) == ("DISABLED", "Europe/Berlin")
    assert shown["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15} and "Description" not in shown
    listed = scheduler.list_schedules(NamePrefix=unique, State="DISABLED")["Schedules"]
    assert [(s["Name"], s["Target"]["Arn"]) for s in listed] == [(unique, arn)]
    scheduler.delete_schedule(Name=unique)
    assert refused(scheduler.get_schedule, Name=unique) == ("ResourceNotFoundException", f"Schedule {unique} does not exist.")


def test_once_and_then_deleted_with_its_dead_letter(server, unique):
    sqs, url, dead = queue(server, unique)
    scheduler = server.client("scheduler")
    soon = (datetime.now(timezone.utc) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%S")
    nowhere = {"Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:absent-{unique}", "RoleArn": ROLE, "Input": '{"a": 1}',
               "DeadLetterConfig": {"Arn": dead}, "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}}
    scheduler.create_schedule(Name=unique, ScheduleExpression=f"at({soon})", FlexibleTimeWindow=OFF, Target=nowhere,
                              ActionAfterCompletion="DELETE")

    def letters():
        return sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=1).get("Messages")

    message = wait_for(letters, 30, "the dead letter")[0]
    assert json.loads(message["Body"]) == {"a": 1}
    said = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert said["ERROR_CODE"] == "ResourceNotFoundException" and said["TARGET_ARN"] == nowhere["Arn"]
    assert said["SCHEDULE_ARN"].endswith(f"schedule/default/{unique}")

    def gone():
        return not scheduler.list_schedules(NamePrefix=unique)["Schedules"]

    wait_for(gone, 20, "the schedule to be deleted")


def test_groups_tags_and_refusals(server, unique):
    arn = create_stream(server, unique)
    scheduler = server.client("scheduler")
    target = {"Arn": arn, "RoleArn": ROLE, "KinesisParameters": {"PartitionKey": "k"}}
    made = scheduler.create_schedule_group(Name=unique, Tags=[{"Key": "a", "Value": "1"}])["ScheduleGroupArn"]
    assert refused(scheduler.create_schedule_group, Name=unique)[0] == "ConflictException"
    scheduler.tag_resource(ResourceArn=made, Tags=[{"Key": "b", "Value": "2"}])
    scheduler.untag_resource(ResourceArn=made, TagKeys=["a"])
    assert scheduler.list_tags_for_resource(ResourceArn=made)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert scheduler.get_schedule_group(Name=unique)["State"] == "ACTIVE"
    names = [g["Name"] for g in scheduler.list_schedule_groups()["ScheduleGroups"]]
    assert "default" in names and unique in names

    def create(name=unique, expression="rate(5 minutes)", window=OFF, **more):
        return {"Name": name, "GroupName": unique, "ScheduleExpression": expression, "FlexibleTimeWindow": window, "Target": target} | more

    scheduler.create_schedule(**create(ClientToken="t", State="DISABLED"))
    scheduler.create_schedule(**create(ClientToken="t", State="DISABLED"))
    assert refused(scheduler.create_schedule, **create(ClientToken="u", State="DISABLED"))[0] == "ConflictException"
    code = refused(scheduler.create_schedule, **create(name="x", expression="rate(5 seconds)"))
    assert code == ("ValidationException", "Invalid Schedule Expression rate(5 seconds).")
    assert refused(scheduler.create_schedule, **create(name="x", ScheduleExpressionTimezone="Europe/Atlantis"))[0] == "ValidationException"
    assert refused(scheduler.create_schedule, **create(name="x", window={"Mode": "FLEXIBLE"}))[0] == "ValidationException"
    assert refused(scheduler.create_schedule, **create(name="x", GroupName="absent-" + unique))[0] == "ResourceNotFoundException"
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/k"
    assert refused(scheduler.create_schedule, **create(name="x", KmsKeyArn=key))[0] == "NotImplemented"
    universal = {"Arn": "arn:aws:scheduler:::aws-sdk:sqs:sendMessage", "RoleArn": ROLE}
    assert refused(scheduler.create_schedule, **create(name="x", Target=universal))[0] == "NotImplemented"
    cluster = {"Arn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/c", "RoleArn": ROLE, "EcsParameters": {"TaskDefinitionArn": "t"}}
    assert refused(scheduler.create_schedule, **create(name="x", Target=cluster))[0] == "NotImplemented"
    assert refused(scheduler.delete_schedule_group, Name="default")[0] == "ValidationException"
    scheduler.delete_schedule_group(Name=unique)
    assert refused(scheduler.get_schedule_group, Name=unique)[0] == "ResourceNotFoundException"
    assert refused(scheduler.get_schedule, Name=unique, GroupName=unique)[0] == "ResourceNotFoundException"


def test_a_schedule_survives_a_kill(tmp_path, unique):
    server = Server(tmp_path / "data").start()
    try:
        arn = create_stream(server, unique)
        soon = (datetime.now(timezone.utc) + timedelta(seconds=4)).strftime("%Y-%m-%dT%H:%M:%S")
        target = {"Arn": arn, "RoleArn": ROLE, "Input": "once", "KinesisParameters": {"PartitionKey": "k"}}
        server.client("scheduler").create_schedule(
            Name=unique, ScheduleExpression=f"at({soon})", FlexibleTimeWindow=OFF, Target=target)
        server.kill()
        server.start()
        wait_for(lambda: data_of(server, unique), 30, "the run after the kill")
        server.kill()
        server.start()
        assert data_of(server, unique) == ["once"]
    finally:
        server.kill()


def test_archive_and_replay(server, unique):
    events = server.client("events")
    streams = {name: create_stream(server, f"{unique}-{name}") for name in ("a", "b")}
    bus = events.create_event_bus(Name=unique)["EventBusArn"]
    rules = {}
    for name, arn in streams.items():
        rules[name] = events.put_rule(Name=name, EventBusName=unique, EventPattern='{"source": ["mine"]}')["RuleArn"]
        events.put_targets(Rule=name, EventBusName=unique, Targets=[{"Id": "1", "Arn": arn, "RoleArn": ROLE}])
    made = events.create_archive(ArchiveName=unique, EventSourceArn=bus, EventPattern='{"source": ["mine"]}', RetentionDays=7)
    assert made["State"] == "ENABLED"
    assert refused(events.create_archive, ArchiveName=unique, EventSourceArn=bus)[0] == "ResourceAlreadyExistsException"
    assert refused(events.create_archive, ArchiveName="x", EventSourceArn=bus, EventPattern="{")[0] == "InvalidEventPatternException"
    entries = [{"Source": source, "DetailType": "t", "Detail": json.dumps({"n": n}), "EventBusName": unique}
               for n, source in enumerate(["mine", "other", "mine"])]
    began = datetime.now(timezone.utc) - timedelta(minutes=1)
    assert events.put_events(Entries=entries)["FailedEntryCount"] == 0
    wait_for(lambda: events.describe_archive(ArchiveName=unique)["EventCount"] == 2, 20, "two archived events")
    shown = events.describe_archive(ArchiveName=unique)
    assert (shown["RetentionDays"], shown["EventSourceArn"]) == (7, bus) and shown["SizeBytes"] > 100
    events.update_archive(ArchiveName=unique, RetentionDays=0)
    assert [(a["ArchiveName"], a["RetentionDays"]) for a in events.list_archives(NamePrefix=unique)["Archives"]] == [(unique, 0)]
    wait_for(lambda: all(len(data_of(server, f"{unique}-{n}")) == 2 for n in streams), 20, "the events themselves")

    window = {"EventStartTime": began, "EventEndTime": datetime.now(timezone.utc) + timedelta(minutes=1)}
    destination = {"Arn": bus, "FilterArns": [rules["a"]]}
    started = events.start_replay(ReplayName=unique, EventSourceArn=made["ArchiveArn"], Destination=destination, **window)
    assert started["State"] == "STARTING"
    wait_for(lambda: events.describe_replay(ReplayName=unique)["State"] == "COMPLETED", 30, "the replay")
    wait_for(lambda: len(data_of(server, f"{unique}-a")) == 4, 20, "the replayed events")
    again = [json.loads(text) for text in data_of(server, f"{unique}-a")]
    assert [(e["detail"]["n"], e.get("replay-name")) for e in again] == [(0, None), (2, None), (0, unique), (2, unique)]
    assert len(data_of(server, f"{unique}-b")) == 2
    assert events.describe_archive(ArchiveName=unique)["EventCount"] == 2
    shown = events.describe_replay(ReplayName=unique)
    assert shown["Destination"] == destination and shown["EventLastReplayedTime"]
    assert [r["State"] for r in events.list_replays(NamePrefix=unique)["Replays"]] == ["COMPLETED"]
    assert refused(events.cancel_replay, ReplayName=unique)[0] == "IllegalStatusException"
    assert refused(events.start_replay, ReplayName=unique, EventSourceArn=made["ArchiveArn"], Destination=destination, **window)[0] \
        == "ResourceAlreadyExistsException"
    elsewhere = {"Arn": f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"}
    assert refused(events.start_replay, ReplayName="x", EventSourceArn=made["ArchiveArn"], Destination=elsewhere, **window)[1] \
        == "Parameter Destination.Arn is not valid. Reason: Cross event bus replay is not permitted."
    events.delete_archive(ArchiveName=unique)
    assert refused(events.describe_archive, ArchiveName=unique) == ("ResourceNotFoundException", f"Archive {unique} does not exist.")
