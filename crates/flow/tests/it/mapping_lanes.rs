//! Several batches of a shard under way: each partition key keeps its order, no lane waits for another, and a change of
//! their number neither loses, repeats nor reorders anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{HashKey, Invocation};
use flow::checkpoint::Lane;
use flow::mapping::{MappingChange, StartingPosition};
use log::Reshard;
use serde_json::Value;

use crate::fakes::{Reply, batch_of};
use crate::mapping::{map, until_time};
use crate::world::{House, Outside, World, scope, until};

fn factor(lanes: u32) -> MappingChange {
    MappingChange { parallelization: Some(lanes), batch_size: Some(10), ..Default::default() }
}

/// Keys and texts of a call, in order.
fn records_of(call: &Invocation) -> Vec<(String, String)> {
    let payload = std::str::from_utf8(&call.payload).unwrap();
    let event: Value = serde_json::from_str(payload).unwrap();
    let keys = event["Records"].as_array().unwrap().iter();
    let keys = keys.map(|record| record["kinesis"]["partitionKey"].as_str().unwrap().to_owned());
    keys.zip(batch_of(payload)).collect()
}

/// What succeeded, by key.
type Taken = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// The function takes all but what has a key of `stuck`.
fn taking(world: &World, stuck: &Arc<Mutex<BTreeSet<String>>>) -> Taken {
    let (taken, stuck) = (Taken::default(), Arc::clone(stuck));
    let answer = Arc::clone(&taken);
    world.functions.answer(move |call| {
        let records = records_of(call);
        if records.iter().any(|(key, _)| stuck.lock().unwrap().contains(key)) {
            return Reply::Status(500);
        }
        let mut taken = answer.lock().unwrap();
        records.into_iter().for_each(|(key, text)| taken.entry(key).or_default().push(text));
        Reply::Ok("{}".into())
    });
    taken
}

fn count(taken: &Taken) -> usize {
    taken.lock().unwrap().values().map(Vec::len).sum()
}

/// Every key has what was put, once and in order.
fn assert_once_in_order(taken: &Taken, keys: usize, each: usize) {
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), keys);
    for (key, texts) in &*taken {
        let expected: Vec<String> = (0..each).map(|n| format!("{n:04}")).collect();
        assert_eq!(texts, &expected, "{key}");
    }
}

