//! Readers, one a shard, each on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use base::{Clock, SystemClock};

use crate::client::Reader;
use crate::process::Usage;
use crate::quantiles::Quantiles;

/// What came of reading.
#[derive(Default)]
pub struct Reading {
    /// Records that came.
    pub records: u64,
    /// From the first call to the last answer.
    pub elapsed: Duration,
    /// Of each call that brought records.
    pub latency: Quantiles,
    /// The server's processor time.
    pub server_cpu: Duration,
    /// The load generator's.
    pub loader_cpu: Duration,
}

/// When a reader ends.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// The end of its shard, or this time if that comes first.
    End(Duration),
    /// This time; a reader at the end begins anew.
    Time(Duration),
}

/// Lets all readers read.
pub async fn read(readers: Vec<Reader>, until: Until, usage: impl Fn() -> Usage) -> anyhow::Result<Reading> {
    let clock = Arc::new(SystemClock::new());
    let (before, own_before) = (usage(), Usage::own());
    let tasks: Vec<_> =
        readers.into_iter().map(|reader| tokio::spawn(one(reader, until, Arc::clone(&clock)))).collect();
    let mut all = Reading::default();
    for task in tasks {
        let (records, latency) = task.await??;
        all.records += records;
        all.latency.merge(latency);
    }
    all.elapsed = clock.instant();
    all.server_cpu = usage().cpu.saturating_sub(before.cpu);
    all.loader_cpu = Usage::own().cpu.saturating_sub(own_before.cpu);
    Ok(all)
}

async fn one(mut reader: Reader, until: Until, clock: Arc<SystemClock>) -> anyhow::Result<(u64, Quantiles)> {
    let (mut records, mut latency) = (0, Quantiles::default());
    loop {
        let start = clock.instant();
        let (over, again) = match until {
            Until::End(most) => (start >= most, false),
            Until::Time(end) => (start >= end, true),
        };
        if over {
            return Ok((records, latency));
        }
        match reader.page().await? {
            0 if again => reader.rewind(),
            0 => return Ok((records, latency)),
            more => {
                records += more;
                latency.add(clock.instant().saturating_sub(start));
            }
        }
    }
}
