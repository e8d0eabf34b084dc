"""IAM and STS by boto3: everything that is made is there as it was made, across restarts, and errors are the service's."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from conftest import ACCOUNT

AWS = str(Path(sys.executable).parent / "aws")
LAMBDA_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
READS = {"Version": "2012-10-17", "Statement": [{"Sid": "reads", "Effect": "Allow", "Action": ["s3:Get*"], "Resource": "*"}]}
PUTS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Put*", "Resource": "*"}]}
KINESIS_ROLE = "arn:aws:iam::aws:policy/service-role/AWSLambdaKinesisExecutionRole"
ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"


@pytest.fixture
def server(new_server):
    """One of its own: what is listed is what the test made."""
    return new_server().start()


@pytest.fixture
def iam(server):
    return server.client("iam")


def refused(call, **arguments):
    """Code and status of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def role(iam, name, **more):
    return iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(LAMBDA_TRUST), **more)["Role"]


def test_a_role_is_as_it_was_made_and_survives_a_kill(server, iam):
    made = role(iam, "Keeper", Path="/service/", Description="works", MaxSessionDuration=7200, Tags=[{"Key": "team", "Value": "blue"}])
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/service/Keeper"
    assert re.fullmatch("AROA[A-Z2-7]{17}", made["RoleId"])
    iam.put_role_policy(RoleName="keeper", PolicyName="own", PolicyDocument=json.dumps(READS))
    iam.attach_role_policy(RoleName="Keeper", PolicyArn=KINESIS_ROLE)
    server.kill()
    server.start()
    held = iam.get_role(RoleName="KEEPER")["Role"]
    assert held["AssumeRolePolicyDocument"] == LAMBDA_TRUST
    expected = {"RoleName": "Keeper", "Path": "/service/", "RoleId": made["RoleId"], "Description": "works", "MaxSessionDuration": 7200,
                "Tags": [{"Key": "team", "Value": "blue"}], "CreateDate": made["CreateDate"], "RoleLastUsed": {}}
    assert {key: held[key] for key in expected} == expected
    assert iam.get_role_policy(RoleName="Keeper", PolicyName="own")["PolicyDocument"] == READS
    assert iam.list_role_policies(RoleName="Keeper")["PolicyNames"] == ["own"]
    attached = [{"PolicyName": "AWSLambdaKinesisExecutionRole", "PolicyArn": KINESIS_ROLE}]
    assert iam.list_attached_role_policies(RoleName="Keeper")["AttachedPolicies"] == attached
    assert iam.list_attached_role_policies(RoleName="Keeper", PathPrefix="/other/")["AttachedPolicies"] == []


def test_a_role_changes_and_goes(iam):
    role(iam, "r")
    assert refused(iam.create_role, RoleName="R", AssumeRolePolicyDocument=json.dumps(LAMBDA_TRUST)) == ("EntityAlreadyExists", 409)
    assert refused(iam.create_role, RoleName="s", AssumeRolePolicyDocument="{}") == ("MalformedPolicyDocument", 400)
    assert refused(iam.create_role, RoleName="a b", AssumeRolePolicyDocument=json.dumps(LAMBDA_TRUST)) == ("ValidationError", 400)
    assert refused(iam.update_assume_role_policy, RoleName="r", PolicyDocument="no json") == ("MalformedPolicyDocument", 400)
    trust = LAMBDA_TRUST | {"Statement": [LAMBDA_TRUST["Statement"][0] | {"Principal": {"Service": "events.amazonaws.com"}}]}
    iam.update_assume_role_policy(RoleName="r", PolicyDocument=json.dumps(trust))
    iam.update_role(RoleName="r", Description="new", MaxSessionDuration=3600)
    assert iam.update_role_description(RoleName="r", Description="newer")["Role"]["Description"] == "newer"
    assert iam.get_role(RoleName="r")["Role"]["AssumeRolePolicyDocument"] == trust
    assert refused(iam.put_role_policy, RoleName="r", PolicyName="p", PolicyDocument=json.dumps(LAMBDA_TRUST)) == ("MalformedPolicyDocument", 400)
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=json.dumps(READS))
    iam.attach_role_policy(RoleName="r", PolicyArn=ADMIN)
    assert refused(iam.attach_role_policy, RoleName="r", PolicyArn="arn:aws:iam::aws:policy/NoSuchPolicy") == ("NoSuchEntity", 404)
    assert refused(iam.delete_role, RoleName="r") == ("DeleteConflict", 409)
    iam.detach_role_policy(RoleName="r", PolicyArn=ADMIN)
    assert refused(iam.detach_role_policy, RoleName="r", PolicyArn=ADMIN) == ("NoSuchEntity", 404)
    assert refused(iam.delete_role, RoleName="r") == ("DeleteConflict", 409)
    iam.delete_role_policy(RoleName="r", PolicyName="p")
    assert refused(iam.get_role_policy, RoleName="r", PolicyName="p") == ("NoSuchEntity", 404)
    iam.delete_role(RoleName="r")
    assert refused(iam.get_role, RoleName="r") == ("NoSuchEntity", 404)


