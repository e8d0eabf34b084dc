//! The registry of functions: durable in the state store, readable from memory.
//!
//! Layout: table `functions`, key `ACCOUNT/REGION/NAME`, value the function as JSON with a format version `v`.
//! Promises that what it shows is what is stored. Must not know code on disk or environments.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use base::{Batch, FunctionName, Precondition, Scope, StateError, StateStore, Table};
use serde::{Deserialize, Serialize};

use crate::function::arn;
use crate::{Function, FunctionError};

const TABLE: Table = Table("functions");
const FORMAT: u32 = 1;
const LOAD_ENTRIES: usize = 500;

type Key = (Scope, FunctionName);

#[derive(Serialize, Deserialize)]
struct Stored<F> {
    v: u32,
    #[serde(flatten)]
    function: F,
}

/// All functions.
pub(crate) struct Registry {
    state: Arc<dyn StateStore>,
    functions: RwLock<BTreeMap<Key, Arc<Function>>>,
}

fn encoded(scope: &Scope, name: &FunctionName) -> String {
    format!("{scope}/{name}")
}

fn decode(key: &[u8], value: &[u8]) -> Result<Function, FunctionError> {
    let corrupt = |reason: String| FunctionError::Corrupt { key: String::from_utf8_lossy(key).into_owned(), reason };
    let stored: Stored<Function> = serde_json::from_slice(value).map_err(|e| corrupt(e.to_string()))?;
    if stored.v != FORMAT {
        return Err(corrupt(format!("its format is {}, this version reads {FORMAT}", stored.v)));
    }
    Ok(stored.function)
}

fn encode(function: &Function) -> Result<Vec<u8>, FunctionError> {
    serde_json::to_vec(&Stored { v: FORMAT, function })
        .map_err(|e| FunctionError::Invalid(format!("function {} cannot be stored: {e}", function.name)))
}

