//! Power cuts at any moment between a bus and a stream: each event is there once, and in order.

use std::collections::BTreeSet;

use base::Event;
use base::fs::sim::{Call, Fault};
use flow::bus::RuleState;

use crate::world::{Deadline, House, Outside, World, default_bus, event, scope, stream_arn, target};

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
            Err(error) => panic!("{error}"),
        }
        // Now the consumer is behind, now it has caught up; now a checkpoint is written, now it is not yet.
        match world.env.rng.below(4) {
            0 => world.pass(std::time::Duration::from_millis(150)).await,
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

/// Several lives, each ended by the power going at a random change of the disk.
fn script(seed: u64, lives: u32) -> (usize, u32) {
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
            world.fs.fail(&CHANGES, 1 + world.env.rng.below(80), Fault::Crash);
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
        let (acknowledged, struck) = script(seed, 5);
        events += acknowledged;
        cuts += struck;
    }
    assert!(events > 500 && cuts > 50, "the script does something: {events} events, {cuts} cuts");
}
