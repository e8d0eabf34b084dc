//! Reads: limits, waiting, times, sealed segments.

use std::time::Duration;

use base::fs::sim::Call;
use base::{Position, Timestamp};
use tidegate_log::{Append, LogConfig, LogError, ReadLimit};

use crate::world::*;

#[tokio::test(start_paused = true)]
async fn limits_hold_and_one_record_is_always_returned() {
    let world = World::new(1);
    let log = world.open().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    let records = (0..10).map(|n| record(slot, format!("{n:0100}"))).collect();
    log.append(Append { producer: None, records }).await.unwrap();
    let read = async |from, records, bytes| log.read(slot, from, ReadLimit { records, bytes }).await.unwrap();
    let first = read(Position::ZERO, 4, 1 << 20).await;
    assert_eq!((first.records.len(), first.next), (4, first.records[3].position.next()));
    assert_eq!(read(first.next, 100, 250).await.records.len(), 2);
    assert_eq!(read(first.next, 100, 1).await.records.len(), 1);
    assert_eq!(read(first.next, 100, 1 << 20).await.records.len(), 6);
    let tail = log.tail(slot).unwrap().next;
    let end = read(tail, 100, 1 << 20).await;
    assert_eq!((end.records.len(), end.next, end.at_end), (0, tail, false));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_is_woken_by_its_own_shard_only() {
    let world = World::new(2);
    let log = world.open().await;
    let slots = slots(&stream(&log, "s", 2).await);
    let waiting = |shard| {
        let log = log.clone();
        tokio::spawn(async move { log.wait(shard, Position::ZERO).await })
    };
    let (mine, other) = (waiting(slots[0]), waiting(slots[1]));
    tokio::task::yield_now().await;
    put(&log, slots[0], "x").await;
    mine.await.unwrap().unwrap();
    tokio::task::yield_now().await;
    assert!(!other.is_finished());
    let first = slots[0];
    let next = log.tail(first).unwrap().next;
    let again = {
        let log = log.clone();
        tokio::spawn(async move { log.wait(first, next).await })
    };
    tokio::task::yield_now().await;
    assert!(!again.is_finished());
    log.delete_stream(&key("s")).await.unwrap();
    again.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    assert!(matches!(log.wait(first, Position::ZERO).await, Err(LogError::ShardNotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_shards_can_be_waited_for() {
    let world = World::new(3);
    let log = world.open().await;
    let slots = slots(&stream(&log, "s", 10_000).await);
    let waits: Vec<_> = slots
        .iter()
        .map(|slot| {
            let (log, slot) = (log.clone(), *slot);
            tokio::spawn(async move { log.wait(slot, Position::ZERO).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let records = slots.iter().map(|s| record(*s, "x")).collect();
    log.append(Append { producer: None, records }).await.unwrap();
    for wait in waits {
        wait.await.unwrap().unwrap();
    }
    assert_eq!(read_all(&log, slots[9_999]).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn recent_records_are_read_without_the_disk_and_old_ones_are_the_same() {
    let world = World::new(4);
    let log = world.open().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for n in 0..5 {
        put(&log, slot, &n.to_string()).await;
    }
    // Time passes once nothing is under way: the upkeep that a start begins with may read.
    world.env.clock.sleep(Duration::from_millis(1)).await;
    let reads = world.fs.calls(&[Call::Read]);
    let recent = read_all(&log, slot).await;
    assert_eq!(world.fs.calls(&[Call::Read]), reads);
    log.close().await.unwrap();
    let log = world.open_with(LogConfig { tail_cache_bytes: 0, ..small() }).await;
    assert_eq!(read_all(&log, slot).await, recent);
    assert!(world.fs.calls(&[Call::Read]) > reads);
}

#[tokio::test(start_paused = true)]
async fn positions_are_found_by_arrival_across_segments() {
    let world = World::new(5);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    let mut placed = Vec::new();
    for n in 0..40 {
        placed.push(put(&log, slot, &format!("{n:0150}")).await);
        world.env.clock.sleep(Duration::from_secs(1)).await;
    }
    for log in [log.clone(), {
        log.close().await.unwrap();
        world.open_small().await
    }] {
        for p in &placed {
            assert_eq!(log.position_at(slot, p.arrival).await.unwrap(), p.position);
            let just_before = Timestamp::from_millis(p.arrival.millis() - 999);
            assert_eq!(log.position_at(slot, just_before).await.unwrap(), p.position);
        }
        assert_eq!(log.position_at(slot, Timestamp::from_millis(0)).await.unwrap(), placed[0].position);
        let later = placed[39].arrival + Duration::from_secs(1);
        assert_eq!(log.position_at(slot, later).await.unwrap(), log.tail(slot).unwrap().next);
    }
}

#[tokio::test(start_paused = true)]
async fn arrival_goes_on_for_an_hour_while_the_clock_is_set_back_and_positions_always_grow() {
    let world = World::new(6);
    let log = world.open().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    let first = put(&log, slot, "1").await;
    world.clock.shift_wall(-30_000);
    let second = put(&log, slot, "2").await;
    assert_eq!(second.arrival, first.arrival);
    world.clock.shift_wall(-36_000_000);
    let third = put(&log, slot, "3").await;
    assert_eq!(third.arrival, first.arrival);
    world.env.clock.sleep(Duration::from_secs(3_600)).await;
    let fourth = put(&log, slot, "4").await;
    assert!(fourth.arrival < first.arrival && fourth.position > third.position);
    assert_eq!(texts(&read_all(&log, slot).await), ["1", "2", "3", "4"]);
}
