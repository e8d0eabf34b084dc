//! The examples of the IAM User Guide, each under the title of its page.

use auth::Outcome::{Allowed, ExplicitDeny, ImplicitDeny};
use auth::{Layer, Principal};
use serde_json::{Value, json};

use crate::case::{ACCOUNT, Case, account, session, user};

fn allow(action: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}})
}

fn grant(principal: Value, action: &str) -> Value {
    let statement = json!({"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"});
    json!({"Version": "2012-10-17", "Statement": [statement]})
}

fn trust(principal: Value) -> Value {
    let statement = json!({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"});
    json!({"Version": "2012-10-17", "Statement": [statement]})
}

const BUCKET: &str = "arn:aws:s3:::bucket";
const ROLE: &str = "arn:aws:iam::111122223333:role/examplerole";

/// "Policy evaluation for requests within a single account": Carlos and his bucket.
#[test]
fn carlos_in_his_own_account() {
    let carlos = Case::of(user("carlossalazar"))
        .identity(json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "AllowS3ListRead", "Effect": "Allow", "Resource": "arn:aws:s3:::*", "Action":
                ["s3:GetBucketLocation", "s3:GetAccountPublicAccessBlock", "s3:ListAccessPoints", "s3:ListAllMyBuckets"]},
            {"Sid": "AllowS3Self", "Effect": "Allow", "Action": "s3:*",
                "Resource": ["arn:aws:s3:::carlossalazar/*", "arn:aws:s3:::carlossalazar"]},
            {"Sid": "DenyS3Logs", "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::*log*"}]}))
        .resource(json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*",
            "Principal": {"AWS": "arn:aws:iam::111122223333:user/carlossalazar"},
            "Resource": ["arn:aws:s3:::carlossalazar/*", "arn:aws:s3:::carlossalazar"]}]}));
    let denied = carlos.decide("s3:PutObject", "arn:aws:s3:::carlossalazar-logs/x");
    assert_eq!((denied.outcome, denied.layer), (ExplicitDeny, Layer::Identity));
    assert_eq!(denied.by.unwrap().sid(), Some("DenyS3Logs"));
    assert_eq!(carlos.outcome("s3:PutObject", "arn:aws:s3:::carlossalazar/x"), Allowed);
    assert_eq!(carlos.outcome("s3:PutObject", "arn:aws:s3:::other/x"), ImplicitDeny);
}

/// "Cross-account policy evaluation logic": Carlos and the bucket of another account.
#[test]
fn carlos_in_another_account() {
    let carlos = Principal::user(&account("111111111111"), "/", "carlossalazar", "AIDAAAAAAAAAAAAAAAAA");
    let asks = || {
        Case::of(carlos.clone()).owner("222222222222").identity(json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "AllowS3ListRead", "Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"},
            {"Sid": "AllowS3ProductionObjectActions", "Effect": "Allow", "Action": "s3:*Object*",
                "Resource": "arn:aws:s3:::Production/*"},
            {"Sid": "DenyS3Logs", "Effect": "Deny", "Action": "s3:*",
                "Resource": ["arn:aws:s3:::*log*", "arn:aws:s3:::*log*/*"]}]}))
    };
    assert_eq!(asks().outcome("s3:PutObject", "arn:aws:s3:::Production-logs/x"), ExplicitDeny);
    let shared = asks().resource(json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Action": ["s3:GetObject*", "s3:PutObject*", "s3:ReplicateObject", "s3:RestoreObject"],
        "Principal": {"AWS": "arn:aws:iam::111111111111:user/carlossalazar"}, "Resource": "arn:aws:s3:::Production/*"}]}));
    assert_eq!(shared.outcome("s3:PutObject", "arn:aws:s3:::Production/x"), Allowed);
    assert_eq!(shared.outcome("s3:DeleteObject", "arn:aws:s3:::Production/x"), ImplicitDeny);
    // Only one side allows.
    let unshared = asks();
    let decision = unshared.decide("s3:PutObject", "arn:aws:s3:::Production/x");
    assert_eq!((decision.outcome, decision.layer), (ImplicitDeny, Layer::Resource));
    let named = Case::of(carlos).owner("222222222222").resource(grant(json!({"AWS": "111111111111"}), "s3:*"));
    assert_eq!(named.decide("s3:GetObject", "arn:aws:s3:::Production/x").layer, Layer::Identity);
}

