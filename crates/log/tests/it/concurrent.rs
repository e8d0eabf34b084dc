//! Writers, readers, changes of the catalogue and rolling segments at once, on several threads.

use std::sync::Arc;
use std::time::Duration;

use base::{Env, Position, SeededRng, SystemClock, fs::sim::SimFs};
use tidegate_log::{Append, Log, ReadLimit, StreamSpec};

use crate::world::*;

const WRITERS: usize = 4;
const BATCHES: usize = 150;

/// Each writer's batches go to two shards; each record says who wrote it and as which.
async fn write(log: Log, writer: usize, slots: Arc<Vec<tidegate_log::ShardRef>>) {
    for n in 0..BATCHES {
        let records = [writer % slots.len(), (writer + 1) % slots.len()]
            .map(|shard| record(slots[shard], format!("{writer}/{n}/{}", "z".repeat(n % 70))))
            .to_vec();
        log.append(Append { producer: None, records }).await.unwrap();
    }
}

/// Follows a shard until it has seen what two writers wrote, in each one's order.
async fn follow(log: Log, shard: usize, slot: tidegate_log::ShardRef) {
    let (mut from, mut seen) = (Position::ZERO, [0; WRITERS]);
    let mut total = 0;
    while total < 2 * BATCHES {
        log.wait(slot, from).await.unwrap();
        let slice = log.read(slot, from, ReadLimit { records: 1 + shard * 3, bytes: 1 << 20 }).await.unwrap();
        assert!(slice.records.iter().all(|r| r.position >= from && r.position < slice.next));
        for text in texts(&slice.records) {
            let mut parts = text.split('/').map(|part| part.parse::<usize>());
            let (writer, n) = (parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap());
            assert_eq!(seen[writer], n, "writer {writer} on shard {shard}: in order, once");
            seen[writer] += 1;
            total += 1;
        }
        from = slice.next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_follow_while_segments_roll_and_streams_come_and_go() {
    let env =
        Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SeededRng::new(1)), fs: Arc::new(SimFs::new(1)) };
    let config = tidegate_log::LogConfig { tail_cache_bytes: 4_096, index_cache_bytes: 8_192, ..small() };
    let log = Log::open(&env, "/journal".as_ref(), config.clone()).await.unwrap();
    let slots = Arc::new(slots(&stream(&log, "s", WRITERS as u32).await));
    let mut tasks: Vec<_> = (0..WRITERS).map(|w| tokio::spawn(write(log.clone(), w, Arc::clone(&slots)))).collect();
    tasks.extend(slots.iter().enumerate().map(|(n, slot)| tokio::spawn(follow(log.clone(), n, *slot))));
    let changing = log.clone();
    tasks.push(tokio::spawn(async move {
        for n in 0..60 {
            let spec = StreamSpec { shards: 3, retention: DAY };
            let made = changing.create_stream(&key(&format!("passing-{n}")), spec).await.unwrap();
            put(&changing, made.shards[2].slot, "gone soon").await;
            changing.delete_stream(&made.key).await.unwrap();
            changing.enforce_retention().await.unwrap();
        }
    }));
    let all = futures::future::try_join_all(tasks);
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody may hang").unwrap();
    let before = futures::future::join_all(slots.iter().map(|s| read_all(&log, *s))).await;
    log.close().await.unwrap();
    drop(log);
    let log = Log::open(&env, "/journal".as_ref(), config).await.unwrap();
    for (slot, before) in slots.iter().zip(before) {
        assert_eq!(before.len(), 2 * BATCHES);
        assert_eq!(read_all(&log, *slot).await, before);
    }
}
