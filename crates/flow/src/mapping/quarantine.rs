//! What a mapping gave up, with its payload: kept aside until somebody has looked at it.
//!
//! Owns a log for each mapping that ever gave something up without being able to tell a destination, and which of its
//! records are still there. Promises: what is put here is durable when it is answered, and there once at a time, however
//! often it is put; it goes only when it was handled after all, or is past the bounds ([`MAX_RECORDS`], [`MAX_BYTES`],
//! [`MAX_AGE`]), which is counted and logged. What was encrypted in its stream is encrypted here.
//! Must not know why records are given up.
//!
//! A record of the log is a line of JSON, then the data; its partition key and explicit hash key are the record's own.
//! The table `flow.quarantines` says what is gone.
//!
//! ```text
//! {"v":1,"stream":number,"shard":id,"position":…,"arrival":ms,"why":…,"reason":…,"attempts":…}
//! flow.quarantines   account/region/mapping → {"v":1,"floor":position,"removed":[position,…],
//!                                              "skips":[{"stream":number,"shard":id,"position":…},…]}
//! ```

mod contents;
mod keep;
mod marks;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::{Batch, Env, Kinded, Scope, StateStore, Table, Timestamp, Write};
use bytes::{BufMut, Bytes, BytesMut};
use log::{Append, Log, LogError, MAX_BATCH_RECORDS, NewRecord, ReadLimit, Record, StreamKey, StreamKind, StreamSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::needed::FOREVER;
use crate::{FlowError, metrics, stored};
use contents::Contents;
pub use contents::{Kept, Origin, Why};

const TABLE: Table = Table("flow.quarantines");
const VERSION: u32 = 1;

/// Records that a mapping's quarantine has at most; then the oldest go.
pub const MAX_RECORDS: usize = 100_000;
/// Their bytes, at most.
pub const MAX_BYTES: usize = 256 << 20;
/// How long they are kept, at most.
pub const MAX_AGE: Duration = Duration::from_secs(14 * 86_400);

/// Bytes of one append and one read.
const CHUNK_BYTES: usize = 16 << 20;
/// Characters of what was wrong that are kept: a header takes far less than the journal has room for beside the
/// greatest record.
const MAX_REASON: usize = 1_000;

#[derive(Default, Serialize, Deserialize)]
struct Gone {
    floor: base::Position,
    removed: Vec<base::Position>,
    /// Which records are skipped; none in a row of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skips: Option<BTreeSet<Origin>>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    v: u32,
    #[serde(flatten)]
    origin: Origin,
    arrival: Timestamp,
    why: Why,
    reason: String,
    attempts: u32,
}

/// Why records are put here.
pub(super) struct Reason<'a> {
    pub why: Why,
    pub text: &'a str,
    pub attempts: u32,
}

/// The quarantine of one mapping.
pub(super) struct Quarantine {
    env: Env,
    log: Log,
    state: Arc<dyn StateStore>,
    scope: Scope,
    mapping: String,
    /// None before they are read from the log, and after a failure that left open what the log has.
    contents: Mutex<Option<Contents>>,
    /// None before they are read from the row. Changed by who has the turn of the contents.
    marks: std::sync::Mutex<Option<BTreeSet<Origin>>>,
    /// Held by who hands its records to the function again: nobody else may meanwhile.
    pub redriving: Mutex<()>,
}

/// The removal of what a mapping's quarantine says of itself, for the batch that deletes the mapping.
pub(super) fn forget(scope: &Scope, mapping: &str) -> Write {
    Write::Delete(TABLE, stored::key(scope, &[mapping]))
}

impl Quarantine {
    pub fn new(env: &Env, log: &Log, state: &Arc<dyn StateStore>, scope: &Scope, mapping: &str) -> Self {
        Self {
            env: env.clone(),
            log: log.clone(),
            state: Arc::clone(state),
            scope: scope.clone(),
            mapping: mapping.to_owned(),
            contents: Mutex::default(),
            marks: std::sync::Mutex::default(),
            redriving: Mutex::default(),
        }
    }

    fn key(&self) -> StreamKey {
        StreamKey { kind: StreamKind::Quarantine, scope: self.scope.clone(), name: self.mapping.clone() }
    }

