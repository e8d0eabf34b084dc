"""Tells a topic what looks like an attack. An ordinary AWS Lambda function: nothing in it knows where it runs."""
import base64
import json
import os

try:
    import boto3

    sns = boto3.client("sns")

    def publish(subject, message, attributes):
        sns.publish(TopicArn=os.environ["TOPIC_ARN"], Subject=subject, Message=message, MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()})
except ImportError:  # an interpreter without the AWS SDK
    from plain_sns import publish


def handler(event, context):
    for record in event["Records"]:
        envelope = json.loads(base64.b64decode(record["kinesis"]["data"]))
        for subject, what in findings(envelope["detail"]):
            detail = envelope["detail"]
            identity = detail["userIdentity"]
            user = identity.get("arn") or identity.get("userName") or identity.get("type")
            message = f"user {user} {what} from IP {detail['sourceIPAddress']} at {detail['eventTime']}"
            print("alert:", message)
            publish(subject, message, {"EventId": envelope["id"], "Severity": subject})


def findings(detail):
    """(severity, what was done) for each thing in a CloudTrail record that somebody should look at."""
    name, request = detail["eventName"], detail.get("requestParameters") or {}
    if detail.get("errorCode"):
        return
    if name == "TerminateInstances":
        for item in request["instancesSet"]["items"]:
            yield "critical", f"terminated instance {item['instanceId']}"
    elif name == "StopLogging":
        yield "critical", "stopped the audit trail"
    elif name == "DeleteDetector":
        yield "critical", "deleted the threat detector"
    elif name == "CreateAccessKey" and request.get("userName") != detail["userIdentity"].get("userName"):
        yield "high", f"made an access key for {request.get('userName')}"
    elif name == "AttachUserPolicy" and request.get("policyArn", "").endswith("/AdministratorAccess"):
        yield "high", f"gave {request.get('userName')} all permissions"
    elif name == "AuthorizeSecurityGroupIngress":
        for rule in request.get("ipPermissions", {}).get("items", []):
            if any(r.get("cidrIp") == "0.0.0.0/0" for r in rule.get("ipRanges", {}).get("items", [])):
                yield "high", f"opened port {rule.get('fromPort')} of {request.get('groupId')} to the world"
    elif name == "ConsoleLogin" and (detail.get("additionalEventData") or {}).get("MFAUsed") == "No":
        severity = "critical" if detail["userIdentity"]["type"] == "Root" else "medium"
        yield severity, "signed in to the console without a second factor"
    elif name == "ModifySnapshotAttribute":
        for item in request.get("createVolumePermission", {}).get("add", {}).get("items", []):
            yield "critical", f"shared {request.get('snapshotId')} with account {item.get('userId')}"
    elif name == "PutBucketPolicy":
        if any(s.get("Principal") == "*" for s in request.get("bucketPolicy", {}).get("Statement", [])):
            yield "critical", f"made bucket {request.get('bucketName')} public"
