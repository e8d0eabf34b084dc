//! What matches and what does not: the operators one by one, arrays, `$or`, mistakes, and properties over any input.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn matches(pattern: Value, event: &Value) -> bool {
    Pattern::parse(pattern.to_string()).unwrap_or_else(|e| panic!("{pattern}: {e}")).matches(event)
}

/// Whether a field with this one matcher matches this value.
fn field(matcher: Value, value: Value) -> bool {
    matches(json!({"x": [matcher]}), &json!({"x": value}))
}

fn reason(pattern: &str) -> String {
    match Pattern::parse(pattern) {
        Err(RulesError::Invalid { reason, .. }) => reason,
        other => panic!("{pattern}: {other:?}"),
    }
}

#[test]
fn each_operator_matches_what_it_says() {
    let yes = [
        (json!("a"), json!("a")),
        (json!(""), json!("")),
        (json!(300), json!(3.0e2)),
        (json!(3.018e2), json!(301.8)),
        (json!(123_456_789_012_u64), json!(123_456_789_012_u64)),
        (json!(true), json!(true)),
        (json!(false), json!(false)),
        (json!(null), json!(null)),
        (json!("10.0.0.1"), json!("10.0.0.1")),
        (json!("2001:db8::1"), json!("2001:0DB8:0:0::0001")),
        (json!({"exactly": "a"}), json!("a")),
        (json!({"prefix": "ab"}), json!("abc")),
        (json!({"prefix": ""}), json!("")),
        (json!({"prefix": {"equals-ignore-case": "AB"}}), json!("abc")),
        (json!({"suffix": ".png"}), json!("a.png")),
        (json!({"suffix": {"equals-ignore-case": ".PNG"}}), json!("a.png")),
        (json!({"equals-ignore-case": "AbC"}), json!("aBc")),
        (json!({"wildcard": "dir/*/file"}), json!("dir/x/y/file")),
        (json!({"wildcard": "a\\*\\\\b"}), json!("a*\\b")),
        (json!({"numeric": ["=", 5]}), json!(5.0)),
        (json!({"numeric": ["<", 10]}), json!(-3)),
        (json!({"numeric": ["<=", 10]}), json!(10)),
        (json!({"numeric": [">", 0, "<=", 5]}), json!(5)),
        (json!({"numeric": [">=", 0, "<", 5]}), json!(0)),
        (json!({"exists": true}), json!(null)),
        (json!({"exists": true}), json!("")),
        (json!({"cidr": "10.0.0.0/24"}), json!("10.0.0.7")),
        (json!({"cidr": "2001:db8::/32"}), json!("2001:db8:ffff::1")),
        (json!({"anything-but": "a"}), json!("b")),
        (json!({"anything-but": "a"}), json!(1)),
        (json!({"anything-but": "null"}), json!(null)),
        (json!({"anything-but": 1}), json!("1")),
        (json!({"anything-but": ["a", "b"]}), json!("c")),
        (json!({"anything-but": [1, 2]}), json!(3)),
        (json!({"anything-but": {"prefix": "init"}}), json!("running")),
        (json!({"anything-but": {"prefix": ["init", "err"]}}), json!(7)),
        (json!({"anything-but": {"suffix": [".txt", ".rtf"]}}), json!("a.png")),
        (json!({"anything-but": {"equals-ignore-case": ["X", "Y"]}}), json!("z")),
        (json!({"anything-but": {"wildcard": ["*/lib/*", "*.so"]}}), json!("/bin/x")),
    ];
    for (matcher, value) in yes {
        assert!(field(matcher.clone(), value.clone()), "{matcher} should match {value}");
    }
}