async fn put_rounds(house: &House, keys: usize, rounds: std::ops::Range<usize>) {
    for n in rounds {
        for key in 0..keys {
            house.put("s", &format!("k{key}"), &[&format!("{n:04}")]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_stuck_key_holds_up_its_lane_and_no_other() {
    let world = World::new(401);
    let house = world.open().await;
    house.stream("s", 1).await;
    let stuck = Arc::new(Mutex::new(BTreeSet::from(["k7".to_owned()])));
    let taken = taking(&world, &stuck);
    put_rounds(&house, 40, 0..10).await;
    let view = map(&house, StartingPosition::TrimHorizon, factor(4)).await;
    let lane = |key: usize| Lane::of_key(&format!("k{key}").parse().unwrap(), 4);
    let free = (0..40).filter(|key| lane(*key) != lane(7)).count();
    assert!(free > 20);
    until_time(&world, || count(&taken) >= free * 10 && world.functions.calls().len() > 60).await;
    assert_eq!(taken.lock().unwrap().keys().filter(|key| lane(key[1..].parse().unwrap()) == lane(7)).count(), 0);
    let status = house.status(&view).await;
    assert_eq!((status.stuck.len(), status.stuck[0].records), (1, 10));
    // After a restart nothing that the others did is done again.
    house.stop().await;
    let house = world.open().await;
    stuck.lock().unwrap().clear();
    until_time(&world, || count(&taken) >= 400).await;
    assert_once_in_order(&taken, 40, 10);
    let full = world.functions.batches().iter().filter(|batch| batch.len() == 10).count();
    assert!(full >= 36, "batches are full though a lane reads a part of the shard: {full}");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_factor_is_changed_live_and_nothing_is_lost_repeated_or_reordered() {
    let world = World::new(402);
    let house = world.open().await;
    house.stream("s", 2).await;
    let stuck = Arc::new(Mutex::new(BTreeSet::new()));
    let taken = taking(&world, &stuck);
    let view = map(&house, StartingPosition::TrimHorizon, factor(1)).await;
    let mut rounds = 0;
    // With each factor another key is stuck, so that the lanes stand far apart when it is changed.
    for (turn, lanes) in [5, 2, 10, 3, 1, 4].into_iter().enumerate() {
        *stuck.lock().unwrap() = BTreeSet::from([format!("k{turn}")]);
        put_rounds(&house, 30, rounds..rounds + 5).await;
        rounds += 5;
        world.pass(Duration::from_secs(20)).await;
        let changed = house.flow.mappings.update(&scope(), &view.mapping.id, &factor(lanes)).await.unwrap();
        assert_eq!(changed.mapping.parallelization, lanes);
    }
    stuck.lock().unwrap().clear();
    until_time(&world, || count(&taken) >= 30 * rounds).await;
    world.pass(Duration::from_secs(120)).await;
    assert_once_in_order(&taken, 30, rounds);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_child_shard_is_read_after_all_lanes_of_its_parent() {
    let world = World::new(403);
    let house = world.open().await;
    let stream = house.stream("s", 1).await;
    let stuck = Arc::new(Mutex::new(BTreeSet::from(["k3".to_owned()])));
    let taken = taking(&world, &stuck);
    map(&house, StartingPosition::TrimHorizon, factor(3)).await;
    put_rounds(&house, 20, 0..3).await;
    let split = Reshard::Split { shard: stream.shards[0].id, at: HashKey(1 << 127) };
    house.log.reshard(&House::key("s"), vec![split]).await.unwrap();
    put_rounds(&house, 20, 3..6).await;
    world.pass(Duration::from_secs(300)).await;
    assert!(taken.lock().unwrap().values().all(|texts| texts.len() <= 3), "the children wait");
    stuck.lock().unwrap().clear();
    until_time(&world, || count(&taken) >= 120).await;
    assert_once_in_order(&taken, 20, 6);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn factors_beyond_their_range_are_refused() {
    let world = World::new(404);
    let house = world.open().await;
    house.stream("s", 1).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    for change in [factor(0), factor(11), MappingChange { tumbling_secs: Some(60), ..factor(2) }] {
        assert!(house.flow.mappings.update(&scope(), &view.mapping.id, &change).await.is_err());
    }
    until("it is as before", || {
        house.flow.mappings.get(&scope(), &view.mapping.id).is_ok_and(|view| view.mapping.parallelization == 1)
    })
    .await;
    house.stop().await;
}

const CHANGES: [Call; 4] = [Call::Write, Call::SyncData, Call::SyncDir, Call::Rename];

/// One life: records are put and the factor is changed until the power goes.
async fn live(world: &World, id: &str, put: &mut Vec<(String, u64)>) {
    let Ok(house) = world.try_open().await else { return };
    for _ in 0..12 {
        for _ in 0..world.env.rng.below(10) {
            let (key, number) = (format!("k{}", world.env.rng.below(12)), put.len() as u64);
            let stream = house.log.stream(&House::key("s")).unwrap();
            let partition_key: base::PartitionKey = key.parse().unwrap();
            let shard = stream.shard_for(&partition_key, None).slot;
            let data = format!("{number:06}").into();
            let record = log::NewRecord { shard, partition_key, explicit_hash_key: None, data };
            if house.log.append(log::Append { producer: None, records: vec![record] }).await.is_ok() {
                put.push((key, number));
            }
        }
        if world.env.rng.below(3) == 0 {
            let change = factor(1 + world.env.rng.below(10) as u32);
            let _ = house.flow.mappings.update(&scope(), id, &change).await;
        }
        if world.fs.is_off() {
            return;
        }
        world.pass(Duration::from_millis(world.env.rng.below(400))).await;
    }
}

#[test]
fn lanes_and_changes_of_their_number_lose_nothing_through_power_cuts() {
    let (mut records, mut cuts) = (0, 0);
    for seed in 500..512 {
        let (outside, taken) = (Outside::new(seed), Taken::default());
        let (answer, mut calls) = (Arc::clone(&taken), 0);
        outside.functions.answer(move |call| {
            calls += 1;
            if calls % 5 == 0 {
                return Reply::Status(500);
            }
            let mut taken = answer.lock().unwrap();
            records_of(call).into_iter().for_each(|(key, text)| taken.entry(key).or_default().push(text));
            Reply::Ok("{}".into())
        });
        let mut put = Vec::new();
        let id = outside.life(async |world| {
            let house = world.open().await;
            house.stream("s", 2).await;
            let view = map(&house, StartingPosition::TrimHorizon, factor(3)).await;
            house.stop().await;
            view.mapping.id
        });
        for _ in 0..6 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(150), Fault::Crash);
                live(world, &id, &mut put).await;
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        outside.life(async |world| {
            let house = world.open().await;
            world.pass(Duration::from_secs(600)).await;
            house.stop().await;
        });
        records += put.len();
        let taken = taken.lock().unwrap();
        for (key, number) in &put {
            let text = format!("{number:06}");
            assert!(taken.get(key).is_some_and(|all| all.contains(&text)), "seed {seed}: {text} of {key} is lost");
        }
        for (key, texts) in &*taken {
            let mut seen = BTreeSet::new();
            let first: Vec<&String> = texts.iter().filter(|text| seen.insert((*text).clone())).collect();
            assert!(first.is_sorted(), "seed {seed}: {key} in order: {texts:?}");
        }
    }
    assert!(records > 500 && cuts > 30, "the script does something: {records} records, {cuts} cuts");
}
