//! What is refused, in which words, and with which place. The messages are those that IAM was seen to answer.

use auth::{Policy, PolicyError, PolicyKind};
use serde_json::{Value, json};

const SYNTAX: &str = "Syntax errors in policy.";
const LEGACY: &str = "The policy failed legacy parsing";
const BUCKET: &str = "arn:aws:s3:::example_bucket";

fn refused(kind: PolicyKind, text: &str) -> (String, String) {
    match Policy::parse(kind, text) {
        Err(PolicyError::Malformed { text, place, .. }) => (text, place),
        other => panic!("{other:?}: {text}"),
    }
}

/// A statement that is right but for what is changed; `null` removes a member.
fn statement(changes: Value) -> Value {
    let mut statement = json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": BUCKET});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => _ = statement.as_object_mut().unwrap().remove(name),
            value => statement[name] = value.clone(),
        }
    }
    statement
}

fn managed(changes: Value) -> (String, String) {
    refused(PolicyKind::Managed, &json!({"Version": "2012-10-17", "Statement": statement(changes)}).to_string())
}

#[test]
fn documents_that_are_none() {
    let good = statement(json!({}));
    for (document, text, place) in [
        (json!([]), SYNTAX, "document"),
        (json!({"Statement": good}), "Policy document must be version 2012-10-17 or greater.", "Version"),
        (
            json!({"Version": "2008-10-17", "Statement": good}),
            "Policy document must be version 2012-10-17 or greater.",
            "Version",
        ),
        (json!({"Version": "2013-10-17", "Statement": good}), SYNTAX, "Version"),
        (json!({"Version": 2012, "Statement": good}), SYNTAX, "Version"),
        (json!({"Version": "2012-10-17"}), SYNTAX, "Statement"),
        (json!({"Version": "2012-10-17", "Statement": []}), SYNTAX, "Statement"),
        (json!({"Version": "2012-10-17", "Statement": ["afd"]}), SYNTAX, "Statement[0]"),
        (json!({"Version": "2012-10-17", "Statement": good, "Extra field": "value"}), SYNTAX, "Extra field"),
        (json!({"Version": "2012-10-17", "Statement": good, "Id": {}}), SYNTAX, "Id"),
    ] {
        let (told, at) = refused(PolicyKind::Managed, &document.to_string());
        assert_eq!((&*told, &*at), (text, place), "{document}");
    }
    for text in ["This is not a json document", "", "{", "{}{}", "\u{feff}{}"] {
        assert_eq!(refused(PolicyKind::Managed, text), (SYNTAX.to_owned(), "document".to_owned()), "{text}");
        assert_eq!(refused(PolicyKind::Trust, text).0, "This policy contains invalid Json", "{text}");
    }
}

#[test]
fn statements_that_are_wrong() {
    let no_actions = "Policy statement must contain actions.";
    let no_resources = "Policy statement must contain resources.";
    let vendor = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.";
    for (changes, text, place) in [
        (json!({"Extra field": "value"}), SYNTAX, "Statement.Extra field"),
        (json!({"Effect": null}), SYNTAX, "Statement.Effect"),
        (json!({"Effect": "invalid"}), SYNTAX, "Statement.Effect"),
        (json!({"Effect": "denY"}), LEGACY, "Statement.Effect"),
        (json!({"Action": null}), no_actions, "Statement"),
        (json!({"Action": []}), no_actions, "Statement.Action"),
        (json!({"Action": {}}), SYNTAX, "Statement.Action"),
        (json!({"Action": [[]]}), SYNTAX, "Statement.Action[0]"),
        (json!({"Action": "invalid"}), vendor, "Statement.Action[0]"),
        (json!({"Action": null, "NotAction": ""}), vendor, "Statement.NotAction[0]"),
        (json!({"Action": ["s3:List", "a a:x"]}), "Vendor a a is not valid", "Statement.Action[1]"),
        (json!({"Action": "s3:List:Bucket"}), "Actions/Condition can contain only one colon.", "Statement.Action[0]"),
        (json!({"NotAction": "s3:x"}), SYNTAX, "Statement.NotAction"),
        (json!({"Resource": null}), no_resources, "Statement"),
        (json!({"Resource": []}), no_resources, "Statement.Resource"),
        (json!({"NotResource": "*"}), SYNTAX, "Statement.NotResource"),
        (json!({"Sid": {}}), SYNTAX, "Statement.Sid"),
        (json!({"Principal": "*"}), "Policy document should not specify a principal.", "Statement.Principal"),
        (json!({"NotPrincipal": "*"}), "Policy document should not specify a principal.", "Statement.NotPrincipal"),
    ] {
        let (told, at) = managed(changes.clone());
        assert_eq!((&*told, &*at), (text, place), "{changes}");
    }
    let (text, _) = managed(json!({"Sid": "with-hyphen"}));
    assert!(text.starts_with("Statement IDs (SID) must be alpha-numeric."));
    let twice =
        json!({"Version": "2012-10-17", "Statement": [statement(json!({"Sid": "a"})), statement(json!({"Sid": "a"}))]});
    let (text, place) = refused(PolicyKind::Managed, &twice.to_string());
    assert_eq!((&*text, &*place), ("Statement IDs (SID) in a single policy must be unique.", "Statement[1].Sid"));
}