def test_pages_show_everything_once(iam):
    names = [f"role{number:02}" for number in range(23)]
    for name in names:
        role(iam, name, Path="/many/")
    role(iam, "other")
    pages = list(iam.get_paginator("list_roles").paginate(PathPrefix="/many/", PaginationConfig={"PageSize": 10}))
    assert [len(page["Roles"]) for page in pages] == [10, 10, 3]
    assert [page["IsTruncated"] for page in pages] == [True, True, False]
    assert [r["RoleName"] for page in pages for r in page["Roles"]] == names
    assert refused(iam.list_roles, Marker="none of ours") == ("ValidationError", 400)
    everything = iam.get_paginator("list_policies").paginate(Scope="AWS", PaginationConfig={"PageSize": 7})
    found = [policy["PolicyName"] for page in everything for policy in page["Policies"]]
    assert len(found) > 40 and len(set(found)) == len(found) and "AdministratorAccess" in found


def test_users_and_groups(iam):
    bob = iam.create_user(UserName="bob", Path="/team/", Tags=[{"Key": "a", "Value": "1"}])["User"]
    assert bob["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/team/bob" and re.fullmatch("AIDA[A-Z2-7]{17}", bob["UserId"])
    group = iam.create_group(GroupName="devs")["Group"]
    assert re.fullmatch("AGPA[A-Z2-7]{17}", group["GroupId"])
    iam.add_user_to_group(GroupName="devs", UserName="bob")
    iam.put_group_policy(GroupName="devs", PolicyName="own", PolicyDocument=json.dumps(READS))
    iam.attach_user_policy(UserName="bob", PolicyArn=ADMIN)
    assert [user["UserName"] for user in iam.get_group(GroupName="devs")["Users"]] == ["bob"]
    assert [g["GroupName"] for g in iam.list_groups_for_user(UserName="bob")["Groups"]] == ["devs"]
    assert refused(iam.delete_group, GroupName="devs") == ("DeleteConflict", 409)
    iam.update_user(UserName="bob", NewUserName="robert", NewPath="/")
    iam.update_group(GroupName="devs", NewGroupName="makers")
    assert refused(iam.get_user, UserName="bob") == ("NoSuchEntity", 404)
    robert = iam.get_user(UserName="robert")["User"]
    assert (robert["UserId"], robert["Arn"]) == (bob["UserId"], f"arn:aws:iam::{ACCOUNT}:user/robert")
    assert [user["UserName"] for user in iam.get_group(GroupName="makers")["Users"]] == ["robert"]
    assert iam.get_group_policy(GroupName="makers", PolicyName="own")["PolicyDocument"] == READS
    assert refused(iam.delete_user, UserName="robert") == ("DeleteConflict", 409)
    iam.remove_user_from_group(GroupName="makers", UserName="robert")
    iam.detach_user_policy(UserName="robert", PolicyArn=ADMIN)
    iam.delete_user(UserName="robert")
    iam.delete_group_policy(GroupName="makers", PolicyName="own")
    iam.delete_group(GroupName="makers")
    assert [user["UserName"] for user in iam.list_users()["Users"]] == [] and iam.list_groups()["Groups"] == []
    # The owner has no name to stand for.
    assert refused(iam.get_user) == ("ValidationError", 400)


def test_a_secret_is_shown_once_and_is_on_no_disk(server, iam):
    iam.create_user(UserName="bob")
    first = iam.create_access_key(UserName="bob")["AccessKey"]
    assert re.fullmatch("AKIA[A-Z2-7]{16}", first["AccessKeyId"]) and len(first["SecretAccessKey"]) == 40
    second = iam.create_access_key(UserName="bob")["AccessKey"]
    assert refused(iam.create_access_key, UserName="bob") == ("LimitExceeded", 409)
    listed = iam.list_access_keys(UserName="bob")
    assert {key["AccessKeyId"]: key["Status"] for key in listed["AccessKeyMetadata"]} == {
        first["AccessKeyId"]: "Active", second["AccessKeyId"]: "Active"}
    assert "SecretAccessKey" not in str(listed)
    iam.update_access_key(UserName="bob", AccessKeyId=first["AccessKeyId"], Status="Inactive")
    server.stop()
    for path in (path for path in server.folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert first["SecretAccessKey"].encode() not in content and second["SecretAccessKey"].encode() not in content, path
    assert first["SecretAccessKey"] not in server.log()
    server.start()
    states = {key["AccessKeyId"]: key["Status"] for key in iam.list_access_keys(UserName="bob")["AccessKeyMetadata"]}
    assert states == {first["AccessKeyId"]: "Inactive", second["AccessKeyId"]: "Active"}
    iam.delete_access_key(UserName="bob", AccessKeyId=first["AccessKeyId"])
    assert refused(iam.delete_access_key, UserName="bob", AccessKeyId=first["AccessKeyId"]) == ("NoSuchEntity", 404)
    assert refused(iam.delete_user, UserName="bob") == ("DeleteConflict", 409)


def test_managed_policies_and_their_versions(server, iam):
    policy = iam.create_policy(PolicyName="reads", Path="/team/", PolicyDocument=json.dumps(READS), Description="d", Tags=[{"Key": "k", "Value": "v"}])["Policy"]
    arn = policy["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/team/reads" and re.fullmatch("ANPA[A-Z2-7]{17}", policy["PolicyId"])
    assert refused(iam.create_policy, PolicyName="reads", PolicyDocument=json.dumps(READS)) == ("EntityAlreadyExists", 409)
    version = iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(PUTS), SetAsDefault=True)["PolicyVersion"]
    assert (version["VersionId"], version["IsDefaultVersion"]) == ("v2", True)
    for number in range(3, 6):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(READS))
    assert refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=json.dumps(READS)) == ("LimitExceeded", 409)
    assert [v["VersionId"] for v in iam.list_policy_versions(PolicyArn=arn)["Versions"]] == ["v5", "v4", "v3", "v2", "v1"]
    assert iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"] == PUTS
    assert refused(iam.get_policy_version, PolicyArn=arn, VersionId="v9") == ("NoSuchEntity", 404)
    assert refused(iam.delete_policy_version, PolicyArn=arn, VersionId="v2") == ("DeleteConflict", 409)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    for number in range(2, 6):
        iam.delete_policy_version(PolicyArn=arn, VersionId=f"v{number}")
    iam.create_user(UserName="bob", PermissionsBoundary=arn)
    server.kill()
    server.start()
    role(iam, "r")
    iam.attach_role_policy(RoleName="r", PolicyArn=arn)
    held = iam.get_policy(PolicyArn=arn)["Policy"]
    assert (held["AttachmentCount"], held["PermissionsBoundaryUsageCount"], held["DefaultVersionId"], held["Description"]) == (1, 1, "v1", "d")
    entities = iam.list_entities_for_policy(PolicyArn=arn)
    assert [r["RoleName"] for r in entities["PolicyRoles"]] == ["r"] and [u["UserName"] for u in entities["PolicyUsers"]] == ["bob"]
    assert iam.list_entities_for_policy(PolicyArn=arn, PolicyUsageFilter="PermissionsBoundary")["PolicyRoles"] == []
    assert [p["PolicyName"] for p in iam.list_policies(Scope="Local", OnlyAttached=True)["Policies"]] == ["reads"]
    assert iam.list_policies(Scope="Local", PathPrefix="/none/")["Policies"] == []
    assert refused(iam.delete_policy, PolicyArn=arn) == ("DeleteConflict", 409)
    iam.detach_role_policy(RoleName="r", PolicyArn=arn)
    iam.delete_user_permissions_boundary(UserName="bob")
    iam.delete_policy(PolicyArn=arn)
    assert refused(iam.get_policy, PolicyArn=arn) == ("NoSuchEntity", 404)
    aws = iam.get_policy(PolicyArn=KINESIS_ROLE)["Policy"]
    document = iam.get_policy_version(PolicyArn=KINESIS_ROLE, VersionId=aws["DefaultVersionId"])["PolicyVersion"]["Document"]
    assert "kinesis:GetRecords" in document["Statement"][0]["Action"]
    assert refused(iam.delete_policy, PolicyArn=KINESIS_ROLE) == ("AccessDenied", 403)


