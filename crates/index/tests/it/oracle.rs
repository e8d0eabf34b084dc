//! Random documents and queries: what the index finds is what a plain evaluation of the documents finds.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::client::Client;

fn document() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec!["a", "b", "ab", "B"]);
    let many = |value: BoxedStrategy<Value>| {
        prop_oneof![
            1 => Just(Value::Null),
            3 => value.clone(),
            1 => prop::collection::vec(value, 0..3).prop_map(Value::Array),
        ]
    };
    let keyword = many(word.clone().prop_map(|w| json!(w)).boxed());
    let number = many((-3i64..4).prop_map(|n| json!(n)).boxed());
    let float = many((-6i64..7).prop_map(|n| json!(n as f64 / 2.0)).boxed());
    let boolean = many(any::<bool>().prop_map(|b| json!(b)).boxed());
    let day = many((1u32..6).prop_map(|d| json!(format!("2024-01-0{d}T12:00:00Z"))).boxed());
    let text = prop::collection::vec(word, 0..4).prop_map(|words| json!(words.join(" ")));
    (keyword.clone(), number, float, boolean, day, text, keyword).prop_map(
        |(k, n, f, b, d, t, inner)| json!({"k": k, "n": n, "f": f, "b": b, "d": d, "t": t, "o": {"k": inner}}),
    )
}

fn leaf() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec!["a", "b", "ab", "B", "none"]);
    let end = prop::sample::select(vec!["gte", "gt", "lte", "lt"]);
    let keyword = prop::sample::select(vec!["k", "o.k"]);
    prop_oneof![
        Just(json!({"match_all": {}})),
        (keyword.clone(), word.clone()).prop_map(|(f, w)| json!({"term": { f: w }})),
        (keyword.clone(), prop::collection::vec(word.clone(), 0..3)).prop_map(|(f, w)| json!({"terms": { f: w }})),
        (-4i64..5).prop_map(|n| json!({"term": {"n": n}})),
        (-7i64..8).prop_map(|n| json!({"term": {"f": n as f64 / 2.0}})),
        any::<bool>().prop_map(|b| json!({"term": {"b": b}})),
        (end.clone(), -4i64..5).prop_map(|(e, n)| json!({"range": {"n": { e: n }}})),
        (end.clone(), -9i64..9).prop_map(|(e, n)| json!({"range": {"n": { e: n as f64 / 2.0 }}})),
        (end.clone(), -7i64..8).prop_map(|(e, n)| json!({"range": {"f": { e: n as f64 / 2.0 }}})),
        (-4i64..5, -4i64..5).prop_map(|(a, b)| json!({"range": {"n": {"gte": a, "lt": b}}})),
        (end.clone(), 0u32..7)
            .prop_map(|(e, d)| json!({"range": {"d": { e: format!("2024-01-0{}T12:00:00Z", d + 1) }}})),
        (end, word.clone()).prop_map(|(e, w)| json!({"range": {"k": { e: w }}})),
        prop::sample::select(vec!["k", "n", "f", "b", "d", "t", "o", "o.k", "gone"])
            .prop_map(|f| json!({"exists": {"field": f}})),
        (keyword, prop::sample::select(vec!["a", "b", ""])).prop_map(|(f, p)| json!({"prefix": { f: p }})),
        prop::collection::vec(word, 1..3).prop_map(|w| json!({"match": {"t": w.join(" ")}})),
    ]
}

fn query() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 16, 3, |inner| {
        let some = prop::collection::vec(inner, 0..3);
        (some.clone(), some.clone(), some.clone(), some, prop::option::of(0u32..3)).prop_map(
            |(must, filter, should, must_not, minimum)| {
                let mut clauses = json!({"must": must, "filter": filter, "should": should, "must_not": must_not});
                if let Some(minimum) = minimum {
                    clauses["minimum_should_match"] = json!(minimum);
                }
                json!({ "bool": clauses })
            },
        )
    })
}

fn values<'a>(document: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut at = vec![document];
    for part in path.split('.') {
        at = at.into_iter().filter_map(|v| v.get(part)).flat_map(flat).collect();
    }
    at
}

fn flat(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        Value::Null => Vec::new(),
        value => vec![value],
    }
}