#[test]
fn each_operator_leaves_the_rest() {
    let no = [
        (json!("a"), json!("A")),
        (json!(1), json!("1")),
        (json!("1"), json!(1)),
        (json!("true"), json!(true)),
        (json!(null), json!("")),
        (json!(""), json!(null)),
        (json!("10.0.0.1"), json!("10.0.0.2")),
        (json!({"prefix": "ab"}), json!("Abc")),
        (json!({"prefix": "1"}), json!(12)),
        (json!({"suffix": ".png"}), json!("png")),
        (json!({"wildcard": "*"}), json!(5)),
        (json!({"numeric": ["=", 5]}), json!("5")),
        (json!({"numeric": [">", 0, "<=", 5]}), json!(0)),
        (json!({"numeric": [">", 0, "<=", 5]}), json!(5.000_001)),
        (json!({"exists": false}), json!(null)),
        (json!({"cidr": "10.0.0.0/24"}), json!("10.0.1.7")),
        (json!({"cidr": "10.0.0.0/24"}), json!("host")),
        (json!({"anything-but": "a"}), json!("a")),
        (json!({"anything-but": [1, 2]}), json!(2.0)),
        (json!({"anything-but": {"prefix": "init"}}), json!("initializing")),
        (json!({"anything-but": {"suffix": [".txt", ".rtf"]}}), json!("a.rtf")),
        (json!({"anything-but": {"equals-ignore-case": ["X", "Y"]}}), json!("y")),
        (json!({"anything-but": {"wildcard": ["*/lib/*", "*.so"]}}), json!("a.so")),
    ];
    for (matcher, value) in no {
        assert!(!field(matcher.clone(), value.clone()), "{matcher} should not match {value}");
    }
}

#[test]
fn a_field_that_is_absent_matches_only_exists_false() {
    for event in [json!({}), json!({"x": {}}), json!({"x": []}), json!({"x": {"y": 1}})] {
        assert!(matches(json!({"x": [{"exists": false}]}), &event), "{event}");
        assert!(matches(json!({"x": ["a", {"exists": false}]}), &event), "{event}");
        for matcher in [json!({"exists": true}), json!({"anything-but": "a"}), json!({"prefix": ""}), json!(null)] {
            assert!(!matches(json!({"x": [matcher.clone()]}), &event), "{matcher} {event}");
        }
    }
    assert!(matches(json!({"x": ["a", {"exists": false}]}), &json!({"x": "a"})));
    assert!(!matches(json!({"x": ["a", {"exists": false}]}), &json!({"x": "b"})));
}

#[test]
fn values_of_a_field_are_alternatives_and_fields_are_all_needed() {
    let pattern = json!({"detail-type": ["EC2 Instance State-change Notification"], "detail": {"state": ["initializing", "running"]}});
    assert!(matches(
        pattern.clone(),
        &json!({"detail-type": "EC2 Instance State-change Notification", "detail": {"state": "running"}})
    ));
    assert!(!matches(
        pattern.clone(),
        &json!({"detail-type": "EC2 Instance State-change Notification", "detail": {"state": "stopped"}})
    ));
    assert!(!matches(pattern, &json!({"detail": {"state": "running"}})));
    assert!(matches(json!({"resources": ["b"]}), &json!({"resources": ["a", "b"]})));
}

#[test]
fn a_dot_in_a_key_is_a_step_of_the_path() {
    for pattern in [json!({"a": {"b": ["x"]}}), json!({"a.b": ["x"]})] {
        assert!(matches(pattern.clone(), &json!({"a": {"b": "x"}})));
        assert!(matches(pattern.clone(), &json!({"a.b": "x"})));
        assert!(!matches(pattern, &json!({"": {"a": {"b": "x"}}})));
    }
}

