//! Records into the index and, failing that, the bucket.

use std::time::Duration;

use base::Arn;
use flow::delivery::{BackupMode, DeliverySpec, Destination, IndexRotation, Source};
use serde_json::Value;

use crate::world::{House, World, role, scope, stream_arn, until};

pub fn destination() -> Destination {
    Destination {
        family: flow::delivery::DomainFamily::Elasticsearch,
        domain: Arn::new("es", &scope(), "domain/d"),
        index: "events".parse().unwrap(),
        rotation: IndexRotation::NoRotation,
        buffer_secs: 0,
        buffer_mb: 5,
        retry_secs: 60,
        backup: BackupMode::FailedDocumentsOnly,
        bucket: "backup".parse().unwrap(),
        prefix: "events/".into(),
        error_prefix: None,
        role: role(),
        bucket_role: role(),
    }
}

async fn deliver(house: &House, destination: Destination) {
    house.stream("s", 1).await;
    let source = Source::Stream(stream_arn("s"), role());
    let spec = DeliverySpec { name: "d".parse().unwrap(), source, destination };
    house.flow.deliveries.create(&scope(), spec).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn records_become_documents_named_by_shard_and_sequence_number() {
    let world = World::new(1);
    let house = world.open().await;
    deliver(&house, Destination { rotation: IndexRotation::OneDay, ..destination() }).await;
    house.put("s", "k", &["{\"n\": 1}", "{\n\"n\":2}"]).await;
    until("the documents", || world.search.documents.lock().unwrap().len() == 2).await;
    let documents = world.search.documents.lock().unwrap().clone();
    let ((index, id), document) = documents.first_key_value().unwrap();
    assert_eq!((index.as_str(), document.to_string()), ("events-2026-11-23", r#"{"n":1}"#.to_owned()));
    assert!(id.starts_with("shardId-000000000000.49"), "{id}");
    assert!(world.objects_below("").is_empty());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn refused_documents_are_in_the_bucket_and_the_others_in_the_index() {
    let world = World::new(2);
    let house = world.open().await;
    deliver(&house, destination()).await;
    house.put("s", "k", &["{\"n\":1}", "{\"bad\":1}", "no json", "{\"n\":2}"]).await;
    until("the object", || world.objects_below("backup").len() == 1).await;
    assert_eq!(world.search.texts(), ["{\"n\":1}", "{\"n\":2}"]);
    let (name, content) = world.objects_below("backup").pop_first().unwrap();
    assert!(name.starts_with("backup/events/elasticsearch-failed/2026/11/23/04/d-shardId-000000000000-49"), "{name}");
    let lines: Vec<Value> = content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["errorCode"], &lines[0]["esIndexName"]), (&"400".into(), &"events".into()));
    assert_eq!(lines[0]["errorMessage"], "mapper_parsing_exception: bad");
    assert_eq!((&lines[0]["rawData"], &lines[0]["attemptsMade"]), (&"eyJiYWQiOjF9".into(), &1.into()));
    assert_eq!(lines[1]["rawData"], "bm8ganNvbg==");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_away_is_waited_for_and_then_replaced_by_the_bucket() {
    let world = World::new(3);
    let house = world.open().await;
    deliver(&house, destination()).await;
    *world.search.status.lock().unwrap() = Some(503);
    house.put("s", "k", &["{\"n\":1}"]).await;
    until("an attempt", || *world.search.requests.lock().unwrap() == 1).await;
    world.pass(Duration::from_secs(20)).await;
    assert!(world.objects_below("").is_empty());
    *world.search.status.lock().unwrap() = None;
    world.pass(Duration::from_secs(40)).await;
    until("the document", || world.search.texts() == ["{\"n\":1}"]).await;
    *world.search.status.lock().unwrap() = Some(503);
    house.put("s", "k", &["{\"n\":2}"]).await;
    world.pass(Duration::from_secs(200)).await;
    until("the object", || world.objects_below("backup").len() == 1).await;
    let (_, content) = world.objects_below("backup").pop_first().unwrap();
    let line: Value = serde_json::from_str(content.trim()).unwrap();
    assert_eq!(line["errorCode"], "503");
    assert!(line["attemptsMade"].as_u64().unwrap() > 3);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn records_are_buffered_by_age_and_size() {
    let world = World::new(4);
    let house = world.open().await;
    deliver(&house, Destination { buffer_secs: 60, buffer_mb: 1, ..destination() }).await;
    house.put("s", "k", &["{\"n\":1}"]).await;
    world.pass(Duration::from_secs(30)).await;
    house.put("s", "k", &["{\"n\":2}"]).await;
    world.pass(Duration::from_secs(20)).await;
    assert_eq!(*world.search.requests.lock().unwrap(), 0);
    world.pass(Duration::from_secs(15)).await;
    until("one request", || world.search.documents.lock().unwrap().len() == 2).await;
    assert_eq!(*world.search.requests.lock().unwrap(), 1);
    let big = format!("{{\"x\":\"{}\"}}", "y".repeat(600 << 10));
    house.put("s", "k", &[&big, &big]).await;
    until("a full buffer at once", || *world.search.requests.lock().unwrap() >= 2).await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_writes_the_same_again_and_a_failing_bucket_loses_nothing() {
    let world = World::new(5);
    let house = world.open().await;
    deliver(&house, Destination { backup: BackupMode::AllDocuments, ..destination() }).await;
    world.fs.fail(&[base::fs::sim::Call::Rename], 1, base::fs::sim::Fault::Eio);
    house.put("s", "k", &["{\"n\":1}", "{\"bad\":2}"]).await;
    world.pass(Duration::from_secs(5)).await;
    until("both objects", || world.objects_below("backup").len() == 2).await;
    assert!(*world.search.requests.lock().unwrap() >= 2, "the batch was handled again");
    assert_eq!(world.search.documents.lock().unwrap().len(), 1);
    let objects = world.objects_below("backup");
    assert_eq!(objects.values().filter(|content| *content == "{\"n\":1}{\"bad\":2}").count(), 1);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_stream_that_is_deleted_twice_and_made_again_is_there() {
    let world = World::new(7);
    let house = world.open().await;
    deliver(&house, destination()).await;
    let (deliveries, scope, name) = (&house.flow.deliveries, scope(), "d".parse().unwrap());
    let first = deliveries.get(&scope, &name).unwrap().incarnation;
    // Whoever stops it has to wait for this.
    *world.search.latency.lock().unwrap() = Duration::from_secs(3);
    house.put("s", "k", &["{\"n\": 1}"]).await;
    until("a request", || *world.search.requests.lock().unwrap() == 1).await;
    let again = async {
        while deliveries.get(&scope, &name).is_ok() {
            world.pass(Duration::from_millis(100)).await;
        }
        deliver(&house, destination()).await;
    };
    let (one, two, ()) = tokio::join!(deliveries.delete(&scope, &name), deliveries.delete(&scope, &name), again);
    assert!(one.is_ok() && two.is_err(), "one of them deleted it");
    assert_ne!(deliveries.get(&scope, &name).unwrap().incarnation, first);
    house.stop().await;
}