/// "The difference between explicit and implicit denies".
#[test]
fn reports_are_denied_whoever_allows_them() {
    let case = Case::of(user("alice"))
        .identity(json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "AllowGetList", "Effect": "Allow", "Action": ["iam:Get*", "iam:List*"], "Resource": "*"},
            {"Sid": "DenyReports", "Effect": "Deny", "Action": "iam:*Report", "Resource": "*"}]}))
        .identity(allow("iam:GenerateCredentialReport"));
    assert_eq!(case.outcome("iam:GetUser", "*"), Allowed);
    assert_eq!(case.outcome("iam:CreatePolicy", "*"), ImplicitDeny);
    assert_eq!(case.outcome("iam:GetOrganizationsAccessReport", "*"), ExplicitDeny);
    assert_eq!(case.outcome("iam:GenerateCredentialReport", "*"), ExplicitDeny);
}

/// "Resource-based policies and implicit denies in other policy types (same account)": the table, row by row.
#[test]
fn what_a_resources_policy_gives_and_what_limits_it() {
    let named = |principal: Value| grant(principal, "s3:GetObject");
    let nothing = || allow("s3:Nothing");
    let outcome = |case: Case| case.outcome("s3:GetObject", BUCKET);
    let role = || Case::of(session("examplerole", "one")).identity(nothing());
    let by_role = named(json!({"AWS": ROLE}));
    let by_session = named(json!({"AWS": "arn:aws:sts::111122223333:assumed-role/examplerole/one"}));
    // The role's ARN: an implicit deny of the identity's policies does not matter, the limits do.
    assert_eq!(outcome(role().resource(by_role.clone())), Allowed);
    assert_eq!(outcome(role().boundary(nothing()).resource(by_role.clone())), ImplicitDeny);
    assert_eq!(outcome(role().session(nothing()).resource(by_role.clone())), ImplicitDeny);
    assert_eq!(outcome(role().boundary(allow("s3:*")).session(allow("s3:*")).resource(by_role)), Allowed);
    // The session's ARN: nothing but a denial limits.
    let limited = || role().boundary(nothing()).session(nothing());
    assert_eq!(outcome(limited().resource(by_session.clone())), Allowed);
    let denied =
        json!({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "s3:Get*", "Resource": "*"}});
    assert_eq!(outcome(role().session(denied).resource(by_session)), ExplicitDeny);
    // A user's ARN.
    let bob = || Case::of(user("bob")).identity(nothing()).boundary(nothing());
    assert_eq!(outcome(bob().resource(named(json!({"AWS": "arn:aws:iam::111122223333:user/bob"})))), Allowed);
    // Everybody, and everybody whose role is meant ("IAM role principals").
    assert_eq!(outcome(limited().resource(named(json!("*")))), Allowed);
    let mut by_condition = named(json!({"AWS": "*"}));
    by_condition["Statement"][0]["Condition"] = json!({"ArnEquals": {"aws:PrincipalArn": ROLE}});
    assert_eq!(outcome(limited().resource(by_condition.clone())), Allowed);
    assert_eq!(outcome(bob().resource(by_condition)), ImplicitDeny);
    // The account delegates ("AWS account principals"): it allows nothing by itself.
    let by_account = || named(json!({"AWS": ACCOUNT}));
    assert_eq!(outcome(Case::of(user("bob")).resource(by_account())), ImplicitDeny);
    assert_eq!(outcome(Case::of(user("bob")).identity(allow("s3:*")).resource(by_account())), Allowed);
    // Root.
    assert_eq!(outcome(Case::of(Principal::root(&account(ACCOUNT)))), Allowed);
    assert_eq!(outcome(Case::of(Principal::root(&account(ACCOUNT))).owner("444455556666")), ImplicitDeny);
    let shared = Case::of(Principal::root(&account(ACCOUNT))).owner("444455556666").resource(by_account());
    assert_eq!(outcome(shared), Allowed);
}

