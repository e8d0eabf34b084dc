"""The talk's pipeline, made through the public APIs with boto3."""

import json
import urllib.error

from conftest import ACCOUNT, REGION, ROLE, confirmed_subscription, create_function, create_stream

ALERT_CODE = '''
import base64, json, os
import boto3

sns = boto3.client("sns")

def handler(event, context):
    for record in event["Records"]:
        envelope = json.loads(base64.b64decode(record["kinesis"]["data"]))
        detail = envelope["detail"]
        print("saw", record["kinesis"]["sequenceNumber"], record["eventID"].split(":")[0], envelope["id"])
        if detail.get("eventName") != "TerminateInstances":
            continue
        user = detail["userIdentity"].get("arn") or detail["userIdentity"].get("userName")
        for item in (detail.get("requestParameters") or {}).get("instancesSet", {}).get("items", []):
            sns.publish(TopicArn=os.environ["TOPIC_ARN"], Subject="instance terminated",
                        Message=f"user {user} terminated instance {item['instanceId']} "
                                f"from IP {detail['sourceIPAddress']} at {detail['eventTime']}")
'''


class Pipeline:
    """Bus rule → stream → function → topic → webhook, and stream → delivery → index."""

    def __init__(self, server, webhook, name="trail", pattern=None, shards=2, code=ALERT_CODE, buffer_seconds=1,
                 state="ENABLED", batch_size=100, partition_key_path=None):
        self.server, self.webhook, self.name = server, webhook, name
        self.stream_arn = create_stream(server, name, shards)
        sns, events = server.client("sns"), server.client("events")
        self.topic_arn = sns.create_topic(Name=f"{name}-alerts")["TopicArn"]
        self.subscription_arn = confirmed_subscription(server, self.topic_arn, webhook)
        self.function_arn = create_function(server, f"{name}-alert", code, Timeout=30,
                                            Environment={"Variables": {"TOPIC_ARN": self.topic_arn}})
        mapping = server.client("lambda").create_event_source_mapping(
            EventSourceArn=self.stream_arn, FunctionName=f"{name}-alert", StartingPosition="TRIM_HORIZON",
            BatchSize=batch_size)
        self.mapping_id = mapping["UUID"]
        self.index = f"{name}-index"
        server.client("firehose").create_delivery_stream(
            DeliveryStreamName=f"{name}-search", DeliveryStreamType="KinesisStreamAsSource",
            KinesisStreamSourceConfiguration={"KinesisStreamARN": self.stream_arn, "RoleARN": ROLE},
            AmazonopensearchserviceDestinationConfiguration={
                "RoleARN": ROLE, "DomainARN": f"arn:aws:es:{REGION}:{ACCOUNT}:domain/tidegate", "IndexName": self.index,
                "IndexRotationPeriod": "NoRotation", "S3BackupMode": "FailedDocumentsOnly",
                "BufferingHints": {"IntervalInSeconds": buffer_seconds, "SizeInMBs": 1},
                "S3Configuration": {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::backup", "Prefix": f"{name}/"},
            })
        target = {"Id": "stream", "Arn": self.stream_arn, "RoleArn": ROLE}
        if partition_key_path:
            target["KinesisParameters"] = {"PartitionKeyPath": partition_key_path}
        # Calls to this server are on the bus as well: its own account is left out.
        pattern = pattern or {"detail-type": [{"prefix": "AWS "}], "account": [{"anything-but": ACCOUNT}]}
        events.put_rule(Name=name, EventPattern=json.dumps(pattern), State=state)
        answer = events.put_targets(Rule=name, Targets=[target])
        assert answer["FailedEntryCount"] == 0, answer

    def count(self, query=None):
        """How many documents the index has for a query; none while the first delivery has not made the index."""
        try:
            answer = self.server.search(self.index, {"query": query or {"match_all": {}}, "size": 0, "track_total_hits": True})
        except urllib.error.HTTPError as error:
            if error.code == 404 and json.load(error)["error"]["type"] == "index_not_found_exception":
                return 0
            raise
        return answer["hits"]["total"]["value"]

    def documents(self):
        """Every document's source, read in pages."""
        found, after = [], 0
        while True:
            answer = self.server.search(self.index, {"query": {"match_all": {}}, "size": 1000, "from": after})
            hits = answer["hits"]["hits"]
            found += hits
            after += len(hits)
            if len(hits) < 1000:
                return found