    /// Puts records of a shard away; those that are here stay once.
    pub async fn put(
        &self,
        stream: log::StreamId,
        shard: base::ShardId,
        records: &[&Record],
        reason: &Reason<'_>,
    ) -> Result<(), FlowError> {
        self.know_marks().await?;
        let mut turn = self.contents.lock().await;
        let mut contents = self.take(&mut turn).await?;
        let origin = |record: &Record| Origin { stream: stream.number(), shard, position: record.position };
        let new: Vec<&Record> = records.iter().copied().filter(|r| !contents.has(origin(r))).collect();
        if !new.is_empty() {
            if self.slot()?.is_none() {
                // From now on the row says what is skipped, and not the log.
                self.note(&contents).await?;
            }
            let into = self.log.ensure_stream(&self.key(), StreamSpec { shards: 1, retention: FOREVER }).await?;
            if !into.encrypted && new.iter().any(|record| record.sealed) {
                self.log.set_encryption(&self.key(), true).await?;
            }
            let slot = into.shards.first().map(|shard| shard.slot).ok_or(LogError::StreamNotFound(self.key()))?;
            let header = |record: &Record| Header {
                v: VERSION,
                origin: origin(record),
                arrival: record.arrival,
                why: reason.why,
                reason: reason.text.chars().take(MAX_REASON).collect(),
                attempts: reason.attempts,
            };
            let lines: Vec<(&Record, Header)> = new.iter().map(|record| (*record, header(record))).collect();
            for part in parts(lines)? {
                let mut appended = Vec::new();
                for (record, header) in &part {
                    appended.push(NewRecord {
                        shard: slot,
                        partition_key: record.partition_key.clone(),
                        explicit_hash_key: record.explicit_hash_key,
                        data: encode(header, &record.data)?,
                    });
                }
                let placed = self.log.append(Append { producer: None, records: appended }).await?;
                for ((record, header), placed) in part.into_iter().zip(placed) {
                    contents.add(placed.position, header.kept(placed.arrival, record.data.len()));
                }
            }
            metrics::quarantined(&self.mapping, new.len());
        }
        self.evict(&mut contents).await?;
        *turn = Some(contents);
        Ok(())
    }

    /// What is here, in the order in which it came, each by its place.
    pub async fn list(&self) -> Result<Vec<(base::Position, Kept)>, FlowError> {
        let mut turn = self.contents.lock().await;
        let mut contents = self.take(&mut turn).await?;
        self.evict(&mut contents).await?;
        let all = contents.iter().map(|(place, kept)| (*place, kept.clone())).collect();
        *turn = Some(contents);
        Ok(all)
    }

    /// The records at these places as they were in their stream.
    pub async fn read(&self, places: &[(base::Position, Kept)]) -> Result<Vec<Record>, FlowError> {
        let slot = self.slot()?.ok_or_else(|| LogError::StreamNotFound(self.key()))?;
        let mut records = Vec::new();
        for (place, kept) in places {
            let slice = self.log.read(slot, *place, ReadLimit { records: 1, bytes: usize::MAX }).await?;
            let found = slice.records.into_iter().find(|record| record.position == *place);
            let found = found.ok_or_else(|| FlowError::NotFound(format!("{} is gone", kept.sequence())))?;
            let (_, data) = decode(&found.data)?;
            let (position, arrival) = (kept.origin.position, kept.arrival);
            records.push(Record { position, arrival, data, ..found });
        }
        Ok(records)
    }

    /// Lets go of what is at these places.
    pub async fn remove(&self, places: &[base::Position]) -> Result<(), FlowError> {
        let mut turn = self.contents.lock().await;
        let mut contents = self.take(&mut turn).await?;
        places.iter().for_each(|place| contents.remove(*place));
        self.note(&contents).await?;
        *turn = Some(contents);
        Ok(())
    }