/// "Permissions boundaries for IAM entities": Shirley may do what both allow.
#[test]
fn shirley_within_her_boundary() {
    let boundary = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:*", "cloudwatch:*", "ec2:*"], "Resource": "*"}]});
    let shirley = Case::of(user("ShirleyRodriguez")).boundary(boundary.clone()).identity(allow("iam:CreateUser"));
    let decision = shirley.decide("iam:CreateUser", "*");
    assert_eq!((decision.outcome, decision.layer), (ImplicitDeny, Layer::Boundary));
    let shirley = Case::of(user("ShirleyRodriguez")).boundary(boundary).identity(allow("s3:*"));
    assert_eq!(shirley.outcome("s3:GetObject", BUCKET), Allowed);
    assert_eq!(shirley.outcome("ec2:RunInstances", "*"), ImplicitDeny, "a boundary grants nothing");
}

/// "Session policies": what a session may is in both.
#[test]
fn a_session_policy_narrows() {
    let narrowed =
        Case::of(session("worker", "one")).identity(allow("s3:*")).session(allow("s3:Get*")).session(allow("sqs:*"));
    assert_eq!(narrowed.outcome("s3:GetObject", BUCKET), Allowed);
    assert_eq!(narrowed.outcome("sqs:SendMessage", "*"), ImplicitDeny);
    let decision = narrowed.decide("s3:PutObject", BUCKET);
    assert_eq!((decision.outcome, decision.layer), (ImplicitDeny, Layer::Session));
}

/// "How IAM roles differ from resource-based policies" and "Using external IDs for third-party access": a trust policy
/// has to allow, and does alone where it names the caller.
#[test]
fn roles_are_assumed_by_whom_they_trust() {
    let assume = |case: Case| case.outcome("sts:AssumeRole", ROLE);
    let bob = || Case::of(user("bob"));
    assert_eq!(
        assume(bob().identity(allow("sts:*")).trust(trust(json!({"Service": "lambda.amazonaws.com"})))),
        ImplicitDeny
    );
    assert_eq!(assume(bob().trust(trust(json!({"AWS": "arn:aws:iam::111122223333:user/bob"})))), Allowed);
    assert_eq!(assume(bob().trust(trust(json!({"AWS": ACCOUNT})))), ImplicitDeny);
    assert_eq!(assume(bob().identity(allow("sts:*")).trust(trust(json!({"AWS": ACCOUNT})))), Allowed);
    let lambda = || Case::of(Principal::service("lambda.amazonaws.com"));
    assert_eq!(assume(lambda().trust(trust(json!({"Service": "lambda.amazonaws.com"})))), Allowed);
    assert_eq!(assume(lambda().trust(trust(json!({"Service": "events.amazonaws.com"})))), ImplicitDeny);
    let mut third_party = trust(json!({"AWS": "444455556666"}));
    third_party["Statement"][0]["Condition"] = json!({"StringEquals": {"sts:ExternalId": "12345"}});
    let other = Principal::user(&account("444455556666"), "/", "corp", "AIDACCCCCCCCCCCCCCCC");
    let asks = || Case::of(other.clone()).owner(ACCOUNT).identity(allow("sts:AssumeRole")).trust(third_party.clone());
    assert_eq!(assume(asks()), ImplicitDeny);
    assert_eq!(assume(asks().with("sts:ExternalId", "54321")), ImplicitDeny);
    assert_eq!(assume(asks().with("sts:ExternalId", "12345")), Allowed);
}