fn only(map: &Value) -> (&String, &Value) {
    map.as_object().unwrap().iter().next().unwrap()
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        // Dates of one form are ordered as texts are.
        _ => a.as_str().cmp(&b.as_str()),
    }
}

fn matches(document: &Value, query: &Value) -> bool {
    let (name, body) = only(query);
    if name == "match_all" {
        return true;
    }
    if name == "bool" {
        return matches_bool(document, body.as_object().unwrap());
    }
    if name == "exists" {
        // An object is there when something in it is.
        let inside = |v: &Value| v.as_object().is_none_or(|o| o.values().any(|v| !flat(v).is_empty()));
        return values(document, body["field"].as_str().unwrap()).into_iter().any(inside);
    }
    let (field, wanted) = only(body);
    let found = values(document, field);
    match name.as_str() {
        "term" => found.iter().any(|v| same(v, wanted)),
        "terms" => found.iter().any(|v| wanted.as_array().unwrap().iter().any(|w| same(v, w))),
        "prefix" => found.iter().any(|v| v.as_str().unwrap().starts_with(wanted.as_str().unwrap())),
        "match" => {
            let words =
                |v: &Value| v.as_str().unwrap().to_lowercase().split(' ').map(str::to_owned).collect::<Vec<_>>();
            let wanted = words(wanted);
            found.iter().flat_map(|v| words(v)).any(|w| wanted.contains(&w))
        }
        "range" => found.iter().any(|v| {
            wanted.as_object().unwrap().iter().all(|(end, limit)| {
                let order = compare(v, limit);
                match end.as_str() {
                    "gte" => order.is_ge(),
                    "gt" => order.is_gt(),
                    "lte" => order.is_le(),
                    _ => order.is_lt(),
                }
            })
        }),
        other => panic!("no oracle for {other}"),
    }
}

fn matches_bool(document: &Value, clauses: &Map<String, Value>) -> bool {
    let list = |key: &str| clauses[key].as_array().unwrap();
    let all = |key: &str| list(key).iter().all(|q| matches(document, q));
    let should = list("should").iter().filter(|q| matches(document, q)).count();
    let alone = list("must").is_empty() && list("filter").is_empty() && !list("should").is_empty();
    // As in Lucene, of optional clauses alone one must match even when the minimum says none.
    let minimum = clauses.get("minimum_should_match").and_then(Value::as_u64).unwrap_or(0).max(u64::from(alone));
    all("must") && all("filter") && should as u64 >= minimum && !list("must_not").iter().any(|q| matches(document, q))
}

#[test]
fn the_index_agrees_with_a_plain_evaluation() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // More on demand: each case opens an index.
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { 64 };
    let input = (prop::collection::vec(document(), 1..25), prop::collection::vec(query(), 12), 0usize..25);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&input, |(documents, queries, split)| {
        runtime.block_on(async {
            let client = Client::fresh().await;
            let mapping = json!({"mappings": {"properties": {
                "k": {"type": "keyword"}, "n": {"type": "long"}, "f": {"type": "double"}, "b": {"type": "boolean"},
                "d": {"type": "date"}, "t": {"type": "text"}, "o": {"properties": {"k": {"type": "keyword"}}},
            }}});
            client.call("PUT", "/i", mapping).await;
            let named = |(n, document): (usize, &Value)| {
                let mut document = document.clone();
                document["_id"] = json!(format!("{n:02}"));
                document
            };
            let named: Vec<Value> = documents.iter().enumerate().map(named).collect();
            // Two segments, and documents that were written twice.
            let split = split.min(named.len());
            for batch in [&named[..split], &named[split / 2..]] {
                if !batch.is_empty() {
                    prop_assert_eq!(&client.bulk("i", batch).await.1["errors"], &json!(false));
                }
            }
            for query in &queries {
                let expected: Vec<String> = documents
                    .iter()
                    .enumerate()
                    .filter(|(_, document)| matches(document, query))
                    .map(|(n, _)| format!("{n:02}"))
                    .collect();
                prop_assert_eq!(client.ids("i", query.clone()).await, expected, "{}", query);
            }
            client.index.close().await;
            Ok(())
        })
    });
    result.unwrap();
}
