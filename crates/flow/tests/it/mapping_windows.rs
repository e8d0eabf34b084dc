//! Tumbling windows: state goes from call to call, windows are closed, and a crash changes nothing about either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Timestamp;
use base::fs::sim::{Call, Fault};
use flow::mapping::{MappingChange, StartingPosition};
use serde_json::{Value, json};

use crate::fakes::{Functions, Reply};
use crate::mapping::{map, until_time};
use crate::world::{House, Outside, World, scope, stream_arn, until};

fn minute() -> MappingChange {
    MappingChange { tumbling_secs: Some(60), batch_size: Some(2), ..Default::default() }
}

fn events(functions: &Functions) -> Vec<Value> {
    functions.payloads().iter().map(|payload| serde_json::from_str(payload).unwrap()).collect()
}

/// The state is the number of the window's records.
fn counted(event: &Value) -> u64 {
    event["state"]["n"].as_u64().unwrap_or(0) + event["Records"].as_array().unwrap().len() as u64
}

fn counting(functions: &Functions) {
    functions.answer(|call| {
        let event: Value = serde_json::from_slice(&call.payload).unwrap();
        Reply::Ok(json!({"state": {"n": counted(&event)}}).to_string())
    });
}

/// Of each call: its records, the state that it was given, whether it is final and early.
fn told(functions: &Functions) -> Vec<(usize, Value, bool, bool)> {
    let tell = |event: &Value| {
        let records = event["Records"].as_array().unwrap().len();
        let flag = |name: &str| event[name].as_bool().unwrap();
        (records, event["state"].clone(), flag("isFinalInvokeForWindow"), flag("isWindowTerminatedEarly"))
    };
    events(functions).iter().map(tell).collect()
}

