//! Appends: order, idempotence, groups, bounds.

use std::sync::Arc;
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{ErrorKind, Kinded, Position, ProducerId};
use tidegate_log::{Append, LogConfig, LogError, StreamKind, StreamSpec};

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn records_come_back_in_order_after_reopening() {
    let world = World::new(1);
    let log = world.open_small().await;
    let slots = slots(&stream(&log, "s", 3).await);
    let mut placed = Vec::new();
    for n in 0..60 {
        placed.push(put(&log, slots[n % 3], &format!("record {n}")).await);
    }
    assert!(placed.windows(2).all(|w| w[0].position < w[1].position));
    for log in [log.clone(), {
        log.close().await.unwrap();
        world.open_small().await
    }] {
        for (n, slot) in slots.iter().enumerate() {
            let expected: Vec<_> = (n..60).step_by(3).map(|n| format!("record {n}")).collect();
            assert_eq!(texts(&read_all(&log, *slot).await), expected);
            assert_eq!(log.tail(*slot).unwrap().next, placed[57 + n].position.next());
        }
    }
    assert!(world.names(".seg").len() > 2, "segments were rolled");
}

#[tokio::test(start_paused = true)]
async fn a_batch_over_several_shards_is_placed_in_request_order() {
    let world = World::new(2);
    let log = world.open().await;
    let slots = slots(&stream(&log, "s", 2).await);
    let records = [(1, "b1"), (0, "a1"), (1, "b2"), (0, "a2")].map(|(s, d)| record(slots[s], d)).to_vec();
    let placed = log.append(Append { producer: None, records }).await.unwrap();
    let (a, b) = (read_all(&log, slots[0]).await, read_all(&log, slots[1]).await);
    assert_eq!((texts(&a), texts(&b)), (vec!["a1".into(), "a2".into()], vec!["b1".into(), "b2".into()]));
    let places: Vec<_> = placed.iter().map(|p| p.position).collect();
    assert_eq!(places, [b[0].position, a[0].position, b[1].position, a[1].position]);
}

#[tokio::test(start_paused = true)]
async fn an_internal_producer_adds_nothing_twice_even_after_reopening_and_rolling() {
    let world = World::new(3);
    let mut log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    let producer = ProducerId(77);
    let send = async |log: &tidegate_log::Log, at: u64| {
        let records = vec![record(slot, format!("{at:0100}"))];
        log.append(Append { producer: Some((producer, Position::new(at))), records }).await.unwrap().len()
    };
    for at in 1..=40 {
        assert_eq!(send(&log, at).await, 1);
        assert_eq!(send(&log, at).await, 0, "a replay");
        if at % 7 == 0 {
            // Without a clean stop.
            drop(log);
            world.fs.kill();
            log = world.open_small().await;
            assert_eq!(log.producer_position(producer), Some(Position::new(at)));
            assert_eq!(send(&log, at - 1).await, 0);
        }
    }
    assert_eq!(read_all(&log, slot).await.len(), 40);
    assert_eq!(log.producer_position(ProducerId(78)), None);
}

#[tokio::test(start_paused = true)]
async fn a_replay_within_one_group_is_acknowledged_with_the_original() {
    let world = World::new(4);
    let log = world.open().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    let append = Append { producer: Some((ProducerId(1), Position::new(5))), records: vec![record(slot, "once")] };
    let sends = (0..20).map(|_| log.append(append.clone()));
    let placed: usize = futures::future::join_all(sends).await.into_iter().map(|r| r.unwrap().len()).sum();
    assert_eq!((placed, read_all(&log, slot).await.len()), (1, 1));
}

#[test]
fn concurrent_appends_share_syncs() {
    on_one_blocking_thread(async {
        let world = World::new(5);
        let log = world.open().await;
        let slot = stream(&log, "s", 1).await.shards[0].slot;
        let before = world.fs.calls(&[Call::SyncData]);
        let held = hold().await;
        let puts = futures::future::join_all((0..500).map(|n| {
            let log = log.clone();
            async move { put(&log, slot, &n.to_string()).await }
        }));
        // All of them wait before the thread is free.
        futures::join!(puts, async { drop(held) });
        assert_eq!(world.fs.calls(&[Call::SyncData]) - before, 1, "500 appends that wait are one group");
        assert_eq!(read_all(&log, slot).await.len(), 500);
    });
}

#[test]
fn a_full_queue_refuses_instead_of_growing() {
    on_one_blocking_thread(async {
        let world = World::new(6);
        let log = world.open_with(LogConfig { queue_bytes: 10_000, ..LogConfig::default() }).await;
        let slot = stream(&log, "s", 1).await.shards[0].slot;
        let held = hold().await;
        let puts = futures::future::join_all((0..100).map(|_| {
            let log = log.clone();
            async move { try_put(&log, slot, &"x".repeat(1_000)).await }
        }));
        let (results, ()) = futures::join!(puts, async { drop(held) });
        let refused = results.iter().filter_map(|r| r.as_ref().err());
        assert!(refused.clone().all(|e| matches!(e, LogError::Overloaded { limit: 10_000 })));
        assert!(refused.clone().all(|e| e.kind() == ErrorKind::Throttled));
        assert_eq!(refused.count(), 91, "nine of 1,000 bytes and their heads fit");
        assert_eq!(read_all(&log, slot).await.len(), 9);
        put(&log, slot, "there is room again").await;
    });
}