/// "The confused deputy problem": a service is let in for one source only.
#[test]
fn a_service_acts_for_whom_it_is_let_in() {
    let queue = || {
        Case::of(Principal::service("sns.amazonaws.com")).resource(json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "SQS:SendMessage",
            "Resource": "arn:aws:sqs:us-east-1:111122223333:q",
            "Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:sns:us-east-1:111122223333:t"},
                "StringEquals": {"aws:SourceAccount": "111122223333"}}}}))
    };
    let send = |case: Case| case.outcome("sqs:SendMessage", "arn:aws:sqs:us-east-1:111122223333:q");
    let from = |topic: &str, account: &str| queue().with("aws:SourceArn", topic).with("aws:SourceAccount", account);
    assert_eq!(send(from("arn:aws:sns:us-east-1:111122223333:t", "111122223333")), Allowed);
    assert_eq!(send(from("arn:aws:sns:us-east-1:444455556666:t", "444455556666")), ImplicitDeny);
    assert_eq!(send(from("arn:aws:sns:us-east-1:111122223333:t", "444455556666")), ImplicitDeny);
    assert_eq!(send(queue()), ImplicitDeny, "a service that does not say for whom");
}

/// "AWS JSON policy elements: NotPrincipal", and what its page recommends instead.
#[test]
fn all_but_bob_are_denied() {
    let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*",
        "NotPrincipal": {"AWS": ["arn:aws:iam::111122223333:user/Bob", "arn:aws:iam::111122223333:root"]},
        "Resource": [BUCKET, "arn:aws:s3:::bucket/*"]}]});
    let asks = |name: &str| Case::of(user(name)).identity(allow("s3:*")).resource(document.clone());
    assert_eq!(asks("Bob").outcome("s3:GetObject", BUCKET), Allowed);
    assert_eq!(asks("Eve").outcome("s3:GetObject", BUCKET), ExplicitDeny);
    assert_eq!(asks("Bob").boundary(allow("*")).outcome("s3:GetObject", BUCKET), ExplicitDeny);
    let instead = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Principal": "*",
        "Resource": [BUCKET, "arn:aws:s3:::bucket/*"],
        "Condition": {"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:user/Bob"}}}]});
    let asks = |name: &str| Case::of(user(name)).identity(allow("s3:*")).resource(instead.clone());
    assert_eq!(asks("Bob").boundary(allow("*")).outcome("s3:GetObject", BUCKET), Allowed);
    assert_eq!(asks("Eve").outcome("s3:GetObject", BUCKET), ExplicitDeny);
}

