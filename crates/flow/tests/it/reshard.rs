//! Streams that are divided and joined while records flow: what goes from a bus into them is there once, and what goes
//! out of them reaches a function in the order of each partition key, through power cuts and failures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Event, HashKey, Rng, StateStore};
use flow::bus::RuleState;
use flow::mapping::{MappingChange, MappingSpec, MappingView, StartingPosition};
use log::{LogError, Record, Reshard, Shard};

use crate::fakes::{Reply, batch_of};
use crate::world::{
    DAY, Deadline, House, Outside, World, default_bus, event, function_arn, role, scope, stream_arn, target, until,
};

const CHANGES: [Call; 5] = [Call::Write, Call::SetLen, Call::SyncData, Call::SyncDir, Call::Rename];

/// Splits a random open shard in a random place, or merges two neighbours.
async fn reshard(house: &House, rng: &dyn Rng) -> Result<(), LogError> {
    let stream = house.log.stream(&House::key("s"))?;
    let mut open: Vec<&Shard> = stream.shards.iter().filter(|shard| shard.closed_at.is_none()).collect();
    open.sort_by_key(|shard| *shard.hash_range.start());
    let at = rng.below(open.len() as u64) as usize;
    let (start, end) = (*open[at].hash_range.start(), *open[at].hash_range.end());
    let step = match open.get(at + 1) {
        Some(next) if open.len() > 2 && rng.below(open.len() as u64) > 2 => {
            Reshard::Merge { shard: open[at].id, adjacent: next.id }
        }
        _ if end - start < 1 << 64 => return Ok(()),
        _ => {
            let border = start + (end - start) / 64 * u128::from(1 + rng.below(62));
            Reshard::Split { shard: open[at].id, at: HashKey(border) }
        }
    };
    house.log.reshard(&House::key("s"), vec![step]).await.map(drop)
}

async fn yield_for(world: &World, most: u64) {
    for _ in 0..world.env.rng.below(most) {
        tokio::task::yield_now().await;
    }
}

/// Puts events and reshards the stream that they go to, until the power goes.
async fn put_until_the_end(world: &World, sent: &mut u64, acknowledged: &mut Vec<String>) {
    let Ok(house) = world.try_open().await else { return };
    for _ in 0..30 {
        let ids: Vec<String> = (0..1 + world.env.rng.below(20)).map(|n| format!("e{:06}", *sent + n)).collect();
        *sent += ids.len() as u64;
        let events: Vec<Event> = ids.iter().map(|id| event(id, "my.app", "{}")).collect();
        if house.flow.buses.put_events(&scope(), &default_bus(), &events).await.is_ok() {
            acknowledged.extend(ids);
        }
        yield_for(world, 60).await;
        let resharded = reshard(&house, &*world.env.rng).await;
        if world.fs.is_off() {
            return;
        }
        resharded.unwrap();
        if world.env.rng.below(4) == 0 {
            world.pass(Duration::from_millis(150)).await;
        }
    }
}

/// The stream's records are the bus's, each once, and each shard has its own in the bus's order.
async fn check(world: &World, seed: u64, acknowledged: &[String]) -> usize {
    let house = world.open().await;
    let bus = log::StreamKey { kind: log::StreamKind::Bus, scope: scope(), name: "default".into() };
    let expected: Vec<String> = house.records(&bus).await.iter().map(|r| r.partition_key.to_string()).collect();
    let on_bus: BTreeSet<&String> = expected.iter().collect();
    assert!(acknowledged.iter().all(|id| on_bus.contains(id)), "seed {seed}: an acknowledged event is lost");
    let deadline = Deadline::new();
    loop {
        let count = house.records(&House::key("s")).await.len();
        if count >= expected.len() {
            break;
        }
        deadline.check(&format!("seed {seed}: {} events, not {count}", expected.len()));
        tokio::task::yield_now().await;
    }
    let stream = house.log.stream(&House::key("s")).unwrap();
    let mut all = Vec::new();
    for shard in &stream.shards {
        let records = house.records_of(shard.slot).await;
        let id = |record: &Record| serde_json::from_slice::<Event>(&record.data).unwrap().id;
        let ids: Vec<String> = records.iter().map(id).collect();
        assert!(ids.is_sorted(), "seed {seed}: {} has {ids:?}", shard.id);
        all.extend(ids);
    }
    all.sort_unstable();
    assert_eq!(all, expected, "seed {seed}: each event once");
    house.stop().await;
    stream.shards.len()
}

