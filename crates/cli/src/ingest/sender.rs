//! Records in batches to the server, in order, and what it says of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use base::{Clock, RetryPolicy, SystemClock, SystemRng};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::{Totals, say};
use crate::client::{Client, Target};

/// Bytes and records of one batch: small enough that other calls are not held up, large enough to share an fsync.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_RECORDS: usize = 1_000;

/// Problems of one file that are named; of more only the number is.
const NAMED_PROBLEMS: u64 = 20;

/// The answer of the server.
#[derive(Deserialize)]
struct Answer {
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    record: usize,
    reason: String,
}

/// Sends records, one batch after the other.
pub struct Sender {
    client: Client,
    body: Vec<u8>,
    /// Where each record of the batch is from.
    origins: Vec<(PathBuf, u64)>,
    totals: Totals,
    problems: BTreeMap<PathBuf, u64>,
}

impl Sender {
    pub fn new(client: Client) -> Self {
        Self { client, body: Vec::new(), origins: Vec::new(), totals: Totals::default(), problems: BTreeMap::new() }
    }

    /// What the server has said so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Takes a record; a full batch is sent.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the batch.
    pub async fn add(&mut self, path: &Path, offset: u64, record: &[u8]) -> anyhow::Result<()> {
        if self.body.len() + record.len() > BATCH_BYTES || self.origins.len() == BATCH_RECORDS {
            self.flush().await?;
        }
        self.body.extend_from_slice(record);
        self.body.push(b'\n');
        self.origins.push((path.to_owned(), offset));
        Ok(())
    }

    /// Names a record that is none.
    pub fn skip(&mut self, path: &Path, offset: u64, reason: &str) {
        self.totals.skipped += 1;
        let count = self.problems.entry(path.to_owned()).or_insert(0);
        *count += 1;
        if *count <= NAMED_PROBLEMS {
            say(&format!("{}: at byte {offset}: {reason}; skipped", path.display()));
        }
    }

    /// Says how many more problems there were than were named.
    pub fn report_problems(&self) {
        for (path, count) in self.problems.iter().filter(|(_, count)| **count > NAMED_PROBLEMS) {
            say(&format!("{}: {} more records skipped", path.display(), count - NAMED_PROBLEMS));
        }
    }

    /// Sends what is there.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the batch.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        if self.origins.is_empty() {
            return Ok(());
        }
        let body = Bytes::from(std::mem::take(&mut self.body));
        let origins = std::mem::take(&mut self.origins);
        let answer = self.send(body).await?;
        self.totals.accepted += answer.accepted;
        self.totals.duplicates += answer.duplicates;
        let listed = answer.problems.len() as u64;
        for problem in answer.problems {
            let Some((path, offset)) = origins.get(problem.record) else {
                bail!("the server's answer cannot be understood")
            };
            self.skip(path, *offset, &problem.reason);
        }
        self.totals.skipped += answer.rejected.saturating_sub(listed);
        Ok(())
    }

    /// Sends a batch, again if the server is busy or away for a while: sending twice adds nothing.
    async fn send(&self, body: Bytes) -> anyhow::Result<Answer> {
        let retry = RetryPolicy {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            max_attempts: None,
            max_age: Some(Duration::from_secs(30)),
        };
        let target = Target {
            service: "tidegate",
            method: Method::POST,
            path: "/_tidegate/ingest/cloudtrail",
            headers: &[("content-type", "application/x-ndjson")],
        };
        let clock = SystemClock::new();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let result = self.client.call(&target, body.clone()).await;
            let busy = match &result {
                Ok(answer) => {
                    matches!(answer.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
                }
                // The first batch fails at once: an address that was never right will not become so.
                Err(_) => self.totals.accepted + self.totals.duplicates > 0,
            };
            match retry.next_delay(attempts, clock.instant(), &SystemRng).filter(|_| busy) {
                Some(delay) => clock.sleep(delay).await,
                None => return read(&result?),
            }
        }
    }
}

fn read(answer: &http::Response<Bytes>) -> anyhow::Result<Answer> {
    if answer.status() != StatusCode::OK {
        #[derive(Deserialize)]
        struct Refusal {
            #[serde(alias = "Message")]
            message: String,
        }
        let message = serde_json::from_slice::<Refusal>(answer.body()).map(|refusal| refusal.message);
        let message = message.unwrap_or_else(|_| String::from_utf8_lossy(answer.body()).chars().take(500).collect());
        bail!("the server refused with status {}: {message}", answer.status().as_u16());
    }
    serde_json::from_slice(answer.body()).context("the server's answer cannot be understood")
}
