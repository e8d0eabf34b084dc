//! Writing, reading and removing documents and indices.

use serde_json::{Value, json};

use crate::client::{Client, scope};

#[tokio::test]
async fn a_document_is_written_read_changed_and_removed() {
    let client = Client::fresh().await;
    let (status, made) = client.call("PUT", "/logs/_doc/a%2F1?refresh=true", json!({"x": 1})).await;
    assert_eq!(
        (status, &made["result"], &made["_version"], &made["_seq_no"]),
        (201, &json!("created"), &json!(1), &json!(0))
    );
    let (status, made) = client.call("PUT", "/logs/_doc/a%2F1", json!({"x": 2, "y": [1, 2]})).await;
    assert_eq!(
        (status, &made["result"], &made["_version"], &made["_seq_no"]),
        (200, &json!("updated"), &json!(2), &json!(1))
    );
    let found = client.get("/logs/_doc/a%2F1").await;
    assert_eq!(
        (&found["found"], &found["_source"], &found["_version"]),
        (&json!(true), &json!({"x": 2, "y": [1, 2]}), &json!(2))
    );
    assert_eq!(client.get("/logs/_source/a%2F1?_source_includes=y").await, json!({"y": [1, 2]}));

    let (status, refused) = client.call("PUT", "/logs/_create/a%2F1", json!({"x": 3})).await;
    assert_eq!((status, &refused["error"]["type"]), (409, &json!("version_conflict_engine_exception")));
    let (status, _) = client.call("PUT", "/logs/_doc/a%2F1?if_seq_no=0&if_primary_term=1", json!({})).await;
    assert_eq!(status, 409);
    let (_, changed) = client.call("POST", "/logs/_update/a%2F1", json!({"doc": {"x": 9}})).await;
    assert_eq!((&changed["result"], &changed["_version"]), (&json!("updated"), &json!(3)));
    let (_, changed) = client.call("POST", "/logs/_update/a%2F1", json!({"doc": {"x": 9}})).await;
    assert_eq!(changed["result"], "noop");
    assert_eq!(client.get("/logs/_source/a%2F1").await, json!({"x": 9, "y": [1, 2]}));
    let (status, _) = client.call("POST", "/logs/_update/none", json!({"doc": {"x": 9}})).await;
    assert_eq!(status, 404);

    let (status, refused) = client.call("PUT", "/logs/_doc/a%2F1?require_alias=true", json!({})).await;
    assert!(status == 400 && refused["error"]["reason"].as_str().is_some_and(|r| r.contains("require_alias")));

    let (status, gone) = client.call("DELETE", "/logs/_doc/a%2F1", Value::Null).await;
    assert_eq!((status, &gone["result"]), (200, &json!("deleted")));
    let (status, gone) = client.call("DELETE", "/logs/_doc/a%2F1", Value::Null).await;
    assert_eq!((status, &gone["result"]), (404, &json!("not_found")));
    assert_eq!(client.call("GET", "/logs/_doc/a%2F1", Value::Null).await.0, 404);
    let (status, made) = client.call("POST", "/logs/_doc", json!({"auto": true})).await;
    assert_eq!((status, made["_id"].as_str().map(str::len)), (201, Some(32)));
}

