//! A log of a given size, written as fast as it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::{Clock, SystemClock};

use super::Load;
use crate::client::Client;

/// Puts until `records` are acknowledged or the time is over. How many were, and how long it took.
pub async fn fill(client: &Client, load: &Load, records: u64, most: Duration) -> anyhow::Result<(u64, Duration)> {
    let (clock, started, done) =
        (Arc::new(SystemClock::new()), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..load.connections)
        .map(|n| {
            let (client, load, clock) = (client.clone(), load.clone(), Arc::clone(&clock));
            let (started, done) = (Arc::clone(&started), Arc::clone(&done));
            tokio::spawn(async move {
                let mut link = client.connect().await?;
                let each = load.records as u64;
                for next in (n * load.calls.len() / load.connections).. {
                    if clock.instant() >= most || started.fetch_add(each, Ordering::Relaxed) >= records {
                        break;
                    }
                    let slowed = link.put(&load.calls[next % load.calls.len()], load.records).await?;
                    done.fetch_add(each - slowed as u64, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((done.load(Ordering::Relaxed), clock.instant()))
}
