use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<Query, ParseError> {
    parse_query_string(&StringQuery { text, fields: vec![FieldName::Any], operator: Operator::Or })
}

fn on(field: &str, text: &str) -> Query {
    let field = FieldName::Named(field.into());
    Query::Match { field, text: json!(text), all: false, minimum: None }
}

fn any(text: &str) -> Query {
    Query::Match { field: FieldName::Any, text: json!(text), all: false, minimum: None }
}

fn bools(must: Vec<Query>, should: Vec<Query>, must_not: Vec<Query>) -> Query {
    Query::Bool(Box::new(BoolQuery { must, should, must_not, ..BoolQuery::default() }))
}

#[test]
fn clauses_and_operators() {
    for (text, expected) in [
        ("TerminateInstances", any("TerminateInstances")),
        ("eventName:TerminateInstances", on("eventName", "TerminateInstances")),
        ("eventName: TerminateInstances", on("eventName", "TerminateInstances")),
        ("a b", bools(vec![], vec![any("a"), any("b")], vec![])),
        ("a AND b", bools(vec![any("a"), any("b")], vec![], vec![])),
        ("a && NOT b", bools(vec![any("a")], vec![], vec![any("b")])),
        ("a OR -b", bools(vec![], vec![any("a")], vec![any("b")])),
        ("+a b", bools(vec![any("a")], vec![any("b")], vec![])),
        ("x:(a b)", bools(vec![], vec![on("x", "a"), on("x", "b")], vec![])),
        ("ORDER", any("ORDER")),
        ("key\\:value", any("key:value")),
        ("_exists_:a.b", Query::Exists { field: "a.b".into() }),
        ("a.b:*", Query::Exists { field: "a.b".into() }),
        ("*", Query::All),
        ("*:*", Query::All),
        ("", Query::Nothing),
        ("x:a^2", Query::Boost(Box::new(on("x", "a")), 2.0)),
    ] {
        assert_eq!(parse(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn phrases_patterns_and_ranges() {
    let field = || FieldName::Named("x".into());
    let range = |lower: Option<(&str, bool)>, upper: Option<(&str, bool)>| Query::Range {
        field: "x".into(),
        ends: Ends { lower: lower.map(|(v, i)| (json!(v), i)), upper: upper.map(|(v, i)| (json!(v), i)) },
    };
    for (text, expected) in [
        ("x:\"a \\\"b\\\"\"~2", Query::Phrase { field: field(), text: json!("a \"b\""), slop: 2 }),
        ("x:ab*c?", Query::Wildcard { field: field(), pattern: "ab*c?".into(), any_case: false }),
        ("x:[1 TO 5}", range(Some(("1", true)), Some(("5", false)))),
        ("x:{* TO now-1h]", range(None, Some(("now-1h", true)))),
        ("x:[2023-07-10T11:00 TO *]", range(Some(("2023-07-10T11:00", true)), None)),
        ("x:>=10", range(Some(("10", true)), None)),
        ("x:<10", range(None, Some(("10", false)))),
    ] {
        assert_eq!(parse(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn with_and_as_the_default() {
    let query = StringQuery { text: "a b OR c", fields: vec![FieldName::Any], operator: Operator::And };
    let word = |t: &str| Query::Match { field: FieldName::Any, text: json!(t), all: true, minimum: None };
    assert_eq!(parse_query_string(&query).unwrap(), bools(vec![word("a")], vec![word("b"), word("c")], vec![]));
}

#[test]
fn what_cannot_be_read_is_named() {
    for (text, named) in [
        ("(a", "')'"),
        ("a)", "')'"),
        ("\"a", "'\"'"),
        ("AND a", "operator"),
        ("a AND", "operator"),
        ("a~", "fuzzy"),
        ("x:/a.*/", "regular expressions"),
        ("x:a:b", "':'"),
        ("[1 TO 2]", "needs a field"),
        ("x:[1 2]", "'TO'"),
        ("x:", "missing"),
        ("a\\", "'\\'"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.reason.contains(named), "{text}: {}", error.reason);
    }
    let deep = "(".repeat(10_000);
    assert!(parse(&deep).unwrap_err().reason.contains("nested deeper"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-c:*?()\\[\\]{}\"\\\\ +!&|~^<>=/-]{0,40}|\\PC{0,30}") {
        let _ = parse(&text);
    }
}
