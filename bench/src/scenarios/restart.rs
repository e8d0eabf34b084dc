//! A kill with a large log, the start after it, and what is still there.

use std::time::Duration;

use anyhow::ensure;
use base::{Clock, SystemClock};

use super::{STREAM, put};
use crate::client::Client;
use crate::contenders::{Contender, Server};
use crate::load::{Reading, Until, fill, read};
use crate::options::Options;
use crate::report::{Better, Row};

/// Slow contenders get this many times the usual measuring time to write.
const PATIENCE: u64 = 4;
const PATIENCE_TO_READ: Duration = Duration::from_secs(120);

/// Seconds from the process's start to the first record read; what keeps nothing is asked for an answer only.
pub async fn measure(name: String, contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let mut server = Server::fresh(contender, options).await?;
    server.client.create(STREAM, options.shards).await?;
    let load = put::batches(&server, STREAM, options.shards, 200, options)?;
    let most = Duration::from_secs(options.seconds * PATIENCE);
    let (written, took) = fill(&server.client, &load, options.log_records, most).await?;
    server.kill()?;
    let answers = server.start().await?;
    let (after, reads) = if contender.keeps {
        let clock = SystemClock::new();
        while let Err(error) = first_page(&server.client, options.shards).await {
            ensure!(clock.instant() < PATIENCE_TO_READ, "nothing can be read: {error:#}");
            clock.sleep(Duration::from_millis(2)).await;
        }
        let reads = answers + clock.instant();
        let readers = server.client.readers(STREAM, options.shards).await?;
        (read(readers, Until::End(most * 4), || server.usage()).await?, reads)
    } else {
        (Reading::default(), answers)
    };
    if contender.peer.is_none() {
        ensure!(after.records == written, "{written} records were acknowledged and {} are there", after.records);
    }
    let mut row = Row::new(name, reads.as_secs_f64(), "s", Better::Less);
    row.memory = Some(server.usage());
    Ok(row.note(format!(
        "{written} records of 200 B acknowledged in {:.1} s; first answer after {:.3} s; {} records read in {:.1} s",
        took.as_secs_f64(),
        answers.as_secs_f64(),
        after.records,
        after.elapsed.as_secs_f64()
    )))
}

async fn first_page(client: &Client, shards: u32) -> anyhow::Result<()> {
    for mut reader in client.readers(STREAM, shards).await? {
        reader.page().await?;
    }
    Ok(())
}
