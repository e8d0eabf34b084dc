//! The settings of all data streams, kept in the state store and at hand in memory.
//!
//! Promises that a change is durable when it is answered, that two changes at once both happen, and that settings of a
//! stream are never taken for those of another of its name: their key is the stream's number, which is never used
//! again. A stream and its settings are two writes in two stores; a crash between them is made good by
//! [`SettingsTable::open`]. Must not know what the settings mean.
//!
//! ```text
//! streams.settings   account/region/NNNNNNNNNN   {"v":1,"revision":…,"name":…, the settings}
//! streams.intended   account/region/NAME         {"v":1, the settings}: of a stream that is being created
//! ```

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base::{Batch, Precondition, Scope, StateError, StateStore, Table};
use log::{Log, Stream, StreamId, StreamKey, StreamKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::settings::{Mode, Settings};

const SETTINGS: Table = Table("streams.settings");
const INTENDED: Table = Table("streams.intended");
/// Version of both documents.
const VERSION: u32 = 1;
/// Rows in one scan.
const PAGE: usize = 1_000;

/// A row of `streams.settings`.
#[derive(Serialize, Deserialize)]
struct Row {
    v: u32,
    /// Grows with every change, so that what is at hand is never older than what was there before.
    revision: u64,
    name: String,
    #[serde(flatten)]
    settings: Settings,
}

/// A row of `streams.intended`.
#[derive(Serialize, Deserialize)]
struct Intention {
    v: u32,
    #[serde(flatten)]
    settings: Settings,
}

/// What is at hand of one stream.
struct Held {
    key: StreamKey,
    revision: u64,
    settings: Arc<Settings>,
}

/// See the module. Clones are handles to the same table.
#[derive(Clone)]
pub(crate) struct SettingsTable {
    state: Arc<dyn StateStore>,
    log: Log,
    held: Arc<RwLock<HashMap<u32, Held>>>,
    default: Arc<Settings>,
}

impl SettingsTable {
    /// Reads the table, removes the settings of streams that are gone, and ends the creations that a crash cut short:
    /// a stream that came to be gets what was intended for it, the intention for any other is dropped.
    pub async fn open(state: Arc<dyn StateStore>, log: Log) -> Result<Self, StateError> {
        let table = Self { state, log, held: Arc::default(), default: Arc::default() };
        let mut batch = Batch::new();
        for (key, row) in rows::<Row>(&*table.state, SETTINGS)? {
            let (scope, number) = split(SETTINGS, &key)?;
            let stream = table.log.stream(&stream_key(scope, row.name.clone())).ok();
            match stream.filter(|stream| format!("{:010}", stream.id.number()) == number) {
                Some(stream) => table.hold(&stream, row.revision, Arc::new(row.settings)),
                None => batch = batch.delete(SETTINGS, key),
            }
        }
        for (key, Intention { settings, .. }) in rows::<Intention>(&*table.state, INTENDED)? {
            let (scope, name) = split(INTENDED, &key)?;
            // It is written only while no stream has the name, so a stream that has it is the one that was meant.
            if let Ok(stream) = table.log.stream(&stream_key(scope, name))
                && !table.has(stream.id)
            {
                batch = batch.put(SETTINGS, row_key(&stream), encode(&row(&stream, 1, settings.clone()))?);
                table.hold(&stream, 1, Arc::new(settings));
            }
            batch = batch.delete(INTENDED, key);
        }
        if !batch.writes.is_empty() {
            table.state.commit(batch).await?;
        }
        Ok(table)
    }

    /// The settings of a stream.
    pub fn of(&self, stream: StreamId) -> Arc<Settings> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.get(&stream.number()).map_or(&self.default, |held| &held.settings))
    }

    /// The streams whose traffic decides over their shards.
    pub fn on_demand(&self) -> Vec<StreamKey> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let on_demand = held.values().filter(|held| held.settings.mode == Mode::OnDemand);
        on_demand.map(|held| held.key.clone()).collect()
    }

    /// The streams with enhanced monitoring, and what is measured of their shards.
    pub fn monitored(&self) -> Vec<(StreamKey, Arc<Settings>)> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let monitored = held.values().filter(|held| !held.settings.monitored.is_empty());
        monitored.map(|held| (held.key.clone(), Arc::clone(&held.settings))).collect()
    }

    /// Changes the settings of a stream by looking at them; the change is made again when another came between.
    pub async fn update<R, E: From<StateError>>(
        &self,
        stream: &Stream,
        mut change: impl FnMut(&mut Settings) -> Result<R, E>,
    ) -> Result<R, E> {
        let key = row_key(stream);
        loop {
            let before = self.state.get(SETTINGS, &key)?;
            let (mut settings, revision) = match &before {
                Some(bytes) => {
                    let Row { settings, revision, .. } = decode(SETTINGS, &key, bytes)?;
                    (settings, revision + 1)
                }
                None => (Settings::default(), 1),
            };
            let unchanged = settings.clone();
            let answer = change(&mut settings)?;
            if settings == unchanged {
                return Ok(answer);
            }
            let condition = before.map_or(Precondition::Absent, Precondition::Equals);
            let batch = Batch::new().require(SETTINGS, key.clone(), condition);
            let batch = batch.put(SETTINGS, key.clone(), encode(&row(stream, revision, settings.clone()))?);
            match self.state.commit(batch).await {
                Err(StateError::Conflict { .. }) => continue,
                committed => committed?,
            }
            self.hold(stream, revision, Arc::new(settings));
            if self.log.stream(&stream.key).is_ok_and(|now| now.id == stream.id) {
                return Ok(answer);
            }
            // Deleted meanwhile: its settings go with it.
            self.forget(stream).await?;
            return Ok(answer);
        }
    }

    /// Notes what a stream that is about to be created is to be set to. No stream has the name now.
    pub async fn intend(&self, key: &StreamKey, settings: &Settings) -> Result<(), StateError> {
        let intention = encode(&Intention { v: VERSION, settings: settings.clone() })?;
        self.state.commit(Batch::new().put(INTENDED, intended_key(key), intention)).await
    }

    /// Sets a stream that was just created to what was intended.
    pub async fn fulfil(&self, stream: &Stream, settings: Settings) -> Result<(), StateError> {
        let (key, intended) = (row_key(stream), intended_key(&stream.key));
        let written = encode(&row(stream, 1, settings.clone()))?;
        let batch = Batch::new().require(SETTINGS, key.clone(), Precondition::Absent).put(SETTINGS, key, written);
        match self.state.commit(batch.delete(INTENDED, intended)).await {
            // Another call has found the stream and changed it already: what it set stands, beside what was intended.
            Err(StateError::Conflict { .. }) => {
                self.update(stream, |now| {
                    now.complete(&settings);
                    Ok::<_, StateError>(())
                })
                .await?;
                self.drop_intention(&stream.key).await
            }
            committed => {
                committed?;
                self.hold(stream, 1, Arc::new(settings));
                Ok(())
            }
        }
    }

    /// Drops the intention for a stream that was not created.
    pub async fn drop_intention(&self, key: &StreamKey) -> Result<(), StateError> {
        self.state.commit(Batch::new().delete(INTENDED, intended_key(key))).await
    }

    /// Removes the settings of a deleted stream.
    pub async fn forget(&self, stream: &Stream) -> Result<(), StateError> {
        // An intention that could not be dropped would be taken for that of the next stream of the name.
        if self.state.get(INTENDED, &intended_key(&stream.key))?.is_some() {
            self.drop_intention(&stream.key).await?;
        }
        if !self.has(stream.id) {
            return Ok(());
        }
        self.state.commit(Batch::new().delete(SETTINGS, row_key(stream))).await?;
        self.held.write().unwrap_or_else(PoisonError::into_inner).remove(&stream.id.number());
        Ok(())
    }

    fn has(&self, stream: StreamId) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).contains_key(&stream.number())
    }

    fn hold(&self, stream: &Stream, revision: u64, settings: Arc<Settings>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let newer = held.get(&stream.id.number()).is_none_or(|held| held.revision < revision);
        if newer {
            held.insert(stream.id.number(), Held { key: stream.key.clone(), revision, settings });
        }
    }
}