#[tokio::test(start_paused = true)]
async fn state_is_carried_from_call_to_call_and_the_window_is_closed() {
    let world = World::new(601);
    let house = world.open().await;
    house.stream("s", 1).await;
    counting(&world.functions);
    house.put("s", "k", &["a", "b", "c"]).await;
    map(&house, StartingPosition::TrimHorizon, minute()).await;
    until_time(&world, || world.functions.calls().len() == 2).await;
    world.pass(Duration::from_secs(30)).await;
    house.put("s", "k", &["d"]).await;
    until_time(&world, || world.functions.calls().len() == 4).await;
    world.pass(Duration::from_secs(10)).await;
    house.put("s", "k", &["e"]).await;
    until_time(&world, || world.functions.calls().len() == 6).await;
    assert_eq!(
        told(&world.functions),
        [
            (2, json!({}), false, false),
            (1, json!({"n": 2}), false, false),
            (1, json!({"n": 3}), false, false),
            (0, json!({"n": 4}), true, false),
            (1, json!({}), false, false),
            (0, json!({"n": 1}), true, false),
        ]
    );
    let event = &events(&world.functions)[3];
    assert_eq!(event["window"], json!({"start": "2026-11-23T04:00:00Z", "end": "2026-11-23T04:01:00Z"}));
    assert_eq!(
        (&event["shardId"], &event["eventSourceARN"]),
        (&json!("shardId-000000000000"), &json!(stream_arn("s")))
    );
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.functions.calls().len(), 6, "no window without records");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_cut_at_the_windows_and_each_is_closed_once() {
    let world = World::new(602);
    let house = world.open().await;
    house.stream("s", 1).await;
    counting(&world.functions);
    for n in 0..30 {
        house.put("s", "k", &[&n.to_string()]).await;
        world.pass(Duration::from_secs(20)).await;
    }
    map(&house, StartingPosition::TrimHorizon, minute()).await;
    until_time(&world, || told(&world.functions).iter().filter(|call| call.2).count() == 10).await;
    world.pass(Duration::from_secs(120)).await;
    let finals: Vec<Value> = told(&world.functions).into_iter().filter(|call| call.2).map(|call| call.1).collect();
    assert_eq!(finals, vec![json!({"n": 3}); 10]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_too_large_ends_its_window_early() {
    let world = World::new(603);
    let house = world.open().await;
    house.stream("s", 1).await;
    world.functions.answer(|_| Reply::Ok(json!({"state": "x".repeat(1 << 20)}).to_string()));
    house.put("s", "k", &["a"]).await;
    map(&house, StartingPosition::TrimHorizon, minute()).await;
    until_time(&world, || world.functions.calls().len() == 3).await;
    let told = told(&world.functions);
    assert_eq!((told[0].0, told[0].2), (1, false));
    assert_eq!((told[1].0, told[1].1.as_str().unwrap().len(), told[1].2, told[1].3), (0, 1 << 20, true, true));
    assert_eq!(told[2], (0, json!({}), true, false), "what is left of the window ends with it");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_state_is_a_failure_and_what_was_done_before_one_counts() {
    let world = World::new(604);
    let house = world.open().await;
    house.stream("s", 1).await;
    let mut calls = 0;
    world.functions.answer(move |call| {
        calls += 1;
        let event: Value = serde_json::from_slice(&call.payload).unwrap();
        let second = &event["Records"][1]["kinesis"]["sequenceNumber"];
        match calls {
            1 => Reply::Ok("{}".into()),
            2 => Reply::Ok(json!({"state": {"n": 1}, "batchItemFailures": [{"itemIdentifier": second}]}).to_string()),
            _ => Reply::Ok(json!({"state": {"n": counted(&event)}}).to_string()),
        }
    });
    house.put("s", "k", &["a", "b"]).await;
    let settings = MappingChange { report_item_failures: Some(true), ..minute() };
    map(&house, StartingPosition::TrimHorizon, settings).await;
    until_time(&world, || world.functions.calls().len() == 4).await;
    assert_eq!(
        told(&world.functions),
        [
            (2, json!({}), false, false),
            (2, json!({}), false, false),
            (1, json!({"n": 1}), false, false),
            (0, json!({"n": 2}), true, false),
        ]
    );
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_that_is_open_when_windows_are_turned_off_is_closed() {
    let world = World::new(605);
    let house = world.open().await;
    house.stream("s", 1).await;
    counting(&world.functions);
    house.put("s", "k", &["a"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, minute()).await;
    until_time(&world, || world.functions.calls().len() == 1).await;
    let off = MappingChange { tumbling_secs: Some(0), parallelization: Some(3), ..Default::default() };
    house.flow.mappings.update(&scope(), &view.mapping.id, &off).await.unwrap();
    until_time(&world, || world.functions.calls().len() == 2).await;
    assert_eq!(told(&world.functions)[1], (0, json!({"n": 1}), true, false));
    house.put("s", "k", &["b"]).await;
    until_time(&world, || world.functions.calls().len() == 3).await;
    assert_eq!(events(&world.functions)[2].get("window"), None);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_that_cannot_be_closed_is_shown_as_stuck() {
    let world = World::new(606);
    let house = world.open().await;
    house.stream("s", 1).await;
    let broken = Arc::new(Mutex::new(true));
    let is_broken = Arc::clone(&broken);
    world.functions.answer(move |call| {
        let event: Value = serde_json::from_slice(&call.payload).unwrap();
        match event["isFinalInvokeForWindow"] == json!(true) && *is_broken.lock().unwrap() {
            true => Reply::Status(500),
            false => Reply::Ok(json!({"state": {"n": counted(&event)}}).to_string()),
        }
    });
    house.put("s", "k", &["a"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, minute()).await;
    world.pass(Duration::from_secs(120)).await;
    let stuck = house.status(&view).await.stuck.remove(0);
    let window = stuck.window.unwrap();
    assert_eq!((window.start.to_iso_secs(), stuck.records, stuck.first), ("2026-11-23T04:00:00Z".to_owned(), 0, None));
    assert!(stuck.failures > 3 && stuck.error == "the function failed: Unhandled", "{stuck:?}");
    assert_eq!(stuck.expires, Some(window.end + crate::world::DAY - Duration::from_secs(1_200)));
    *broken.lock().unwrap() = false;
    world.pass(Duration::from_secs(120)).await;
    assert_eq!(house.status(&view).await.stuck, []);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_waits_for_what_a_slow_disk_has_not_taken_yet() {
    let world = World::new(607);
    let house = world.open().await;
    house.stream("s", 1).await;
    counting(&world.functions);
    house.put("s", "k", &["a"]).await;
    map(&house, StartingPosition::TrimHorizon, minute()).await;
    until_time(&world, || world.functions.calls().len() == 1).await;
    world.pass(Duration::from_secs(30)).await;
    world.fs.stall_syncs(true);
    let slow = house.put("s", "k", &["b"]);
    let later = async {
        until("the disk to have it", || world.fs.stalled_syncs() > 0).await;
        // Time does not go on by itself while a thread waits.
        for _ in 0..400 {
            #[allow(clippy::disallowed_methods, reason = "virtual time of the paused runtime")]
            tokio::time::advance(Duration::from_millis(200)).await;
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        let before = world.functions.calls().len();
        world.fs.stall_syncs(false);
        before
    };
    let ((), before) = tokio::join!(slow, later);
    assert_eq!(before, 1, "the window's end has passed, but not everything of it has come");
    until_time(&world, || world.functions.calls().len() == 3).await;
    world.pass(Duration::from_secs(60)).await;
    let told = told(&world.functions);
    assert_eq!(told[1..], [(1, json!({"n": 1}), false, false), (0, json!({"n": 2}), true, false)], "closed once");
    house.stop().await;
}

const CHANGES: [Call; 4] = [Call::Write, Call::SyncData, Call::SyncDir, Call::Rename];

#[test]
fn a_windows_state_survives_power_cuts_exactly() {
    let (mut windows, mut cuts, mut repeated) = (0, 0, 0);
    for seed in 700..712 {
        let outside = Outside::new(seed);
        let closed = Arc::new(Mutex::new(BTreeMap::<String, Vec<u64>>::new()));
        let (noted, mut calls) = (Arc::clone(&closed), 0);
        outside.functions.answer(move |call| {
            calls += 1;
            if calls % 4 == 0 {
                return Reply::Status(500);
            }
            let event: Value = serde_json::from_slice(&call.payload).unwrap();
            if event["isFinalInvokeForWindow"] == json!(true) {
                let start = event["window"]["start"].as_str().unwrap().to_owned();
                noted.lock().unwrap().entry(start).or_default().push(counted(&event));
            }
            Reply::Ok(json!({"state": {"n": counted(&event)}}).to_string())
        });
        outside.life(async |world| {
            let house = world.open().await;
            house.stream("s", 1).await;
            map(&house, StartingPosition::TrimHorizon, MappingChange { tumbling_secs: Some(5), ..minute() }).await;
            house.stop().await;
        });
        for _ in 0..6 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(120), Fault::Crash);
                let Ok(house) = world.try_open().await else { return };
                for n in 0..30 {
                    let stream = house.log.stream(&House::key("s")).unwrap();
                    let (shard, partition_key) = (stream.shards[0].slot, "k".parse().unwrap());
                    let record =
                        log::NewRecord { shard, partition_key, explicit_hash_key: None, data: n.to_string().into() };
                    let _ = house.log.append(log::Append { producer: None, records: vec![record] }).await;
                    if world.fs.is_off() {
                        return;
                    }
                    world.pass(Duration::from_millis(world.env.rng.below(1_500))).await;
                }
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        let records = outside.life(async |world| {
            let house = world.open().await;
            world.pass(Duration::from_secs(120)).await;
            let records = house.records(&House::key("s")).await;
            house.stop().await;
            records
        });
        let mut expected = BTreeMap::<String, u64>::new();
        for record in &records {
            let start = record.arrival.millis() - record.arrival.millis().rem_euclid(5_000);
            *expected.entry(Timestamp::from_millis(start).to_iso_secs()).or_default() += 1;
        }
        let closed = closed.lock().unwrap();
        for (start, finals) in &*closed {
            let values: BTreeSet<&u64> = finals.iter().collect();
            assert_eq!(values, BTreeSet::from([&expected[start]]), "seed {seed}: the window of {start}: {finals:?}");
            repeated += finals.len() - 1;
        }
        assert!(expected.keys().eq(closed.keys()), "seed {seed}: every window is closed");
        windows += expected.len();
    }
    assert!(
        windows > 50 && cuts > 30,
        "the script does something: {windows} windows, {cuts} cuts, {repeated} repeated"
    );
}
