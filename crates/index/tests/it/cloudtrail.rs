//! Real CloudTrail events: none is lost, each is found once, and again after a replay.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use base::{Env, Fs, RealFs, SeededRng, SystemClock};
use serde_json::{Value, json};

use crate::client::Client;

/// The events, or `None` with the reason printed.
fn events() -> Option<Vec<Value>> {
    let data = std::env::var_os("TIDEGATE_TEST_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let folder = data.join("cloudtrail");
    let Ok(files) = RealFs.read_dir(&folder) else {
        println!("skipped: no CloudTrail data in {}; set TIDEGATE_TEST_DATA", folder.display());
        return None;
    };
    let mut events = Vec::new();
    for file in files.into_iter().filter(|file| file.name.ends_with(".json.gz")) {
        let packed = RealFs.read(&folder.join(&file.name)).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut text).unwrap();
        let mut log: Value = serde_json::from_str(&text).unwrap();
        events.append(log["Records"].as_array_mut().unwrap());
    }
    Some(events)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_indexed_and_found_once() {
    let Some(events) = events() else { return };
    assert_eq!(events.len(), 2_900);
    let clock = Arc::new(SystemClock::new());
    let fs: Arc<dyn Fs> = Arc::new(base::fs::sim::SimFs::new(1));
    let env = Env { clock, rng: Arc::new(SeededRng::new(1)), fs };
    let client = Client::on(&env, "/index").await;
    let documents: Vec<Value> = events
        .iter()
        .map(|event| {
            let mut document = event.clone();
            document["_id"] = event["eventID"].clone();
            document
        })
        .collect();
    for _ in 0..2 {
        let started = env.clock.instant();
        for batch in documents.chunks(500) {
            let (status, answer) = client.bulk("cloudtrail", batch).await;
            assert_eq!((status, &answer["errors"]), (200, &json!(false)), "{answer}");
        }
        let seconds = (env.clock.instant() - started).as_secs_f64();
        println!("2,900 events in {seconds:.2} s: {:.0} documents/s", 2_900.0 / seconds);
        assert_eq!(client.get("/cloudtrail/_count").await["count"], 2_900);
    }
    for query in [
        json!({"query_string": {"query": "eventName: TerminateInstances"}}),
        json!({"term": {"eventName.keyword": "TerminateInstances"}}),
        json!({"match": {"eventName": "terminateinstances"}}),
    ] {
        assert_eq!(client.ids("cloudtrail", query.clone()).await.len(), 2, "{query}");
    }
    let writes: BTreeSet<String> = events
        .iter()
        .filter(|event| event["readOnly"] == false)
        .map(|event| event["eventID"].as_str().unwrap().to_owned())
        .collect();
    let found = client.ids("cloudtrail", json!({"term": {"readOnly": false}})).await;
    assert_eq!(found.len(), writes.len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), writes);
    for id in &writes {
        assert_eq!(client.ids("cloudtrail", json!({"term": {"eventID.keyword": id}})).await, std::slice::from_ref(id));
    }
    // The same name for an object and a text: Elasticsearch would have refused these.
    let ignored = client
        .ids(
            "cloudtrail",
            json!({"bool": {
        "filter": {"exists": {"field": "_ignored"}}, "must_not": {"wildcard": {"_ignored": "*.keyword"}}}}),
        )
        .await;
    assert!(!ignored.is_empty());
    println!("{} events have a field that conflicts with an earlier one's", ignored.len());
}
