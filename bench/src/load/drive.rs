//! The closed loop: each connection sends its next call when the one before is answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use base::{Clock, SystemClock};

use crate::client::Client;
use crate::process::Usage;
use crate::quantiles::Quantiles;

/// Prepared calls and how to send them.
#[derive(Clone)]
pub struct Load {
    /// Rendered calls, all distinct.
    pub calls: Arc<Vec<Vec<u8>>>,
    /// Records in each call.
    pub records: usize,
    /// Connections, one call under way on each.
    pub connections: usize,
    /// How long is measured, after a warm-up of half of it: what compiles while it runs needs some.
    pub duration: Duration,
    /// Whether calls may be told to slow down, and connections be refused.
    pub throttling: bool,
}

/// What came of a load.
#[derive(Default)]
pub struct Driven {
    /// Records acknowledged within the measured time.
    pub records: u64,
    /// Records acknowledged in all, warm-up included.
    pub acknowledged: u64,
    /// Records that were told to slow down.
    pub throttled: u64,
    /// Calls whose connection ended instead of an answer.
    pub cut: u64,
    /// The time measured.
    pub elapsed: Duration,
    /// Of each acknowledged call that ended within the measured time.
    pub latency: Quantiles,
    /// The server's and the load generator's processor time within the measured time.
    pub server_cpu: Duration,
    /// The load generator's.
    pub loader_cpu: Duration,
}

impl Driven {
    /// Takes what came of another load.
    pub fn merge(&mut self, other: Self) {
        self.records += other.records;
        self.acknowledged += other.acknowledged;
        self.throttled += other.throttled;
        self.cut += other.cut;
        self.elapsed += other.elapsed;
        self.latency.merge(other.latency);
        self.server_cpu += other.server_cpu;
        self.loader_cpu += other.loader_cpu;
    }

    /// Records a second.
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }

    /// The server's processor time for a record, in microseconds.
    pub fn server_us(&self) -> f64 {
        self.server_cpu.as_secs_f64() * 1e6 / self.records.max(1) as f64
    }

    /// The load generator's processor time for a record, in microseconds.
    pub fn loader_us(&self) -> f64 {
        self.loader_cpu.as_secs_f64() * 1e6 / self.records.max(1) as f64
    }
}

/// Sends calls from every connection until the time is over, then waits for those still under way.
pub async fn drive(client: &Client, load: &Load, usage: impl Fn() -> Usage) -> anyhow::Result<Driven> {
    let clock = Arc::new(SystemClock::new());
    let (warm, end) = (load.duration / 2, load.duration / 2 + load.duration);
    let tasks: Vec<_> = (0..load.connections)
        .map(|n| tokio::spawn(connection(client.clone(), load.clone(), n, Arc::clone(&clock), warm, end)))
        .collect();
    clock.sleep(warm.saturating_sub(clock.instant())).await;
    let (from, before, own_before) = (clock.instant(), usage(), Usage::own());
    clock.sleep(end.saturating_sub(clock.instant())).await;
    let (until, after, own_after) = (clock.instant(), usage(), Usage::own());
    let mut all = Driven { elapsed: until.saturating_sub(from), ..Driven::default() };
    for task in tasks {
        all.merge(task.await??);
    }
    all.server_cpu = after.cpu.saturating_sub(before.cpu);
    all.loader_cpu = own_after.cpu.saturating_sub(own_before.cpu);
    Ok(all)
}

async fn connection(
    client: Client,
    load: Load,
    n: usize,
    clock: Arc<SystemClock>,
    warm: Duration,
    end: Duration,
) -> anyhow::Result<Driven> {
    let (mut link, mut driven) = (client.connect().await?, Driven::default());
    for next in (n * load.calls.len() / load.connections).. {
        let start = clock.instant();
        if start >= end {
            break;
        }
        let slowed = match link.put(&load.calls[next % load.calls.len()], load.records).await {
            Ok(slowed) => slowed,
            Err(error) if load.throttling && error.is::<std::io::Error>() => {
                driven.cut += 1;
                link = client.connect().await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let stop = clock.instant();
        let taken = (load.records - slowed) as u64;
        driven.acknowledged += taken;
        driven.throttled += slowed as u64;
        if slowed > 0 && !load.throttling {
            bail!("{slowed} of {} records of a call were told to slow down", load.records);
        }
        if stop >= warm && stop < end {
            driven.records += taken;
            if slowed == 0 {
                driven.latency.add(stop.saturating_sub(start));
            }
        }
    }
    Ok(driven)
}
