//! Rows of one table of the state store: durable there, readable from memory.
//!
//! Layout: keys begin with `ACCOUNT/REGION/NAME/`, values are JSON with a format version `v`. Promises that what it
//! shows is what is stored. Must not know what a row means.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use base::{Batch, Precondition, StateStore, Table};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::FunctionError;

const FORMAT: u32 = 1;
const LOAD_ENTRIES: usize = 500;

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    v: u32,
    #[serde(flatten)]
    row: T,
}

/// The rows of a table.
pub(crate) struct Rows<T> {
    state: Arc<dyn StateStore>,
    table: Table,
    rows: RwLock<BTreeMap<String, Arc<T>>>,
}

fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<(String, T), FunctionError> {
    let key = String::from_utf8_lossy(key).into_owned();
    let stored: Result<Stored<T>, _> = serde_json::from_slice(value);
    match stored {
        Ok(stored) if stored.v == FORMAT => Ok((key, stored.row)),
        Ok(stored) => {
            let reason = format!("its format is {}, this version reads {FORMAT}", stored.v);
            Err(FunctionError::Corrupt { key, reason })
        }
        Err(error) => Err(FunctionError::Corrupt { key, reason: error.to_string() }),
    }
}

impl<T: Serialize + DeserializeOwned> Rows<T> {
    /// Reads all rows.
    pub fn load(state: &Arc<dyn StateStore>, table: Table) -> Result<Self, FunctionError> {
        let (mut rows, mut after) = (BTreeMap::new(), None::<Vec<u8>>);
        loop {
            let page = state.scan(table, b"", after.as_deref(), LOAD_ENTRIES)?;
            for (key, value) in &page {
                let (key, row) = decode(key, value)?;
                rows.insert(key, Arc::new(row));
            }
            match page.into_iter().last() {
                Some((key, _)) => after = Some(key),
                None => return Ok(Self { state: Arc::clone(state), table, rows: RwLock::new(rows) }),
            }
        }
    }

    /// A row, when there is one.
    pub fn find(&self, key: &str) -> Option<Arc<T>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The rows whose keys begin so, in the order of their keys.
    pub fn below(&self, prefix: &str) -> Vec<(String, Arc<T>)> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let from = rows.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        from.map(|(key, row)| (key.clone(), Arc::clone(row))).collect()
    }

    /// What is stored, and the condition that it still is.
    pub fn read(&self, key: &str) -> Result<(Option<T>, Precondition), FunctionError> {
        match self.state.get(self.table, key.as_bytes())? {
            None => Ok((None, Precondition::Absent)),
            Some(stored) => {
                let (_, row) = decode(key.as_bytes(), &stored)?;
                Ok((Some(row), Precondition::Equals(stored)))
            }
        }
    }

    /// Adds a condition on a row to a batch.
    pub fn require(&self, batch: Batch, key: &str, condition: Precondition) -> Batch {
        batch.require(self.table, key.as_bytes(), condition)
    }

    /// Adds a row to a batch.
    pub fn put(&self, batch: Batch, key: &str, row: &T) -> Result<Batch, FunctionError> {
        let value = serde_json::to_vec(&Stored { v: FORMAT, row })
            .map_err(|e| FunctionError::Invalid(format!("{key} cannot be stored: {e}")))?;
        Ok(batch.put(self.table, key.as_bytes(), value))
    }

    /// Adds the removal of all rows whose keys begin so.
    pub fn delete_below(&self, batch: Batch, prefix: &str) -> Batch {
        self.below(prefix).iter().fold(batch, |batch, (key, _)| self.delete(batch, key))
    }

    /// Adds the removal of a row to a batch.
    pub fn delete(&self, batch: Batch, key: &str) -> Batch {
        batch.delete(self.table, key.as_bytes())
    }

    /// Takes over what is stored. Under the lock, so that of two changes the later one is what stays.
    pub fn refresh(&self, key: &str) -> Result<(), FunctionError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        match self.state.get(self.table, key.as_bytes())? {
            Some(stored) => {
                let (key, row) = decode(key.as_bytes(), &stored)?;
                rows.insert(key, Arc::new(row));
            }
            None => _ = rows.remove(key),
        }
        Ok(())
    }

    /// The same for all rows whose keys begin so.
    pub fn refresh_below(&self, prefix: &str) -> Result<(), FunctionError> {
        self.below(prefix).iter().try_for_each(|(key, _)| self.refresh(key))
    }
}
