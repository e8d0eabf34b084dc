//! Power cuts at any moment: what goes from a bus to a stream is there once and in order, what goes to functions and
//! webhooks arrives at least once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Event;
use base::fs::sim::{Call, Fault};
use flow::bus::RuleState;
use flow::mapping::{MappingSpec, StartingPosition};
use flow::topic::{Message, SubscriptionChange};

use crate::fakes::{Reply, batch_of};
use crate::world::{
    Deadline, House, Outside, World, call, default_bus, event, function_arn, role, scope, stream_arn, target,
};

const CHANGES: [Call; 8] =
    [Call::Write, Call::SetLen, Call::SyncData, Call::SyncDir, Call::Rename, Call::Remove, Call::CreateDir, Call::Open];

/// The rule keeps all but these.
fn is_kept(id: &str) -> bool {
    !id.ends_with('3')
}

/// Puts events until the power goes, or enough were put; notes those that were acknowledged.
async fn put_until_the_end(world: &World, sent: &mut u64, acknowledged: &mut Vec<String>) {
    let Ok(house) = world.try_open().await else { return };
    for _ in 0..30 {
        let ids: Vec<String> = (0..1 + world.env.rng.below(5)).map(|n| format!("e{:06}", *sent + n)).collect();
        *sent += ids.len() as u64;
        let detail = |id: &String| format!(r#"{{"keep":{}}}"#, is_kept(id));
        let events: Vec<Event> = ids.iter().map(|id| event(id, "my.app", &detail(id))).collect();
        match house.flow.buses.put_events(&scope(), &default_bus(), &events).await {
            Ok(()) => acknowledged.extend(ids.into_iter().filter(|id| is_kept(id))),
            Err(_) if world.fs.is_off() => return,
            // Not acknowledged, so it may be there or not.
            Err(_) => {}
        }
        // Now the consumer is behind, now it has caught up; now a checkpoint is written, now it is not yet.
        match world.env.rng.below(4) {
            0 => world.pass(Duration::from_millis(150)).await,
            _ => {
                for _ in 0..world.env.rng.below(300) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

async fn check(world: &World, seed: u64, acknowledged: &[String]) {
    let house = world.open().await;
    let bus = log::StreamKey { kind: log::StreamKind::Bus, scope: scope(), name: "default".into() };
    let bus = house.records(&bus).await;
    let expected: Vec<String> = bus.iter().map(|r| r.partition_key.to_string()).filter(|id| is_kept(id)).collect();
    let on_bus: BTreeSet<&String> = expected.iter().collect();
    assert!(acknowledged.iter().all(|id| on_bus.contains(id)), "seed {seed}: an acknowledged event is lost");
    let deadline = Deadline::new();
    let delivered = loop {
        let records = house.records(&House::key("s")).await;
        if records.len() >= expected.len() {
            break records;
        }
        deadline.check(&format!("seed {seed}: {} events, not {}", expected.len(), records.len()));
        tokio::task::yield_now().await;
    };
    let delivered: Vec<String> =
        delivered.iter().map(|r| serde_json::from_slice::<Event>(&r.data).unwrap().id).collect();
    assert_eq!(delivered, expected, "seed {seed}: each event once and in order");
    house.stop().await;
}

/// Several lives, in each of which a random change of the disk fails; then the power goes.
fn script(seed: u64, lives: u32, fault: Fault) -> (usize, u32) {
    let outside = Outside::new(seed);
    outside.life(async |world| {
        let house = world.open().await;
        house.stream("s", 1).await;
        let pattern = r#"{"detail":{"keep":[true]}}"#;
        house.rule("r", pattern, RuleState::Enabled, target(stream_arn("s"))).await;
        house.stop().await;
    });
    let (mut sent, mut acknowledged, mut struck) = (0, Vec::new(), 0);
    for _ in 0..lives {
        outside.life(async |world| {
            world.fs.fail(&CHANGES, 1 + world.env.rng.below(80), fault);
            put_until_the_end(world, &mut sent, &mut acknowledged).await;
        });
        struck += u32::from(outside.fs.is_off());
        outside.fs.power_cut();
    }
    outside.life(async |world| check(world, seed, &acknowledged).await);
    (acknowledged.len(), struck)
}

#[test]
fn a_power_cut_at_any_moment_neither_loses_nor_repeats_an_event() {
    let (mut events, mut cuts) = (0, 0);
    for seed in 0..20 {
        let (acknowledged, struck) = script(seed, 5, Fault::Crash);
        events += acknowledged;
        cuts += struck;
    }
    assert!(events > 500 && cuts > 50, "the script does something: {events} events, {cuts} cuts");
}

#[test]
fn a_disk_that_fails_a_call_neither_loses_nor_repeats_an_event() {
    let events: usize = (200..220).map(|seed| script(seed, 5, Fault::Eio).0).sum();
    assert!(events > 500, "the script does something: {events} events");
}

/// What succeeded outside, across all lives.
type Arrived = Arc<Mutex<BTreeSet<String>>>;

/// Every third call fails, but no content twice: what fails three times is given up, and rightly does not arrive.
fn flaky() -> impl FnMut(&str) -> bool + Send + 'static {
    let (mut calls, mut failed) = (0, BTreeSet::new());
    move |content| {
        calls += 1;
        calls % 3 == 0 && failed.insert(content.to_owned())
    }
}

/// A mapping to `f`, and a topic with a confirmed subscriber.
async fn prepare(world: &World) {
    let house = world.open().await;
    house.stream("s", 2).await;
    let mapping = MappingSpec {
        function: function_arn("f"),
        role: role(),
        source: stream_arn("s"),
        start: Some(StartingPosition::TrimHorizon),
        settings: Default::default(),
    };
    house.flow.mappings.create(&scope(), mapping).await.unwrap();
    let (topics, topic) = (&house.flow.topics, "t".parse().unwrap());
    crate::topic::create(&house, &topic).await;
    let policy = r#"{"healthyRetryPolicy":{"numRetries":50,"minDelayTarget":1,"maxDelayTarget":1}}"#;
    let change = SubscriptionChange { delivery_policy: Some(policy.into()), ..Default::default() };
    let pending = topics.subscribe(&scope(), &topic, crate::topic::to("http://hook.example/", &change)).await.unwrap();
    topics.confirm(&scope(), &topic, &pending.token, flow::topic::By::Link, false).await.unwrap();
    house.stop().await;
}

/// Puts a record, publishes a message and submits an event, over and over, until the power goes or enough were sent.
async fn send_until_the_end(world: &World, life: u32, acknowledged: &mut BTreeSet<String>) {
    let Ok(house) = world.try_open().await else { return };
    let stream = house.log.stream(&House::key("s")).unwrap();
    for n in 0..15 {
        let text = |kind: &str| format!("{kind}-{life}-{n}");
        let key: base::PartitionKey = text("k").parse().unwrap();
        let record = log::NewRecord {
            shard: stream.shard_for(&key, None).slot,
            partition_key: key,
            explicit_hash_key: None,
            data: text("record").into(),
        };
        if house.log.append(log::Append { producer: None, records: vec![record] }).await.is_ok() {
            acknowledged.insert(text("record"));
        }
        let (id, body) = (text("id"), text("message"));
        let message = Message { id, text: body, ..Message::default() };
        if house.flow.topics.publish(&scope(), &"t".parse().unwrap(), vec![message]).await.is_ok() {
            acknowledged.insert(text("message"));
        }
        if house.flow.invocations.submit(call("g", text("event"))).await.is_ok() {
            acknowledged.insert(text("event"));
        }
        if world.fs.is_off() {
            return;
        }
        world.pass(Duration::from_millis(world.env.rng.below(1_500))).await;
    }
}

#[test]
fn whatever_was_acknowledged_arrives_at_least_once_through_power_cuts_and_failures() {
    let (mut sent, mut cuts) = (0, 0);
    for seed in 100..110 {
        let (outside, arrived) = (Outside::new(seed), Arrived::default());
        let (calls, mut fails) = (Arc::clone(&arrived), flaky());
        outside.functions.answer(move |call| {
            let payload = std::str::from_utf8(&call.payload).unwrap();
            if fails(payload) {
                return Reply::Status(500);
            }
            let texts = if payload.starts_with('{') { batch_of(payload) } else { vec![payload.to_owned()] };
            calls.lock().unwrap().extend(texts);
            Reply::Ok("{}".into())
        });
        let (posts, mut fails) = (Arc::clone(&arrived), flaky());
        outside.web.answer(move |post| {
            if fails(&post.body) {
                return Reply::Status(503);
            }
            posts.lock().unwrap().extend(post.json()["Message"].as_str().map(str::to_owned));
            Reply::Ok(String::new())
        });
        outside.life(async |world| prepare(world).await);
        let mut acknowledged = BTreeSet::new();
        for life in 0..5 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(300), Fault::Crash);
                send_until_the_end(world, life, &mut acknowledged).await;
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        sent += acknowledged.len();
        outside.life(async |world| {
            let house = world.open().await;
            world.pass(Duration::from_secs(3_600)).await;
            house.stop().await;
        });
        let missing: Vec<_> = acknowledged.difference(&arrived.lock().unwrap()).cloned().collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?} never arrived");
    }
    assert!(sent > 500 && cuts > 20, "the script does something: {sent} sent, {cuts} cuts");
}
