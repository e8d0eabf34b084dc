//! Repeated intakes: each event once, for as long as the bus remembers, whatever ends the process or the caller.

use std::collections::BTreeSet;
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Event, StateStore, Table};

use crate::world::{House, Outside, World, default_bus, event, scope};

const CHANGES: [Call; 8] =
    [Call::Write, Call::SetLen, Call::SyncData, Call::SyncDir, Call::Rename, Call::Remove, Call::CreateDir, Call::Open];

fn events(ids: impl Iterator<Item = u64>) -> Vec<Event> {
    ids.map(|n| event(&format!("e{n}"), "aws.ec2", "{}")).collect()
}

/// How many of the events were new.
async fn put(house: &House, events: &[Event]) -> usize {
    let mut new = 0;
    for part in events.chunks(500) {
        let answers = house.flow.buses.put_new_events(&scope(), &default_bus(), part).await.unwrap();
        new += answers.into_iter().filter(|new| *new).count();
    }
    new
}

async fn on_bus(house: &House) -> Vec<String> {
    let bus = log::StreamKey { kind: log::StreamKind::Bus, scope: scope(), name: "default".into() };
    house.records(&bus).await.iter().map(|record| record.partition_key.to_string()).collect()
}

fn rows(house: &House) -> usize {
    house.state.scan(Table("flow.bus_ids"), &[], None, 1_000_000).unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn many_ids_are_remembered_in_the_table_and_old_ones_leave_it() {
    let world = World::new(71);
    let house = world.open().await;
    assert_eq!(put(&house, &events(0..10_000)).await, 10_000);
    // Plain puts are not remembered: nobody repeats them.
    house.put_events(&events(50_000..50_100)).await;
    assert_eq!(put(&house, &events(0..10_001)).await, 1);
    assert!((4_000..=10_002).contains(&rows(&house)), "{}", rows(&house));
    house.stop().await;

    let house = world.open().await;
    assert_eq!(put(&house, &events(0..10_002)).await, 1);
    world.pass(Duration::from_secs(2 * 86_400)).await;
    assert_eq!(put(&house, &events(20_000..40_000)).await, 20_000);
    assert!(rows(&house) <= 20_001, "rows of two days ago are still there: {}", rows(&house));
    assert_eq!(put(&house, &events(0..10)).await, 10, "forgotten after the retention");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_no_double() {
    for patience in 0..40 {
        let world = World::new(72 + patience);
        let house = world.open().await;
        put(&house, &events(0..1)).await;
        let (buses, wanted) = (house.flow.buses.clone(), events(1..20));
        let call = tokio::spawn(async move { buses.put_new_events(&scope(), &default_bus(), &wanted).await });
        for _ in 0..patience {
            tokio::task::yield_now().await;
        }
        call.abort();
        put(&house, &events(1..20)).await;
        let found = on_bus(&house).await;
        assert_eq!(found.len(), 20, "left after {patience} turns: {found:?}");
        house.stop().await;
    }
}

/// Repeats its intakes until all of them were answered or the power goes; notes the answered.
async fn ingest(world: &World, acknowledged: &mut BTreeSet<String>) -> bool {
    let Ok(house) = world.try_open().await else { return false };
    for first in (0..12_000).step_by(400) {
        let wanted = events(first..first + 400);
        match house.flow.buses.put_new_events(&scope(), &default_bus(), &wanted).await {
            Ok(_) => acknowledged.extend(wanted.into_iter().map(|event| event.id)),
            Err(_) if world.fs.is_off() => return false,
            Err(error) => panic!("{error}"),
        }
    }
    house.stop().await;
    true
}

#[test]
fn a_power_cut_at_any_moment_of_an_intake_that_is_repeated_neither_loses_nor_doubles() {
    for seed in 0..12 {
        let outside = Outside::new(900 + seed);
        let mut acknowledged = BTreeSet::new();
        for _ in 0..4 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(120), Fault::Crash);
                ingest(world, &mut acknowledged).await;
            });
            outside.fs.power_cut();
        }
        outside.life(async |world| {
            assert!(ingest(world, &mut acknowledged).await);
            let house = world.open().await;
            let found = on_bus(&house).await;
            let distinct: BTreeSet<&String> = found.iter().collect();
            assert_eq!(found.len(), distinct.len(), "seed {seed}: an event is there twice");
            assert!(acknowledged.iter().all(|id| distinct.contains(id)), "seed {seed}: an acknowledged event is lost");
            assert_eq!(distinct.len(), 12_000);
            house.stop().await;
        });
    }
}
