//! Retention, in virtual time.

use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Position, ProducerId};
use tidegate_log::{Append, Log, LogConfig, LogError, Missed, ReadLimit, StreamSpec};

use crate::world::*;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn records_past_their_retention_are_skipped_and_their_segments_deleted() {
    let world = World::new(1);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for n in 0..48 {
        put(&log, slot, &format!("{n:0300}")).await;
        world.env.clock.sleep(HOUR).await;
    }
    let readable = read_all(&log, slot).await;
    assert_eq!(readable.len(), 24, "a day of hours");
    let before = world.names(".seg").len();
    log.enforce_retention().await.unwrap();
    let after = world.names(".seg").len();
    assert!(after < before && after >= before / 2, "{before} segments, then {after}");
    assert_eq!(read_all(&log, slot).await, readable);
    assert!(log.tail(slot).unwrap().trim > Position::new(2));
    log.enforce_retention().await.unwrap();
    assert_eq!(world.names(".seg").len(), after, "it is idempotent");
    log.close().await.unwrap();
    let log = world.open_small().await;
    assert_eq!(read_all(&log, slot).await, readable);
    assert_eq!(put(&log, slot, "on").await.position, readable[23].position.next());
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_told_what_it_missed() {
    let world = World::new(15);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    let idle = stream(&log, "idle", 1).await.shards[0].slot;
    put(&log, slot, "first").await;
    put(&log, idle, "only").await;
    let limit = ReadLimit { records: 1, bytes: 1 << 20 };
    let read = async |from| log.read(slot, from, limit).await.unwrap();
    let first = read(Position::ZERO).await;
    assert!(first.missed.is_nothing());
    let caught_up = log.read(idle, log.tail(idle).unwrap().next, limit).await.unwrap();
    put(&log, slot, "second").await;
    world.env.clock.sleep(DAY + HOUR).await;
    let nothing = read(first.next).await;
    assert_eq!((nothing.records.len(), nothing.missed), (0, Missed { records: 1, deleted: false }));
    for n in 0..60 {
        put(&log, slot, &format!("{n:0300}")).await;
    }
    assert_eq!(read(first.next).await.missed, Missed { records: 1, deleted: false });
    assert!(read(nothing.next).await.missed.is_nothing(), "once");
    world.env.clock.sleep(DAY + HOUR).await;
    put(&log, slot, "last").await;
    let last = read(nothing.next).await;
    assert_eq!((texts(&last.records), last.missed), (vec!["last".to_owned()], Missed { records: 60, deleted: false }));
    log.enforce_retention().await.unwrap();
    let last = read(nothing.next).await;
    assert!(last.missed.deleted && last.missed.records < 60, "{:?}", last.missed);
    let idle = log.read(idle, caught_up.next, limit).await.unwrap();
    assert!(idle.missed.is_nothing(), "who stood at the end missed nothing: {:?}", idle.missed);
}

#[tokio::test(start_paused = true)]
async fn a_long_retention_keeps_only_the_segments_that_it_needs() {
    let world = World::new(2);
    let log = world.open_small().await;
    let short = stream(&log, "short", 1).await.shards[0].slot;
    let long = StreamSpec { shards: 1, retention: DAY * 365 };
    let long = log.create_stream(&key("long"), long).await.unwrap().shards[0].slot;
    put(&log, long, "kept").await;
    for n in 0..100 {
        put(&log, short, &format!("{n:0300}")).await;
    }
    put(&log, long, "kept too").await;
    for n in 0..100 {
        put(&log, short, &format!("{n:0300}")).await;
    }
    let before = world.names(".seg").len();
    world.env.clock.sleep(DAY * 2).await;
    // As the server does it, on a period: the first run after a pause must not take it for a jump of the clock.
    log.enforce_retention().await.unwrap();
    let after = world.names(".seg").len();
    assert!(after <= 4, "{before} segments, then {after}");
    assert_eq!(texts(&read_all(&log, long).await), ["kept", "kept too"]);
    drop(log);
    world.fs.power_cut();
    let log = world.open_small().await;
    assert_eq!(texts(&read_all(&log, long).await), ["kept", "kept too"]);
    assert_eq!(read_all(&log, short).await, []);
    log.delete_stream(&key("long")).await.unwrap();
    log.enforce_retention().await.unwrap();
    assert!(matches!(log.tail(long), Err(LogError::ShardNotFound(_))));
    assert!(world.names(".seg").len() <= 2);
    eventually(&world, async || {
        log.close().await.ok();
        world.open_small().await.close().await.unwrap();
        world.names(".gone").is_empty().then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_clock_deletes_nothing() {
    let world = World::new(3);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for n in 0..30 {
        put(&log, slot, &format!("{n:0300}")).await;
    }
    // The first segment has no records.
    log.enforce_retention().await.unwrap();
    let segments = world.names(".seg");
    let all = read_all(&log, slot).await;
    for jump in [i64::from(400) * 86_400_000, -900 * 86_400_000, 500 * 86_400_000] {
        world.clock.shift_wall(jump);
        log.enforce_retention().await.unwrap();
        assert_eq!(world.names(".seg"), segments);
    }
    assert_eq!(read_all(&log, slot).await, all, "a clock that is right again shows everything again");
}

#[tokio::test(start_paused = true)]
async fn retention_is_enforced_by_itself_on_a_period() {
    let world = World::new(4);
    let log = world.open_with(LogConfig { segment_bytes: 2_048, ..LogConfig::default() }).await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for n in 0..30 {
        put(&log, slot, &format!("{n:0300}")).await;
    }
    assert!(world.names(".seg").len() > 4);
    world.env.clock.sleep(DAY + HOUR).await;
    eventually(&world, async || (world.names(".seg").len() <= 2).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_forward_hides_nothing_until_it_has_been_steady_for_an_hour() {
    let world = World::new(5);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    let trim = log.tail(slot).unwrap().trim;
    for n in 0..30 {
        put(&log, slot, &format!("{n:0300}")).await;
    }
    let jump = i64::from(30) * 86_400_000;
    for wrong in [Duration::from_secs(10), HOUR - Duration::from_secs(1)] {
        world.clock.shift_wall(jump);
        assert_eq!(read_all(&log, slot).await.len(), 30);
        world.env.clock.sleep(wrong).await;
        assert_eq!(read_all(&log, slot).await.len(), 30, "wrong for {wrong:?}");
        assert_eq!(log.tail(slot).unwrap().trim, trim);
        world.clock.shift_wall(-jump);
        assert_eq!(read_all(&log, slot).await.len(), 30);
    }
    world.clock.shift_wall(jump);
    assert_eq!(read_all(&log, slot).await.len(), 30);
    log.enforce_retention().await.unwrap();
    world.env.clock.sleep(HOUR).await;
    assert_eq!(read_all(&log, slot).await, [], "then it must be right");
    log.enforce_retention().await.unwrap();
    assert!(world.names(".seg").len() <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_make_a_wrong_clock_right() {
    let world = World::new(6);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for n in 0..30 {
        put(&log, slot, &format!("{n:0300}")).await;
    }
    log.close().await.unwrap();
    world.clock.shift_wall(i64::from(30) * 86_400_000);
    let log = world.open_small().await;
    assert_eq!(read_all(&log, slot).await.len(), 30);
    put(&log, slot, "stamped by the wrong clock").await;
    log.enforce_retention().await.unwrap();
    drop(log);
    world.fs.power_cut();
    let log = world.open_small().await;
    assert_eq!(read_all(&log, slot).await.len(), 31);
    world.clock.shift_wall(i64::from(-30) * 86_400_000);
    world.env.clock.sleep(DAY + HOUR).await;
    assert_eq!(texts(&read_all(&log, slot).await), ["stamped by the wrong clock"], "its time is still to come");
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_the_clock_is_set_back_keeps_its_whole_time() {
    let world = World::new(7);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    put(&log, slot, "before").await;
    world.clock.shift_wall(i64::from(-30) * 86_400_000);
    for n in 0..10 {
        put(&log, slot, &format!("during {n:0300}")).await;
        world.env.clock.sleep(HOUR / 20).await;
    }
    world.clock.shift_wall(i64::from(30) * 86_400_000);
    put(&log, slot, "after").await;
    world.env.clock.sleep(DAY - HOUR).await;
    log.enforce_retention().await.unwrap();
    assert_eq!(read_all(&log, slot).await.len(), 12);
    world.env.clock.sleep(HOUR).await;
    assert_eq!(texts(&read_all(&log, slot).await), ["after"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_still_keeps_everything_in_order() {
    let world = World::new(8);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    let mut placed = Vec::new();
    for n in 0..40 {
        placed.push(put(&log, slot, &format!("{n:0300}")).await);
        world.env.clock.sleep(HOUR).await;
        world.clock.shift_wall(-3_600_000);
        log.enforce_retention().await.unwrap();
    }
    assert!(placed.windows(2).all(|w| w[0].position < w[1].position && w[0].arrival <= w[1].arrival));
    assert_eq!(read_all(&log, slot).await.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn retention_comes_round_though_segments_are_sealed_more_often() {
    let world = World::new(20);
    let period = Duration::from_secs(300);
    let log = world.open_with(LogConfig { retention_period: period, ..small() }).await;
    let spec = StreamSpec { shards: 1, retention: period * 2 };
    let slot = log.create_stream(&key("s"), spec).await.unwrap().shards[0].slot;
    for n in 0..60 {
        put(&log, slot, &format!("{n:02500}")).await;
        world.env.clock.sleep(Duration::from_secs(60)).await;
    }
    let left = world.names(".seg").len();
    assert!((10..25).contains(&left), "{left} of 60 segments are left");
}

#[tokio::test(start_paused = true)]
async fn a_longer_retention_brings_nothing_back_that_was_past_it() {
    let world = World::new(21);
    let mut log = world.open_with(LogConfig { segment_bytes: 1 << 20, ..small() }).await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for n in 0..48 {
        put(&log, slot, &format!("{n:02}")).await;
        world.env.clock.sleep(HOUR).await;
    }
    let readable = async |log: &Log| texts(&read_all(log, slot).await).first().cloned();
    assert_eq!(readable(&log).await.as_deref(), Some("24"));
    log.set_retention(&key("s"), DAY * 7).await.unwrap();
    assert_eq!(readable(&log).await.as_deref(), Some("24"));
    log.set_retention(&key("s"), HOUR * 12).await.unwrap();
    assert_eq!(readable(&log).await.as_deref(), Some("36"));
    log.set_retention(&key("s"), DAY * 365).await.unwrap();
    assert_eq!(readable(&log).await.as_deref(), Some("36"), "nor what a shorter one hid");
    for segment_bytes in [1 << 20, 1] {
        // From the control records, then from a snapshot.
        drop(log);
        world.fs.power_cut();
        log = world.open_with(LogConfig { segment_bytes, ..small() }).await;
        assert_eq!(readable(&log).await.as_deref(), Some("36"));
        put(&log, slot, "new").await;
    }
    assert!(world.names(".snap").len() > 1);
    world.env.clock.sleep(DAY * 30).await;
    log.enforce_retention().await.unwrap();
    assert_eq!(read_all(&log, slot).await.len(), 14, "what is left has the longer time");
}

#[tokio::test(start_paused = true)]
async fn what_a_longer_retention_may_not_bring_back_is_deleted() {
    let world = World::new(22);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for n in 0..30 {
        put(&log, slot, &format!("{n:0300}")).await;
    }
    world.env.clock.sleep(DAY + HOUR).await;
    put(&log, slot, "young").await;
    log.set_retention(&key("s"), DAY * 365).await.unwrap();
    log.enforce_retention().await.unwrap();
    assert!(world.names(".seg").len() <= 2, "{:?}", world.names(".seg"));
    assert_eq!(texts(&read_all(&log, slot).await), ["young"]);
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_cannot_be_judged_keeps_no_other() {
    let world = World::new(23);
    let log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for n in 0..30 {
        put(&log, slot, &format!("{n:0300}")).await;
    }
    log.close().await.unwrap();
    let log = world.open_small().await;
    world.env.clock.sleep(DAY * 2).await;
    let before = world.names(".seg");
    world.fs.fail(&[Call::Read], 1, Fault::Eio);
    assert!(matches!(log.enforce_retention().await, Err(LogError::Io { .. })), "it is told");
    let after = world.names(".seg");
    assert!(after.contains(&before[0]) && after.len() <= 3, "{before:?}, then {after:?}");
    log.enforce_retention().await.unwrap();
    assert!(!world.names(".seg").contains(&before[0]));
    put(&log, slot, "on").await;
    assert_eq!(texts(&read_all(&log, slot).await), ["on"]);
}

#[tokio::test(start_paused = true)]
async fn a_producer_is_forgotten_once_what_it_read_is_deleted() {
    let world = World::new(24);
    let mut log = world.open_small().await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    let produce = async |log: &Log, producer: u128| {
        let source = put(log, slot, &format!("{producer:0300}")).await.position;
        let records = vec![record(slot, format!("made of {source}"))];
        let append = Append { producer: Some((ProducerId(producer), source)), records };
        assert_eq!(log.append(append.clone()).await.unwrap().len(), 1);
        assert_eq!(log.append(append).await.unwrap(), []);
        source
    };
    let mut sources = Vec::new();
    for day in 0..20 {
        sources.push(produce(&log, day).await);
        world.env.clock.sleep(DAY / 2).await;
        log.enforce_retention().await.unwrap();
    }
    for n in 0..20 {
        put(&log, slot, &format!("{n:0300}")).await;
    }
    let known = |log: &Log| (0..20).filter(|n| log.producer_position(ProducerId(*n)).is_some()).collect::<Vec<_>>();
    let left = known(&log);
    assert!(!left.is_empty() && left.len() < 10, "{left:?}");
    for n in &left {
        assert_eq!(log.producer_position(ProducerId(*n)), Some(sources[*n as usize]));
    }
    drop(log);
    world.fs.power_cut();
    log = world.open_small().await;
    assert_eq!(known(&log), left, "snapshots do not keep them");
}

/// What is read and what is deleted meet anywhere: both run on threads of their own.
#[tokio::test(start_paused = true)]
async fn readers_never_stumble_over_what_retention_deletes() {
    let world = World::new(25);
    let log = world.open_with(LogConfig { index_cache_bytes: 0, tail_cache_bytes: 0, ..small() }).await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for _ in 0..30 {
        for n in 0..40 {
            put(&log, slot, &format!("{n:0300}")).await;
        }
        let readers: Vec<_> = (0..4)
            .map(|n| {
                let log = log.clone();
                tokio::spawn(async move {
                    for _ in 0..20 {
                        match n % 2 {
                            0 => drop(try_read_all(&log, slot).await?),
                            _ => drop(log.position_at(slot, START).await?),
                        }
                    }
                    Ok::<_, LogError>(())
                })
            })
            .collect();
        // What nobody needs any more can be read until it is gone.
        log.release(slot, log.tail(slot).unwrap().next);
        log.enforce_retention().await.unwrap();
        for reader in readers {
            reader.await.unwrap().unwrap();
        }
        assert!(world.names(".seg").len() < 12);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_without_news_that_is_released_keeps_no_segment() {
    let world = World::new(26);
    let log = world.open_small().await;
    let idle = stream(&log, "idle", 1).await.shards[0].slot;
    let busy = stream(&log, "busy", 1).await.shards[0].slot;
    put(&log, idle, "x").await;
    let written = world.names(".seg").into_iter().max().unwrap();
    for n in 0..40 {
        put(&log, busy, &format!("{n:0300}")).await;
    }
    for (slot, stays) in [(busy, true), (idle, false)] {
        log.release(slot, log.tail(slot).unwrap().next);
        log.enforce_retention().await.unwrap();
        assert_eq!(world.names(".seg").contains(&written), stays);
    }
}