#[test]
fn resources_that_are_no_arns() {
    for (resource, text) in [
        ("invalid resource", "Resource invalid resource must be in ARN format or \"*\"."),
        ("", "Resource  must be in ARN format or \"*\"."),
        ("**", "Resource ** must be in ARN format or \"*\"."),
        ("a:bsdfdsafsad", "Partition \"bsdfdsafsad\" is not valid for resource \"arn:bsdfdsafsad:*:*:*:*\"."),
        ("a:b:cadfsdf", "Partition \"b\" is not valid for resource \"arn:b:cadfsdf:*:*:*\"."),
        ("a:b:c:d:e:f:g:h", "Partition \"b\" is not valid for resource \"arn:b:c:d:e:f:g:h\"."),
        ("aws:s3:::example_bucket", "Partition \"s3\" is not valid for resource \"arn:s3:::example_bucket:*\"."),
        (
            "arn:error:s3:::example_bucket",
            "Partition \"error\" is not valid for resource \"arn:error:s3:::example_bucket\".",
        ),
        ("arn:aws", "Resource vendor must be fully qualified and cannot contain regexes."),
        ("arn:aws:s*:::x", "Resource vendor must be fully qualified and cannot contain regexes."),
        ("arn:aws:s3::example_bucket", LEGACY),
        ("arn:aws::::example_bucket", LEGACY),
        ("arn:aws::fdsasf", LEGACY),
        (
            "arn:aws:iam:us-east-1::user/x",
            "IAM resource arn:aws:iam:us-east-1::user/x cannot contain region information.",
        ),
        ("arn:aws:s3:us-east-1::b", "Resource arn:aws:s3:us-east-1::b can not contain region information."),
        ("arn:aws:s3:::${aws:username", SYNTAX),
    ] {
        let (told, at) = managed(json!({"Resource": ["*", resource]}));
        assert_eq!((&*told, &*at), (text, "Statement.Resource[1]"), "{resource}");
    }
}

#[test]
fn conditions_that_could_mean_anything() {
    for (condition, text, place) in [
        (json!([]), SYNTAX, "Statement.Condition"),
        (json!("a"), SYNTAX, "Statement.Condition"),
        (json!({"a": "b"}), SYNTAX, "Statement.Condition.a"),
        (json!({"x": {"a": "1"}}), SYNTAX, "Statement.Condition.x"),
        (
            json!({"ForAnyValue::StringEqualsIfExists": {"a": "asf"}}),
            SYNTAX,
            "Statement.Condition.ForAnyValue::StringEqualsIfExists",
        ),
        (json!({"NullIfExists": {"a": "true"}}), SYNTAX, "Statement.Condition.NullIfExists"),
        (json!({"DateGreaterThan": []}), SYNTAX, "Statement.Condition.DateGreaterThan"),
        (json!({"DateGreaterThan": {"a": {}}}), SYNTAX, "Statement.Condition.DateGreaterThan.a"),
        (json!({"StringLike": {"a": ["x", {}]}}), SYNTAX, "Statement.Condition.StringLike.a[1]"),
        (json!({"StringLike": {"a": null}}), SYNTAX, "Statement.Condition.StringLike.a"),
        (json!({"StringNotLike": {"a": []}}), SYNTAX, "Statement.Condition.StringNotLike.a"),
        (json!({"StringLike": {"a": "${b"}}), SYNTAX, "Statement.Condition.StringLike.a"),
        (json!({"DateGreaterThan": {"a": "sdfdsf"}}), LEGACY, "Statement.Condition.DateGreaterThan.a"),
        (
            json!({"DateLessThanEquals": {"a": "2016-12-13t2:00:00.593194+1"}}),
            LEGACY,
            "Statement.Condition.DateLessThanEquals.a",
        ),
        (json!({"DateLessThan": {"a": "${aws:CurrentTime}"}}), LEGACY, "Statement.Condition.DateLessThan.a"),
        (json!({"NumericNotEquals": {"a": "x"}}), LEGACY, "Statement.Condition.NumericNotEquals.a"),
        (json!({"NotIpAddress": {"a": "10.0.0.0/33"}}), LEGACY, "Statement.Condition.NotIpAddress.a"),
        (json!({"ArnNotLike": {"a": "*"}}), LEGACY, "Statement.Condition.ArnNotLike.a"),
        (json!({"BinaryEquals": {"a": "?"}}), LEGACY, "Statement.Condition.BinaryEquals.a"),
        (json!({"Bool": {"a": "yes"}}), LEGACY, "Statement.Condition.Bool.a"),
        (json!({"Null": {"a": 1}}), LEGACY, "Statement.Condition.Null.a"),
    ] {
        let (told, at) = managed(json!({"Condition": condition}));
        assert_eq!((&*told, &*at), (text, place), "{condition}");
    }
}