/// "IAM JSON policy elements: NotAction" and "NotResource": what is named is left out, not denied.
#[test]
fn all_but_what_is_named() {
    let not_action = Case::of(user("bob")).identity(json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "NotAction": ["iam:*", "s3:DeleteBucket"], "Resource": "*"}]}));
    assert_eq!(not_action.outcome("s3:GetObject", BUCKET), Allowed);
    assert_eq!(not_action.outcome("s3:DeleteBucket", BUCKET), ImplicitDeny);
    assert_eq!(not_action.outcome("iam:GetUser", "*"), ImplicitDeny);
    let not_resource = Case::of(user("bob")).identity(json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:*", "NotResource": ["arn:aws:s3:::HRBucket/Payroll", "arn:aws:s3:::HRBucket/Payroll/*"]}]}));
    assert_eq!(not_resource.outcome("s3:GetObject", "arn:aws:s3:::HRBucket/Payroll/x"), Allowed);
    assert_eq!(not_resource.outcome("s3:GetObject", "arn:aws:s3:::HRBucket/x"), ExplicitDeny);
    // All but what nobody knows allows nothing, and denies all.
    let unknown = |effect: &str| {
        Case::of(session("worker", "one"))
            .identity(allow("s3:*"))
            .identity(json!({"Version": "2012-10-17", "Statement": [
            {"Effect": effect, "Action": "sqs:*", "NotResource": "arn:aws:sqs:*:*:${aws:username}"}]}))
    };
    assert_eq!(unknown("Allow").outcome("sqs:SendMessage", "arn:aws:sqs:r:111122223333:q"), ImplicitDeny);
    assert_eq!(unknown("Deny").outcome("sqs:SendMessage", "arn:aws:sqs:r:111122223333:q"), ExplicitDeny);
}

/// "Troubleshoot access denied error messages".
#[test]
fn denials_read_as_the_services_say_them() {
    let john = || Case::of(user("JohnDoe"));
    let deny = || json!({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}});
    let deny_all = || json!({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}});
    let stream = "arn:aws:kinesis:us-east-1:111122223333:stream/s";
    let head = "User: arn:aws:iam::111122223333:user/JohnDoe is not authorized to perform: kinesis:GetRecords on \
                resource: arn:aws:kinesis:us-east-1:111122223333:stream/s ";
    let other = "444455556666";
    for (case, because) in [
        (john(), "because no identity-based policy allows the kinesis:GetRecords action"),
        (john().identity(deny()), "with an explicit deny in an identity-based policy"),
        (
            john().identity(allow("*")).boundary(allow("s3:*")),
            "because no permissions boundary allows the kinesis:GetRecords action",
        ),
        (john().boundary(deny()), "with an explicit deny in a permissions boundary"),
        (
            john().identity(allow("*")).session(allow("s3:*")),
            "because no session policy allows the kinesis:GetRecords action",
        ),
        (john().session(deny()), "with an explicit deny in a session policy"),
        (
            john().identity(allow("*")).owner(other),
            "because no resource-based policy allows the kinesis:GetRecords action",
        ),
        (john().resource(deny_all()), "with an explicit deny in a resource-based policy"),
    ] {
        assert_eq!(case.denial("kinesis:GetRecords", stream), format!("{head}{because}"));
    }
    let trusted = john().identity(allow("*")).trust(trust(json!({"Service": "lambda.amazonaws.com"})));
    assert!(
        trusted
            .denial("sts:AssumeRole", ROLE)
            .ends_with(" because no role trust policy allows the sts:AssumeRole action")
    );
    let allowed = john().identity(allow("*"));
    assert_eq!(allowed.decide("a:B", "*").denial(&allowed.request("a:B", "*")), None);
}

/// `SimulateCustomPolicy`: the example of the AWS CLI's reference, with its positions.
#[test]
fn an_explanation_tells_statements_places_and_missing_keys() {
    let text = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2015-08-16T12:00:00Z"}}}}"#;
    let document: Value = serde_json::from_str(text).unwrap();
    let policy = auth::Policy::parse(auth::PolicyKind::Managed, text).unwrap();
    let attached = [auth::Attached { name: "PolicyInputList.1".into(), policy: policy.into() }];
    let policies = auth::Policies { identity: &attached, ..auth::Policies::default() };
    let case = Case::of(user("bob")).with("aws:CurrentTime", "2019-04-25T11:00:00Z");
    let explanation = policies.explain(&case.request("dynamodb:CreateBackup", "*"));
    assert_eq!(explanation.decision.outcome, Allowed);
    let matched = explanation.deciding().next().unwrap();
    let [start, end] = matched.span();
    assert_eq!((start.line, start.column, end.line, end.column), (1, 38, 1, 167));
    assert_eq!(&*matched.policy.name, "PolicyInputList.1");
    let unknown = Case::of(user("bob")).identity(document);
    let explanation = unknown.explain("dynamodb:CreateBackup", "*");
    assert_eq!((explanation.decision.outcome, &*explanation.missing), (ImplicitDeny, &["aws:CurrentTime"][..]));
    assert_eq!(explanation.deciding().count(), 0);
}

/// A policy that was read for an identity and is handed in as a resource's gives nobody anything, and still denies.
#[test]
fn a_policy_in_the_wrong_place_allows_nothing() {
    let attached = crate::case::attached(auth::PolicyKind::Inline, &allow("*"));
    let policies = auth::Policies { resource: Some(&attached), ..auth::Policies::default() };
    let case = Case::of(Principal::anonymous());
    assert_eq!(policies.decide(&case.request("s3:GetObject", BUCKET)).outcome, ImplicitDeny);
    let deny = json!({"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}});
    let attached = crate::case::attached(auth::PolicyKind::Inline, &deny);
    let policies = auth::Policies { resource: Some(&attached), ..auth::Policies::default() };
    assert_eq!(policies.decide(&case.request("s3:GetObject", BUCKET)).outcome, ExplicitDeny);
}
