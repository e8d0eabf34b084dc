//! Events into a bus's log.
//!
//! Owns the append, plain and repeatable. Promises that what is answered is durable, and that a repeatable intake adds
//! an event once. Must not know where events come from.

use std::collections::HashSet;

use base::{BusName, Event, HashKey, Scope, Timestamp};
use log::{Append, LogError, NewRecord, ReadLimit, Shard, Stream};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::dispatch::{event_data, event_key};
use super::seen::{Recent, id_number};
use super::{Buses, stream_key};
use crate::{FlowError, metrics};

impl Buses {
    /// Puts events on a bus; `Ok` means that all are durable. The bus must exist.
    pub async fn put_events(&self, scope: &Scope, bus: &BusName, events: &[Event]) -> Result<(), FlowError> {
        self.bus(scope, bus)?;
        let stream = self.stream(scope, bus).await?;
        let records = records(only_shard(&stream)?, events.iter().map(|event| (event, None)))?;
        self.append(bus, records).await
    }

    /// An event as it is appended to a bus's log, for whoever writes it together with other records. None while nobody has
    /// used the bus: then nobody sees what is put on it.
    pub fn beside(&self, scope: &Scope, bus: &BusName, event: &Event) -> Result<Option<NewRecord>, FlowError> {
        let stream = match self.log().stream(&stream_key(scope, bus)) {
            Err(LogError::StreamNotFound(_)) => return Ok(None),
            stream => stream?,
        };
        metrics::bus_events(bus.as_str(), 1);
        Ok(records(only_shard(&stream)?, std::iter::once((event, None)))?.pop())
    }

    /// Puts those events on a bus whose ids are not in its log yet, and says for each whether it was new. An event that
    /// is there twice in one call is put once. The memory reaches as far back as the bus's retention.
    pub async fn put_new_events(&self, scope: &Scope, bus: &BusName, events: &[Event]) -> Result<Vec<bool>, FlowError> {
        self.bus(scope, bus)?;
        let active = self.active(scope, bus);
        let stream = self.stream(scope, bus).await?;
        let Ok((turn, recent)) = active.seen.turn().await else {
            return Err(FlowError::Log(LogError::Closed));
        };
        let mut recent = match recent {
            Some(recent) => recent,
            None => Recent::load(self.state(), &stream)?,
        };
        let ports = &self.inner.ports;
        let oldest = ports.consumers.env.clock.now() - ports.retention;
        self.catch_up(&mut recent, &stream, oldest).await?;
        let mut here = HashSet::new();
        let mut new = Vec::with_capacity(events.len());
        let mut chosen = Vec::new();
        for event in events {
            let id = id_number(&event.id);
            let is_new = here.insert(id) && !recent.knows(self.state(), id, oldest)?;
            new.push(is_new);
            if is_new {
                chosen.push((event, Some(id)));
            }
        }
        let records = records(only_shard(&stream)?, chosen.into_iter())?;
        self.append_to_its_end(bus, records, turn).await?;
        active.seen.keep(recent);
        Ok(new)
    }

    /// Appends and then gives the turn back, also when the caller has gone meanwhile: the next turn must not look
    /// before it is decided whether these records are there.
    async fn append_to_its_end(
        &self,
        bus: &BusName,
        records: Vec<NewRecord>,
        turn: OwnedSemaphorePermit,
    ) -> Result<(), FlowError> {
        let (this, name, (answer, ended)) = (self.clone(), bus.clone(), oneshot::channel());
        self.inner.group.spawn_infallible(format!("bus-intake:{bus}"), async move {
            let result = this.append(&name, records).await;
            drop(turn);
            // A caller that has gone does not care.
            let _ = answer.send(result);
        });
        ended.await.unwrap_or(Err(FlowError::Log(LogError::Closed)))
    }

    async fn append(&self, bus: &BusName, records: Vec<NewRecord>) -> Result<(), FlowError> {
        if records.is_empty() {
            return Ok(());
        }
        metrics::bus_events(bus.as_str(), records.len());
        self.log().append(Append { producer: None, records }).await?;
        Ok(())
    }

    /// Reads the ids of what was appended since the last time.
    async fn catch_up(&self, recent: &mut Recent, stream: &Stream, oldest: Timestamp) -> Result<(), FlowError> {
        let shard = only_shard(stream)?;
        loop {
            let limit = ReadLimit { records: 10_000, bytes: 8 << 20 };
            let slice = self.log().read(shard.slot, recent.read_to(), limit).await?;
            recent.add(&slice.records, slice.next);
            recent.file(self.state(), oldest).await?;
            if slice.records.is_empty() {
                return Ok(());
            }
        }
    }
}

/// A bus's log has one shard.
fn only_shard(stream: &Stream) -> Result<&Shard, FlowError> {
    stream.shards.first().ok_or_else(|| FlowError::NotFound(format!("{} has no log", stream.key)))
}

fn records<'a>(
    shard: &Shard,
    events: impl Iterator<Item = (&'a Event, Option<HashKey>)>,
) -> Result<Vec<NewRecord>, FlowError> {
    events
        .map(|(event, explicit_hash_key)| {
            let partition_key =
                event_key(event).ok_or_else(|| FlowError::Invalid("an event needs an id".to_owned()))?;
            Ok(NewRecord { shard: shard.slot, partition_key, explicit_hash_key, data: event_data(event) })
        })
        .collect()
}
