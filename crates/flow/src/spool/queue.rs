//! The rows of records that wait, in the state store and by due time in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{Batch, Clock, Position, StateError, StateStore, Table, Timestamp, Write};
use log::StreamId;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::End;

const TABLE: Table = Table("flow.spool");
const VERSION: u32 = 1;
const PAGE: usize = 1_000;

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// The format.
    pub v: u32,
    /// The next attempt.
    pub due: Timestamp,
    /// Attempts that failed.
    pub attempts: u32,
    /// Attempts in a row that could not be made.
    pub postponed: u32,
    /// What was wrong at the last attempt, cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It is given up, and waits to be put away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What was done of that already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<String>,
}

impl Row {
    pub fn first(now: Timestamp) -> Self {
        Self { v: VERSION, due: now, attempts: 0, postponed: 0, error: None, end: None, done: Vec::new() }
    }
}

/// Whether a row is to be attempted when due, or an attempt is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Waiting,
    Running,
}

pub(super) struct Queue {
    state: Arc<dyn StateStore>,
    prefix: Vec<u8>,
    inner: Mutex<Inner>,
    changed: Notify,
    /// Told of each record that waits no more.
    left: Notify,
}

#[derive(Default)]
struct Inner {
    rows: BTreeMap<Position, Row>,
    waiting: BTreeSet<(Timestamp, Position)>,
}

fn consumer_prefix(consumer: &str) -> Vec<u8> {
    [consumer.as_bytes(), b"\0"].concat()
}

/// The writes that remove all rows of a consumer.
pub(crate) fn forget(state: &dyn StateStore, consumer: &str) -> Result<Vec<Write>, StateError> {
    let keys = keys(state, &consumer_prefix(consumer))?;
    Ok(keys.into_iter().map(|(key, _)| Write::Delete(TABLE, key)).collect())
}

/// The writes that remove its rows of one log.
pub(crate) fn forget_on(state: &dyn StateStore, consumer: &str, stream: StreamId) -> Result<Vec<Write>, StateError> {
    let keys = keys(state, &stream_prefix(consumer, stream))?;
    Ok(keys.into_iter().map(|(key, _)| Write::Delete(TABLE, key)).collect())
}