impl Registry {
    /// Reads all functions.
    pub fn load(state: Arc<dyn StateStore>) -> Result<Self, FunctionError> {
        let mut functions = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = state.scan(TABLE, b"", after.as_deref(), LOAD_ENTRIES)?;
            for (key, value) in &page {
                let function = decode(key, value)?;
                functions.insert((function.scope.clone(), function.name.clone()), Arc::new(function));
            }
            match page.into_iter().last() {
                Some((key, _)) => after = Some(key),
                None => return Ok(Self { state, functions: RwLock::new(functions) }),
            }
        }
    }

    /// A function, when there is one.
    pub fn find(&self, scope: &Scope, name: &FunctionName) -> Option<Arc<Function>> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        functions.get(&(scope.clone(), name.clone())).cloned()
    }

    /// A function.
    pub fn get(&self, scope: &Scope, name: &FunctionName) -> Result<Arc<Function>, FunctionError> {
        self.find(scope, name).ok_or_else(|| FunctionError::NotFound(arn(scope, name)))
    }

    /// All functions of all scopes.
    pub fn all(&self) -> Vec<Arc<Function>> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// All functions of a scope, by name.
    pub fn list(&self, scope: &Scope) -> Vec<Arc<Function>> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        functions.values().filter(|f| f.scope == *scope).cloned().collect()
    }

    /// Adds the condition that a function still is at this revision.
    pub fn unchanged(&self, batch: Batch, function: &Function) -> Result<Batch, FunctionError> {
        let key = encoded(&function.scope, &function.name);
        let stored = self.state.get(TABLE, key.as_bytes())?.ok_or_else(|| FunctionError::NotFound(function.arn()))?;
        if decode(key.as_bytes(), &stored)?.revision != function.revision {
            return Err(FunctionError::Changing(function.name.clone()));
        }
        Ok(batch.require(TABLE, key.as_bytes(), Precondition::Equals(stored)))
    }

    /// Adds the condition that there is such a function.
    pub fn present(&self, batch: Batch, scope: &Scope, name: &FunctionName) -> Batch {
        batch.require(TABLE, encoded(scope, name).as_bytes(), Precondition::Present)
    }

    /// Stores a new function, and with it what the batch holds.
    pub async fn insert(&self, function: &Function, with: Batch) -> Result<Arc<Function>, FunctionError> {
        let key = encoded(&function.scope, &function.name);
        let batch = with.require(TABLE, key.as_bytes(), Precondition::Absent);
        match self.state.commit(batch.put(TABLE, key.as_bytes(), encode(function)?)).await {
            Ok(()) => {
                self.refresh(&function.scope, &function.name)?;
                self.get(&function.scope, &function.name)
            }
            Err(StateError::Conflict { .. }) => Err(FunctionError::Exists(function.name.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores what `change` makes of a function, and with it what its batch holds.
    pub async fn update(
        &self,
        scope: &Scope,
        name: &FunctionName,
        change: impl FnOnce(Function) -> Result<(Function, Batch), FunctionError> + Send,
    ) -> Result<Arc<Function>, FunctionError> {
        let key = encoded(scope, name);
        let stored = self.state.get(TABLE, key.as_bytes())?.ok_or_else(|| FunctionError::NotFound(arn(scope, name)))?;
        let (changed, with) = change(decode(key.as_bytes(), &stored)?)?;
        let batch = with.require(TABLE, key.as_bytes(), Precondition::Equals(stored));
        match self.state.commit(batch.put(TABLE, key.as_bytes(), encode(&changed)?)).await {
            Ok(()) => {
                self.refresh(scope, name)?;
                self.get(scope, name)
            }
            Err(StateError::Conflict { .. }) => Err(FunctionError::Changing(name.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets a function, and does with it what the batch holds.
    pub async fn remove(&self, scope: &Scope, name: &FunctionName, with: Batch) -> Result<(), FunctionError> {
        let key = encoded(scope, name);
        let batch = with.require(TABLE, key.as_bytes(), Precondition::Present);
        match self.state.commit(batch.delete(TABLE, key.as_bytes())).await {
            Ok(()) => self.refresh(scope, name),
            Err(StateError::Conflict { .. }) => Err(FunctionError::NotFound(arn(scope, name))),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes over what is stored. Under the lock, so that of two changes the later one is what stays.
    fn refresh(&self, scope: &Scope, name: &FunctionName) -> Result<(), FunctionError> {
        let key = encoded(scope, name);
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        match self.state.get(TABLE, key.as_bytes())? {
            Some(stored) => {
                let function = decode(key.as_bytes(), &stored)?;
                functions.insert((scope.clone(), name.clone()), Arc::new(function));
            }
            None => _ = functions.remove(&(scope.clone(), name.clone())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first release wrote it: to be read for ever.
    const FIRST_FORMAT: &str = r#"{"v":1,"scope":{"account":"000000000000","region":"us-east-1"},"name":"alert","settings":{"runtime":"python3.12","role":"arn:aws:iam::000000000000:role/r","handler":"app.handler","description":"","timeout":3,"memory":128,"variables":{"STAGE":"test"}},"code":{"sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","size":22},"revision":"5a3bb6b2-0000-4000-8000-000000000001","last_modified":1795407905221,"tags":{}}"#;

    #[test]
    fn the_first_format_is_read_and_written() {
        let function = decode(b"key", FIRST_FORMAT.as_bytes()).unwrap();
        assert_eq!(function.settings.timeout.secs(), 3);
        assert_eq!(String::from_utf8(encode(&function).unwrap()).unwrap(), FIRST_FORMAT);
    }

    #[test]
    fn another_format_or_a_value_out_of_range_is_corrupt_and_named() {
        for (from, to) in [("\"v\":1", "\"v\":2"), ("\"timeout\":3", "\"timeout\":0"), ("python3.12", "perl5")] {
            let error = decode(b"000000000000/us-east-1/alert", FIRST_FORMAT.replace(from, to).as_bytes()).unwrap_err();
            assert!(matches!(error, FunctionError::Corrupt { .. }));
            assert!(error.to_string().contains("us-east-1/alert"), "{error}");
        }
    }
}
