//! The format on disk, as the first release wrote it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::fs::sim::SimFs;
use base::{Env, Fs, OpenMode, RealFs, SeededRng, SystemClock};
use serde_json::json;

use crate::client::{Client, env};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn copy(from: &Path, to: &Path, fs: &SimFs) {
    fs.create_dir_all(to).unwrap();
    for entry in RealFs.read_dir(from).unwrap() {
        let (from, to) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            copy(&from, &to, fs);
        } else {
            let file = fs.open(&to, OpenMode::CreateNew).unwrap();
            file.write_all_at(&RealFs.read(&from).unwrap(), 0).unwrap();
        }
    }
}

/// What the fixture holds. With `TIDEGATE_WRITE_FIXTURE` set it is written anew, for a new version of the format.
async fn write(client: &Client) {
    let mapping = json!({"mappings": {"properties": {"source": {"type": "ip"}, "at": {"type": "date"}}}});
    assert_eq!(client.call("PUT", "/trail", mapping).await.0, 200);
    let documents = [
        json!({"_id": "1", "eventName": "TerminateInstances", "n": 1, "f": 0.5, "ok": true, "source": "10.0.0.1",
               "at": "2023-07-10T11:42:18Z", "who": {"type": "Root"}}),
        json!({"_id": "2", "eventName": "ConsoleLogin", "n": 2, "who": "conflict"}),
    ];
    client.bulk("trail", &documents).await;
    client.bulk("trail", &[json!({"_id": "2", "eventName": "ConsoleLogin", "n": 3, "who": "conflict"})]).await;
}

#[tokio::test]
async fn the_first_release_is_still_read() {
    if std::env::var_os("TIDEGATE_WRITE_FIXTURE").is_some() {
        let real = Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SeededRng::new(1)), fs: Arc::new(RealFs) };
        let client = Client::on(&real, fixture().to_str().unwrap()).await;
        write(&client).await;
        client.index.close().await;
    }
    let fs = SimFs::new(1);
    copy(&fixture(), Path::new("/index"), &fs);
    let client = Client::on(&env(&fs), "/index").await;
    for (query, expected) in [
        (json!({"match": {"eventName": "terminateinstances"}}), "1"),
        (json!({"term": {"eventName.keyword": "ConsoleLogin"}}), "2"),
        (json!({"range": {"n": {"gte": 3}}}), "2"),
        (json!({"term": {"f": 0.5}}), "1"),
        (json!({"term": {"ok": true}}), "1"),
        (json!({"term": {"source": "10.0.0.0/24"}}), "1"),
        (json!({"range": {"at": {"gte": "2023-07-10", "lte": "2023-07-10"}}}), "1"),
        (json!({"term": {"_ignored": "who"}}), "2"),
        (json!({"exists": {"field": "who"}}), "1"),
        (json!({"query_string": {"query": "conflict"}}), "2"),
    ] {
        assert_eq!(client.ids("trail", query.clone()).await.join(" "), expected, "{query}");
    }
    let two = client.get("/trail/_doc/2").await;
    assert_eq!((&two["_version"], &two["_seq_no"]), (&json!(2), &json!(2)));
    let (_, answer) = client.bulk("trail", &[json!({"_id": "3", "n": 4, "new": "field"})]).await;
    assert_eq!(answer["errors"], false);
    assert_eq!(client.get("/trail/_count").await["count"], 3);
}