    /// Deletes the log, and says what was in it.
    pub async fn delete(&self) -> Result<(), FlowError> {
        let left = match self.take(&mut *self.contents.lock().await).await {
            Ok(contents) => contents.iter().count(),
            Err(_) => 0,
        };
        if left > 0 {
            metrics::quarantine_evicted(&self.mapping, "deleted", left);
            tracing::warn!(mapping = self.mapping, records = left, "a quarantine is deleted with its mapping");
        }
        *self.contents.lock().await = None;
        match self.log.delete_stream(&self.key()).await {
            Err(error) if error.kind() != base::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn slot(&self) -> Result<Option<log::ShardRef>, FlowError> {
        match self.log.stream(&self.key()) {
            Ok(stream) => Ok(stream.shards.first().map(|shard| shard.slot)),
            Err(LogError::StreamNotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The contents, to be put back when all went well: else they are read again.
    async fn take(&self, turn: &mut Option<Contents>) -> Result<Contents, FlowError> {
        match turn.take() {
            Some(contents) => Ok(contents),
            None => self.load().await,
        }
    }

    async fn load(&self) -> Result<Contents, FlowError> {
        let gone = self.row()?.unwrap_or_default();
        let mut contents = Contents::after(gone.floor);
        let Some(slot) = self.slot()? else { return Ok(contents) };
        let mut from = gone.floor;
        loop {
            let limit = ReadLimit { records: 10_000, bytes: CHUNK_BYTES };
            let slice = match self.log.read(slot, from, limit).await {
                Err(LogError::Corrupt { last, .. }) => {
                    metrics::quarantine_evicted(&self.mapping, "corrupt", 1);
                    tracing::error!(mapping = self.mapping, position = %from, "corrupt records of a quarantine are left out");
                    from = last.next().max(from.next());
                    continue;
                }
                other => other?,
            };
            for record in &slice.records {
                let (header, data) = decode(&record.data)?;
                contents.add(record.position, header.kept(record.arrival, data.len()));
            }
            if slice.records.is_empty() {
                break;
            }
            from = slice.next;
        }
        gone.removed.iter().for_each(|place| contents.remove(*place));
        self.log.release(slot, contents.floor());
        Ok(contents)
    }

    /// Lets the oldest go while there is too much.
    async fn evict(&self, contents: &mut Contents) -> Result<(), FlowError> {
        let evicted = contents.evict(self.env.clock.now());
        if evicted.is_empty() {
            return Ok(());
        }
        self.note(contents).await?;
        for (reason, records) in evicted {
            metrics::quarantine_evicted(&self.mapping, reason, records);
            tracing::error!(mapping = self.mapping, records, reason, "a quarantine let its oldest records go");
        }
        Ok(())
    }

    /// Writes down what is gone.
    async fn note(&self, contents: &Contents) -> Result<(), FlowError> {
        let (floor, removed, skips) = (contents.floor(), contents.removed(), self.marks_to_note()?);
        let gone = Gone { floor, removed, skips };
        let row = stored::encode("quarantine", &gone)?;
        self.state.commit(Batch::new().put(TABLE, stored::key(&self.scope, &[&self.mapping]), row)).await?;
        if let Some(slot) = self.slot()? {
            self.log.release(slot, contents.floor());
        }
        Ok(())
    }
}

impl Header {
    fn kept(self, at: Timestamp, bytes: usize) -> Kept {
        let Self { origin, arrival, why, reason, attempts, .. } = self;
        Kept { origin, arrival, at, why, reason, attempts, bytes }
    }
}

type Line<'r> = (&'r Record, Header);

/// Cut so that each part fits into an append, its headers and all.
fn parts(lines: Vec<Line<'_>>) -> Result<Vec<Vec<Line<'_>>>, FlowError> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        let length = text(&line.1)?.len() + 1 + line.0.data.len();
        if !part.is_empty() && (bytes + length > CHUNK_BYTES || part.len() == MAX_BATCH_RECORDS) {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += length;
        part.push(line);
    }
    parts.push(part);
    Ok(parts)
}

fn text(header: &Header) -> Result<Vec<u8>, FlowError> {
    serde_json::to_vec(header).map_err(|source| FlowError::Encode { what: "quarantined record", source })
}

fn encode(header: &Header, data: &Bytes) -> Result<Bytes, FlowError> {
    let line = text(header)?;
    let mut bytes = BytesMut::with_capacity(line.len() + 1 + data.len());
    bytes.put_slice(&line);
    bytes.put_u8(b'\n');
    bytes.put_slice(data);
    Ok(bytes.freeze())
}

fn decode(bytes: &Bytes) -> Result<(Header, Bytes), FlowError> {
    let corrupt = |source| FlowError::Corrupt { what: "quarantined record".to_owned(), source };
    let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let header: Header = serde_json::from_slice(&bytes[..end]).map_err(corrupt)?;
    if header.v != VERSION {
        let error = serde::de::Error::custom(format!("format version {} is not {VERSION}", header.v));
        return Err(corrupt(error));
    }
    Ok((header, bytes.slice(bytes.len().min(end + 1)..)))
}