fn row(stream: &Stream, revision: u64, settings: Settings) -> Row {
    Row { v: VERSION, revision, name: stream.key.name.clone(), settings }
}

fn row_key(stream: &Stream) -> Vec<u8> {
    format!("{}/{:010}", stream.key.scope, stream.id.number()).into_bytes()
}

fn intended_key(key: &StreamKey) -> Vec<u8> {
    format!("{}/{}", key.scope, key.name).into_bytes()
}

fn stream_key(scope: Scope, name: String) -> StreamKey {
    StreamKey { kind: StreamKind::Kinesis, scope, name }
}

fn corrupt(table: Table, key: &[u8], what: impl std::fmt::Display) -> StateError {
    StateError::Corrupt(format!("{} {}: {what}", table.0, String::from_utf8_lossy(key)))
}

/// The scope and the rest of a key.
fn split(table: Table, key: &[u8]) -> Result<(Scope, String), StateError> {
    let text = String::from_utf8_lossy(key);
    let mut parts = text.splitn(3, '/');
    match (parts.next().map(str::parse), parts.next().map(str::parse), parts.next()) {
        (Some(Ok(account)), Some(Ok(region)), Some(rest)) => Ok((Scope { account, region }, rest.to_owned())),
        _ => Err(corrupt(table, key, "the key is not account/region/…")),
    }
}

pub(super) fn encode(document: &impl Serialize) -> Result<Vec<u8>, StateError> {
    serde_json::to_vec(document).map_err(|error| StateError::Corrupt(format!("settings have no JSON form: {error}")))
}

pub(super) fn decode<T: DeserializeOwned>(table: Table, key: &[u8], bytes: &[u8]) -> Result<T, StateError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let Version { v } = serde_json::from_slice(bytes).map_err(|error| corrupt(table, key, error))?;
    if v != VERSION {
        return Err(corrupt(table, key, format_args!("format version {v} is not {VERSION}")));
    }
    serde_json::from_slice(bytes).map_err(|error| corrupt(table, key, error))
}

/// All rows of a table.
fn rows<T: DeserializeOwned>(state: &dyn StateStore, table: Table) -> Result<Vec<(Vec<u8>, T)>, StateError> {
    let (mut all, mut after) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let page = state.scan(table, b"", after.as_deref(), PAGE)?;
        after = page.last().map(|(key, _)| key.clone());
        let last = page.len() < PAGE;
        for (key, bytes) in page {
            let row = decode(table, &key, &bytes)?;
            all.push((key, row));
        }
        if last {
            return Ok(all);
        }
    }
}
