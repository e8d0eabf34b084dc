//! One record a call. With one call under way on each of 16 connections, a durable server can answer at most 16 calls a
//! sync, so its rate is compared with 16 syncs' worth: what the disk allows.

use std::sync::Arc;

use super::STREAM;
use crate::contenders::{Contender, Server};
use crate::disk::SyncTime;
use crate::load::{Load, Records, drive};
use crate::options::Options;
use crate::report::Row;

const CALLS: usize = 10_000;

/// Records a second.
pub async fn measure(
    name: String,
    bytes: usize,
    connections: usize,
    contender: &'static Contender,
    options: &Options,
) -> anyhow::Result<Row> {
    let server = Server::fresh(contender, options).await?;
    server.client.create(STREAM, options.shards).await?;
    let calls = server.client.calls(STREAM, options.shards, &Records::of(bytes, 1), CALLS, 1)?;
    let duration = options.duration();
    let load = Load { calls: Arc::new(calls), records: 1, connections, duration, throttling: false };
    let before = SyncTime::measure(&options.folder)?;
    let driven = drive(&server.client, &load, || server.usage()).await?;
    let after = SyncTime::measure(&options.folder)?;
    let share = |before: [f64; 2], after: [f64; 2]| {
        let sync_s = f64::midpoint(before[0], after[0]) / 1e3;
        driven.rate() * sync_s / connections as f64 * 100.0
    };
    let note = format!(
        "{:.0} % of {connections} / fdatasync p50 appended, {:.0} % of {connections} / fdatasync p50 within the file",
        share(before.append, after.append),
        share(before.within, after.within)
    );
    Ok(Row::driven(name, driven, server.usage()).note(note))
}