/// The writes that remove what is left of the consumers whose names begin so, of logs that are not there any more.
pub(crate) fn sweep(
    state: &dyn StateStore,
    consumers: &str,
    is_there: impl Fn(u32) -> bool,
) -> Result<Vec<Write>, StateError> {
    let of_log = |key: &[u8]| -> Option<u32> {
        let digits = key.splitn(2, |byte| *byte == 0).nth(1)?.split(|byte| *byte == b'/').next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let mut writes = Vec::new();
    for (key, _) in keys(state, consumers.as_bytes())? {
        match of_log(&key) {
            Some(log) if !is_there(log) => writes.push(Write::Delete(TABLE, key)),
            Some(_) => {}
            None => {
                let key = String::from_utf8_lossy(&key).replace('\0', "/");
                tracing::error!(key, "a row of what waits names no log; it is left as it is");
            }
        }
    }
    Ok(writes)
}

/// The places of the records of a consumer's log that wait.
pub(crate) fn waiting(
    state: &dyn StateStore,
    consumer: &str,
    stream: StreamId,
) -> Result<BTreeSet<Position>, StateError> {
    let prefix = stream_prefix(consumer, stream);
    keys(state, &prefix)?.iter().map(|(key, _)| position_of(consumer, &prefix, key)).collect()
}

/// When the record at this position of a consumer's log is attempted next, if it waits.
pub(crate) fn due(
    state: &dyn StateStore,
    consumer: &str,
    stream: StreamId,
    position: Position,
) -> Result<Option<Timestamp>, StateError> {
    let mut key = stream_prefix(consumer, stream);
    key.extend_from_slice(digits(position).as_bytes());
    let Some(value) = state.get(TABLE, &key)? else { return Ok(None) };
    let row: Row = serde_json::from_slice(&value)
        .map_err(|e| StateError::Corrupt(format!("a waiting record of {consumer}: {e}")))?;
    Ok(Some(row.due))
}

/// The first position of a consumer's log whose record waits.
pub(crate) fn first(state: &dyn StateStore, consumer: &str, stream: StreamId) -> Result<Option<Position>, StateError> {
    let prefix = stream_prefix(consumer, stream);
    let rows = state.scan(TABLE, &prefix, None, 1)?;
    rows.first().map(|(key, _)| position_of(consumer, &prefix, key)).transpose()
}

fn position_of(consumer: &str, prefix: &[u8], key: &[u8]) -> Result<Position, StateError> {
    let digits = std::str::from_utf8(key.get(prefix.len()..).unwrap_or_default()).ok();
    let position = digits.and_then(|digits| digits.parse().ok()).map(Position::new);
    position.ok_or_else(|| StateError::Corrupt(format!("a waiting record of {consumer}: its key is no position")))
}

fn stream_prefix(consumer: &str, stream: StreamId) -> Vec<u8> {
    let mut prefix = consumer_prefix(consumer);
    prefix.extend_from_slice(format!("{:010}/", stream.number()).as_bytes());
    prefix
}

fn digits(position: Position) -> String {
    format!("{:020}", position.get())
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn keys(state: &dyn StateStore, prefix: &[u8]) -> Result<Rows, StateError> {
    let mut rows: Rows = Vec::new();
    loop {
        let page = state.scan(TABLE, prefix, rows.last().map(|(key, _)| key.as_slice()), PAGE)?;
        let full = page.len() == PAGE;
        rows.extend(page);
        if !full {
            return Ok(rows);
        }
    }
}

impl Queue {
    pub fn load(state: Arc<dyn StateStore>, consumer: &str, stream: StreamId) -> Result<Self, StateError> {
        let prefix = stream_prefix(consumer, stream);
        let mut inner = Inner::default();
        for (key, value) in keys(&*state, &prefix)? {
            let corrupt = |what: &str| StateError::Corrupt(format!("a waiting record of {consumer}: {what}"));
            let position = position_of(consumer, &prefix, &key)?;
            let row: Row = serde_json::from_slice(&value).map_err(|e| corrupt(&e.to_string()))?;
            inner.waiting.insert((row.due, position));
            inner.rows.insert(position, row);
        }
        Ok(Self { state, prefix, inner: Mutex::new(inner), changed: Notify::new(), left: Notify::new() })
    }

    /// Returns once fewer than so many records wait.
    pub async fn room(&self, most: usize) {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if self.inner().rows.len() < most {
                return;
            }
            left.await;
        }
    }

    pub fn row(&self, position: Position) -> Option<Row> {
        self.inner().rows.get(&position).cloned()
    }

    /// Writes a row durably, then holds it in memory.
    pub async fn put(&self, position: Position, row: Row, entry: Entry) -> Result<(), StateError> {
        // Three numbers cannot fail to serialise.
        let value = serde_json::to_vec(&row).unwrap_or_default();
        self.state.commit(Batch::new().put(TABLE, self.key(position), value)).await?;
        self.hold(position, row, entry);
        Ok(())
    }

    /// Sets the time of the next attempt in memory only.
    pub fn again_at(&self, position: Position, row: Row) {
        self.hold(position, row, Entry::Waiting);
    }

    pub async fn remove(&self, position: Position) -> Result<(), StateError> {
        self.state.commit(Batch::new().delete(TABLE, self.key(position))).await?;
        self.inner().rows.remove(&position);
        self.left.notify_waiters();
        Ok(())
    }

    fn hold(&self, position: Position, row: Row, entry: Entry) {
        {
            let mut inner = self.inner();
            if entry == Entry::Waiting {
                inner.waiting.insert((row.due, position));
            }
            inner.rows.insert(position, row);
        }
        self.changed.notify_one();
    }

    /// Waits for the next record whose time has come and takes it out of the waiting ones; `None` when stopping.
    pub async fn next_due(&self, clock: &dyn Clock, stopping: &CancellationToken) -> Option<Position> {
        loop {
            let next = self.inner().waiting.first().copied();
            let now = clock.now();
            match next {
                Some((due, position)) if due <= now => {
                    self.inner().waiting.remove(&(due, position));
                    return Some(position);
                }
                _ => {}
            }
            let due = async {
                match next {
                    Some((due, _)) => clock.sleep(due.since(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.changed.notified() => {}
                () = stopping.cancelled() => return None,
            }
        }
    }

    fn key(&self, position: Position) -> Vec<u8> {
        let mut key = self.prefix.clone();
        key.extend_from_slice(digits(position).as_bytes());
        key
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Why;

    /// As versions 0.1 wrote them: at first without parts that are done and without an end.
    #[test]
    fn rows_are_read_and_written_as_they_were() {
        let first = r#"{"v":1,"due":1700000000000,"attempts":2,"postponed":0}"#;
        let row = Row { attempts: 2, ..Row::first(Timestamp::from_millis(1_700_000_000_000)) };
        assert_eq!(serde_json::from_str::<Row>(first).unwrap(), row);
        assert_eq!(serde_json::to_string(&row).unwrap(), first);
        let parts = r#"{"v":1,"due":1700000000000,"attempts":2,"postponed":0,"error":"e","end":{"why":"attempts","attempts":3,"reason":"r"},"done":["dead_letter"]}"#;
        let end = Some(End { why: Why::Attempts, attempts: 3, reason: "r".to_owned() });
        let row = Row { error: Some("e".to_owned()), end, done: vec!["dead_letter".to_owned()], ..row };
        assert_eq!(serde_json::from_str::<Row>(parts).unwrap(), row);
        assert_eq!(serde_json::to_string(&row).unwrap(), parts);
        for (name, why) in [("age", Why::Age), ("refused", Why::Refused)] {
            assert_eq!(serde_json::to_value(why).unwrap(), name);
        }
    }
}