#[test]
fn a_stream_that_is_divided_under_load_gets_each_event_of_a_bus_once_through_power_cuts() {
    let (mut events, mut cuts, mut shards) = (0, 0, 0);
    for seed in 0..20 {
        let outside = Outside::new(seed);
        outside.life(async |world| {
            let house = world.open().await;
            house.stream("s", 2).await;
            house.rule("r", r#"{"source":["my.app"]}"#, RuleState::Enabled, target(stream_arn("s"))).await;
            house.stop().await;
        });
        let (mut sent, mut acknowledged) = (0, Vec::new());
        for _ in 0..4 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 20 + world.env.rng.below(150), Fault::Crash);
                put_until_the_end(world, &mut sent, &mut acknowledged).await;
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        events += acknowledged.len();
        shards += outside.life(async |world| check(world, seed, &acknowledged).await);
    }
    assert!(
        events > 2_000 && cuts > 40 && shards > 500,
        "it does something: {events} events, {cuts} cuts, {shards} shards"
    );
}

/// What a function was given: each key's numbers in the order in which they first came.
type Seen = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

fn note(seen: &Seen, texts: &[String]) {
    let mut seen = seen.lock().unwrap();
    for text in texts {
        let (key, number) = text.split_once(':').unwrap();
        let numbers = seen.entry(key.to_owned()).or_default();
        let number = number.parse().unwrap();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
}

const KEYS: u64 = 12;

/// Puts records of a few keys, numbered by key, while the stream is resharded, until the power goes.
async fn load_until_the_end(world: &World, numbers: &mut [u64], acknowledged: &mut BTreeSet<(u64, u64)>) {
    let Ok(house) = world.try_open().await else { return };
    for _ in 0..40 {
        for _ in 0..1 + world.env.rng.below(8) {
            let key = world.env.rng.below(KEYS);
            let number = numbers[key as usize];
            numbers[key as usize] += 1;
            let stream = house.log.stream(&House::key("s")).unwrap();
            let partition_key: base::PartitionKey = format!("k{key}").parse().unwrap();
            let record = log::NewRecord {
                shard: stream.shard_for(&partition_key, None).slot,
                partition_key,
                explicit_hash_key: None,
                data: format!("k{key}:{number}").into(),
            };
            if house.log.append(log::Append { producer: None, records: vec![record] }).await.is_ok() {
                acknowledged.insert((key, number));
            }
        }
        let resharded = reshard(&house, &*world.env.rng).await;
        if world.fs.is_off() {
            return;
        }
        resharded.unwrap();
        yield_for(world, 100).await;
        if world.env.rng.below(3) == 0 {
            world.pass(Duration::from_millis(world.env.rng.below(400))).await;
        }
    }
    if world.env.rng.below(2) == 0 {
        house.stop().await;
    }
}

#[test]
fn a_function_sees_each_key_in_order_across_any_chain_of_splits_and_merges() {
    let (mut records, mut shards) = (0, 0);
    for seed in 300..316 {
        let (outside, seen) = (Outside::new(seed), Seen::default());
        let (noted, mut calls) = (Arc::clone(&seen), 0);
        outside.functions.answer(move |call| {
            calls += 1;
            if calls % 7 == 0 {
                return Reply::Status(500);
            }
            note(&noted, &batch_of(std::str::from_utf8(&call.payload).unwrap()));
            Reply::Ok("{}".into())
        });
        outside.life(async |world| {
            let house = world.open().await;
            house.stream("s", 2).await;
            let settings = MappingChange { batch_size: Some(1 + world.env.rng.below(9) as u32), ..Default::default() };
            mapped(&house, settings).await;
            house.stop().await;
        });
        let (mut numbers, mut acknowledged) = (vec![0; KEYS as usize], BTreeSet::new());
        for _ in 0..4 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 20 + world.env.rng.below(300), Fault::Crash);
                load_until_the_end(world, &mut numbers, &mut acknowledged).await;
            });
            outside.fs.power_cut();
        }
        shards += outside.life(async |world| {
            let house = world.open().await;
            world.pass(Duration::from_secs(600)).await;
            let shards = house.log.stream(&House::key("s")).unwrap().shards.len();
            house.stop().await;
            shards
        });
        let seen = seen.lock().unwrap();
        for (key, numbers) in seen.iter() {
            assert!(numbers.is_sorted(), "seed {seed}: {key} came as {numbers:?}");
        }
        for (key, number) in &acknowledged {
            let came = seen.get(&format!("k{key}")).is_some_and(|numbers| numbers.contains(number));
            assert!(came, "seed {seed}: k{key}:{number} never came");
        }
        records += acknowledged.len();
    }
    assert!(records > 3_000 && shards > 500, "it does something: {records} records, {shards} shards");
}