def test_boundaries_and_tags(iam):
    role(iam, "r", PermissionsBoundary=ADMIN)
    boundary = iam.get_role(RoleName="r")["Role"]["PermissionsBoundary"]
    assert boundary["PermissionsBoundaryArn"] == ADMIN
    iam.delete_role_permissions_boundary(RoleName="r")
    assert refused(iam.delete_role_permissions_boundary, RoleName="r") == ("NoSuchEntity", 404)
    iam.put_role_permissions_boundary(RoleName="r", PermissionsBoundary=ADMIN)
    iam.tag_role(RoleName="r", Tags=[{"Key": f"k{number:02}", "Value": "v"} for number in range(50)])
    assert refused(iam.tag_role, RoleName="r", Tags=[{"Key": "more", "Value": ""}]) == ("LimitExceeded", 409)
    assert refused(iam.tag_role, RoleName="r", Tags=[{"Key": "a", "Value": ""}, {"Key": "A", "Value": ""}]) == ("InvalidInput", 400)
    iam.untag_role(RoleName="r", TagKeys=["k00", "none"])
    pages = iam.get_paginator("list_role_tags").paginate(RoleName="r", PaginationConfig={"PageSize": 20})
    assert [tag["Key"] for page in pages for tag in page["Tags"]] == [f"k{number:02}" for number in range(1, 50)]
    iam.create_user(UserName="bob", Tags=[{"Key": "k", "Value": "v"}])
    iam.tag_user(UserName="bob", Tags=[{"Key": "K", "Value": "w"}])
    assert iam.list_user_tags(UserName="bob")["Tags"] == [{"Key": "K", "Value": "w"}]


