//! Conditions: each operator, the documented examples, and keys that are absent, empty or many.

use auth::Outcome::{Allowed, ExplicitDeny, ImplicitDeny};
use serde_json::{Value, json};

use crate::case::{Case, session, user};

/// Whether a condition holds, of a request whose key `k:k` has the values.
fn holds(operator: &str, wanted: Value, given: &[&str]) -> bool {
    let document = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {operator: {"K:k": wanted}}}});
    let mut case = Case::of(user("bob")).identity(document);
    if !given.is_empty() {
        case = case.with_all("k:K", given);
    }
    case.outcome("a:B", "*") == Allowed
}

/// "IAM JSON policy elements: Condition operators": what each compares.
#[test]
fn each_operator_compares_what_its_name_says() {
    for (operator, wanted, yes, no) in [
        ("StringEquals", "a*", &["a*"][..], &["ab", "A*"][..]),
        ("StringNotEquals", "a", &["A", "b"], &["a"]),
        ("StringEqualsIgnoreCase", "Éa", &["éA"], &["ea"]),
        ("StringNotEqualsIgnoreCase", "a", &["b"], &["A"]),
        ("StringLike", "a?c*", &["abc", "abcd"], &["ac", "Abc"]),
        ("StringNotLike", "a*", &["b"], &["ab"]),
        ("NumericEquals", "10", &["10", "10.0", "1e1"], &["9", "x"]),
        ("NumericNotEquals", "10", &["9"], &["10.0"]),
        ("NumericLessThan", "10", &["9.5", "-20"], &["10", "11"]),
        ("NumericLessThanEquals", "10", &["10"], &["10.5"]),
        ("NumericGreaterThan", "10", &["10.5"], &["10"]),
        ("NumericGreaterThanEquals", "10", &["10"], &["9"]),
        ("DateEquals", "2020-01-01T00:00:00Z", &["2020-01-01T01:00:00+01:00", "1577836800"], &["1577836801"]),
        ("DateNotEquals", "2020", &["1577836801"], &["2020-01-01"]),
        ("DateLessThan", "2020-01-01", &["2019-12-31T23:59:59Z"], &["2020-01-01T00:00:00Z"]),
        ("DateLessThanEquals", "2020-01-01", &["2020-01-01T00:00:00Z"], &["2020-01-01T00:00:01Z"]),
        ("DateGreaterThan", "1577836800", &["2020-01-01T00:00:01Z"], &["2020-01-01T00:00:00Z"]),
        ("DateGreaterThanEquals", "2020-01-01", &["2020-01-01T00:00:00Z"], &["2019-12-31T23:59:59Z", "x"]),
        ("Bool", "true", &["true", "TRUE"], &["false", "1"]),
        ("BinaryEquals", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", &["QmluYXJ5VmFsdWVJbkJhc2U2NA=="], &["QmluYXJ5", "?"]),
        ("IpAddress", "203.0.113.0/24", &["203.0.113.9", "::ffff:203.0.113.9"], &["203.0.114.9", "::1", "x"]),
        ("NotIpAddress", "203.0.113.0/24", &["203.0.114.9", "2001:db8::1"], &["203.0.113.9"]),
        (
            "ArnEquals",
            "arn:aws:sns:*:111122223333:t?",
            &["arn:aws:sns:r:111122223333:t1"],
            &["arn:aws:sns:r:1:x:t1", "t1"],
        ),
        ("ArnLike", "arn:aws:s3:::b*", &["arn:aws:s3:::b/c:d"], &["arn:aws:s3:::c"]),
        ("ArnNotEquals", "arn:aws:s3:::b", &["arn:aws:s3:::c"], &["arn:aws:s3:::b"]),
        ("ArnNotLike", "arn:aws:s3:::b*", &["arn:aws:s3:::c"], &["arn:aws:s3:::bc"]),
        ("Null", "false", &["a"], &[""]),
        ("Null", "true", &[""], &["a"]),
    ] {
        for given in yes {
            assert!(holds(operator, json!(wanted), &[given]), "{operator} {wanted} {given}");
        }
        for given in no {
            assert!(!holds(operator, json!(wanted), &[given]), "{operator} {wanted} {given}");
        }
    }
    assert!(holds("NumericEquals", json!(10), &["10"]) && holds("Bool", json!(true), &["true"]));
}

/// "Condition operators": a key that is absent matches nothing, so that what is negated holds, and `IfExists` holds.
#[test]
fn an_absent_key_matches_nothing() {
    for (operator, wanted, expected) in [
        ("StringEquals", "", false),
        ("StringLike", "*", false),
        ("StringNotEquals", "a", true),
        ("NumericLessThan", "1", false),
        ("NumericNotEquals", "1", true),
        ("DateNotEquals", "2020", true),
        ("Bool", "false", false),
        ("IpAddress", "0.0.0.0/0", false),
        ("NotIpAddress", "0.0.0.0/0", true),
        ("ArnLike", "arn:*:*:*:*:*", false),
        ("ArnNotLike", "arn:*:*:*:*:*", true),
        ("Null", "true", true),
        ("Null", "false", false),
        ("StringEqualsIfExists", "a", true),
        ("StringNotEqualsIfExists", "a", true),
        ("ForAllValues:StringEquals", "a", true),
        ("ForAnyValue:StringEquals", "a", false),
        ("ForAnyValue:StringNotEquals", "a", false),
        ("ForAnyValue:StringEqualsIfExists", "a", true),
    ] {
        assert_eq!(holds(operator, json!(wanted), &[]), expected, "{operator}");
    }
    assert!(!holds("StringEqualsIfExists", json!("a"), &["b"]));
}

/// "Multivalued context keys": the table of `PostDateTime` and `UserName`, and empty ones.
#[test]
fn set_operators_compare_sets() {
    let wanted = || json!(["PostDateTime", "Message", "Tags"]);
    assert!(!holds("ForAllValues:StringEquals", wanted(), &["PostDateTime", "UserName"]));
    assert!(holds("ForAllValues:StringEquals", wanted(), &["Message", "Tags"]));
    assert!(holds("ForAnyValue:StringEquals", json!(["ID", "PostDateTime"]), &["UserName", "Message", "PostDateTime"]));
    assert!(!holds("ForAnyValue:StringEquals", json!(["ID", "PostDateTime"]), &["UserName"]));
    assert!(holds("ForAllValues:StringEquals", wanted(), &[""]), "a null data set");
    assert!(!holds("ForAnyValue:StringLike", json!("*"), &[""]), "a null data set");
    assert!(holds("ForAllValues:StringNotEquals", json!(["a", "b"]), &["c", "d"]));
    assert!(!holds("ForAllValues:StringNotEquals", json!(["a", "b"]), &["c", "b"]));
    assert!(holds("ForAnyValue:StringNotEquals", json!(["a", "b"]), &["c", "b"]));
    // Without a set operator it has to hold of every value.
    assert!(holds("StringLike", json!("a*"), &["ab", "ac"]) && !holds("StringLike", json!("a*"), &["ab", "b"]));
    assert!(!holds("StringNotEquals", json!("a"), &["a", "b"]));
}

/// "Condition operators", "Evaluation logic": several values of a negated operator are all to be avoided.
#[test]
fn several_values_are_any_of_them_and_negated_none_of_them() {
    assert!(holds("StringEquals", json!(["a", "b"]), &["b"]));
    assert!(!holds("StringNotEquals", json!(["a", "b"]), &["b"]));
    assert!(holds("StringLike", json!(["", "home/"]), &[""]), "the empty prefix of the guide's example");
}

/// "Multivalued context key examples": tag keys of a request.
#[test]
fn tag_keys_of_a_request_are_denied() {
    let document = |set: &str| {
        json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*"},
            {"Effect": "Deny", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {
                (format!("{set}:StringLike")): {"aws:TagKeys": ["environment*", "cost-center"]},
                "Null": {"aws:TagKeys": "false"}}}]})
    };
    let asks = |set: &str, keys: &[&str]| {
        Case::of(user("bob")).identity(document(set)).with_all("aws:TagKeys", keys).outcome("ec2:CreateTags", "*")
    };
    assert_eq!(asks("ForAllValues", &["environment-x", "cost-center"]), ExplicitDeny);
    assert_eq!(asks("ForAllValues", &["environment-x", "owner"]), Allowed);
    assert_eq!(asks("ForAllValues", &[]), Allowed, "the Null condition is for this");
    assert_eq!(asks("ForAnyValue", &["environment-x", "owner"]), ExplicitDeny);
    assert_eq!(asks("ForAnyValue", &["owner"]), Allowed);
}

