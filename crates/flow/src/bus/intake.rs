//! Events into a bus's log.
//!
//! Owns the append, and the memory of event ids that lets an intake be repeated: the ids of all events in the bus's
//! log, read from the log itself, so that they are exactly as durable as the events.
//! Must not know where events come from.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::{BusName, Event, Position, Scope, Timestamp};
use log::{Append, NewRecord, ReadLimit, ShardRef};
use tokio::sync::Semaphore;

use super::dispatch::{event_data, event_key};
use super::{Active, Buses};
use crate::producer::producer_id;
use crate::{FlowError, metrics};

/// Ids of the events in a bus's log.
pub(super) struct Seen {
    /// One repeatable intake at a time: between looking at the ids and the append nobody else may look.
    turn: Semaphore,
    ids: Mutex<Option<Ids>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), ids: Mutex::new(None) }
    }
}

#[derive(Default)]
struct Ids {
    known: HashSet<u128>,
    by_arrival: VecDeque<(Timestamp, u128)>,
    /// The log has been read up to here.
    read_to: Position,
}

impl Ids {
    fn add(&mut self, arrival: Timestamp, id: u128) {
        if self.known.insert(id) {
            self.by_arrival.push_back((arrival, id));
        }
    }

    fn forget_before(&mut self, time: Timestamp) {
        while let Some((_, id)) = self.by_arrival.pop_front_if(|(arrival, _)| *arrival < time) {
            self.known.remove(&id);
        }
    }
}

fn id_number(id: &str) -> u128 {
    producer_id(&[b"event", id.as_bytes()]).0
}

impl Buses {
    /// Puts events on a bus; `Ok` means that all are durable. The bus must exist.
    pub async fn put_events(&self, scope: &Scope, bus: &BusName, events: &[Event]) -> Result<(), FlowError> {
        self.bus(scope, bus)?;
        let shard = self.only_shard(scope, bus).await?;
        self.append(bus, shard, events.iter()).await
    }

    /// Puts those events on a bus whose ids are not in its log yet, and says for each whether it was new. An event that
    /// is there twice in one call is put once. The memory reaches as far back as the bus's retention.
    pub async fn put_new_events(&self, scope: &Scope, bus: &BusName, events: &[Event]) -> Result<Vec<bool>, FlowError> {
        self.bus(scope, bus)?;
        let active = self.active(scope, bus);
        let shard = self.only_shard(scope, bus).await?;
        let turn = active.seen.turn.acquire().await;
        self.catch_up(&active, shard).await?;
        let new = {
            let ids = active.seen.ids();
            let known = |id: &u128| ids.as_ref().is_some_and(|ids| ids.known.contains(id));
            let mut here = HashSet::new();
            let is_new = |event: &Event| {
                let id = id_number(&event.id);
                !known(&id) && here.insert(id)
            };
            events.iter().map(is_new).collect::<Vec<bool>>()
        };
        let chosen: Vec<&Event> = events.iter().zip(&new).filter(|(_, new)| **new).map(|(event, _)| event).collect();
        self.append(bus, shard, chosen.into_iter()).await?;
        // The ids are read back from the log by the next intake, so they are there even if this one ends here.
        drop(turn);
        Ok(new)
    }

    async fn only_shard(&self, scope: &Scope, bus: &BusName) -> Result<ShardRef, FlowError> {
        let stream = self.stream(scope, bus).await?;
        let shard = stream.shards.first().ok_or_else(|| FlowError::NotFound(format!("bus {bus} has no log")))?;
        Ok(shard.slot)
    }

    async fn append(
        &self,
        bus: &BusName,
        shard: ShardRef,
        events: impl Iterator<Item = &Event>,
    ) -> Result<(), FlowError> {
        let records: Vec<NewRecord> = events
            .map(|event| {
                let partition_key =
                    event_key(event).ok_or_else(|| FlowError::Invalid("an event needs an id".to_owned()))?;
                Ok(NewRecord { shard, partition_key, explicit_hash_key: None, data: event_data(event) })
            })
            .collect::<Result<_, FlowError>>()?;
        if records.is_empty() {
            return Ok(());
        }
        metrics::bus_events(bus.as_str(), records.len());
        self.log().append(Append { producer: None, records }).await?;
        Ok(())
    }

    /// Reads the ids of what was appended since the last time. An event's id is its record's partition key.
    async fn catch_up(&self, active: &Active, shard: ShardRef) -> Result<(), FlowError> {
        let mut from = active.seen.ids().as_ref().map_or(Position::ZERO, |ids| ids.read_to);
        loop {
            let slice = self.log().read(shard, from, ReadLimit { records: 10_000, bytes: 8 << 20 }).await?;
            let mut ids = active.seen.ids();
            let ids = ids.get_or_insert_default();
            for record in &slice.records {
                ids.add(record.arrival, id_number(record.partition_key.as_str()));
            }
            (ids.read_to, from) = (slice.next, slice.next);
            if slice.records.is_empty() {
                let ports = &self.inner.ports;
                ids.forget_before(ports.consumers.env.clock.now() - ports.retention);
                return Ok(());
            }
        }
    }
}

impl Seen {
    fn ids(&self) -> MutexGuard<'_, Option<Ids>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