#[test]
fn members_that_come_twice() {
    for (text, place) in [
        (r#"{"Version":"2012-10-17","Statement":{},"Statement":{}}"#, "Statement"),
        (
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","\u0045ffect":"Allow","Action":"*","Resource":"*"}]}"#,
            "Statement[0].Effect",
        ),
        (
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a":true},"Bool":{}}}}"#,
            "Statement.Condition.Bool",
        ),
        (
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a":true,"a":false}}}}"#,
            "Statement.Condition.Bool.a",
        ),
    ] {
        assert_eq!(refused(PolicyKind::Managed, text), (SYNTAX.to_owned(), place.to_owned()), "{text}");
    }
}

#[test]
fn each_kind_has_its_demands() {
    let trust = |changes: Value| {
        let mut statement = json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"});
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => _ = statement.as_object_mut().unwrap().remove(name),
                value => statement[name] = value.clone(),
            }
        }
        refused(PolicyKind::Trust, &json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()).0
    };
    assert_eq!(trust(json!({"Resource": "*"})), "Has prohibited field Resource");
    assert_eq!(trust(json!({"NotResource": "*"})), "AssumeRole policy must not contain resources.");
    assert_eq!(trust(json!({"Principal": null})), "Missing required field Principal");
    assert_eq!(trust(json!({"Principal": {}})), "Missing required field Principal cannot be empty!");
    assert_eq!(trust(json!({"Principal": "*"})), "AssumeRolepolicy contained an invalid principal: \"STAR\":\"*\".");
    assert_eq!(trust(json!({"Action": "s3:Get"})), "AssumeRole policy may only specify STS AssumeRole actions.");
    assert_eq!(trust(json!({"Action": null})), "Missing required field Action");
    assert_eq!(
        trust(json!({"Principal": null, "NotPrincipal": {"AWS": "*"}})),
        "Allow with NotPrincipal is not allowed."
    );
    let empty = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    assert_eq!(refused(PolicyKind::Trust, &empty).0, "Could not parse the policy: Statement is empty!");
    let not_principal =
        json!({"Statement": {"Effect": "Allow", "NotPrincipal": {"AWS": "*"}, "Action": "*", "Resource": "*"}});
    assert_eq!(refused(PolicyKind::Resource, &not_principal.to_string()).0, "Allow with NotPrincipal is not allowed.");
    let invalid =
        json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "bob"}, "Action": "*", "Resource": "*"}});
    let (text, place) = refused(PolicyKind::Resource, &invalid.to_string());
    assert_eq!((&*text, &*place), ("Invalid principal in policy: \"AWS\":\"bob\"", "Statement.Principal.AWS"));
}

#[test]
fn what_is_unusual_but_right_is_taken() {
    for changes in [
        json!({"Action": "iam: asdf safdsf af "}),
        json!({"Resource": "arn:aws:fdsasf"}),
        json!({"Resource": "arn:aws:s33:::example_bucket"}),
        json!({"Resource": "arn:*:ec2:*:*:instance/*"}),
        json!({"Resource": "arn:aws:s3:us-east-1:111122223333:accesspoint/x"}),
        json!({"Condition": {}}),
        json!({"Condition": {"DateGreaterThan": {}}}),
        json!({"Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": "Department"}}}),
        json!({"Sid": ""}),
    ] {
        let document = json!({"Version": "2012-10-17", "Id": "x y", "Statement": statement(changes)}).to_string();
        assert!(Policy::parse(PolicyKind::Managed, &document).is_ok(), "{document}");
    }
    let topic = json!({"Statement": [{"Sid": "with space", "Effect": "Allow", "Principal": {"AWS": "999999999999"}, "Action": "sns:*"}]});
    assert!(Policy::parse(PolicyKind::Resource, &topic.to_string()).is_ok());
}

#[test]
fn quotas_count_all_but_white_space() {
    let of = |characters: usize| {
        let document = |padding: usize| {
            let name = "x".repeat(padding);
            format!(
                "{{ \"Version\": \"2012-10-17\",\n\"Id\": \"{name}\", \"Statement\": {{\"Effect\": \"Allow\",\
                \"Principal\": {{\"AWS\": \"*\"}}, \"Action\": \"sts:AssumeRole\"}} }}"
            )
        };
        let bare = Policy::parse(PolicyKind::Trust, &document(0)).unwrap().characters();
        Policy::parse(PolicyKind::Trust, &document(characters - bare))
    };
    assert_eq!(of(auth::TRUST_CHARACTERS).unwrap().characters(), 2_048);
    assert_eq!(of(2_049).unwrap_err().to_string(), "Cannot exceed quota for ACLSizePerRole: 2048");
    let managed =
        json!({"Version": "2012-10-17", "Id": "x".repeat(6_144), "Statement": statement(json!({}))}).to_string();
    let error = Policy::parse(PolicyKind::Managed, &managed).unwrap_err();
    assert_eq!(error.to_string(), "Cannot exceed quota for PolicySize: 6144");
    let endless = format!("{{\"Id\": \"{}", " ".repeat(200_000));
    assert_eq!(refused(PolicyKind::Inline, &endless).1, "document");
}