/// "Creating a condition with multiple keys or values": all conditions have to hold, one of the values of each.
#[test]
fn keys_and_operators_go_together() {
    let document = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {
            "StringEqualsIgnoreCase": {"aws:PrincipalTag/department": ["finance", "hr", "legal"],
                "aws:PrincipalTag/role": ["audit", "security"]},
            "StringEquals": {"aws:PrincipalAccount": "111122223333"}}}});
    let asks = |tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Case::of(user("bob").with_tags(tags)).identity(document.clone()).outcome("a:B", "*")
    };
    assert_eq!(asks(&[("Department", "Finance"), ("role", "audit")]), Allowed);
    assert_eq!(asks(&[("department", "finance")]), ImplicitDeny);
    assert_eq!(asks(&[("department", "sales"), ("role", "audit")]), ImplicitDeny);
}

/// "...IfExists condition operators": instance types, where there is one.
#[test]
fn a_key_that_only_some_resources_have() {
    let asks = |operator: &str, instance: Option<&str>| {
        let case = Case::of(user("bob")).identity(json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow",
            "Action": "ec2:RunInstances", "Resource": "*",
            "Condition": {operator: {"ec2:InstanceType": ["t1.*", "t2.*", "m3.*"]}}}}));
        let case = if let Some(instance) = instance { case.with("ec2:InstanceType", instance) } else { case };
        case.outcome("ec2:RunInstances", "*")
    };
    assert_eq!(asks("StringLike", None), ImplicitDeny);
    assert_eq!(asks("StringLikeIfExists", None), Allowed);
    assert_eq!(asks("StringLikeIfExists", Some("t2.micro")), Allowed);
    assert_eq!(asks("StringLikeIfExists", Some("x1.32xlarge")), ImplicitDeny);
}

