//! What a mapping gives up: told to its destination, or kept with its payload until somebody has looked at it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Arn, SequenceNumber, StateStore, Table};
use flow::mapping::{MAX_AGE, MappingChange, MappingStatus, MappingView, StartingPosition, Why};
use flow::queue::QueueAttributes;
use serde_json::Value;

use crate::fakes::{Functions, Reply, batch_of};
use crate::mapping::{map, until_time};
use crate::outbox_kept::stuff;
use crate::queue::name;
use crate::world::{DAY, Deadline, House, World, scope, until};

pub fn queue_arn(name: &str) -> Arn {
    Arn::new("sqs", &scope(), name)
}

/// The function fails with every batch that has a text which begins with `poison`, until it is cured.
pub fn poisoned(functions: &Functions) -> Arc<AtomicBool> {
    let cured = Arc::new(AtomicBool::new(false));
    let is_cured = Arc::clone(&cured);
    functions.answer(move |call| {
        let batch = batch_of(std::str::from_utf8(&call.payload).unwrap());
        let poison = batch.iter().any(|text| text.starts_with("poison")) && !is_cured.load(Ordering::Relaxed);
        if poison { Reply::Status(500) } else { Reply::Ok("{}".into()) }
    });
    cured
}

impl House {
    pub async fn status(&self, view: &MappingView) -> MappingStatus {
        self.flow.mappings.status(&scope(), &view.mapping.id).await.unwrap()
    }

    /// Waits, letting time pass, until so many records are in quarantine.
    pub async fn quarantined(&self, world: &World, view: &MappingView, count: usize) -> MappingStatus {
        for _ in 0..100_000 {
            let status = self.status(view).await;
            if status.quarantine.len() >= count {
                return status;
            }
            world.pass(Duration::from_secs(1)).await;
        }
        panic!("waited in vain for {count} records in quarantine");
    }

    /// Hands all of a quarantine to the function again: how many it took, and what it did not.
    pub async fn redrive(&self, view: &MappingView) -> (usize, Vec<String>) {
        let (mut succeeded, mut failed, mut after) = (0, Vec::new(), None);
        loop {
            let part = self.flow.mappings.redrive(&scope(), &view.mapping.id, after).await.unwrap();
            succeeded += part.succeeded;
            failed.extend(part.failed.iter().map(|(kept, _)| kept.sequence().to_string()));
            match part.next {
                Some(next) => after = Some(next),
                None => return (succeeded, failed),
            }
        }
    }

    /// The messages of a queue, as JSON, once there are so many.
    async fn letters(&self, queue: &str, count: usize) -> Vec<Value> {
        let (deadline, mut all) = (Deadline::new(), Vec::new());
        while all.len() < count {
            all.extend(self.bodies(queue).await.iter().map(|body| serde_json::from_str(body).unwrap()));
            deadline.check(&format!("{count} messages in {queue}"));
        }
        all
    }
}

