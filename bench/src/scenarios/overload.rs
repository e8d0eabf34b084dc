//! Ten times the load that saturates: what is too much must be refused, and memory must not grow with it.

use super::{BATCH, CONNECTIONS, STREAM, put};
use crate::contenders::{Contender, Server};
use crate::load::{Load, drive};
use crate::options::Options;
use crate::report::{Better, Row};

/// Of the connections that saturate the server, each with a batch of 1 KB records under way.
const TIMES: usize = 10;
const SATURATED: usize = 4 * CONNECTIONS;

/// The most memory at saturation and at ten times as many calls under way.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Vec<Row>> {
    let server = Server::fresh(contender, options).await?;
    server.client.create(STREAM, options.shards).await?;
    let load = put::batches(&server, STREAM, options.shards, 1_000, options)?;
    let mut rows = Vec::new();
    for times in [1, TIMES] {
        let connections = SATURATED * times;
        let load = Load { connections, throttling: true, ..load.clone() };
        let driven = drive(&server.client, &load, || server.usage()).await?;
        let usage = server.usage();
        let name = format!("peak memory, {connections} connections with {BATCH} x 1,000 B under way each");
        let mut row = Row::new(name, usage.peak as f64 / f64::from(1 << 20), "MiB", Better::Less);
        row.note = format!(
            "{:.0} records/s acknowledged, {} in all; {} records told to slow down; {} calls cut off without an answer",
            driven.rate(),
            driven.acknowledged,
            driven.throttled,
            driven.cut
        );
        (row.latency, row.memory) = (Some(driven.latency), Some(usage));
        rows.push(row);
    }
    Ok(rows)
}