def test_the_account_s_figures(iam):
    before = iam.get_account_summary()["SummaryMap"]["Roles"]
    role(iam, "r")
    summary = iam.get_account_summary()["SummaryMap"]
    assert (summary["Roles"] - before, summary["Users"], summary["VersionsPerPolicyQuota"]) == (1, 0, 5)
    assert iam.list_account_aliases()["AccountAliases"] == []
    assert refused(iam.create_login_profile, UserName="x", Password="y") == ("NotImplemented", 501)


def decisions(answer):
    return {(result["EvalActionName"], result["EvalResourceName"]): result["EvalDecision"] for result in answer["EvaluationResults"]}


def test_simulations_tell_what_decides_and_where(iam):
    iam.create_user(UserName="bob", Tags=[{"Key": "team", "Value": "blue"}])
    iam.create_group(GroupName="devs")
    iam.add_user_to_group(GroupName="devs", UserName="bob")
    iam.put_group_policy(GroupName="devs", PolicyName="own", PolicyDocument=json.dumps(READS))
    arn = f"arn:aws:iam::{ACCOUNT}:user/bob"
    answer = iam.simulate_principal_policy(
        PolicySourceArn=arn, ActionNames=["s3:GetObject", "s3:PutObject"], ResourceArns=["arn:aws:s3:::a/x", "arn:aws:s3:::b/y"])
    assert decisions(answer) == {
        ("s3:GetObject", "arn:aws:s3:::a/x"): "allowed", ("s3:GetObject", "arn:aws:s3:::b/y"): "allowed",
        ("s3:PutObject", "arn:aws:s3:::a/x"): "implicitDeny", ("s3:PutObject", "arn:aws:s3:::b/y"): "implicitDeny"}
    [statement] = answer["EvaluationResults"][0]["MatchedStatements"]
    assert (statement["SourcePolicyId"], statement["SourcePolicyType"]) == ("group_devs_own", "group")
    start = json.dumps(READS).index('{"Sid"')
    assert statement["StartPosition"] == {"Line": 1, "Column": start + 2}
    tagged = {"Version": "2012-10-17", "Statement": {
        "Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "blue"}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}}
    answer = iam.simulate_principal_policy(PolicySourceArn=arn, PolicyInputList=[json.dumps(tagged)], ActionNames=["s3:GetObject"])
    assert decisions(answer) == {("s3:GetObject", "*"): "allowed"}
    assert answer["EvaluationResults"][0]["MissingContextValues"] == ["aws:SourceIp"]
    address = {"ContextKeyName": "aws:SourceIp", "ContextKeyValues": ["10.1.2.3"], "ContextKeyType": "ip"}
    answer = iam.simulate_principal_policy(
        PolicySourceArn=arn, PolicyInputList=[json.dumps(tagged)], ActionNames=["s3:GetObject"], ContextEntries=[address])
    assert decisions(answer) == {("s3:GetObject", "*"): "explicitDeny"}
    assert answer["EvaluationResults"][0]["MatchedStatements"][0]["SourcePolicyId"] == "PolicyInputList.1"
    bounded = iam.simulate_custom_policy(
        PolicyInputList=[json.dumps(READS)], PermissionsBoundaryPolicyInputList=[json.dumps(PUTS)], ActionNames=["s3:GetObject"])
    [result] = bounded["EvaluationResults"]
    assert (result["EvalDecision"], result["PermissionsBoundaryDecisionDetail"]) == (
        "implicitDeny", {"AllowedByPermissionsBoundary": False})
    keys = iam.get_context_keys_for_custom_policy(PolicyInputList=[json.dumps(tagged)])["ContextKeyNames"]
    assert sorted(keys) == ["aws:PrincipalTag/team", "aws:SourceIp"]
    assert iam.get_context_keys_for_principal_policy(PolicySourceArn=arn)["ContextKeyNames"] == []
    assert refused(iam.simulate_custom_policy, PolicyInputList=["{}"], ActionNames=["s3:GetObject"]) == ("InvalidInput", 400)
    assert refused(iam.simulate_principal_policy, PolicySourceArn=arn + "x", ActionNames=["s3:GetObject"]) == ("NoSuchEntity", 404)
    pages = iam.get_paginator("simulate_custom_policy").paginate(
        PolicyInputList=[json.dumps(READS)], ActionNames=[f"s3:Get{number}" for number in range(25)], PaginationConfig={"PageSize": 10})
    assert [len(page["EvaluationResults"]) for page in pages] == [10, 10, 5]


def test_the_owner_has_temporary_keys_and_no_roles(server):
    sts = server.client("sts")
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    keys = sts.get_session_token(DurationSeconds=900)["Credentials"]
    assert keys["AccessKeyId"].startswith("ASIA")
    temporary = server.client("sts", key=keys["AccessKeyId"], secret=keys["SecretAccessKey"], token=keys["SessionToken"])
    assert temporary.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    assert refused(temporary.get_session_token) == ("AccessDenied", 403)
    arn = f"arn:aws:iam::{ACCOUNT}:role/r"
    role(server.client("iam"), "r")
    assert refused(sts.assume_role, RoleArn=arn, RoleSessionName="one") == ("AccessDenied", 403)
    without = server.client("sts", key=keys["AccessKeyId"], secret=keys["SecretAccessKey"])
    assert refused(without.get_caller_identity)[1] == 403


# As CloudFormation makes them of the serverless application model's own examples: an execution role of AWS's policies, and
# one of policy templates (KinesisStreamReadPolicy, SNSPublishMessagePolicy, SQSSendMessagePolicy) with their parameters filled in.
SAM_ROLES = {
    "sam-app-ProcessorRole-1ABCDEFGHIJKL": {
        "trust": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["sts:AssumeRole"], "Principal": {"Service": ["lambda.amazonaws.com"]}}]},
        "managed": ["arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole", KINESIS_ROLE],
        "inline": {},
    },
    "sam-app-AlerterRole-2ABCDEFGHIJKL": {
        "trust": {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}},
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "events.amazonaws.com"}}]},
        "managed": ["arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole"],
        "inline": {
            "AlerterRolePolicy0": {"Statement": [
                {"Effect": "Allow", "Action": ["kinesis:ListStreams", "kinesis:DescribeLimits"],
                 "Resource": f"arn:aws:kinesis:eu-central-1:{ACCOUNT}:stream/*"},
                {"Effect": "Allow",
                 "Action": ["kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator"],
                 "Resource": f"arn:aws:kinesis:eu-central-1:{ACCOUNT}:stream/events"}]},
            "AlerterRolePolicy1": {"Statement": [
                {"Effect": "Allow", "Action": ["sns:Publish"], "Resource": f"arn:aws:sns:eu-central-1:{ACCOUNT}:alerts"}]},
            "AlerterRolePolicy2": {"Statement": [
                {"Effect": "Allow", "Action": ["sqs:SendMessage*"], "Resource": f"arn:aws:sqs:eu-central-1:{ACCOUNT}:dead"}]},
        },
    },
}


