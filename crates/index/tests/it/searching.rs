//! Queries, sorting, paging and source filtering through `_search`.

use serde_json::{Value, json};

use crate::client::Client;

async fn client() -> Client {
    let client = Client::fresh().await;
    let mapping = json!({"mappings": {"properties": {
        "source": {"type": "ip"},
        "code": {"type": "keyword"},
    }}});
    assert_eq!(client.call("PUT", "/trail", mapping).await.0, 200);
    let documents = [
        json!({"_id": "1", "eventName": "TerminateInstances", "n": 1, "f": 0.5, "ok": true,
               "at": "2023-07-10T11:42:18Z", "who": {"type": "Root", "name": "Ann Lee"}, "source": "10.1.2.3",
               "code": "b", "text": "the quick brown fox"}),
        json!({"_id": "2", "eventName": "DescribeInstances", "n": 22, "f": 2, "ok": false,
               "at": "2023-07-11T00:00:00Z", "who": {"type": "IAMUser", "name": "bob"}, "source": "10.200.0.1",
               "code": "a", "tags": ["x", "y"], "text": "quick quick fox jumps"}),
        json!({"_id": "3", "eventName": "ConsoleLogin", "n": -5, "f": 10.25,
               "at": "2023-08-01T10:00:00+02:00", "who": {"type": "Root"}, "source": "2001:db8::1",
               "code": "c", "tags": ["y"], "text": "a lazy dog"}),
    ];
    let (_, answer) = client.bulk("trail", &documents).await;
    assert_eq!(answer["errors"], false, "{answer}");
    client
}

#[tokio::test]
async fn every_query_finds_what_it_should() {
    let client = client().await;
    for (query, expected) in [
        (json!({"match_all": {}}), "1 2 3"),
        (json!({"match_none": {}}), ""),
        (json!({"term": {"who.type.keyword": "Root"}}), "1 3"),
        (json!({"term": {"who.type": "Root"}}), ""),
        (json!({"term": {"who.type": "root"}}), "1 3"),
        (json!({"term": {"who.type.keyword": {"value": "ROOT", "case_insensitive": true}}}), "1 3"),
        (json!({"term": {"n": 22}}), "2"),
        (json!({"term": {"n": "22"}}), "2"),
        (json!({"term": {"n": 22.5}}), ""),
        (json!({"term": {"f": 2}}), "2"),
        (json!({"term": {"f": 0.5}}), "1"),
        (json!({"term": {"ok": "true"}}), "1"),
        (json!({"term": {"at": "2023-07-10"}}), "1"),
        (json!({"term": {"source": "10.0.0.0/8"}}), "1 2"),
        (json!({"term": {"source": "2001:db8:0::1"}}), "3"),
        (json!({"term": {"_id": "2"}}), "2"),
        (json!({"term": {"_index": "trail"}}), "1 2 3"),
        (json!({"term": {"none": "x"}}), ""),
        (json!({"terms": {"code": ["a", "c", "zz"]}}), "2 3"),
        (json!({"terms": {"n": [1, -5]}}), "1 3"),
        (json!({"terms": {"_id": ["1", "9"]}}), "1"),
        (json!({"match": {"text": "QUICK dog"}}), "1 2 3"),
        (json!({"match": {"text": {"query": "quick fox", "operator": "and"}}}), "1 2"),
        (json!({"match": {"text": {"query": "quick lazy fox", "minimum_should_match": 2}}}), "1 2"),
        (json!({"match": {"code": "a"}}), "2"),
        (json!({"match": {"n": "1"}}), "1"),
        (json!({"match_phrase": {"text": "quick fox"}}), "2"),
        (json!({"match_phrase": {"text": {"query": "quick fox", "slop": 1}}}), "1 2"),
        (json!({"range": {"n": {"gte": 1, "lt": 22}}}), "1"),
        (json!({"range": {"n": {"gt": -5.5}}}), "1 2 3"),
        (json!({"range": {"f": {"gt": 0.5, "lte": 10.25}}}), "2 3"),
        (json!({"range": {"at": {"gte": "2023-07-10", "lte": "2023-07-11"}}}), "1 2"),
        (json!({"range": {"at": {"gt": "2023-07-11"}}}), "3"),
        (json!({"range": {"at": {"gte": "now-10y", "lt": "2023-07-10||+1d/d"}}}), "1"),
        (json!({"range": {"code": {"gt": "a"}}}), "1 3"),
        (json!({"range": {"source": {"gte": "10.2.0.0", "lte": "10.255.255.255"}}}), "2"),
        (json!({"range": {"n": {}}}), "1 2 3"),
        (json!({"exists": {"field": "tags"}}), "2 3"),
        (json!({"exists": {"field": "who"}}), "1 2 3"),
        (json!({"exists": {"field": "who.name"}}), "1 2"),
        (json!({"ids": {"values": ["3", "x"]}}), "3"),
        (json!({"prefix": {"eventName.keyword": "Term"}}), "1"),
        (json!({"wildcard": {"eventName.keyword": "*Inst?nces"}}), "1 2"),
        (json!({"wildcard": {"eventName.keyword": {"value": "*LOGIN", "case_insensitive": true}}}), "3"),
        (json!({"bool": {"must": [{"term": {"code": "a"}}], "must_not": [{"term": {"n": 1}}]}}), "2"),
        (json!({"bool": {"must_not": [{"term": {"n": 1}}]}}), "2 3"),
        (json!({"bool": {"should": [{"term": {"code": "a"}}, {"term": {"code": "b"}}]}}), "1 2"),
        (json!({"bool": {"filter": {"match_all": {}}, "should": [{"term": {"code": "a"}}]}}), "1 2 3"),
        (
            json!({"bool": {"should": [{"term": {"code": "a"}}, {"term": {"n": 22}}, {"term": {"n": 1}}],
                         "minimum_should_match": 2}}),
            "2",
        ),
        (json!({"bool": {}}), "1 2 3"),
        (json!({"constant_score": {"filter": {"term": {"code": "a"}}, "boost": 3}}), "2"),
        (json!({"query_string": {"query": "eventName: TerminateInstances"}}), "1"),
        (json!({"query_string": {"query": "who.type:Root AND NOT n:[* TO 0]"}}), "1"),
        (json!({"query_string": {"query": "\"lazy dog\" OR bob"}}), "2 3"),
        (json!({"query_string": {"query": "quick -bob"}}), "1"),
        (json!({"query_string": {"query": "eventName:*instances", "default_operator": "AND"}}), "1 2"),
        (json!({"query_string": {"query": "ann", "fields": ["who.*", "code"]}}), "1"),
        (json!({"query_string": {"query": "fox", "default_field": "text"}}), "1 2"),
        (json!({"query_string": {"query": "at:[2023-07-11 TO *]"}}), "2 3"),
        (json!({"query_string": {"query": "n:>=1"}}), "1 2"),
        (json!({"query_string": {"query": "22"}}), "2"),
        (json!({"query_string": {"query": "_exists_:tags"}}), "2 3"),
    ] {
        assert_eq!(client.ids("trail", query.clone()).await.join(" "), expected, "{query}");
    }
}

