//! What a record costs while the log is small and when it has grown to many gigabytes.

use std::time::Duration;

use anyhow::ensure;

use super::{BATCH, CONNECTIONS, STREAM, put};
use crate::contenders::{Contender, Server};
use crate::disk::free_bytes;
use crate::load::{Load, Until, drive, fill, read};
use crate::options::Options;
use crate::report::{Better, Row};

/// Left for others on the disk.
const SPARE_BYTES: u64 = 5_000_000_000;
/// A record of 200 B with its key and heads in the log.
const STORED_BYTES: u64 = 235;
const MOST: Duration = Duration::from_secs(1_800);

/// A row at the start, a row at full size, and the restart in between.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Vec<Row>> {
    let size = options.volume_mb * 1_000_000;
    let free = free_bytes(&options.folder)?;
    ensure!(free > size + SPARE_BYTES, "{size} bytes are needed and {free} are free; give a smaller --volume-mb");
    let mut server = Server::fresh(contender, options).await?;
    server.client.create(STREAM, options.shards).await?;
    let load = put::batches(&server, STREAM, options.shards, 200, options)?;
    fill(&server.client, &load, 1_000_000 / STORED_BYTES, MOST).await?;
    let (small, small_cost) = put_row(&server, &load, "1 MB").await?;
    let (written, took) = fill(&server.client, &load, size / STORED_BYTES, MOST).await?;
    let size = format!("{:.1} GB", (written * STORED_BYTES) as f64 / 1e9);
    let (large, large_cost) = put_row(&server, &load, &size).await?;
    let change = |small: f64, large: f64| (large / small - 1.0) * 100.0;
    let large = large.note(format!(
        "against 1 MB: processor time a record {:+.0} %, time a record {:+.0} %; filled at {:.0} records/s",
        change(small_cost.0, large_cost.0),
        change(small_cost.1, large_cost.1),
        written as f64 / took.as_secs_f64()
    ));
    server.kill()?;
    let ready = server.start().await?;
    let restart = Row::new(format!("kill -9 and restart with a log of {size}"), ready.as_secs_f64(), "s", Better::Less);
    let readers = server.client.readers(STREAM, options.shards).await?;
    let reading = read(readers, Until::End(options.duration()), || server.usage()).await?;
    let name =
        format!("read 200 B records from the start of a log of {size}, {} shards, a reader each", options.shards);
    Ok(vec![small, large, restart, super::read::row(name, reading, &server)])
}

/// The row, and the processor time and the time of a record.
async fn put_row(server: &Server, load: &Load, size: &str) -> anyhow::Result<(Row, (f64, f64))> {
    let driven = drive(&server.client, load, || server.usage()).await?;
    let cost = (driven.server_us(), 1e6 / driven.rate());
    let name = format!("put batches of {BATCH} x 200 B, {CONNECTIONS} connections, log of {size}");
    Ok((Row::driven(name, driven, server.usage()), cost))
}