def test_roles_as_serverless_templates_make_them(iam):
    for name, wanted in SAM_ROLES.items():
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(wanted["trust"]),
                        Tags=[{"Key": "lambda:createdBy", "Value": "SAM"}, {"Key": "aws-cloudformation-stack", "Value": "sam-app"}])
        for arn in wanted["managed"]:
            iam.attach_role_policy(RoleName=name, PolicyArn=arn)
        for policy, document in wanted["inline"].items():
            iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(document))
    for name, wanted in SAM_ROLES.items():
        assert iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"] == wanted["trust"]
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        assert sorted(policy["PolicyArn"] for policy in attached) == sorted(wanted["managed"])
        held = iam.list_role_policies(RoleName=name)["PolicyNames"]
        assert {policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"] for policy in held} == wanted["inline"]

    def may(role_name, action, resource):
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role_name}"
        answer = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=[action], ResourceArns=[resource])
        return answer["EvaluationResults"][0]["EvalDecision"] == "allowed"

    processor, alerter = SAM_ROLES
    events, other = (f"arn:aws:kinesis:eu-central-1:{ACCOUNT}:stream/{name}" for name in ("events", "other"))
    assert may(processor, "kinesis:GetRecords", other) and not may(processor, "kinesis:PutRecord", other)
    assert may(alerter, "kinesis:GetRecords", events) and not may(alerter, "kinesis:GetRecords", other)
    assert may(alerter, "sns:Publish", f"arn:aws:sns:eu-central-1:{ACCOUNT}:alerts")
    assert not may(alerter, "sns:Publish", f"arn:aws:sns:eu-central-1:{ACCOUNT}:others")
    assert may(alerter, "sqs:SendMessage", f"arn:aws:sqs:eu-central-1:{ACCOUNT}:dead") and may(alerter, "sqs:ReceiveMessage", "*")