fn told_to(queue: &str) -> Option<Option<Arn>> {
    Some(Some(queue_arn(queue)))
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_is_told_to_its_destination_before_the_shard_goes_on() {
    let world = World::new(301);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.queue("lost", QueueAttributes::default()).await;
    let (log, told) = (house.log.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let noted = Arc::clone(&told);
    world.functions.answer(move |call| {
        let queue = log::StreamKey { kind: log::StreamKind::Queue, scope: scope(), name: "lost".to_owned() };
        let slot = log.stream(&queue).unwrap().shards[0].slot;
        noted.lock().unwrap().push(log.tail(slot).unwrap().last_arrival.is_some());
        let batch = batch_of(std::str::from_utf8(&call.payload).unwrap());
        if batch.contains(&"poison".to_owned()) { Reply::Status(500) } else { Reply::Ok("{}".into()) }
    });
    house.put("s", "k", &["poison", "b", "c"]).await;
    let settings =
        MappingChange { max_retries: Some(1), batch_size: Some(2), on_failure: told_to("lost"), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    until_time(&world, || world.functions.batches().last().is_some_and(|b| *b == ["c"])).await;
    assert_eq!(*told.lock().unwrap(), [false, false, true], "it is there before the shard goes on");
    let letter = &house.letters("lost", 1).await[0];
    let numbers: Vec<String> = house
        .records(&House::key("s"))
        .await
        .iter()
        .map(|r| SequenceNumber::new(r.position, base::ShardId::new(0), r.arrival).to_string())
        .collect();
    assert_eq!(letter["requestContext"]["condition"], "RetryAttemptsExhausted");
    assert_eq!(letter["requestContext"]["approximateInvokeCount"], 2);
    assert_eq!(letter["responseContext"]["functionError"], "Unhandled");
    let info = &letter["KinesisBatchInfo"];
    assert_eq!((&info["batchSize"], &info["streamArn"]), (&2.into(), &view.mapping.source.to_string().into()));
    assert_eq!(
        (&info["startSequenceNumber"], &info["endSequenceNumber"]),
        (&numbers[0].as_str().into(), &numbers[1].as_str().into())
    );
    assert!(house.status(&view).await.quarantine.is_empty());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_destination_it_is_quarantined_and_goes_to_the_function_again_in_order() {
    let world = World::new(302);
    let house = world.open().await;
    house.stream("s", 1).await;
    let cured = poisoned(&world.functions);
    house.put("s", "k", &["poison1", "b", "c", "poison2", "e"]).await;
    let settings = MappingChange { max_retries: Some(0), batch_size: Some(2), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    let status = house.quarantined(&world, &view, 4).await;
    assert!(status.quarantine.iter().all(|kept| kept.why == Why::Attempts && kept.attempts == 1));
    until("the last", || world.functions.batches().last().is_some_and(|b| *b == ["e"])).await;
    // What is kept outlives a restart, and what still fails stays.
    house.stop().await;
    let house = world.open().await;
    let (succeeded, failed) = house.redrive(&view).await;
    assert_eq!((succeeded, failed.len()), (2, 2));
    let kept: Vec<String> = house.status(&view).await.quarantine.iter().map(|k| k.sequence().to_string()).collect();
    assert_eq!(kept, failed);
    cured.store(true, Ordering::Relaxed);
    let before = world.functions.calls().len();
    assert_eq!(house.redrive(&view).await, (2, vec![]));
    assert_eq!(world.functions.batches()[before..], [["poison1", "poison2"]]);
    house.stop().await;
    let house = world.open().await;
    assert!(house.status(&view).await.quarantine.is_empty());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_poison_among_ten_thousand_is_isolated_and_the_age_returns_to_zero() {
    let world = World::new(303);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.queue("lost", QueueAttributes::default()).await;
    poisoned(&world.functions);
    let texts: Vec<String> = (0..10_000).map(|n| if n == 6_789 { "poison".into() } else { n.to_string() }).collect();
    house.put("s", "k", &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let settings = MappingChange {
        batch_size: Some(10_000),
        bisect: Some(true),
        max_retries: Some(0),
        on_failure: told_to("lost"),
        ..Default::default()
    };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    until_time(&world, || {
        let done =
            world.functions.batches().iter().filter(|b| !b.contains(&"poison".to_owned())).map(Vec::len).sum::<usize>();
        done == 9_999
    })
    .await;
    let batches = world.functions.batches();
    let sizes: Vec<usize> = batches.iter().filter(|b| b.contains(&"poison".to_owned())).map(Vec::len).collect();
    let levels = sizes[0].next_power_of_two().ilog2() as usize;
    assert!(sizes.len() - 1 <= levels && sizes.last() == Some(&1), "{sizes:?} in {levels} levels");
    let handled: BTreeSet<&String> = batches.iter().flatten().collect();
    assert_eq!(handled.len(), 10_000);
    assert_eq!(house.letters("lost", 1).await[0]["KinesisBatchInfo"]["batchSize"], 1);
    assert_eq!(house.status(&view).await.age, Some(Duration::ZERO));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stuck_shard_is_told_until_its_records_expire_into_quarantine() {
    let world = World::new(304);
    let house = world.open().await;
    house.stream("s", 1).await;
    poisoned(&world.functions);
    house.put("s", "k", &["a", "poison", "b"]).await;
    let settings = MappingChange { max_age_secs: Some(600), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    until_time(&world, || world.functions.calls().len() >= 4).await;
    let status = house.status(&view).await;
    let (stuck, records) = (&status.stuck[0], house.records(&House::key("s")).await);
    assert_eq!(
        (stuck.records, stuck.first.map(|n| n.position()), stuck.last.map(|n| n.position())),
        (3, Some(records[0].position), Some(records[2].position))
    );
    assert_eq!((stuck.failures >= 4, stuck.expires), (true, Some(records[0].arrival + Duration::from_secs(600))));
    assert_eq!(
        (stuck.error.as_str(), stuck.log.as_deref()),
        ("the function failed: Unhandled", Some("what it logged"))
    );
    assert_eq!(status.view.last_result, "PROBLEM: Function call failed");
    assert!(status.age.unwrap() > Duration::ZERO);
    let calls = world.functions.calls().len();
    let status = house.quarantined(&world, &view, 3).await;
    assert!(
        status
            .quarantine
            .iter()
            .all(|kept| kept.why == Why::Expired && kept.reason == "the function failed: Unhandled")
    );
    // From 200 ms the delays grow to a minute: some twenty calls in ten minutes.
    assert!((calls + 5..calls + 40).contains(&world.functions.calls().len()));
    until_time(&world, || true).await;
    let status = house.status(&view).await;
    assert_eq!((status.stuck, status.age), (vec![], Some(Duration::ZERO)));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_any_limit_records_are_quarantined_before_retention_takes_them() {
    let world = World::new(305);
    let house = world.open().await;
    house.stream("s", 1).await;
    poisoned(&world.functions);
    house.put("s", "k", &["poison"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    world.pass(Duration::from_secs(23 * 3_600)).await;
    assert!(house.status(&view).await.quarantine.is_empty());
    assert_eq!(house.quarantined(&world, &view, 1).await.quarantine[0].why, Why::Expired);
    let gone = || {
        let row = house.state.scan(Table("flow.quarantines"), b"", None, 10).unwrap().remove(0).1;
        serde_json::from_slice::<Value>(&row).unwrap()["floor"] != 0
    };
    assert!(!gone());
    world.pass(MAX_AGE + Duration::from_secs(7_200)).await;
    // Nobody looks.
    until("the record to be let go", gone).await;
    assert!(house.status(&view).await.quarantine.is_empty(), "kept for two weeks");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_longer_retention_lets_a_stuck_shard_wait_longer_and_a_shorter_one_loses_nothing() {
    let world = World::new(314);
    let house = world.open().await;
    house.stream("s", 1).await;
    let cured = poisoned(&world.functions);
    house.put("s", "k", &["poison"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    let hour = Duration::from_secs(3_600);
    world.pass(23 * hour).await;
    house.log.set_retention(&House::key("s"), 2 * DAY).await.unwrap();
    world.pass(9 * hour).await;
    let (status, arrival) = (house.status(&view).await, house.records(&House::key("s")).await[0].arrival);
    assert_eq!(status.quarantine, [], "it can be read for another 16 hours");
    assert_eq!(status.stuck[0].expires, Some(arrival + 2 * DAY - hour / 3));
    house.log.set_retention(&House::key("s"), DAY).await.unwrap();
    assert_eq!(house.records(&House::key("s")).await, [], "nobody can read it any more");
    world.pass(Duration::from_secs(120)).await;
    assert_eq!(house.status(&view).await.quarantine[0].why, Why::Expired);
    cured.store(true, Ordering::Relaxed);
    assert_eq!(house.redrive(&view).await, (1, vec![]));
    assert_eq!(world.functions.batches().last().unwrap(), &["poison"], "with its payload");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_gives_nothing_up() {
    let world = World::new(315);
    let house = world.open().await;
    house.stream("s", 1).await;
    poisoned(&world.functions);
    house.put("s", "k", &["poison"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    world.pass(Duration::from_secs(60)).await;
    world.clock.shift_wall(400 * 86_400_000);
    world.pass(Duration::from_secs(1_800)).await;
    assert_eq!(house.status(&view).await.quarantine, [], "the log does not believe it either");
    assert_eq!(house.records(&House::key("s")).await.len(), 1);
    world.clock.shift_wall(-400 * 86_400_000);
    world.pass(Duration::from_secs(1_800)).await;
    assert_eq!(house.status(&view).await.quarantine, []);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_mappings_own_bound_on_age_counts_right_after_a_long_stop() {
    let world = World::new(323);
    let house = world.open().await;
    house.stream("s", 1).await;
    let settings = MappingChange { enabled: Some(false), max_age_secs: Some(60), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    house.put("s", "k", &["old"]).await;
    house.stop().await;
    // The log takes it for a clock that jumped.
    world.pass(Duration::from_secs(1_200)).await;
    let house = world.open().await;
    let enabled = MappingChange { enabled: Some(true), ..Default::default() };
    house.flow.mappings.update(&scope(), &view.mapping.id, &enabled).await.unwrap();
    assert_eq!(house.quarantined(&world, &view, 1).await.quarantine[0].why, Why::Expired);
    assert_eq!(world.functions.calls().len(), 0);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_greatest_record_can_be_quarantined_and_skipped() {
    let world = World::new(316);
    let house = world.open().await;
    house.stream("s", 1).await;
    let greatest = "x".repeat(10 << 20);
    house.put("s", &"k".repeat(256), &[&greatest, &greatest, "b"]).await;
    let settings = MappingChange { enabled: Some(false), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    let (mappings, id, shard) = (&house.flow.mappings, &view.mapping.id, base::ShardId::new(0));
    let first = house.log.read(house.log.stream(&House::key("s")).unwrap().shards[0].slot, base::Position::ZERO, one());
    let first = first.await.unwrap().records.remove(0);
    let number = SequenceNumber::new(first.position, shard, first.arrival);
    mappings.skip(&scope(), id, shard, number).await.unwrap();
    mappings.update(&scope(), id, &MappingChange { enabled: Some(true), ..Default::default() }).await.unwrap();
    let kept = house.quarantined(&world, &view, 2).await.quarantine;
    assert_eq!(
        kept.iter().map(|kept| (kept.why, kept.bytes)).collect::<Vec<_>>(),
        [(Why::Skipped, 10 << 20), (Why::Refused, 10 << 20)]
    );
    until("the next", || world.functions.batches().concat() == ["b"]).await;
    house.stop().await;
    let house = world.open().await;
    assert_eq!(house.status(&view).await.quarantine, kept);
    house.stop().await;
}

fn one() -> log::ReadLimit {
    log::ReadLimit { records: 1, bytes: 1 }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_away_is_seen_to_hold_its_shard() {
    let world = World::new(311);
    let house = world.open().await;
    house.stream("s", 1).await;
    poisoned(&world.functions);
    house.queue("lost", QueueAttributes::default()).await;
    stuff(&house).await;
    house.put("s", "k", &["poison", "b"]).await;
    let settings =
        MappingChange { max_retries: Some(0), batch_size: Some(1), on_failure: told_to("lost"), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    let held = |stuck: &[flow::mapping::Stuck]| stuck.first().and_then(|stuck| stuck.held.clone());
    let deadline = Deadline::new();
    let stuck = loop {
        let stuck = house.status(&view).await.stuck;
        if held(&stuck).is_some() {
            break stuck;
        }
        deadline.check("the shard to be told as held");
        world.pass(Duration::from_secs(1)).await;
    };
    assert_eq!(stuck[0].error, "the function failed: Unhandled", "why it is given up stays");
    assert!(house.status(&view).await.view.last_result.starts_with("PROBLEM: what is given up cannot be put away"));
    assert_eq!(world.functions.calls().len(), 1, "the shard waits");
    house.flow.queues.purge(&scope(), &name("full")).await.unwrap();
    until_time(&world, || world.functions.batches().last().is_some_and(|b| *b == ["b"])).await;
    assert_eq!(house.letters("lost", 1).await[0]["requestContext"]["approximateInvokeCount"], 1);
    assert_eq!(house.status(&view).await.stuck, []);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_no_event_can_hold_is_given_up_at_once() {
    let world = World::new(313);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.put("s", "k", &["a", &"x".repeat(5 << 20), "b"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    let kept = house.quarantined(&world, &view, 1).await.quarantine.remove(0);
    assert_eq!((kept.why, kept.bytes), (Why::Refused, 5 << 20));
    assert!(kept.reason.starts_with("the event of this one record has"), "{}", kept.reason);
    until("the others", || world.functions.batches().concat() == ["a", "b"]).await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_whose_mapping_is_gone_is_deleted_at_the_next_look() {
    let world = World::new(312);
    let house = world.open().await;
    let key = log::StreamKey { kind: log::StreamKind::Quarantine, scope: scope(), name: "gone".to_owned() };
    house.log.ensure_stream(&key, log::StreamSpec { shards: 1, retention: MAX_AGE }).await.unwrap();
    world.pass(Duration::from_secs(3_700)).await;
    until("the stray to go", || house.log.stream(&key).is_err()).await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_destination_can_never_take_is_quarantined() {
    let world = World::new(307);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.queue("lost", QueueAttributes::default()).await;
    poisoned(&world.functions);
    let settings = MappingChange { max_retries: Some(0), on_failure: told_to("lost"), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    house.flow.queues.delete(&scope(), &name("lost")).await.unwrap();
    house.put("s", "k", &["poison"]).await;
    assert_eq!(house.quarantined(&world, &view, 1).await.quarantine.len(), 1);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_checked_when_it_is_set_and_can_be_taken_away() {
    let world = World::new(308);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.queue("lost", QueueAttributes::default()).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    let set = async |to: Option<Arn>| {
        let change = MappingChange { on_failure: Some(to), ..Default::default() };
        house.flow.mappings.update(&scope(), &view.mapping.id, &change).await
    };
    for (arn, why) in [
        ("arn:aws:sqs:us-east-1:000000000000:gone", "does not exist"),
        ("arn:aws:sqs:eu-west-1:000000000000:lost", "is not in this account and region"),
        ("arn:aws:sns:us-east-1:000000000000:t.fifo", "is FIFO"),
        ("arn:aws:s3:::bucket", "is a bucket, which is not available"),
        ("arn:aws:lambda:us-east-1:000000000000:function:f", "is not the ARN of a queue or a topic"),
    ] {
        let error = set(Some(arn.parse().unwrap())).await.unwrap_err().to_string();
        assert!(error.contains(why), "{arn}: {error}");
    }
    assert_eq!(set(Some(queue_arn("lost"))).await.unwrap().mapping.on_failure, Some(queue_arn("lost")));
    assert_eq!(set(None).await.unwrap().mapping.on_failure, None);
    house.stop().await;
}