/// "Condition operator to check existence of condition keys": temporary keys.
#[test]
fn temporary_keys_are_told_by_their_time() {
    let document = || {
        json!({"Version": "2012-10-17", "Statement": {"Action": "ec2:*", "Effect": "Allow", "Resource": "*",
            "Condition": {"Null": {"aws:TokenIssueTime": "true"}}}})
    };
    assert_eq!(Case::of(user("bob")).identity(document()).outcome("ec2:RunInstances", "*"), Allowed);
    let issued = session("worker", "one").issued(base::Timestamp::from_millis(0));
    assert_eq!(Case::of(issued).identity(document()).outcome("ec2:RunInstances", "*"), ImplicitDeny);
}

/// "IAM policy elements: Variables and tags".
#[test]
fn variables_stand_for_what_the_request_says() {
    let home = |version: &str| {
        Case::of(user("David")).identity(json!({"Version": version, "Statement": [
            {"Action": ["s3:ListBucket"], "Effect": "Allow", "Resource": ["arn:aws:s3:::mybucket"],
                "Condition": {"StringLike": {"s3:prefix": ["${aws:username}/*"]}}},
            {"Action": ["s3:GetObject", "s3:PutObject"], "Effect": "Allow",
                "Resource": ["arn:aws:s3:::mybucket/${aws:UserName}/*"]}]}))
    };
    assert_eq!(home("2012-10-17").outcome("s3:GetObject", "arn:aws:s3:::mybucket/David/x"), Allowed);
    assert_eq!(home("2012-10-17").outcome("s3:GetObject", "arn:aws:s3:::mybucket/Adele/x"), ImplicitDeny);
    assert_eq!(
        home("2012-10-17").with("s3:prefix", "David/a").outcome("s3:ListBucket", "arn:aws:s3:::mybucket"),
        Allowed
    );
    assert_eq!(home("2008-10-17").outcome("s3:GetObject", "arn:aws:s3:::mybucket/David/x"), ImplicitDeny);
    // "Specifying default values".
    let team = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*",
        "Resource": "arn:aws:s3:::amzn-${aws:PrincipalTag/team, 'company-wide'}"}});
    let yellow = user("bob").with_tags([("team".to_owned(), "yellow".to_owned())]);
    assert_eq!(Case::of(yellow.clone()).identity(team.clone()).outcome("s3:List", "arn:aws:s3:::amzn-yellow"), Allowed);
    assert_eq!(
        Case::of(yellow).identity(team.clone()).outcome("s3:List", "arn:aws:s3:::amzn-company-wide"),
        ImplicitDeny
    );
    assert_eq!(Case::of(user("bob")).identity(team).outcome("s3:List", "arn:aws:s3:::amzn-company-wide"), Allowed);
    // "Policy variables with no value": what is inverted holds.
    let denied = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::example-bucket/*",
            "Condition": {"StringNotEquals": {"s3:ExistingObjectTag/Team": "${aws:PrincipalTag/Team}"}}}]});
    let object = "arn:aws:s3:::example-bucket/x";
    let tagged = user("bob").with_tags([("team".to_owned(), "blue".to_owned())]);
    let blue = Case::of(tagged).identity(denied.clone()).with("s3:ExistingObjectTag/Team", "blue");
    assert_eq!(blue.outcome("s3:GetObject", object), Allowed);
    let nobody = Case::of(user("bob")).identity(denied).with("s3:ExistingObjectTag/Team", "blue");
    assert_eq!(nobody.outcome("s3:GetObject", object), ExplicitDeny);
}

/// "Condition": names of keys are in any case, tags' keys included; two that differ in case only fail.
#[test]
fn names_of_keys_are_in_any_case() {
    let document = || {
        json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/EC2": "test1"}}}})
    };
    let mut one = Case::of(user("bob")).identity(document());
    one.context.add_tag("aws:ResourceTag", "ec2", "test1");
    assert_eq!(one.outcome("a:B", "*"), Allowed);
    one.context.add_tag("aws:ResourceTag", "EC2", "test2");
    assert_eq!(one.outcome("a:B", "*"), ImplicitDeny);
}