def test_the_command_line_makes_roles_and_asks_what_they_may(server, tmp_path):
    def aws(*arguments):
        ended = subprocess.run([AWS, *arguments, "--output", "json"], env=server.client_env(), capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout) if ended.stdout.strip() else None

    trust, reads = tmp_path / "trust.json", tmp_path / "reads.json"
    trust.write_text(json.dumps(LAMBDA_TRUST, indent=4))
    reads.write_text(json.dumps(READS, indent=4))
    made = aws("iam", "create-role", "--role-name", "asked", "--assume-role-policy-document", f"file://{trust}", "--tags", "Key=team,Value=blue")
    arn = made["Role"]["Arn"]
    assert made["Role"]["AssumeRolePolicyDocument"] == LAMBDA_TRUST
    aws("iam", "put-role-policy", "--role-name", "asked", "--policy-name", "own", "--policy-document", f"file://{reads}")
    assert aws("iam", "list-roles", "--query", "Roles[].RoleName") == ["asked", "worker"]
    answer = aws("iam", "simulate-principal-policy", "--policy-source-arn", arn, "--action-names", "s3:GetObject", "s3:PutObject")
    assert [result["EvalDecision"] for result in answer["EvaluationResults"]] == ["allowed", "implicitDeny"]
    [statement] = answer["EvaluationResults"][0]["MatchedStatements"]
    # Of the text as it was written, with its lines.
    assert statement["StartPosition"]["Line"] == 4 and statement["SourcePolicyId"] == "role_asked_own"
    aws("iam", "create-user", "--user-name", "bob")
    assert aws("iam", "create-access-key", "--user-name", "bob")["AccessKey"]["Status"] == "Active"
    assert aws("sts", "get-caller-identity")["Account"] == ACCOUNT