#[tokio::test(start_paused = true)]
async fn bounds_and_names_are_checked() {
    let world = World::new(7);
    let log = world.open().await;
    let made = stream(&log, "s", 2).await;
    let slot = made.shards[0].slot;
    let spec = StreamSpec { shards: 1, retention: DAY };
    assert!(matches!(log.create_stream(&key("s"), spec).await, Err(LogError::StreamExists(_))));
    assert!(matches!(log.create_stream(&key("t"), StreamSpec { shards: 0, ..spec }).await, Err(LogError::Invalid(_))));
    assert!(matches!(log.stream(&key("t")), Err(LogError::StreamNotFound(_))));
    let huge = vec![record(slot, vec![0; tidegate_log::MAX_DATA_BYTES + 1])];
    assert!(matches!(log.append(Append { producer: None, records: huge }).await, Err(LogError::Invalid(_))));
    assert_eq!(log.append(Append { producer: None, records: vec![] }).await.unwrap(), []);
    stream(&log, "a", 1).await;
    let names = |kind| log.streams(kind, &key("").scope).iter().map(|s| s.key.name.clone()).collect::<Vec<_>>();
    assert_eq!((names(StreamKind::Kinesis), names(StreamKind::Bus)), (vec!["a".into(), "s".into()], vec![]));
    log.delete_stream(&key("s")).await.unwrap();
    assert!(matches!(try_put(&log, slot, "x").await, Err(LogError::ShardNotFound(_))));
    assert!(matches!(log.delete_stream(&key("s")).await, Err(LogError::StreamNotFound(_))));
    let again = stream(&log, "s", 2).await;
    assert!(again.id != made.id && again.shards[0].slot != slot, "numbers are not given twice");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_places_cannot_hold_is_refused() {
    let world = World::new(11);
    for config in [
        LogConfig { segment_bytes: (2 << 30) + 1, ..LogConfig::default() },
        LogConfig { group_bytes: (1 << 30) + 1, ..LogConfig::default() },
    ] {
        let opened = tidegate_log::Log::open(&world.env, &world.dir, config).await;
        assert!(matches!(opened.err(), Some(LogError::Invalid(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_log_refuses() {
    let world = World::new(8);
    let log = world.open().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    put(&log, slot, "kept").await;
    log.close().await.unwrap();
    assert!(matches!(try_put(&log, slot, "x").await, Err(LogError::Closed)));
    assert_eq!(read_all(&log, slot).await.len(), 1, "what is there can be read still");
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_refuses_the_group_and_the_log_recovers_by_itself() {
    let world = World::new(9);
    let log = world.open().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    put(&log, slot, "before").await;
    world.fs.fail(&[Call::SyncData], 1, Fault::Eio);
    let error = try_put(&log, slot, "lost").await.unwrap_err();
    assert!(matches!(error, LogError::Poisoned(_)) && error.kind() == ErrorKind::Unavailable);
    assert_eq!(texts(&read_all(&log, slot).await), ["before"], "nothing of it is seen");
    eventually(&world, async || try_put(&log, slot, "after").await.ok()).await;
    assert_eq!(texts(&read_all(&log, slot).await), ["before", "after"]);
    drop(log);
    world.fs.power_cut();
    let log = world.open().await;
    assert_eq!(texts(&read_all(&log, slot).await), ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_that_is_freed_needs_no_help() {
    let world = World::new(10);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    world.fs.set_capacity(Some(20_000));
    let mut acknowledged = Vec::new();
    let full = async |n: usize| {
        let text = format!("{n:0200}");
        try_put(&log, slot, &text).await.map(|_| text)
    };
    for n in 0..300 {
        if let Ok(text) = full(n).await {
            acknowledged.push(text);
        }
    }
    assert!((10..290).contains(&acknowledged.len()), "the disk was full: {}", acknowledged.len());
    world.fs.set_capacity(None);
    acknowledged.push(eventually(&world, async || full(1_000).await.ok()).await);
    assert_eq!(texts(&read_all(&log, slot).await), acknowledged);
    let clone = Arc::new(log.clone());
    drop((log, clone));
    world.fs.power_cut();
    assert_eq!(texts(&read_all(&world.open_small().await, slot).await), acknowledged);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_freed_by_retention() {
    let world = World::new(11);
    let retention = Duration::from_secs(3_600);
    let log = world.open_with(LogConfig { retention_period: retention, ..small() }).await;
    let slot = log.create_stream(&key("s"), StreamSpec { shards: 1, retention }).await.unwrap().shards[0].slot;
    world.fs.set_capacity(Some(20_000));
    let mut n = 0;
    while try_put(&log, slot, &format!("{n:0200}")).await.is_ok() {
        n += 1;
    }
    assert!((10..300).contains(&n), "the disk was full: {n}");
    world.env.clock.sleep(retention * 2).await;
    eventually(&world, async || try_put(&log, slot, "goes on").await.ok()).await;
    let found = texts(&read_all(&log, slot).await);
    assert_eq!(found.last().map(String::as_str), Some("goes on"));
}
