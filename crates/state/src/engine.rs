//! The open database, reads on it, and what becomes of it when the disk fails.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use base::{Batch, Entry, Precondition, StateError, Table, Write};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};

type Bytes = &'static [u8];

/// How one batch of a transaction fared.
pub(crate) type Outcome = Result<(), StateError>;

pub(crate) struct Engine {
    /// The database, or why there is none any more.
    database: RwLock<Result<Arc<Database>, String>>,
}

impl Engine {
    pub(crate) fn new(database: Database) -> Self {
        Self { database: RwLock::new(Ok(Arc::new(database))) }
    }

    fn database(&self) -> Result<Arc<Database>, StateError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.as_ref().map(Arc::clone).map_err(|why| StateError::Unavailable(why.clone()))
    }

    /// Lets go of the database: nothing is answered from now on but `Unavailable`, for this reason or an earlier one.
    pub(crate) fn shut(&self, why: &str) -> StateError {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_ok() {
            *database = Err(why.to_owned());
        }
        StateError::Unavailable(database.as_ref().err().cloned().unwrap_or_default())
    }

    /// Why a batch that got no answer got none.
    pub(crate) fn unavailable(&self) -> StateError {
        self.database().err().unwrap_or_else(|| StateError::Unavailable("the store is closing".to_owned()))
    }

    fn poison(&self, error: redb::Error) -> StateError {
        if let redb::Error::Corrupted(message) = &error {
            tracing::error!(message, "the state file is corrupt");
            return StateError::Corrupt(message.clone());
        }
        tracing::error!(%error, "the state store failed; it takes nothing more until the server is started again");
        self.shut(&format!("it failed and must be opened anew: {error}"))
    }

    // ---- Reads ----

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let database = self.database()?;
        let read = || match open_for_read(&database.begin_read()?, table)? {
            Some(table) => Ok(table.get(key)?.map(|value| value.value().to_vec())),
            None => Ok(None),
        };
        read().map_err(|error| self.poison(error))
    }

    pub(crate) fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StateError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let database = self.database()?;
        let read = || {
            let mut found = Vec::new();
            let Some(table) = open_for_read(&database.begin_read()?, table)? else { return Ok(found) };
            for entry in table.range::<&[u8]>((start, Bound::Unbounded))?.take(limit) {
                let (key, value) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(found)
        };
        read().map_err(|error| self.poison(error))
    }

    // ---- Writes ----

    /// Writes the batches in one durable transaction and says how each fared. An error means that none may be
    /// acknowledged, nor refused: whether they are there the next open will tell.
    pub(crate) fn write<'a>(&self, batches: impl Iterator<Item = &'a Batch>) -> Result<Vec<Outcome>, StateError> {
        let database = self.database()?;
        write(&database, batches).map_err(|error| self.poison(error))
    }
}

fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.0)
}

/// The table, unless nothing was ever written to it.
fn open_for_read(
    transaction: &ReadTransaction,
    table: Table,
) -> Result<Option<redb::ReadOnlyTable<Bytes, Bytes>>, redb::Error> {
    match transaction.open_table(definition(table)) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn write<'a>(database: &Database, batches: impl Iterator<Item = &'a Batch>) -> Result<Vec<Outcome>, redb::Error> {
    // A transaction is durable at its commit unless told otherwise.
    let transaction = database.begin_write()?;
    let mut tables = Tables { transaction: &transaction, open: BTreeMap::new(), changed: false };
    let outcomes = batches.map(|batch| tables.apply(batch)).collect::<Result<Vec<_>, _>>()?;
    let changed = tables.changed;
    drop(tables);
    if changed {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(outcomes)
}

/// The tables that a transaction has touched.
struct Tables<'t> {
    transaction: &'t WriteTransaction,
    open: BTreeMap<Table, redb::Table<'t, Bytes, Bytes>>,
    changed: bool,
}

impl<'t> Tables<'t> {
    fn table(&mut self, table: Table) -> Result<&mut redb::Table<'t, Bytes, Bytes>, redb::Error> {
        use std::collections::btree_map::Entry;
        match self.open.entry(table) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(closed) => Ok(closed.insert(self.transaction.open_table(definition(table))?)),
        }
    }

    fn apply(&mut self, batch: &Batch) -> Result<Outcome, redb::Error> {
        for (table, key, condition) in &batch.preconditions {
            let value = self.table(*table)?.get(key.as_slice())?;
            let holds = match condition {
                Precondition::Absent => value.is_none(),
                Precondition::Present => value.is_some(),
                Precondition::Equals(expected) => value.is_some_and(|value| value.value() == expected),
            };
            if !holds {
                return Ok(Err(StateError::Conflict { table: table.0 }));
            }
        }
        for write in &batch.writes {
            match write {
                Write::Put(table, key, value) => {
                    self.table(*table)?.insert(key.as_slice(), value.as_slice())?;
                }
                Write::Delete(table, key) => {
                    self.table(*table)?.remove(key.as_slice())?;
                }
            }
            self.changed = true;
        }
        Ok(Ok(()))
    }
}
