//! Splits and merges through the whole log: lineage, waiting readers, ends, restarts, forgetting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base::{ErrorKind, HashKey, Kinded, Position, ShardId};
use tidegate_log::{Append, Log, LogConfig, LogError, Reshard, Shard, Stream, StreamSpec};

use crate::world::*;

const MIDDLE: HashKey = HashKey(1 << 127);

fn split(shard: u32, at: HashKey) -> Vec<Reshard> {
    vec![Reshard::Split { shard: ShardId::new(shard), at }]
}

fn merge(shard: u32, adjacent: u32) -> Vec<Reshard> {
    vec![Reshard::Merge { shard: ShardId::new(shard), adjacent: ShardId::new(adjacent) }]
}

fn ids(stream: &Stream) -> Vec<(u32, bool)> {
    stream.shards.iter().map(|s| (s.id.number(), s.closed.is_none())).collect()
}

#[tokio::test(start_paused = true)]
async fn children_follow_their_parents_in_time_and_in_position() {
    let world = World::new(1);
    let log = world.open_small().await;
    let parent = stream(&log, "s", 1).await.shards[0].clone();
    for n in 0..30 {
        put(&log, parent.slot, &format!("{n:0100}")).await;
    }
    let last = put(&log, parent.slot, "last").await;
    world.env.clock.sleep(Duration::from_secs(5)).await;
    let after = log.reshard(&key("s"), split(0, MIDDLE)).await.unwrap();
    assert_eq!(ids(&after), [(0, false), (1, true), (2, true)]);
    let closed = &after.shards[0];
    assert_eq!(closed.closed, Some(START + Duration::from_secs(5)));
    assert!(closed.closed_at.unwrap() > last.position && closed.opened == parent.opened);
    for child in &after.shards[1..] {
        assert_eq!((&child.parents[..], child.opened_at), (&[ShardId::new(0)][..], closed.closed_at.unwrap()));
        assert_eq!(child.opened, closed.closed.unwrap());
        let first = put(&log, child.slot, "first").await;
        assert!(first.position > child.opened_at);
        assert!(log.tail(child.slot).unwrap().trim > closed.closed_at.unwrap());
    }
    let error = try_put(&log, parent.slot, "late").await.unwrap_err();
    assert!(matches!(error, LogError::ShardClosed(slot) if slot == parent.slot) && error.kind() == ErrorKind::Conflict);
    let merged = log.reshard(&key("s"), merge(2, 1)).await.unwrap();
    assert_eq!(merged.shards[3].parents, [ShardId::new(2), ShardId::new(1)]);
    put(&log, merged.shards[3].slot, "merged").await;
    for log in [log.clone(), {
        log.close().await.unwrap();
        world.open_small().await
    }] {
        assert_eq!(*log.stream(&key("s")).unwrap(), *merged);
        let lengths = [31, 1, 1, 1];
        for (shard, count) in merged.shards.iter().zip(lengths) {
            assert_eq!(read_all(&log, shard.slot).await.len(), count);
            let end = log.read(shard.slot, log.tail(shard.slot).unwrap().next, ALL).await.unwrap();
            assert_eq!((end.records.len(), end.at_end), (0, shard.closed.is_some()), "{}", shard.id);
        }
        let part = log.read(parent.slot, last.position, ALL).await.unwrap();
        assert_eq!((texts(&part.records), part.at_end), (vec!["last".to_owned()], true));
        let part = log.read(parent.slot, Position::ZERO, tidegate_log::ReadLimit { records: 30, ..ALL }).await.unwrap();
        assert!(!part.at_end);
        assert_eq!(log.position_at(parent.slot, START + Duration::from_secs(4)).await.unwrap(), last.position.next());
    }
}

