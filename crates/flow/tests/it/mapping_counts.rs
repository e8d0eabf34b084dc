//! What is counted of a mapping's events, for those who ask for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow::mapping::{MappingChange, MappingSpec, StartingPosition};
use flow::queue::QueueAttributes;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::fakes::{Reply, batch_of};
use crate::mapping::{map, until_time};
use crate::mapping_give_up::{poisoned, queue_arn};
use crate::queue::message;
use crate::world::{World, function_arn, role, scope};

/// Counters by name and mapping.
#[derive(Default)]
struct Counted(Mutex<BTreeMap<(String, String), Arc<AtomicU64>>>);

impl Counted {
    /// Polled, filtered out, invoked, failed, dropped, delivered, deleted; none of what was never counted.
    fn of(&self, mapping: &str) -> [Option<u64>; 7] {
        let names = [
            "polled",
            "filtered_out",
            "invoked",
            "failed_invoke",
            "dropped",
            "on_failure_destination_delivered",
            "deleted",
        ];
        names.map(|name| {
            let name = format!("tidegate_lambda_{name}_event_count_total");
            self.0.lock().unwrap().get(&(name, mapping.to_owned())).map(|count| count.load(Ordering::Relaxed))
        })
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mapping = key.labels().find(|label| label.key() == "mapping").map_or("", |label| label.value());
        let name = (key.name().to_owned(), mapping.to_owned());
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn counting(settings: MappingChange) -> MappingChange {
    MappingChange { event_counts: Some(true), ..settings }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_stream_are_counted_as_cloudwatch_counts_them() {
    let counted = Counted::default();
    let _recorder = metrics::set_default_local_recorder(&counted);
    let world = World::new(801);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.queue("letters", QueueAttributes::default()).await;
    let cured = poisoned(&world.functions);
    let settings = MappingChange {
        filters: Some(vec![r#"{"data":[{"anything-but":"unwanted"}]}"#.into()]),
        max_retries: Some(2),
        ..Default::default()
    };
    house.put("s", "k", &["poison", "unwanted", "b", "c"]).await;
    let id = map(&house, StartingPosition::TrimHorizon, counting(settings)).await.mapping.id;
    // Tried three times in vain: read once, and given up without anybody being told.
    until_time(&world, || counted.of(&id)[4] == Some(3)).await;
    assert_eq!(counted.of(&id), [Some(4), Some(1), Some(9), Some(9), Some(3), None, None]);

    let update = async |change| house.flow.mappings.update(&scope(), &id, &change).await.unwrap();
    update(MappingChange { on_failure: Some(Some(queue_arn("letters"))), ..Default::default() }).await;
    house.put("s", "k", &["poison"]).await;
    until_time(&world, || counted.of(&id)[5] == Some(1)).await;
    assert_eq!(counted.of(&id), [Some(5), Some(1), Some(12), Some(12), Some(3), Some(1), None]);

    // Throttled once, then partly failed: what was named is counted, and handed over again with what follows it.
    cured.store(true, Ordering::Relaxed);
    update(MappingChange { report_item_failures: Some(true), ..Default::default() }).await;
    let mut calls = 0;
    world.functions.answer(move |call| {
        calls += 1;
        let event: serde_json::Value = serde_json::from_slice(&call.payload).unwrap();
        match calls {
            1 => Reply::Busy,
            2 => {
                let number = event["Records"][1]["kinesis"]["sequenceNumber"].as_str().unwrap();
                Reply::Ok(format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{number}"}}]}}"#))
            }
            _ => Reply::Ok("{}".into()),
        }
    });
    let before = world.functions.calls().len();
    house.put("s", "k", &["x", "y", "z"]).await;
    until_time(&world, || world.functions.calls().len() == before + 3).await;
    assert_eq!(world.functions.batches().last().unwrap(), &["y", "z"]);
    assert_eq!(counted.of(&id), [Some(8), Some(1), Some(17), Some(16), Some(3), Some(1), None]);

    update(MappingChange { event_counts: Some(false), ..Default::default() }).await;
    house.put("s", "k", &["uncounted"]).await;
    until_time(&world, || world.functions.calls().len() == before + 4).await;
    assert_eq!(batch_of(world.functions.payloads().last().unwrap()), ["uncounted"]);
    assert_eq!(counted.of(&id), [Some(8), Some(1), Some(17), Some(16), Some(3), Some(1), None]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_retention_takes_is_no_dropped_event() {
    let counted = Counted::default();
    let _recorder = metrics::set_default_local_recorder(&counted);
    let world = World::new(802);
    let house = world.open().await;
    house.stream("s", 1).await;
    poisoned(&world.functions);
    house.put("s", "k", &["poison"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, counting(MappingChange::default())).await;
    house.quarantined(&world, &view, 1).await;
    assert_eq!(counted.of(&view.mapping.id)[4], Some(0));
    let aged = MappingChange { max_age_secs: Some(60), ..Default::default() };
    house.flow.mappings.update(&scope(), &view.mapping.id, &aged).await.unwrap();
    house.put("s", "k", &["poison"]).await;
    house.quarantined(&world, &view, 2).await;
    assert_eq!(counted.of(&view.mapping.id)[4], Some(1));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_queue_are_counted_when_that_is_asked_for() {
    let counted = Counted::default();
    let _recorder = metrics::set_default_local_recorder(&counted);
    let world = World::new(803);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    house.queue("silent", QueueAttributes::default()).await;
    let mut first = true;
    world.functions.answer(move |_| match std::mem::take(&mut first) {
        true => Reply::Ok(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#.into()),
        false => Reply::Status(500),
    });
    let spec = |queue, settings| MappingSpec {
        function: function_arn("f"),
        role: role(),
        source: queue_arn(queue),
        start: None,
        settings,
    };
    let settings = MappingChange {
        filters: Some(vec![r#"{"body":[{"anything-but":"unwanted"}]}"#.into()]),
        report_item_failures: Some(true),
        ..Default::default()
    };
    let id = house.flow.mappings.create(&scope(), spec("q", counting(settings))).await.unwrap().mapping.id;
    let silent = house.flow.mappings.create(&scope(), spec("silent", MappingChange::default())).await.unwrap();
    house.send("q", ["a", "b", "unwanted"].map(|body| message(body, body)).to_vec()).await;
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(counted.of(&id), [Some(3), Some(1), Some(2), Some(1), None, None, Some(1)]);
    // It comes back, and fails with the whole function.
    world.pass(Duration::from_secs(35)).await;
    assert_eq!(counted.of(&id), [Some(4), Some(1), Some(3), Some(2), None, None, Some(1)]);
    house.send("silent", vec![message("x", "x")]).await;
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(counted.of(&silent.mapping.id), [None; 7]);
    house.stop().await;
}
