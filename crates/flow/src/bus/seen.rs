//! The memory of event ids that lets an intake be repeated.
//!
//! Owns a table of ids in the state store and the few that are not in it yet. Promises that an event whose append was
//! acknowledged is known for the bus's retention, also after a crash at any moment, and that memory is bounded whatever
//! the number of events. Must not know where events come from.
//!
//! The bus's log is the truth: a record that was put repeatably carries its id's number as explicit hash key. The table
//! lags behind it, up to a position that is written in the same commit as the ids; what lies after that position is
//! read from the log before anyone asks. Ids that are too old are removed on the way: each commit also looks at twice as
//! many rows as it adds, so that the table holds at most half more than the retention asks for.
//!
//! ```text
//! flow.bus_ids   bus (16 bytes)                → position up to which the log's ids are in the table, u64 big endian
//!                bus (16 bytes), id (16 bytes) → arrival in milliseconds, i64 big endian
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::{Batch, HashKey, Position, StateError, StateStore, Table, Timestamp};
use log::{Record, Stream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::producer::producer_id;

const TABLE: Table = Table("flow.bus_ids");

/// Ids that are held in memory at most, but for those of one read of the log; then they are filed.
const HELD_IDS: usize = 4_000;
/// Rows that are looked at for their age when ids are filed.
const SWEPT_ROWS: usize = 2 * HELD_IDS;

/// The memory of one bus, and whose turn it is.
pub(super) struct Seen {
    /// One repeatable intake at a time: from looking at the ids until the append has ended nobody else may look.
    turn: Arc<Semaphore>,
    /// Taken for a turn. When a turn ends early it is gone, and read again from table and log.
    recent: Mutex<Option<Recent>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), recent: Mutex::new(None) }
    }
}

impl Seen {
    /// Waits for a turn, and gives it with what is remembered in memory.
    pub async fn turn(&self) -> Result<(OwnedSemaphorePermit, Option<Recent>), AcquireError> {
        let permit = Arc::clone(&self.turn).acquire_owned().await?;
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok((permit, recent))
    }

    /// Keeps what is remembered for the next turn.
    pub fn keep(&self, recent: Recent) {
        *self.recent.lock().unwrap_or_else(PoisonError::into_inner) = Some(recent);
    }
}

/// The number by which an event id is remembered.
pub(super) fn id_number(id: &str) -> HashKey {
    HashKey(producer_id(&[b"event", id.as_bytes()]).0)
}

/// When the event of an id arrived, if the table knows it.
pub(super) fn arrival_of(state: &dyn StateStore, stream: &Stream, id: &str) -> Result<Option<Timestamp>, StateError> {
    let key = [bus_number(stream), id_number(id).0.to_be_bytes()].concat();
    state.get(TABLE, &key)?.map(|bytes| arrival(&bytes)).transpose()
}

/// Up to where the table knows the ids of a bus's log.
pub(super) fn filed_to(state: &dyn StateStore, stream: &Stream) -> Result<Position, StateError> {
    match state.get(TABLE, &bus_number(stream))? {
        Some(bytes) => Ok(Position::new(u64::from_be_bytes(fixed(&bytes)?))),
        None => Ok(Position::ZERO),
    }
}

fn bus_number(stream: &Stream) -> [u8; 16] {
    let number = producer_id(&[b"bus", stream.key.to_string().as_bytes(), &stream.id.number().to_be_bytes()]);
    number.0.to_be_bytes()
}

/// The ids that are not in the table yet, and how far log and table go.
pub(super) struct Recent {
    bus: [u8; 16],
    ids: HashMap<u128, Timestamp>,
    /// Ids of records before this position are held or filed.
    read_to: Position,
    /// Where the search for old rows goes on.
    swept_to: Option<Vec<u8>>,
}

impl Recent {
    /// What the table says of the bus whose log this is.
    pub fn load(state: &dyn StateStore, stream: &Stream) -> Result<Self, StateError> {
        let read_to = filed_to(state, stream)?;
        Ok(Self { bus: bus_number(stream), ids: HashMap::new(), read_to, swept_to: None })
    }

    /// From where the log is to be read.
    pub fn read_to(&self) -> Position {
        self.read_to
    }

    /// Takes a part of the log, up to `next`.
    pub fn add(&mut self, records: &[Record], next: Position) {
        for record in records {
            if let Some(HashKey(id)) = record.explicit_hash_key {
                self.ids.insert(id, record.arrival);
            }
        }
        self.read_to = next;
    }

    /// Whether an event of this id arrived at `oldest` or later.
    pub fn knows(&self, state: &dyn StateStore, id: HashKey, oldest: Timestamp) -> Result<bool, StateError> {
        if let Some(arrival) = self.ids.get(&id.0) {
            return Ok(*arrival >= oldest);
        }
        let row = state.get(TABLE, &self.key(id.0))?;
        row.map_or(Ok(false), |bytes| Ok(arrival(&bytes)? >= oldest))
    }

    /// Moves the ids into the table when they are many, and removes old ones there.
    pub async fn file(&mut self, state: &dyn StateStore, oldest: Timestamp) -> Result<(), StateError> {
        if self.ids.len() < HELD_IDS {
            return Ok(());
        }
        let mut batch = Batch::new();
        let rows = state.scan(TABLE, &self.bus, self.swept_to.as_deref(), SWEPT_ROWS)?;
        let next_sweep = rows.last().filter(|_| rows.len() == SWEPT_ROWS).map(|(key, _)| key.clone());
        for (key, value) in rows {
            if key.len() > self.bus.len() && arrival(&value)? < oldest {
                batch = batch.delete(TABLE, key);
            }
        }
        for (id, arrival) in &self.ids {
            batch = batch.put(TABLE, self.key(*id), arrival.millis().to_be_bytes());
        }
        state.commit(batch.put(TABLE, self.bus, self.read_to.get().to_be_bytes())).await?;
        self.swept_to = next_sweep;
        self.ids.clear();
        Ok(())
    }

    fn key(&self, id: u128) -> Vec<u8> {
        [self.bus, id.to_be_bytes()].concat()
    }
}

fn arrival(bytes: &[u8]) -> Result<Timestamp, StateError> {
    Ok(Timestamp::from_millis(i64::from_be_bytes(fixed(bytes)?)))
}

fn fixed(bytes: &[u8]) -> Result<[u8; 8], StateError> {
    bytes.try_into().map_err(|_| StateError::Corrupt(format!("a row of {} has {} bytes", TABLE.0, bytes.len())))
}