#[test]
fn fields_match_within_one_element_of_an_array() {
    let both = json!({"employees": {"first": ["Anna"], "last": ["Smith"]}});
    let crossed = json!({"employees": {"first": ["Anna"], "last": ["Jones"]}});
    let flat = json!({"employees": [{"first": "John", "last": "Doe"}, {"first": "Anna", "last": "Smith"}, {"first": "Peter", "last": "Jones"}]});
    let nested = json!({"employees": [[{"first": "John", "last": "Doe"}, {"first": "Anna", "last": "Smith"}], [{"first": "Peter", "last": "Jones"}]]});
    for event in [flat, nested] {
        assert!(matches(both.clone(), &event));
        assert!(!matches(crossed.clone(), &event));
    }
    // Plain values are in no element: any two of them go together, and elements of different arrays do.
    assert!(matches(json!({"a": ["x"], "b": {"c": [1]}}), &json!({"a": ["w", "x"], "b": [{"c": 2}, {"c": 1}]})));
    assert!(matches(
        json!({"a": {"k": [1]}, "b": {"k": [2]}}),
        &json!({"a": [{"k": 0}, {"k": 1}], "b": [{"k": 2}, {"k": 3}]})
    ));
    let deep = json!({"u": {"n": ["bob"], "t": {"k": ["color"], "v": ["blue"]}}});
    assert!(matches(
        deep.clone(),
        &json!({"u": [{"n": "al"}, {"n": "bob", "t": [{"k": "size", "v": "blue"}, {"k": "color", "v": "blue"}]}]})
    ));
    assert!(!matches(deep.clone(), &json!({"u": [{"n": "bob", "t": [{"k": "color"}, {"v": "blue"}]}]})));
    assert!(!matches(deep, &json!({"u": [{"n": "bob"}, {"t": [{"k": "color", "v": "blue"}]}]})));
}

#[test]
fn a_field_is_absent_among_the_elements_that_go_with_the_fields_before_it() {
    let event = json!({"d": [{"a": 1}, {"b": 2, "z": 3}]});
    assert!(matches(json!({"d": {"a": [1], "b": [{"exists": false}]}}), &event));
    assert!(!matches(json!({"d": {"b": [2], "z": [{"exists": false}]}}), &event));
    assert!(!matches(json!({"d": {"a": [{"exists": false}], "b": [2]}}), &event), "nothing was chosen before a");
}

#[test]
fn large_arrays_are_matched_in_time() {
    let elements: Vec<Value> = (0..20_000).map(|i| json!({"a": i, "b": i + 1})).collect();
    let event = json!({"x": elements, "y": elements, "z": elements});
    let side = json!({"a": [{"numeric": [">=", 0]}], "b": [{"numeric": ["<", 0]}]});
    let other = json!({"a": [{"exists": true}], "b": [{"exists": true}]});
    assert!(!matches(json!({"x": other, "y": other, "z": side}), &event));
}

#[test]
fn or_joins_alternatives_with_the_rest() {
    let pattern = json!({
        "source": ["aws.cloudwatch"],
        "$or": [
            {"metricName": ["CPUUtilization"]},
            {"metricType": ["T"], "namespace": ["N"], "$or": [{"metricId": [1234]}, {"spaceId": [1000]}]},
            {"detail": {"scope": ["Service"]}},
        ],
        "detail": {"$or": [{"a": [1]}, {"b": [2]}]},
    });
    let yes = |event: Value| assert!(matches(pattern.clone(), &event), "{event}");
    let no = |event: Value| assert!(!matches(pattern.clone(), &event), "{event}");
    yes(json!({"source": "aws.cloudwatch", "metricName": "CPUUtilization", "detail": {"a": 1}}));
    yes(json!({"source": "aws.cloudwatch", "metricType": "T", "namespace": "N", "spaceId": 1000, "detail": {"b": 2}}));
    yes(json!({"source": "aws.cloudwatch", "detail": {"scope": "Service", "b": 2}}));
    no(json!({"source": "aws.cloudwatch", "metricName": "CPUUtilization", "detail": {"a": 2}}));
    no(json!({"source": "aws.cloudwatch", "metricType": "T", "namespace": "N", "detail": {"b": 2}}));
    no(json!({"metricName": "CPUUtilization", "detail": {"a": 1}}));
}

