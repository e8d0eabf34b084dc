//! Reading back what was just written: little enough to lie in whatever a contender caches.

use std::time::Duration;

use anyhow::ensure;

use super::{STREAM, put};
use crate::contenders::{Contender, Server};
use crate::load::{Reading, Until, fill, read};
use crate::options::Options;
use crate::report::{Better, Row};

/// Data written: with its keys and heads it fits into Tidegate's tail cache of 64 MiB.
const DATA_BYTES: u64 = 40_000_000;

/// Records a second, read again and again from the start.
pub async fn measure(
    name: String,
    bytes: usize,
    contender: &'static Contender,
    options: &Options,
) -> anyhow::Result<Row> {
    let server = Server::fresh(contender, options).await?;
    server.client.create(STREAM, options.shards).await?;
    let load = put::batches(&server, STREAM, options.shards, bytes, options)?;
    let most = Duration::from_secs(options.seconds);
    let (written, _) = fill(&server.client, &load, DATA_BYTES / bytes as u64, most).await?;
    let once = read(server.client.readers(STREAM, options.shards).await?, Until::End(Duration::MAX), || server.usage())
        .await?;
    // Peers were seen to lose records that they acknowledged; their figure is told with that.
    let complete = once.records == written;
    ensure!(complete || contender.peer.is_some(), "{written} records were acknowledged, {} can be read", once.records);
    let readers = server.client.readers(STREAM, options.shards).await?;
    let reading = read(readers, Until::Time(options.duration()), || server.usage()).await?;
    Ok(row(name, reading, &server).note(format!("{written} records acknowledged, {} found", once.records)))
}

/// The rate of readers with its latency and cost.
pub fn row(name: String, reading: Reading, server: &Server) -> Row {
    let mut row = Row::new(name, reading.records as f64 / reading.elapsed.as_secs_f64(), "records/s", Better::More);
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / reading.records.max(1) as f64;
    row.cpu_us = Some((each(reading.server_cpu), each(reading.loader_cpu)));
    row.latency = Some(reading.latency);
    row.memory = Some(server.usage());
    row
}