#[tokio::test(start_paused = true)]
async fn one_change_takes_a_stream_from_one_shard_to_four_and_back() {
    let world = World::new(2);
    let log = world.open_small().await;
    stream(&log, "s", 1).await;
    let quarter = |n: u128| HashKey(n << 126);
    let up = [split(0, quarter(2)), split(1, quarter(1)), split(2, quarter(3))].concat();
    let four = log.reshard(&key("s"), up).await.unwrap();
    assert_eq!(ids(&four), [(0, false), (1, false), (2, false), (3, true), (4, true), (5, true), (6, true)]);
    assert!(four.open_shards().all(|s| s.hash_range.end() - s.hash_range.start() == (1 << 126) - 1));
    let between = &four.shards[1];
    assert_eq!(between.closed_at, Some(between.opened_at), "it never took a record");
    let end = log.read(between.slot, Position::ZERO, ALL).await.unwrap();
    assert!(end.at_end && end.records.is_empty());
    log.wait(between.slot, Position::ZERO).await.unwrap();
    let down = [merge(3, 4), merge(5, 6), merge(7, 8)].concat();
    let one = log.reshard(&key("s"), down).await.unwrap();
    assert_eq!(one.open_shards().map(|s| s.id.number()).collect::<Vec<_>>(), [9]);
    assert_eq!(log.reshard(&key("s"), vec![]).await.unwrap(), one);
    drop(log);
    world.fs.power_cut();
    assert_eq!(*world.open_small().await.stream(&key("s")).unwrap(), *one);
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_breaks_a_rule_writes_nothing() {
    let world = World::new(3);
    let log = world.open().await;
    let before = stream(&log, "s", 2).await;
    let chain = [split(0, HashKey(5)), split(9, HashKey(5))].concat();
    let error = log.reshard(&key("s"), chain).await.unwrap_err();
    assert!(matches!(error, LogError::NoSuchShard { .. }) && error.kind() == ErrorKind::NotFound);
    assert_eq!(error.to_string(), "stream kinesis/000000000000/eu-central-1/s has no shard shardId-000000000009");
    let error = log.reshard(&key("s"), split(1, HashKey(5))).await.unwrap_err();
    assert!(matches!(error, LogError::SplitOutside { .. }) && error.kind() == ErrorKind::Invalid);
    assert!(matches!(log.reshard(&key("t"), merge(0, 1)).await, Err(LogError::StreamNotFound(_))));
    assert_eq!(log.stream(&key("s")).unwrap(), before);
    put(&log, before.shards[0].slot, "goes on").await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_waits_is_woken_when_its_shard_closes_and_not_for_others() {
    let world = World::new(4);
    let log = world.open().await;
    let slots = slots(&stream(&log, "s", 2).await);
    let waiting = |shard| {
        let log = log.clone();
        tokio::spawn(async move { log.wait(shard, Position::ZERO).await })
    };
    let (first, second) = (waiting(slots[0]), waiting(slots[1]));
    tokio::task::yield_now().await;
    log.reshard(&key("s"), split(0, HashKey(5))).await.unwrap();
    first.await.unwrap().unwrap();
    assert!(log.read(slots[0], Position::ZERO, ALL).await.unwrap().at_end);
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    log.wait(slots[0], Position::MAX).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_append_that_names_a_closed_shard_among_others_writes_nothing() {
    let world = World::new(5);
    let log = world.open().await;
    let slots = slots(&stream(&log, "s", 2).await);
    let name = key("s");
    let appended = log.reshard(&name, split(0, HashKey(5)));
    let records = vec![record(slots[1], "a"), record(slots[0], "b")];
    let both = log.append(Append { producer: None, records: records.clone() });
    let (changed, appended) = tokio::join!(appended, both);
    changed.unwrap();
    assert!(matches!(appended, Err(LogError::ShardClosed(slot)) if slot == slots[0]));
    assert_eq!(read_all(&log, slots[1]).await, []);
    let producer = Some((base::ProducerId(1), Position::new(3)));
    assert!(log.append(Append { producer, records: records.clone() }).await.is_err());
    assert_eq!(log.producer_position(base::ProducerId(1)), None, "what was refused is not remembered");
    let now = log.stream(&key("s")).unwrap();
    let again = records.into_iter().map(|r| record(now.shard_for(&r.partition_key, r.explicit_hash_key).slot, r.data));
    assert_eq!(log.append(Append { producer, records: again.collect() }).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_sync_fails_is_made_whole_or_not_at_all() {
    use base::fs::sim::{Call, Fault};
    let world = World::new(6);
    let log = world.open().await;
    stream(&log, "s", 1).await;
    world.fs.fail(&[Call::SyncData], 1, Fault::Eio);
    assert!(matches!(log.reshard(&key("s"), split(0, MIDDLE)).await, Err(LogError::Poisoned(_))));
    assert_eq!(ids(&log.stream(&key("s")).unwrap()), [(0, true)]);
    let after = eventually(&world, async || log.reshard(&key("s"), split(0, MIDDLE)).await.ok()).await;
    drop(log);
    world.fs.power_cut();
    assert_eq!(*world.open().await.stream(&key("s")).unwrap(), *after);
}

/// Splits and merges by turns, for as many days.
async fn churn(world: &World, log: &Log, days: u32) -> Arc<Stream> {
    for day in 0..days {
        let now = log.stream(&key("s")).unwrap();
        let open: Vec<_> = now.open_shards().map(|s| (s.id.number(), s.slot)).collect();
        for (_, slot) in &open {
            put(log, *slot, &format!("day {day} {}", "x".repeat(300))).await;
        }
        let steps = if open.len() == 1 { split(open[0].0, MIDDLE) } else { merge(open[0].0, open[1].0) };
        log.reshard(&key("s"), steps).await.unwrap();
        world.env.clock.sleep(DAY).await;
        log.enforce_retention().await.unwrap();
    }
    log.stream(&key("s")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn closed_shards_are_forgotten_once_their_records_are_past_retention() {
    let world = World::new(7);
    let log = world.open_small().await;
    let first = stream(&log, "s", 1).await.shards[0].slot;
    log.set_retention(&key("s"), DAY * 3).await.unwrap();
    let after = churn(&world, &log, 60).await;
    assert!(after.shards.len() <= 12, "{} shards are left", after.shards.len());
    assert!(after.shards.last().unwrap().id.number() > 80, "numbers are not given twice");
    assert!(matches!(log.tail(first), Err(LogError::ShardNotFound(_))));
    let oldest = &after.shards[0];
    assert!(oldest.closed.is_some() && !read_all(&log, oldest.slot).await.is_empty(), "not one too many");
    // A shard that is not needed for its records is not forgotten before its time either: its readers learn its end.
    let closed = after.shards.iter().filter_map(|s| s.closed).min().unwrap();
    assert!(world.env.clock.now().since(closed) <= DAY * 3 + Duration::from_secs(60));
    drop(log);
    world.fs.power_cut();
    let log = world.open_small().await;
    assert_eq!(*log.stream(&key("s")).unwrap(), *after);
    log.enforce_retention().await.unwrap();
    assert_eq!(*log.stream(&key("s")).unwrap(), *after, "it is idempotent");
}

#[tokio::test(start_paused = true)]
async fn forgetting_happens_by_itself_on_a_period() {
    let world = World::new(8);
    let log = world.open_with(LogConfig::default()).await;
    stream(&log, "s", 1).await;
    log.reshard(&key("s"), split(0, MIDDLE)).await.unwrap();
    world.env.clock.sleep(DAY - Duration::from_secs(600)).await;
    assert_eq!(log.stream(&key("s")).unwrap().shards.len(), 3);
    world.env.clock.sleep(Duration::from_secs(1_000)).await;
    eventually(&world, async || (log.stream(&key("s")).unwrap().shards.len() == 2).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn another_retention_holds_at_once_for_what_is_there() {
    let world = World::new(9);
    let log = world.open().await;
    let spec = StreamSpec { shards: 1, retention: DAY * 7 };
    let slot = log.create_stream(&key("s"), spec).await.unwrap().shards[0].slot;
    for day in 0..5 {
        put(&log, slot, &format!("day {day}")).await;
        world.env.clock.sleep(DAY).await;
    }
    let set = async |retention| {
        assert_eq!(log.set_retention(&key("s"), retention).await.unwrap().retention, retention);
        texts(&read_all(&log, slot).await)
    };
    assert_eq!(set(DAY * 2).await, ["day 3", "day 4"]);
    assert_eq!(set(DAY).await, ["day 4"]);
    assert_eq!(set(DAY * 4).await, ["day 4"], "nothing comes back");
    let position = put(&log, slot, "one").await.position;
    log.set_retention(&key("s"), DAY * 4).await.unwrap();
    assert_eq!(put(&log, slot, "next").await.position, position.next(), "what is so already is not written again");
    drop(log);
    world.fs.power_cut();
    assert_eq!(world.open().await.stream(&key("s")).unwrap().retention, DAY * 4);
    assert!(matches!(world.open().await.set_retention(&key("t"), DAY).await, Err(LogError::StreamNotFound(_))));
}

fn halved(of: &Shard) -> Reshard {
    let (start, end) = (of.hash_range.start(), of.hash_range.end());
    Reshard::Split { shard: of.id, at: HashKey(start + (end - start) / 2 + 1) }
}

#[tokio::test(start_paused = true)]
async fn while_shards_are_held_none_is_split() {
    let world = World::new(30);
    let log = world.open().await;
    let parent = stream(&log, "s", 1).await.shards[0].clone();
    let held = log.hold_shards().await;
    let splitting = tokio::spawn({
        let (log, steps) = (log.clone(), vec![halved(&parent)]);
        async move { log.reshard(&key("s"), steps).await }
    });
    for n in 0..50 {
        tokio::task::yield_now().await;
        put(&log, parent.slot, &n.to_string()).await;
    }
    assert!(!splitting.is_finished());
    drop(held);
    assert_eq!(splitting.await.unwrap().unwrap().open_shards().len(), 2, "then it goes on");
    assert!(matches!(try_put(&log, parent.slot, "late").await, Err(LogError::ShardClosed(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn splits_without_end_do_not_starve_an_append_that_holds_the_shards() {
    let world = World::new(31);
    let log = world.open().await;
    stream(&log, "s", 1).await;
    let (done, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Each splits what there is and merges it again, as fast as the log lets it.
    let resharding: Vec<_> = (0..6)
        .map(|_| {
            let (log, done, changes) = (log.clone(), Arc::clone(&done), Arc::clone(&changes));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let stream = log.stream(&key("s")).unwrap();
                    let open: Vec<_> = stream.open_shards().collect();
                    let step = match &open[..] {
                        [one] => halved(one),
                        [low, high, ..] => Reshard::Merge { shard: low.id, adjacent: high.id },
                        [] => panic!("no shard is open"),
                    };
                    match log.reshard(&key("s"), vec![step]).await {
                        Ok(_) => _ = changes.fetch_add(1, Ordering::Relaxed),
                        Err(LogError::AlreadyClosed { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let place = || log.stream(&key("s")).unwrap().open_shards().next().unwrap().slot;
    let mut met = 0;
    let happened = |met: usize| met > 0 && changes.load(Ordering::Relaxed) > 50;
    // 300 puts, and on until enough has happened among them, however the threads of the log are scheduled.
    for n in 0..100_000 {
        if n >= 300 && happened(met) {
            break;
        }
        let stale = place();
        tokio::task::yield_now().await;
        match try_put(&log, stale, &n.to_string()).await {
            Err(LogError::ShardClosed(_)) => {
                met += 1;
                let _held = log.hold_shards().await;
                try_put(&log, place(), &n.to_string()).await.unwrap();
            }
            result => drop(result.unwrap()),
        }
    }
    done.store(true, Ordering::Relaxed);
    futures::future::try_join_all(resharding).await.unwrap();
    assert!(happened(met), "{met} met a closed shard among {} changes", changes.load(Ordering::Relaxed));
}