#[test]
fn what_is_no_valid_or_is_a_field_of_that_name() {
    assert!(matches(json!({"$or": [{"cidr": "10.0.0.0/24"}]}), &json!({"$or": "10.0.0.9"})));
    assert!(matches(json!({"$or": {"a": [1]}}), &json!({"$or": {"a": 1}})));
    assert!(matches(json!({"d": {"$or": [{"numeric": [">", 10]}, {"prefix": "a"}]}}), &json!({"d": {"$or": 11}})));
    assert_eq!(reason(r#"{"$or":[{"a":[1]}]}"#), "There must have at least 2 Objects in $or relationship.");
    assert_eq!(reason(r#"{"$or":[{"a":[1]},[1]]}"#), "Only JSON object is allowed in array of $or relationship.");
    assert_eq!(reason(r#"{"$or":[]}"#), "There must have at least 2 Objects in $or relationship.");
}

#[test]
fn or_cannot_multiply_without_bound() {
    let or: Vec<Value> = (0..10).map(|i| json!({format!("a{i}"): [1]})).collect();
    let mut pattern = json!({"$or": or});
    for key in ["b", "c", "d"] {
        pattern[key] = json!({"$or": or});
    }
    assert!(reason(&pattern.to_string()).contains("more than 1000"));
}

#[test]
fn a_path_that_comes_twice_counts_as_written_last() {
    let pattern = Pattern::parse(r#"{"a":["x"],"a":["y"]}"#).unwrap();
    assert!(pattern.matches(&json!({"a": "y"})) && !pattern.matches(&json!({"a": "x"})));
}

#[test]
fn mistakes_are_named_with_their_place_as_the_service_does() {
    let message = |pattern: &str| Pattern::parse(pattern).unwrap_err().to_string();
    assert_eq!(
        message(r#"{"source": ["aws.health"], "detail": {}}"#),
        "Event pattern is not valid. Reason: Empty objects are not allowed\n at [Source: (String)\"{\"source\": [\"aws.health\"], \"detail\": {}}\"; line: 1, column: 40]"
    );
    assert_eq!(
        message(r#"{"key": [{"wildcard": "abc**def"}]}"#),
        "Event pattern is not valid. Reason: Consecutive wildcard characters at pos 4\n at [Source: (String)\"{\"key\": [{\"wildcard\": \"abc**def\"}]}\"; line: 1, column: 33]"
    );
    assert!(message(r#"{"key": [{"wildcard": "a*c\def"}]}"#).contains("Unrecognized character escape 'd' (code 100)"));
    assert!(message(r#"{"key": [{"wildcard": "a*c\def"}]}"#).ends_with("line: 1, column: 29]"));
    assert!(message("{\n \"slug\": \"x\"}").contains("\"slug\" must be an object or an array\n at [Source"));
    assert!(message("{\n \"slug\": \"x\"}").ends_with("line: 2, column: 11]"));
    assert!(message(&format!(r#"{{"x": "{}"}}"#, "y".repeat(600))).contains("[truncated 109 chars]"));
}

#[test]
fn wrong_patterns_are_refused() {
    let wrong = [
        "",
        "[1,2,3]",
        "{",
        "{}",
        r#"{"a":1}"#,
        r#"{"a":"x"}"#,
        r#"{"a":[]}"#,
        r#"{"a":{}}"#,
        r#"{"a":[{}]}"#,
        r#"{"a":[[1]]}"#,
        r#"{"a":[1]} x"#,
        r#"{"a":[01]}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":["\ud800"]}"#,
        "{\"a\":[\"\n\"]}",
        r#"{"a":[{"exactly":33}]}"#,
        r#"{"a":[{"foo":"child"}]}"#,
        r#"{"a":[{"prefix":"child","foo":[]}]}"#,
        r#"{"a":[{"prefix":3}]}"#,
        r#"{"a":[{"prefix":["a"]}]}"#,
        r#"{"a":[{"prefix":{"foo":"a"}}]}"#,
        r#"{"a":[{"prefix":{}}]}"#,
        r#"{"a":[{"suffix":{"equals-ignore-case":["a"]}}]}"#,
        r#"{"a":[{"suffix":{"equals-ignore-case":"a","x":"b"}}]}"#,
        r#"{"a":[{"equals-ignore-case":["a"]}]}"#,
        r#"{"a":[{"cidr":"foo"}]}"#,
        r#"{"a":[{"cidr":"10.0.0.0/33"}]}"#,
        r#"{"a":[{"cidr":1}]}"#,
        r#"{"a":[{"exists":"true"}]}"#,
        r#"{"a":[{"exists":true,"x":1}]}"#,
        r#"{"a":[{"wildcard":5}]}"#,
        r#"{"a":[{"wildcard":"a\\b"}]}"#,
        r#"{"a":[{"anything-but":["x",1]}]}"#,
        r#"{"a":[{"anything-but":[]}]}"#,
        r#"{"a":[{"anything-but":null}]}"#,
        r#"{"a":[{"anything-but":[true]}]}"#,
        r#"{"a":[{"anything-but":{"foo":3}}]}"#,
        r#"{"a":[{"anything-but":{"prefix":27}}]}"#,
        r#"{"a":[{"anything-but":{"prefix":""}}]}"#,
        r#"{"a":[{"anything-but":{"suffix":["1",""]}}]}"#,
        r#"{"a":[{"anything-but":{"prefix":"a","b":1}}]}"#,
        r#"{"a":[{"anything-but":{"wildcard":["1","a**b"]}}]}"#,
        r#"{"a":[{"anything-but":[{"wildcard":"*"}]}]}"#,
        r#"{"a":[{"anything-but":{"equals-ignore-case":[1]}}]}"#,
        r#"{"a":[{"anything-but":1e999}]}"#,
        r#"{"a":[{"numeric":5}]}"#,
        r#"{"a":[{"numeric":[]}]}"#,
        r#"{"a":[{"numeric":["="]}]}"#,
        r#"{"a":[{"numeric":["=","5"]}]}"#,
        r#"{"a":[{"numeric":["=",1E309]}]}"#,
        r#"{"a":[{"numeric":["<>",1]}]}"#,
        r#"{"a":[{"numeric":["<",1,">",0]}]}"#,
        r#"{"a":[{"numeric":[">",1,"<",1]}]}"#,
        r#"{"a":[{"numeric":[">",30,"<",1]}]}"#,
        r#"{"a":[{"numeric":[">",1,"<",30,false]}]}"#,
        r#"{"a":[{"numeric":[">",1,">",30]}]}"#,
        r#"{"a":[{"numeric":[true,1]}]}"#,
    ];
    for pattern in wrong {
        assert!(Pattern::parse(pattern).is_err(), "{pattern}");
    }
    assert!(Pattern::parse([0xff]).is_err());
    assert!(Pattern::parse("[".repeat(100_000)).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c*\\\\.0-9/:é]{0,6}".prop_map(Value::from),
        prop_oneof![Just("="), Just("<"), Just(">="), Just("10.0.0.0/8")].prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[ab.]{0,2}".boxed(),
        proptest::sample::select(vec![
            "$or",
            "prefix",
            "anything-but",
            "numeric",
            "exists",
            "wildcard",
            "cidr",
            "equals-ignore-case"
        ])
        .prop_map(str::to_owned)
        .boxed(),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_leaf() -> impl Strategy<Value = Value> {
    any_json().prop_filter("a leaf", |v| !v.is_object() && !v.is_array())
}

/// A value and the elements it is in.
type Placed = (Value, Vec<(u32, u32)>);
/// Two members, and an inner array of two members each.
type Element = (u8, u8, Vec<(u8, u8)>);

/// Every choice of one value a path, tried one by one: slow, and evidently what the array rule says.
fn brute_force(pattern: &[(&str, Value)], values: &[Vec<Placed>], chosen: &mut Vec<(u32, u32)>) -> bool {
    let (Some((_, matcher)), Some(candidates)) = (pattern.first(), values.first()) else { return true };
    candidates.iter().any(|(value, membership)| {
        let consistent = membership.iter().all(|(a, i)| chosen.iter().all(|(b, j)| a != b || i == j));
        let before = chosen.len();
        chosen.extend(membership);
        let found =
            consistent && field(matcher.clone(), value.clone()) && brute_force(&pattern[1..], &values[1..], chosen);
        chosen.truncate(before);
        found
    })
}

proptest! {
    #[test]
    fn nothing_panics(pattern in any_json(), event in any_json(), text in ".{0,40}") {
        let _ = Pattern::parse(&text);
        let _ = Pattern::parse(json!({"a": [{"wildcard": text}]}).to_string());
        if let Ok(pattern) = Pattern::parse(pattern.to_string()) {
            pattern.matches(&event);
        }
        if let Ok(pattern) = Pattern::parse(json!({"a": pattern}).to_string()) {
            pattern.matches(&event);
        }
    }

    #[test]
    fn anything_but_is_the_complement_on_a_present_value(
        value in any_leaf(), texts in prop::collection::vec("[a-c1é]{1,3}", 1..4), numbers in prop::collection::vec(-3_i64..3, 1..4),
    ) {
        for operator in ["equals-ignore-case", "prefix", "suffix", "wildcard"] {
            let any = texts.iter().any(|text| field(json!({operator: text}), value.clone()));
            prop_assert_eq!(field(json!({"anything-but": {operator: texts.clone()}}), value.clone()), !any);
        }
        let any = texts.iter().any(|text| field(json!({"exactly": text}), value.clone()));
        prop_assert_eq!(field(json!({"anything-but": texts}), value.clone()), !any);
        let any = numbers.iter().any(|number| field(json!(number), value.clone()));
        prop_assert_eq!(field(json!({"anything-but": numbers}), value), !any);
    }

    #[test]
    fn numbers_compare_as_doubles(value in -1e6_f64..1e6, low in -1e6_f64..1e6, span in 0.001_f64..1e6) {
        let high = low + span;
        prop_assert_eq!(field(json!({"numeric": [">=", low, "<", high]}), json!(value)), low <= value && value < high);
        prop_assert_eq!(field(json!({"numeric": [">", value]}), json!(value)), false);
        prop_assert!(field(json!(value), json!(value)));
    }

    #[test]
    fn elements_go_together_as_in_a_search_of_all_choices(
        elements in prop::collection::vec((0_u8..3, 0_u8..3, prop::collection::vec((0_u8..2, 0_u8..2), 0..3)), 0..4),
        wanted in (0_u8..3, 0_u8..3, 0_u8..2, 0_u8..2),
    ) {
        let event = json!({"d": elements.iter().map(|(a, b, inner)| json!({
            "a": a, "b": b, "c": inner.iter().map(|(x, y)| json!({"x": x, "y": y})).collect::<Vec<_>>(),
        })).collect::<Vec<_>>()});
        let pattern = json!({"d": {"a": [wanted.0], "b": [wanted.1], "c": {"x": [wanted.2], "y": [wanted.3]}}});
        let leaves = |pick: fn(&Element) -> u8| {
            (0..).zip(&elements).map(|(i, e)| (json!(pick(e)), vec![(0, i)])).collect::<Vec<_>>()
        };
        let inner = |pick: fn(&(u8, u8)) -> u8| {
            (0..).zip(&elements).flat_map(|(i, e)| {
                (0..).zip(&e.2).map(move |(j, p)| (json!(pick(p)), vec![(0, i), (i + 1, j)])).collect::<Vec<_>>()
            }).collect::<Vec<_>>()
        };
        let flat = [("a", json!(wanted.0)), ("b", json!(wanted.1)), ("x", json!(wanted.2)), ("y", json!(wanted.3))];
        let values = [leaves(|e| e.0), leaves(|e| e.1), inner(|p| p.0), inner(|p| p.1)];
        prop_assert_eq!(matches(pattern, &event), brute_force(&flat, &values, &mut Vec::new()));
    }
}
