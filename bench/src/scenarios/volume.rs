//! What a record costs while the log is small and when it has grown to many gigabytes.

use std::time::Duration;

use anyhow::ensure;

use super::compare::{ROUNDS, change};
use super::{BATCH, CONNECTIONS, STREAM, put};
use crate::contenders::{Contender, Server};
use crate::disk::{bytes_in, free_bytes};
use crate::load::{Driven, Until, drive, fill, read};
use crate::options::Options;
use crate::report::{Better, Row};

/// Left for others on the disk.
const SPARE_BYTES: u64 = 5_000_000_000;
/// About what a record of 200 B takes in the log, to know how many to write; what they took is measured.
const STORED_BYTES: u64 = 235;
const MOST: Duration = Duration::from_secs(1_800);

/// Cost with a small and with a large log, then a kill, the restart, and a read from the log's start.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Vec<Row>> {
    let size = options.volume_mb * 1_000_000;
    let free = free_bytes(&options.folder)?;
    ensure!(free > size + SPARE_BYTES, "{size} bytes are needed and {free} are free; give a smaller --volume-mb");
    let mut server = Server::fresh(contender, options).await?;
    server.client.create(STREAM, options.shards).await?;
    let load = put::batches(&server, STREAM, options.shards, 200, options)?;
    let (written, took) = fill(&server.client, &load, size / STORED_BYTES, MOST).await?;
    let stored = bytes_in(&server.data.join("journal"))?;
    let (mut small, mut large) = (Driven::default(), Driven::default());
    let mut small_usage = server.usage();
    for _ in 0..ROUNDS {
        let fresh = Server::fresh(contender, options).await?;
        fresh.client.create(STREAM, options.shards).await?;
        let load_of_fresh = put::batches(&fresh, STREAM, options.shards, 200, options)?;
        fill(&fresh.client, &load_of_fresh, 1_000_000 / STORED_BYTES, MOST).await?;
        small.merge(drive(&fresh.client, &load_of_fresh, || fresh.usage()).await?);
        small_usage = fresh.usage();
        large.merge(drive(&server.client, &load, || server.usage()).await?);
    }
    let size = format!("{:.1} GB", stored as f64 / 1e9);
    let note = format!(
        "against 1 MB: {}; filled at {:.0} records/s",
        change(&small, &large),
        written as f64 / took.as_secs_f64()
    );
    let name =
        |size: &str| format!("put batches of {BATCH} x 200 B, {CONNECTIONS} connections, log of {size} at first");
    let small = Row::driven(name("1 MB"), small, small_usage);
    let large = Row::driven(name(&size), large, server.usage()).note(note);
    server.kill()?;
    let ready = server.start().await?;
    let restart = Row::new(format!("kill -9 and restart with a log of {size}"), ready.as_secs_f64(), "s", Better::Less);
    let readers = server.client.readers(STREAM, options.shards).await?;
    let reading = read(readers, Until::End(options.duration()), || server.usage()).await?;
    let name =
        format!("read 200 B records from the start of a log of {size}, {} shards, a reader each", options.shards);
    Ok(vec![small, large, restart, super::read::row(name, reading, &server)])
}
