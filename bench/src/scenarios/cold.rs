//! Reading a log that is in no cache: the server is stopped, the page cache is told to forget its files, and a fresh
//! process reads them from the disk.

use std::time::Duration;

use anyhow::ensure;

use super::{STREAM, put, read as warm};
use crate::contenders::{Contender, Server};
use crate::disk::forget;
use crate::load::{Until, fill, read};
use crate::options::Options;
use crate::report::Row;

const STOP: Duration = Duration::from_secs(30);

/// Records a second, read once from the start.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let mut server = Server::fresh(contender, options).await?;
    server.client.create(STREAM, options.shards).await?;
    let load = put::batches(&server, STREAM, options.shards, 200, options)?;
    let (written, _) = fill(&server.client, &load, options.log_records, Duration::from_secs(300)).await?;
    ensure!(server.stop(STOP).await?, "the server did not stop");
    forget(&server.data.join("journal"))?;
    server.start().await?;
    let readers = server.client.readers(STREAM, options.shards).await?;
    let reading = read(readers, Until::End(Duration::MAX), || server.usage()).await?;
    ensure!(reading.records == written, "{written} records were acknowledged and {} can be read", reading.records);
    let name = format!("read {written} records of 200 B once, cold, {} shards, a reader each", options.shards);
    let note = "a fresh process; the page cache was told to forget the segments (posix_fadvise DONTNEED)";
    Ok(warm::row(name, reading, &server).note(note))
}
