//! Ready again with many segments: small ones by configuration, so that their number and not their bytes counts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use base::{Clock, Fs, RealFs, SystemClock};

use super::{BATCH, STREAM, put};
use crate::contenders::{Contender, Server};
use crate::load::{Load, fill};
use crate::options::Options;
use crate::report::{Better, Row};

const SEGMENT_BYTES: u64 = 64 << 10;
const MOST: Duration = Duration::from_secs(900);

/// Seconds to the first answer after a clean stop, and after a kill under load.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut server = Server::prepare(contender, options, &[("TIDEGATE_LOG_SEGMENT_BYTES", SEGMENT_BYTES.to_string())])?;
    server.start().await?;
    server.client.create(STREAM, options.shards).await?;
    let load = put::batches(&server, STREAM, options.shards, 200, options)?;
    let journal = server.data.join("journal");
    let clock = SystemClock::new();
    while segments(&journal)? < options.segments {
        ensure!(clock.instant() < MOST, "{} segments were not made in time", options.segments);
        fill(&server.client, &load, 100 * BATCH as u64, MOST).await?;
    }
    let (count, filled) = (segments(&journal)?, clock.instant());
    ensure!(server.stop(Duration::from_secs(60)).await?, "the server did not stop");
    let clean = server.start().await?;
    // Killed while every connection has a call under way.
    let under_load = Load { calls: Arc::clone(&load.calls), ..load };
    let client = server.client.clone();
    let task = tokio::spawn(async move { fill(&client, &under_load, u64::MAX, MOST).await });
    clock.sleep(Duration::from_millis(500)).await;
    server.kill()?;
    // Its connections are gone: that is what the task ends with.
    let _ = task.await?;
    let killed = server.start().await?;
    let row = |what: &str, time: Duration| {
        Row::new(format!("ready after {what} with {count} segments"), time.as_secs_f64(), "s", Better::Less)
    };
    let mut rows = vec![row("a clean stop", clean), row("kill -9 under load", killed)];
    rows[0].note = format!("segments of {SEGMENT_BYTES} B, written in {:.0} s", filled.as_secs_f64());
    rows[1].memory = Some(server.usage());
    Ok(rows)
}

fn segments(journal: &Path) -> anyhow::Result<usize> {
    Ok(RealFs.read_dir(journal)?.iter().filter(|entry| entry.name.ends_with(".seg")).count())
}
