//! The logs of functions: kept in the journal, shown at `GET /_tidegate/logs/FUNCTION`.
//!
//! Owns one stream of kind function log for each function that ever wrote, with the retention of the settings, and the
//! task that writes them. What CloudWatch calls the log group `/aws/lambda/FUNCTION` is such a stream. A record is JSON: `{"v":1,"stream":"2026/11/23/[$LATEST]…","lines":[[1700000000000,"text"],…]}`.
//! Promises that the lines of an environment keep their order, that a journal which is slower than its functions makes
//! them wait rather than memory grow, and that what was taken is written before the journal closes. A crash loses what
//! was not written yet, at most [`GATHER`] and a sync old: a log is not an acknowledgement.
//! Must not know how functions run.
//!
//! The route answers lines of JSON, `{"time":1700000000000,"stream":"…","line":"…"}`, from the query's `after` (a place
//! that an answer's header `x-tidegate-next` named) or `since` (milliseconds since the epoch), else from the oldest; with
//! `match`, percent-encoded, only lines that contain each of these texts, and with `stream` only those whose log stream
//! has that text in its name. When there is none yet it waits up to `wait` seconds. An empty answer means that there is no
//! more now, unless it has the header `x-tidegate-more`: then a search goes on at the place that it names.

mod read;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{Arn, Env, ErrorKind, Kinded, LogSink, PartitionKey, TaskGroup, Timestamp};
use bytes::Bytes;
use log::{Append, Log, LogError, NewRecord, StreamKey, StreamKind, StreamSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// How long lines are gathered, so that chatty functions do not cost a sync a line.
const GATHER: Duration = Duration::from_millis(50);
/// What is written at once, at most.
const GATHER_BYTES: usize = 1 << 20;
/// Batches that wait for the task. Each is what an environment reads at once: some 64 KB, or one line of 256 KB.
const QUEUED_BATCHES: usize = 64;
const FORMAT: u32 = 1;
const RETRY: Duration = Duration::from_millis(100);

/// Lines of one environment.
#[derive(Debug, Serialize, Deserialize)]
struct Block {
    v: u32,
    stream: String,
    lines: Vec<(Timestamp, String)>,
}

struct Entry {
    key: StreamKey,
    block: Block,
}

/// The logs of all functions. Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct FunctionLogs {
    env: Env,
    log: Log,
    retention: Duration,
    queue: mpsc::Sender<Entry>,
    tasks: TaskGroup,
}

fn stream_key(function: &Arn) -> Option<StreamKey> {
    let name = function.resource_of("function")?.split(':').next()?.to_owned();
    Some(StreamKey { kind: StreamKind::FunctionLog, scope: function.scope()?, name })
}

impl FunctionLogs {
    /// Starts the task that writes; what it writes is kept for `retention`.
    pub fn start(env: &Env, log: &Log, retention: Duration) -> Self {
        let (queue, entries) = mpsc::channel(QUEUED_BATCHES);
        let tasks = TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng));
        let this = Self { env: env.clone(), log: log.clone(), retention, queue, tasks };
        let writer = Writer { env: env.clone(), log: log.clone(), retention, entries };
        this.tasks.spawn_infallible("function-logs", writer.run(this.tasks.stopping()));
        this
    }

    /// Gives logs that are there already the retention of the settings, which may be others than when they were made.
    pub async fn retain(&self) -> Result<(), LogError> {
        for stream in self.log.all_streams(StreamKind::FunctionLog) {
            if stream.retention != self.retention {
                self.log.set_retention(&stream.key, self.retention).await?;
            }
        }
        Ok(())
    }

    /// Writes what was taken. `false` when that took longer than `deadline`.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.tasks.stop(deadline).await
    }
}

#[async_trait]
impl LogSink for FunctionLogs {
    async fn write(&self, function: &Arn, stream: &str, lines: Vec<(Timestamp, String)>) {
        let Some(key) = stream_key(function) else {
            return tracing::error!(%function, "the log of something that is no function was dropped");
        };
        let block = Block { v: FORMAT, stream: stream.to_owned(), lines };
        if self.queue.send(Entry { key, block }).await.is_err() {
            tracing::warn!(%function, "the end of a function's log came after the journal's and was dropped");
        }
    }
}

struct Writer {
    env: Env,
    log: Log,
    retention: Duration,
    entries: mpsc::Receiver<Entry>,
}

impl Writer {
    async fn run(mut self, stopping: tokio_util::sync::CancellationToken) {
        loop {
            let first = tokio::select! {
                entry = self.entries.recv() => entry,
                () = stopping.cancelled() => {
                    // What was taken is still written; nothing more is taken.
                    self.entries.close();
                    self.entries.recv().await
                }
            };
            let Some(first) = first else { return };
            let gathered = self.gather(first, &stopping).await;
            self.append(gathered).await;
        }
    }

    async fn gather(&mut self, first: Entry, stopping: &tokio_util::sync::CancellationToken) -> Vec<Entry> {
        let mut bytes = weight(&first);
        let mut gathered = vec![first];
        let mut time_is_up = self.env.clock.sleep(GATHER);
        while bytes < GATHER_BYTES {
            tokio::select! {
                entry = self.entries.recv() => match entry {
                    Some(entry) => {
                        bytes += weight(&entry);
                        gathered.push(entry);
                    }
                    None => break,
                },
                () = &mut time_is_up => break,
                () = stopping.cancelled(), if self.entries.is_empty() => break,
            }
        }
        gathered
    }

    /// Appends the entries. A journal that is overloaded or recovering is waited for; what it refuses is dropped.
    async fn append(&self, entries: Vec<Entry>) {
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.record(&entry).await {
                Ok(record) => records.push(record),
                Err(error) => dropped(&entry.key.name, &error),
            }
        }
        while !records.is_empty() {
            match self.log.append(Append { producer: None, records: records.clone() }).await {
                Ok(_) => return,
                Err(error) if error.kind() == ErrorKind::Throttled => self.env.clock.sleep(RETRY).await,
                Err(error) => return dropped("several", &error),
            }
        }
    }

    async fn record(&self, entry: &Entry) -> Result<NewRecord, LogError> {
        let stream = match self.log.stream(&entry.key) {
            Err(LogError::StreamNotFound(_)) => {
                self.log.ensure_stream(&entry.key, StreamSpec { shards: 1, retention: self.retention }).await?
            }
            found => found?,
        };
        let shard = stream.shards.first().ok_or_else(|| LogError::Invalid("a log without a shard".to_owned()))?.slot;
        let data = serde_json::to_vec(&entry.block).map_err(|e| LogError::Invalid(e.to_string()))?;
        let partition_key: PartitionKey =
            "log".parse().map_err(|e: base::InvalidId| LogError::Invalid(e.to_string()))?;
        Ok(NewRecord { shard, partition_key, explicit_hash_key: None, data: Bytes::from(data) })
    }
}

fn weight(entry: &Entry) -> usize {
    entry.block.lines.iter().map(|(_, line)| line.len() + 32).sum()
}

fn dropped(function: &str, error: &LogError) {
    crate::metrics::function_log_dropped();
    tracing::error!(function, %error, "lines of a function's log were dropped");
}

#[cfg(test)]
mod tests;