#[tokio::test]
async fn a_value_that_is_none_of_its_field_is_named() {
    let client = client().await;
    for (query, named) in [
        (json!({"term": {"n": "many"}}), "many"),
        (json!({"range": {"at": {"gte": "yesterday"}}}), "yesterday"),
        (json!({"range": {"text": {"gte": "a"}}}), "keyword"),
        (json!({"query_string": {"query": "(a"}}), "')'"),
        (json!({"bool": {"should": vec![json!({"match_all": {}}); 2_000]}}), "maxClauseCount"),
        (json!({"match": {"text": "word ".repeat(2_000)}}), "maxClauseCount"),
        (json!({"match_phrase": {"text": "word ".repeat(2_000)}}), "maxClauseCount"),
    ] {
        let (status, answer) = client.call("POST", "/trail/_search", json!({"query": query})).await;
        let reason = answer["error"]["reason"].as_str().unwrap_or_default();
        assert!(status == 400 && reason.contains(named), "{answer}");
    }
}

async fn sorted(client: &Client, body: Value) -> String {
    let (status, found) = client.call("POST", "/trail/_search", body).await;
    assert_eq!(status, 200, "{found}");
    let hits = found["hits"]["hits"].as_array().unwrap();
    hits.iter().map(|hit| hit["_id"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn hits_are_sorted_and_paged() {
    let client = client().await;
    for (body, expected) in [
        (json!({"sort": ["n"]}), "3 1 2"),
        (json!({"sort": [{"n": "desc"}]}), "2 1 3"),
        (json!({"sort": [{"code": {"order": "desc"}}]}), "3 1 2"),
        (json!({"sort": {"at": "desc"}}), "3 2 1"),
        (json!({"sort": ["f"]}), "1 2 3"),
        (json!({"sort": ["who.type.keyword", {"n": "desc"}]}), "2 1 3"),
        (json!({"sort": [{"ok": "asc"}, "n"]}), "2 1 3"),
        (json!({"sort": [{"ok": {"order": "asc", "missing": "_first"}}]}), "3 2 1"),
        (json!({"sort": [{"tags.keyword": "desc"}, "n"]}), "3 2 1"),
        (json!({"sort": [{"gone": {"unmapped_type": "long"}}, "n"]}), "3 1 2"),
        (json!({"sort": ["n"], "from": 1, "size": 1}), "1"),
        (json!({"sort": ["n"], "from": 5}), ""),
        (json!({"size": 0}), ""),
        (json!({"query": {"match": {"text": "quick"}}}), "2 1"),
    ] {
        assert_eq!(sorted(&client, body.clone()).await, expected, "{body}");
    }
    let (status, refused) = client.call("POST", "/trail/_search", json!({"sort": ["text"]})).await;
    assert_eq!((status, &refused["error"]["type"]), (400, &json!("illegal_argument_exception")));
    let (status, refused) = client.call("POST", "/trail/_search", json!({"sort": ["gone"]})).await;
    assert_eq!((status, &refused["error"]["type"]), (400, &json!("query_shard_exception")));
}

#[tokio::test]
async fn an_answer_has_the_form_that_clients_read() {
    let client = client().await;
    let body = json!({"query": {"term": {"code": "b"}}, "sort": [{"n": "desc"}], "_source": ["who.type", "n"]});
    let (_, found) = client.call("POST", "/trail/_search?track_total_hits=true", body).await;
    let expected = json!({"total": {"value": 1, "relation": "eq"}, "max_score": null, "hits": [{
        "_index": "trail", "_id": "1", "_score": null, "_source": {"n": 1, "who": {"type": "Root"}}, "sort": [1],
    }]});
    assert_eq!(found["hits"], expected);
    assert_eq!(found["timed_out"], false);
    let found = client.get("/trail/_search?q=code:b&_source=false&version=true").await;
    let hit = &found["hits"]["hits"][0];
    assert!(hit.get("_source").is_none() && hit["_score"].as_f64().unwrap() > 0.0 && hit["_version"] == 1, "{found}");
    let (_, found) = client.call("POST", "/_search", json!({"track_total_hits": 2})).await;
    assert_eq!(found["hits"]["total"], json!({"value": 2, "relation": "gte"}));
    let (_, found) = client.call("POST", "/_search", json!({"track_total_hits": false})).await;
    assert!(found["hits"].get("total").is_none());
    assert_eq!(client.get("/_search?rest_total_hits_as_int=true&size=0").await["hits"]["total"], 3);
    assert_eq!(client.get("/_count?q=who.type:Root").await["count"], 2);
}

#[tokio::test]
async fn several_indices_are_one_search() {
    let client = client().await;
    client.bulk("trail-2", &[json!({"_id": "9", "n": 10, "extra": 1}), json!({"_id": "8", "n": 30})]).await;
    client.bulk("other", &[json!({"_id": "7", "n": 11})]).await;
    let order = |found: &Value| -> Vec<String> {
        let hits = found["hits"]["hits"].as_array().unwrap();
        hits.iter().map(|hit| format!("{}/{}", hit["_index"].as_str().unwrap(), hit["_id"].as_str().unwrap())).collect()
    };
    let body = json!({"sort": [{"n": "desc"}], "size": 3});
    let (_, found) = client.call("POST", "/trail*/_search", body.clone()).await;
    assert_eq!(order(&found), ["trail-2/8", "trail/2", "trail-2/9"]);
    assert_eq!(found["hits"]["total"]["value"], 5);
    let (_, found) = client.call("POST", "/*,-trail/_search", body.clone()).await;
    assert_eq!(order(&found), ["trail-2/8", "other/7", "trail-2/9"]);
    let (_, found) = client.call("POST", "/other,trail-2/_search", body.clone()).await;
    assert_eq!(found["hits"]["total"]["value"], 3);
    let (status, _) = client.call("POST", "/other,gone/_search", body.clone()).await;
    assert_eq!(status, 404);
    let (status, _) = client.call("POST", "/other,gone/_search?ignore_unavailable=true", body.clone()).await;
    assert_eq!(status, 200);
    let (_, found) = client.call("POST", "/nothing-*/_search", body).await;
    assert_eq!(found["hits"]["total"]["value"], 0);
    assert_eq!(client.ids("*", json!({"bool": {"filter": [{"term": {"_index": "other"}}]}})).await, ["7"]);
}
