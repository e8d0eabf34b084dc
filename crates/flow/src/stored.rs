//! Configuration documents in the state store: JSON with a format version, under `account/region/…` keys.
//!
//! Owns reading, listing and encoding them. Promises that a document of an unknown version is an error, never guessed
//! at, and that one whose content is not accepted any more keeps no other from starting. Must not know what the documents
//! mean.

use std::fmt::Display;

use base::{Batch, Precondition, Scope, StateError, StateStore, Table, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{FlowError, metrics};

/// Version of every document of this crate.
const VERSION: u32 = 1;
/// Rows in one scan.
const PAGE: usize = 1_000;

#[derive(Serialize, Deserialize)]
struct Document<T> {
    v: u32,
    #[serde(flatten)]
    value: T,
}

/// `ACCOUNT/REGION/` and the names, joined by NUL, which no name contains: no name is the beginning of another.
pub(crate) fn key(scope: &Scope, names: &[&str]) -> Vec<u8> {
    format!("{scope}/{}\0", names.join("\0")).into_bytes()
}

/// What the keys of everything in a scope start with.
pub(crate) fn scope_prefix(scope: &Scope) -> Vec<u8> {
    format!("{scope}/").into_bytes()
}

/// A document as bytes.
pub(crate) fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, FlowError> {
    serde_json::to_vec(&Document { v: VERSION, value }).map_err(|source| FlowError::Encode { what, source })
}

pub(crate) fn decode<T: DeserializeOwned>(table: Table, key: &[u8], bytes: &[u8]) -> Result<T, FlowError> {
    let corrupt = |source| {
        let key = String::from_utf8_lossy(key).replace('\0', "/");
        FlowError::Corrupt { what: format!("{} {key}", table.0), source }
    };
    let document: Document<T> = serde_json::from_slice(bytes).map_err(corrupt)?;
    if document.v != VERSION {
        let error = serde::de::Error::custom(format!("format version {} is not {VERSION}", document.v));
        return Err(corrupt(error));
    }
    Ok(document.value)
}

/// What came of starting what a document describes. One whose content is not accepted any more stays as it is, is shown,
/// and does nothing: it must not keep everything else from starting. It is told by its name, `what`.
pub(crate) fn or_inactive<T>(started: Result<T, FlowError>, what: impl Display) -> Result<Option<T>, FlowError> {
    match started {
        Err(FlowError::Invalid(why)) => {
            metrics::inactive();
            tracing::error!(%what, why, "a stored document is not accepted any more, and does nothing; change or delete it");
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// The document of a key.
pub(crate) fn get<T: DeserializeOwned>(
    state: &dyn StateStore,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, FlowError> {
    state.get(table, key)?.map(|bytes| decode(table, key, &bytes)).transpose()
}

/// All documents whose keys start with `prefix`, in key order.
pub(crate) fn list<T: DeserializeOwned>(
    state: &dyn StateStore,
    table: Table,
    prefix: &[u8],
) -> Result<Vec<T>, FlowError> {
    let mut values = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = state.scan(table, prefix, after.as_deref(), PAGE)?;
        for (key, bytes) in &rows {
            values.push(decode(table, key, bytes)?);
        }
        if rows.len() < PAGE {
            return Ok(values);
        }
        after = rows.into_iter().next_back().map(|(key, _)| key);
    }
}

/// What to do with a document that was looked at.
pub(crate) enum Change<T> {
    /// Write this, together with these.
    Put(T, Vec<Write>),
    /// Remove it, together with these.
    Delete(Vec<Write>),
    /// Leave it.
    Keep,
}

/// Changes the document of a key by looking at what is there: atomic, repeated when another change came between.
pub(crate) async fn update<T, R>(
    state: &dyn StateStore,
    (table, key): (Table, Vec<u8>),
    what: &'static str,
    mut change: impl FnMut(Option<T>) -> Result<(Change<T>, R), FlowError>,
) -> Result<R, FlowError>
where
    T: Serialize + DeserializeOwned,
{
    loop {
        let before = state.get(table, &key)?;
        let value = before.as_deref().map(|bytes| decode(table, &key, bytes)).transpose()?;
        let (change, answer) = change(value)?;
        let condition = before.map_or(Precondition::Absent, Precondition::Equals);
        let mut batch = Batch::new().require(table, key.clone(), condition);
        match change {
            Change::Keep => return Ok(answer),
            Change::Put(value, also) => {
                batch = batch.put(table, key.clone(), encode(what, &value)?);
                batch.writes.extend(also);
            }
            Change::Delete(also) => {
                batch = batch.delete(table, key.clone());
                batch.writes.extend(also);
            }
        }
        match state.commit(batch).await {
            Err(StateError::Conflict { .. }) => {}
            other => return Ok(other.map(|()| answer)?),
        }
    }
}

/// All documents of a table, with the scope that their keys begin with.
pub(crate) fn list_scoped<T: DeserializeOwned>(
    state: &dyn StateStore,
    table: Table,
) -> Result<Vec<(Scope, T)>, FlowError> {
    let mut values = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = state.scan(table, b"", after.as_deref(), PAGE)?;
        for (key, bytes) in &rows {
            values.push((scope_of(table, key)?, decode(table, key, bytes)?));
        }
        if rows.len() < PAGE {
            return Ok(values);
        }
        after = rows.into_iter().next_back().map(|(key, _)| key);
    }
}

fn scope_of(table: Table, key: &[u8]) -> Result<Scope, FlowError> {
    let text = String::from_utf8_lossy(key);
    let mut parts = text.splitn(3, '/');
    let scope = match (parts.next().map(str::parse), parts.next().map(str::parse)) {
        (Some(Ok(account)), Some(Ok(region))) => Some(Scope { account, region }),
        _ => None,
    };
    scope.ok_or_else(|| {
        let error = serde::de::Error::custom("the key does not begin with account/region/");
        FlowError::Corrupt { what: format!("{} {}", table.0, text.replace('\0', "/")), source: error }
    })
}
