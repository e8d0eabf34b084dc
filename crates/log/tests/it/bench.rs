//! A measurement, run by hand in release mode: `cargo test -p tidegate-log --release -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::Duration;

use base::{Env, RealFs, SystemClock, SystemRng};
use tidegate_log::{Append, Log, LogConfig};

use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn append_throughput() {
    let env = Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) };
    let shards: u32 = std::env::var("SHARDS").ok().and_then(|v| v.parse().ok()).unwrap_or(4);
    let callers: usize = std::env::var("CALLERS").ok().and_then(|v| v.parse().ok()).unwrap_or(8);
    let records: usize = std::env::var("RECORDS").ok().and_then(|v| v.parse().ok()).unwrap_or(500);
    let dir = std::env::temp_dir().join(format!("tidegate-log-bench-{}", env.rng.u64()));
    let log = Log::open(&env, &dir, LogConfig::default()).await.unwrap();
    let slots = Arc::new(slots(&stream(&log, "bench", shards).await));
    let (started, took) = (env.clock.instant(), Duration::from_secs(5));
    let tasks: Vec<_> = (0..callers)
        .map(|c| {
            let (log, slots, clock) = (log.clone(), Arc::clone(&slots), Arc::clone(&env.clock));
            tokio::spawn(async move {
                let data = bytes::Bytes::from(vec![b'x'; 200]);
                let (mut batches, mut latencies) = (0, Vec::new());
                while clock.instant() - started < took {
                    let records = (0..records).map(|n| record(slots[(n + c) % slots.len()], data.clone())).collect();
                    let sent = clock.instant();
                    log.append(Append { producer: None, records }).await.unwrap();
                    latencies.push(clock.instant() - sent);
                    batches += 1;
                }
                (batches, latencies)
            })
        })
        .collect();
    let (mut batches, mut latencies) = (0, Vec::new());
    for task in tasks {
        let (count, times) = task.await.unwrap();
        batches += count;
        latencies.extend(times);
    }
    latencies.sort();
    let elapsed = (env.clock.instant() - started).as_secs_f64();
    println!(
        "{shards} shards, {callers} callers, batches of {records}: {:.0} records/s, {:.0} batches/s, p50 {:?}, p99 {:?}",
        (batches * records) as f64 / elapsed,
        batches as f64 / elapsed,
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 99 / 100],
    );
    log.close().await.unwrap();
    env.fs.remove_dir_all(&dir).unwrap();
}