/// A mapping of the stream `s`, from its first record on, to the function `f`.
async fn mapped(house: &House, settings: MappingChange) -> MappingView {
    let mapping = MappingSpec {
        function: function_arn("f"),
        role: role(),
        source: stream_arn("s"),
        start: Some(StartingPosition::TrimHorizon),
        settings,
    };
    house.flow.mappings.create(&scope(), mapping).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn children_are_read_as_soon_as_their_parents_are_and_old_places_are_forgotten() {
    let world = World::new(1);
    let house = world.open().await;
    let stream = house.stream("s", 1).await;
    let view = mapped(&house, MappingChange::default()).await;
    house.put("s", "k", &["parent"]).await;
    let split = Reshard::Split { shard: stream.shards[0].id, at: HashKey(1 << 127) };
    house.log.reshard(&House::key("s"), vec![split]).await.unwrap();
    house.put("s", "k", &["child"]).await;
    // No virtual time passes: nothing waits for a period.
    until("both", || world.functions.batches().concat().len() == 2).await;
    assert_eq!(world.functions.batches().concat(), ["parent", "child"]);
    let rows = || {
        let prefix = format!("mapping:{}\0", view.mapping.id);
        house.state.scan(base::Table("flow.checkpoints"), prefix.as_bytes(), None, 100).unwrap().len()
    };
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(rows(), 2, "the parent's place and that of the child that had a record");
    house.log.delete_stream(&House::key("s")).await.unwrap();
    house.stream("s", 1).await;
    house.put("s", "k", &["another"]).await;
    while world.functions.batches().concat().len() < 3 {
        world.pass(Duration::from_secs(1)).await;
    }
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(rows(), 1, "places on a stream that is gone are gone");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_retention_has_forgotten_holds_its_children_up_no_more() {
    let world = World::new(2);
    let house = world.open().await;
    let stream = house.stream("s", 1).await;
    let view = mapped(&house, MappingChange::default()).await;
    house.put("s", "k", &["first"]).await;
    until("the first", || world.functions.batches().concat() == ["first"]).await;
    let enabled = |enabled| MappingChange { enabled: Some(enabled), ..Default::default() };
    house.flow.mappings.update(&scope(), &view.mapping.id, &enabled(false)).await.unwrap();
    house.put("s", "k", &["too old"]).await;
    let split = Reshard::Split { shard: stream.shards[0].id, at: HashKey(1 << 127) };
    house.log.reshard(&House::key("s"), vec![split]).await.unwrap();
    world.pass(2 * DAY).await;
    house.put("s", "k", &["child"]).await;
    house.log.enforce_retention().await.unwrap();
    let left = house.log.stream(&House::key("s")).unwrap();
    assert!(left.shards.iter().all(|shard| shard.id != stream.shards[0].id), "the parent is forgotten");
    house.flow.mappings.update(&scope(), &view.mapping.id, &enabled(true)).await.unwrap();
    until("the child's", || world.functions.batches().concat().len() == 2).await;
    assert_eq!(world.functions.batches().concat(), ["first", "child"]);
    world.pass(Duration::from_secs(1)).await;
    let prefix = format!("mapping:{}\0", view.mapping.id);
    let rows = house.state.scan(base::Table("flow.checkpoints"), prefix.as_bytes(), None, 100).unwrap();
    assert_eq!(rows.len(), 1, "the parent's place is forgotten with it");
    house.stop().await;
}