#[tokio::test]
async fn a_bulk_answers_every_item_by_itself() {
    let client = Client::fresh().await;
    let mapping = json!({"mappings": {"properties": {"port": {"type": "long"}}}});
    assert_eq!(client.call("PUT", "/logs", mapping).await.0, 200);
    let long = "x".repeat(513);
    let body = [
        r#"{"index":{"_id":"1"}}"#.to_owned(),
        r#"{"port":22}"#.to_owned(),
        r#"{"index":{"_id":"2"}}"#.to_owned(),
        r#"{"port":"http"}"#.to_owned(),
        r#"{"create":{"_id":"1"}}"#.to_owned(),
        r#"{"port":23}"#.to_owned(),
        r#"{"index":{"_id":"3"}}"#.to_owned(),
        r#"{"port":"#.to_owned(),
        format!(r#"{{"index":{{"_id":"{long}"}}}}"#),
        r#"{}"#.to_owned(),
        r#"{"index":{"_id":"1"}}"#.to_owned(),
        r#"{"port":24}"#.to_owned(),
        r#"{"delete":{"_id":"1"}}"#.to_owned(),
        r#"{"index":{"_index":"Bad"}}"#.to_owned(),
        r#"{}"#.to_owned(),
        r#"{"update":{"_id":"4"}}"#.to_owned(),
        r#"{"doc":{"port":5},"doc_as_upsert":true}"#.to_owned(),
        r#"{"index":{"_id":"5","routing":"x"}}"#.to_owned(),
        r#"{}"#.to_owned(),
    ];
    let response = client.send("POST", "/logs/_bulk", body.join("\n") + "\n").await;
    let answer: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!((response.status().as_u16(), &answer["errors"]), (200, &json!(true)));
    let items = answer["items"].as_array().unwrap();
    let statuses: Vec<_> =
        items.iter().map(|i| i.as_object().unwrap().values().next().unwrap()["status"].clone()).collect();
    assert_eq!(statuses, [201, 400, 409, 400, 400, 200, 200, 400, 201, 400]);
    let error = &items[1]["index"]["error"];
    assert_eq!(error["type"], "mapper_parsing_exception");
    let reason = error["reason"].as_str().unwrap();
    assert!(reason.starts_with("failed to parse field [port] of type [long] in document with id '2'"), "{reason}");
    assert_eq!(items[7]["index"]["error"]["type"], "invalid_index_name_exception");
    assert_eq!((&items[5]["index"]["_version"], &items[6]["delete"]["_version"]), (&json!(2), &json!(3)));
    assert_eq!(client.ids("logs", json!({"match_all": {}})).await, ["4"]);
}

#[tokio::test]
async fn a_bulk_that_cannot_be_read_is_refused_whole() {
    let client = Client::fresh().await;
    for (body, named) in [
        ("{\"index\":{}}\n{}", "newline"),
        ("{\"index\":{}}\n", "a document is missing"),
        ("{\"inde\":{}}\n{}\n", "[inde]"),
        ("nonsense\n{}\n", "line [1]"),
        ("\n", "no requests added"),
    ] {
        let response = client.send("POST", "/logs/_bulk", body).await;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        assert!(response.status() == 400 && text.contains(named), "{body}: {text}");
    }
    assert_eq!(client.get("/_cat/indices?format=json").await, json!([]));
}

#[tokio::test]
async fn the_same_documents_again_are_the_same_documents() {
    let client = Client::fresh().await;
    let documents: Vec<Value> = (0..50).map(|n| json!({"_id": format!("id-{n}"), "n": n})).collect();
    for round in 0..3 {
        let (status, answer) = client.bulk("logs", &documents).await;
        assert_eq!((status, &answer["errors"]), (200, &json!(false)));
        let expected = if round == 0 { "created" } else { "updated" };
        assert_eq!(answer["items"][7]["index"]["result"], expected);
        assert_eq!(client.get("/logs/_count").await["count"], 50);
    }
}

#[tokio::test]
async fn requests_at_once_share_commits_and_all_are_kept() {
    let client = Client::fresh().await;
    let one = |n: u32| {
        let client = &client;
        async move { client.bulk("logs", &[json!({"_id": n.to_string(), "n": n}), json!({"_id": "same", "n": n})]).await }
    };
    let answers = futures::future::join_all((0..40).map(one)).await;
    assert!(answers.iter().all(|(status, answer)| *status == 200 && answer["errors"] == false));
    assert_eq!(client.get("/logs/_count").await["count"], 41);
    assert_eq!(client.get("/logs/_doc/same").await["_version"], 40);
}

#[tokio::test]
async fn conflicts_with_guesses_are_kept_and_named() {
    let client = Client::fresh().await;
    let documents =
        [json!({"_id": "1", "role": {"arn": "x"}}), json!({"_id": "2", "role": "admin-role", "other": "y"})];
    let (_, answer) = client.bulk("logs", &documents).await;
    assert_eq!(answer["errors"], false);
    assert_eq!(client.ids("logs", json!({"exists": {"field": "_ignored"}})).await, ["2"]);
    assert_eq!(client.ids("logs", json!({"term": {"_ignored": "role"}})).await, ["2"]);
    assert_eq!(client.ids("logs", json!({"query_string": {"query": "admin"}})).await, ["2"]);
    let found = client.get("/logs/_doc/2").await;
    assert_eq!((&found["_ignored"], &found["_source"]["role"]), (&json!(["role"]), &json!("admin-role")));
}

#[tokio::test]
async fn indices_are_made_shown_and_removed() {
    let client = Client::fresh().await;
    let body = json!({
        "settings": {"number_of_shards": 1, "index.mapping.total_fields.limit": 50},
        "mappings": {"properties": {"at": {"type": "date"}}},
    });
    assert_eq!(client.call("PUT", "/logs-1", body.clone()).await.0, 200);
    let (status, refused) = client.call("PUT", "/logs-1", body).await;
    assert_eq!((status, &refused["error"]["type"]), (400, &json!("resource_already_exists_exception")));
    assert_eq!(client.call("HEAD", "/logs-1", Value::Null).await.0, 200);
    assert_eq!(client.call("HEAD", "/logs-2", Value::Null).await.0, 404);
    let shown = client.get("/logs-1").await;
    assert_eq!(shown["logs-1"]["mappings"], json!({"properties": {"at": {"type": "date"}}}));
    assert_eq!(shown["logs-1"]["settings"]["index"]["mapping"]["total_fields"]["limit"], "50");
    let more = json!({"properties": {"who": {"type": "keyword"}}});
    assert_eq!(client.call("PUT", "/logs-1/_mapping", more).await.0, 200);
    let (status, refused) =
        client.call("PUT", "/logs-1/_mapping", json!({"properties": {"who": {"type": "ip"}}})).await;
    assert_eq!(status, 400);
    assert!(refused["error"]["reason"].as_str().unwrap().contains("cannot be changed"));
    let mapping = client.get("/logs-*/_mapping").await;
    assert_eq!(mapping["logs-1"]["mappings"]["properties"]["who"], json!({"type": "keyword"}));
    let (status, refused) = client.call("PUT", "/UPPER", Value::Null).await;
    assert_eq!((status, &refused["error"]["type"]), (400, &json!("invalid_index_name_exception")));
    assert_eq!(client.call("DELETE", "/logs-1", Value::Null).await.0, 200);
    let (status, gone) = client.call("GET", "/logs-1/_search", Value::Null).await;
    assert_eq!((status, &gone["error"]["type"]), (404, &json!("index_not_found_exception")));
    assert_eq!(gone["error"]["index"], "logs-1");
    assert_eq!(client.call("DELETE", "/*", Value::Null).await.0, 400);
    // Made again, it is empty.
    client.bulk("logs-1", &[json!({"_id": "1"})]).await;
    assert_eq!(client.get("/logs-1/_count").await["count"], 1);
}

#[tokio::test]
async fn regions_do_not_see_each_other() {
    let client = Client::fresh().await;
    client.bulk("logs", &[json!({"_id": "1"})]).await;
    let other = Client { index: client.index.clone(), scope: scope("eu-west-1") };
    assert_eq!(other.call("GET", "/logs/_doc/1", Value::Null).await.0, 404);
    assert_eq!(other.get("/_search").await["hits"]["total"]["value"], 0);
    assert_eq!(client.get("/_search").await["hits"]["total"]["value"], 1);
}

#[tokio::test]
async fn what_the_service_says_about_itself() {
    let client = Client::fresh().await;
    let response = client.send("GET", "/", "").await;
    assert_eq!(response.headers()["x-elastic-product"], "Elasticsearch");
    let root = client.get("/").await;
    assert_eq!(root["version"]["distribution"], "opensearch");
    assert_eq!(client.get("/_cluster/health").await["status"], "green");
    client.bulk("logs", &[json!({"_id": "1"})]).await;
    let rows = client.get("/_cat/indices?format=json").await;
    assert_eq!((&rows[0]["index"], &rows[0]["docs.count"]), (&json!("logs"), &json!("1")));
    let response = client.send("GET", "/_cat/indices?v&h=index,docs.count", "").await;
    assert_eq!(response.body(), "index docs.count\nlogs  1\n");
    let found = client.get("/logs/_search?filter_path=hits.hits._id&pretty").await;
    assert_eq!(found, json!({"hits": {"hits": [{"_id": "1"}]}}));
}

#[tokio::test]
async fn what_is_not_done_is_named() {
    let client = Client::fresh().await;
    client.bulk("logs", &[json!({"_id": "1", "x": "a"})]).await;
    for (method, path, body, named) in [
        ("POST", "/logs/_search", json!({"aggs": {}}), "[aggs]"),
        ("POST", "/logs/_search", json!({"query": {"more_like_this": {}}}), "[more_like_this]"),
        ("POST", "/logs/_search", json!({"search_after": [1]}), "[search_after]"),
        ("GET", "/logs/_search?scroll=1m", Value::Null, "[scroll]"),
        ("GET", "/logs/_search?from=10000&size=1", Value::Null, "Result window is too large"),
        ("POST", "/_aliases", json!({}), "no handler found"),
        ("PUT", "/logs/_doc/1?pipeline=p", json!({}), "[pipeline]"),
        ("PUT", "/i", json!({"mappings": {"properties": {"v": {"type": "knn_vector"}}}}), "[knn_vector]"),
        ("PUT", "/i", json!({"settings": {"analysis": {"analyzer": {"a": {"type": "custom"}}}}}), "analysis"),
        ("PUT", "/logs/_doc/1", json!([1]), "not a JSON object"),
    ] {
        let (status, answer) = client.call(method, path, body).await;
        let reason = answer["error"]["reason"].as_str().unwrap_or_default();
        assert!(status == 400 && reason.contains(named), "{method} {path}: {status} {answer}");
        assert_eq!(answer["status"], 400);
        assert!(answer["error"]["root_cause"][0]["type"].is_string());
    }
}

#[tokio::test]
async fn a_closed_service_refuses_and_an_opened_one_has_everything() {
    let fs = base::fs::sim::SimFs::new(3);
    let env = crate::client::env(&fs);
    let client = Client::on(&env, "/index").await;
    client.bulk("logs", &[json!({"_id": "1", "x": 1})]).await;
    client.index.close().await;
    let (_, answer) = client.bulk("logs", &[json!({"_id": "2"})]).await;
    assert_eq!(answer["items"][0]["index"]["status"], 503, "{answer}");
    let client = Client::on(&env, "/index").await;
    assert_eq!(client.ids("logs", json!({"term": {"x": 1}})).await, ["1"]);
    client.bulk("logs", &[json!({"_id": "2"})]).await;
    assert_eq!(client.get("/logs/_count").await["count"], 2);
}
