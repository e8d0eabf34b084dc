//! A caller of the handler, as short to write as in the documentation of the API.

use std::path::Path;
use std::sync::Arc;

use base::fs::sim::SimFs;
use base::{Env, Scope, SeededRng, SystemClock};
use bytes::Bytes;
use index::{Index, IndexConfig};
use serde_json::Value;

pub struct Client {
    pub index: Index,
    pub scope: Scope,
}

pub fn env(fs: &SimFs) -> Env {
    Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SeededRng::new(1)), fs: Arc::new(fs.clone()) }
}

pub fn scope(region: &str) -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: region.parse().unwrap() }
}

/// The least memory that tantivy takes: tests open hundreds of writers.
pub fn config() -> IndexConfig {
    IndexConfig { writer_bytes: 15_000_000, ..IndexConfig::default() }
}

impl Client {
    pub async fn on(env: &Env, dir: &str) -> Self {
        let index = Index::open(env, Path::new(dir), config()).await.unwrap();
        Self { index, scope: scope("us-east-1") }
    }

    /// On a new simulated disk.
    pub async fn fresh() -> Self {
        Self::on(&env(&SimFs::new(1)), "/index").await
    }

    pub async fn send(&self, method: &str, path: &str, body: impl Into<Bytes>) -> http::Response<Bytes> {
        let request = http::Request::builder().method(method).uri(path).body(body.into()).unwrap();
        self.index.handle(&self.scope, request).await
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let response = self.send(method, path, body).await;
        let status = response.status().as_u16();
        (status, serde_json::from_slice(response.body()).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null).await.1
    }

    /// Writes documents of the form `{"_id": …, …}`; the answer of `_bulk`.
    pub async fn bulk(&self, index: &str, documents: &[Value]) -> (u16, Value) {
        let mut body = String::new();
        for document in documents {
            let mut document = document.clone();
            let id = document.as_object_mut().unwrap().remove("_id");
            let action = match id {
                Some(id) => serde_json::json!({"index": {"_index": index, "_id": id}}),
                None => serde_json::json!({"index": {"_index": index}}),
            };
            body.push_str(&format!("{action}\n{document}\n"));
        }
        let response = self.send("POST", "/_bulk", body).await;
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap())
    }

    /// The ids that a query finds, sorted; fails on an error.
    pub async fn ids(&self, index: &str, query: Value) -> Vec<String> {
        let body = serde_json::json!({"query": query, "size": 10_000, "_source": false});
        let (status, found) = self.call("POST", &format!("/{index}/_search"), body.clone()).await;
        assert_eq!(status, 200, "{body}: {found}");
        let hits = found["hits"]["hits"].as_array().unwrap();
        let mut ids: Vec<String> = hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(found["hits"]["total"]["value"], ids.len(), "{found}");
        ids.sort();
        ids
    }
}
