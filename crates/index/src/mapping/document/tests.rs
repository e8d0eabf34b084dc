use serde_json::json;

use super::*;
use crate::mapping::merge_mapping;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn take(mapping: &mut Mapping, value: Value) -> Result<Analysed, Refusal> {
    analyse(mapping, &Settings::default(), "1", &object(value))
}

fn declared(properties: Value) -> Mapping {
    let mut mapping = Mapping::new();
    merge_mapping(&mut mapping, &json!({ "properties": properties }), 100).unwrap();
    mapping
}

#[test]
fn types_are_guessed_as_documented() {
    let mut mapping = Mapping::new();
    let doc = json!({
        "s": "text", "n": 1, "f": 1.5, "b": true, "d": "2023-07-10T11:42:18Z", "year": "2023",
        "o": {"in": [1, 2]}, "a.b": "x", "nothing": null
    });
    let analysed = take(&mut mapping, doc).unwrap();
    for (path, kind) in [
        ("s", Kind::Text),
        ("s.keyword", Kind::Keyword),
        ("n", Kind::Long),
        ("f", Kind::Float),
        ("b", Kind::Boolean),
        ("d", Kind::Date),
        ("year", Kind::Text),
        ("o", Kind::Object),
        ("o.in", Kind::Long),
        ("a", Kind::Object),
        ("a.b", Kind::Text),
    ] {
        assert_eq!(mapping.resolve(path).map(|r| r.kind), Some(kind), "{path}");
    }
    assert_eq!(mapping.resolve("nothing"), None);
    let many = mapping.get("o.in").unwrap().id;
    assert_eq!(analysed.keys.iter().filter(|(id, _)| *id == many).count(), 2);
    assert!(analysed.ignored.is_empty());
}

#[test]
fn a_conflict_with_a_guess_is_left_out_and_named() {
    let mut mapping = Mapping::new();
    take(&mut mapping, json!({"role": {"arn": "a"}, "version": "2016-11-15", "port": 1})).unwrap();
    let analysed = take(&mut mapping, json!({"role": "admin", "version": {"major": "two"}, "port": "http"})).unwrap();
    assert_eq!(analysed.ignored.iter().map(String::as_str).collect::<Vec<_>>(), ["port", "role", "version"]);
    assert!(analysed.keys.is_empty() && analysed.text.is_empty());
    assert_eq!(analysed.all, ["http", "admin", "two"]);
}

#[test]
fn a_conflict_with_a_declared_type_is_refused() {
    let mut mapping = declared(json!({"port": {"type": "long"}, "who": {"properties": {"id": {"type": "keyword"}}}}));
    let before = mapping.clone();
    let refused = take(&mut mapping, json!({"fresh": 1, "port": "http"})).unwrap_err();
    assert_eq!(refused.kind, "mapper_parsing_exception");
    assert!(refused.reason.starts_with("failed to parse field [port] of type [long] in document with id '1'"));
    assert_eq!(mapping.get("fresh"), before.get("fresh"), "a refused document must not change the mapping");
    let refused = take(&mut mapping, json!({"who": "me"})).unwrap_err();
    assert!(refused.reason.contains("tried to parse field [who] as object, but found a concrete value"));
    let refused = take(&mut mapping, json!({"port": {"from": 1}})).unwrap_err();
    assert!(refused.reason.contains("[port] of type [long]"), "{}", refused.reason);
    assert!(take(&mut mapping, json!({"port": "17"})).is_ok());
}

#[test]
fn ignore_malformed_when_set_holds_for_every_field() {
    let strict = Settings { ignore_malformed: Some(false), ..Settings::default() };
    let mut mapping = Mapping::new();
    take(&mut mapping, json!({"n": 1})).unwrap();
    assert!(analyse(&mut mapping, &strict, "1", &object(json!({"n": "x"}))).is_err());
    let lax = Settings { ignore_malformed: Some(true), ..Settings::default() };
    let mut mapping = declared(json!({"n": {"type": "long"}}));
    assert!(analyse(&mut mapping, &lax, "1", &object(json!({"n": "x"}))).is_ok());
}

#[test]
fn limits_leave_out_or_refuse() {
    let mut settings = Settings { total_fields_limit: 3, ..Settings::default() };
    let mut mapping = Mapping::new();
    let doc = object(json!({"a": "x", "b": 1, "c": 2}));
    let analysed = analyse(&mut mapping, &settings, "1", &doc).unwrap();
    assert_eq!(analysed.ignored.iter().collect::<Vec<_>>(), ["c"]);
    settings.ignore_beyond_limit = false;
    let refused = analyse(&mut Mapping::new(), &settings, "1", &doc).unwrap_err();
    assert!(refused.reason.contains("Limit of total fields [3] has been exceeded"), "{}", refused.reason);

    let mut deep = json!("end");
    for _ in 0..40 {
        deep = json!({ "d": deep });
    }
    let analysed = take(&mut Mapping::new(), deep).unwrap();
    assert_eq!(analysed.ignored.len(), 1);
    assert_eq!(analysed.all, ["end"]);
}

#[test]
fn long_keywords_are_not_indexed_whole() {
    let mut mapping = Mapping::new();
    let analysed = take(&mut mapping, json!({"s": "é".repeat(256), "l": "é".repeat(257)})).unwrap();
    assert_eq!(analysed.ignored.iter().collect::<Vec<_>>(), ["l.keyword"]);
    assert_eq!((analysed.keys.len(), analysed.text.len()), (1, 2));
    let mut mapping = declared(json!({"k": {"type": "keyword"}}));
    assert!(take(&mut mapping, json!({"k": "x".repeat(40_000)})).unwrap_err().reason.contains("immense term"));
}

#[test]
fn strict_and_frozen_mappings() {
    let mut mapping = Mapping::new();
    mapping.dynamic = Dynamic::Strict;
    assert_eq!(take(&mut mapping, json!({"a": 1})).unwrap_err().kind, "strict_dynamic_mapping_exception");
    mapping.dynamic = Dynamic::False;
    assert_eq!(take(&mut mapping, json!({"a": 1})).unwrap(), Analysed::default());
}

#[test]
fn names_that_cannot_be() {
    assert!(take(&mut Mapping::new(), json!({"_id": "x"})).is_err());
    let strict = Settings { ignore_malformed: Some(false), ..Settings::default() };
    for doc in [json!({"": "x"}), json!({"a..b": "x"}), json!({".a": "x"})] {
        let analysed = take(&mut Mapping::new(), doc.clone()).unwrap();
        assert_eq!((analysed.ignored.len(), analysed.all.len()), (1, 1), "{doc}");
        assert!(analyse(&mut Mapping::new(), &strict, "1", &object(doc)).is_err());
    }
}
