//! Buses as targets: `arn:aws:events:REGION:ACCOUNT:event-bus/NAME`.
//!
//! Promises that a forwarded event keeps its id and everything in it, and that it passes no more than [`MAX_HOPS`]
//! buses: rules that send in a circle end. How many it passed stands behind its id in the record's partition key.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{
    Arn, BusName, Delivery, ErrorKind, Kinded, PartitionKey, Position, ProducerId, Scope, StateStore, Target,
    TargetError,
};
use log::{Log, LogError, StreamSpec};

use super::{config, stream_key};
use crate::FlowError;
use crate::metrics;
use crate::router::{append_once, before_append, taken_by, target_error};

/// Buses that an event may be forwarded to, one after the other. The service bounds only how many accounts and regions
/// an event may pass.
pub(super) const MAX_HOPS: u32 = 8;
/// Between an event's id and the number of buses that it was forwarded to.
const HOPS: char = '\u{1f}';

/// The id in a record's key, and how often the event was forwarded.
pub(super) fn id_and_hops(key: &PartitionKey) -> (&str, u32) {
    match key.as_str().rsplit_once(HOPS) {
        Some((id, hops)) => (id, hops.parse().unwrap_or(MAX_HOPS)),
        None => (key.as_str(), 0),
    }
}

/// The key of an event that is forwarded once more; `None` when it was often enough.
pub(super) fn forwarded(key: &PartitionKey) -> Option<PartitionKey> {
    let (id, hops) = id_and_hops(key);
    let next = hops.checked_add(1).filter(|next| *next <= MAX_HOPS)?;
    // The key keeps its bound of 256 characters; an id of the service has 36.
    let id: String = id.chars().take(250).collect();
    format!("{id}{HOPS}{next}").parse().ok()
}

/// Delivers to buses.
pub struct BusTarget {
    log: Log,
    state: Arc<dyn StateStore>,
    retention: Duration,
}

impl BusTarget {
    pub(crate) fn new(log: &Log, state: &Arc<dyn StateStore>, retention: Duration) -> Self {
        Self { log: log.clone(), state: Arc::clone(state), retention }
    }

    fn name(to: &Arn) -> Result<(Scope, BusName), TargetError> {
        let invalid = || TargetError { kind: ErrorKind::Invalid, message: format!("{to} is not the ARN of a bus") };
        let name = to.resource_of("event-bus").ok_or_else(invalid)?.parse().map_err(|_| invalid())?;
        Ok((to.scope().ok_or_else(invalid)?, name))
    }

    fn bus(&self, to: &Arn) -> Result<(Scope, BusName), TargetError> {
        let (scope, name) = Self::name(to)?;
        let failed = |error: FlowError| TargetError { kind: before_append(error.kind()), message: error.to_string() };
        config::bus_of(&*self.state, &scope, &name).map_err(failed)?;
        Ok((scope, name))
    }
}

#[async_trait]
impl Target for BusTarget {
    async fn deliver(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        let (scope, bus) = self.bus(to)?;
        let failed = |error: LogError| target_error(to, &error);
        let spec = StreamSpec { shards: 1, retention: self.retention };
        let stream = self.log.ensure_stream(&stream_key(&scope, &bus), spec).await.map_err(failed)?;
        let appended = append_once(&self.log, &stream, producer, batch, |delivery| {
            let key = delivery.partition_key.clone().or_else(|| bus.as_str().parse().ok());
            (key.unwrap_or_else(|| unreachable!("a bus's name is a valid key")), delivery.payload.clone())
        });
        appended.await.map_err(failed)?;
        metrics::bus_events(bus.as_str(), batch.len());
        Ok(())
    }

    async fn check(&self, to: &Arn) -> Result<(), TargetError> {
        self.bus(to).map(drop)
    }

    fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        let (scope, bus) = Self::name(to).ok()?;
        taken_by(&self.log, &stream_key(&scope, &bus), producer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_forwarded_so_often_and_keeps_its_id() {
        let mut key: PartitionKey = "e-1".parse().unwrap();
        for hops in 1..=MAX_HOPS {
            key = forwarded(&key).unwrap();
            assert_eq!(id_and_hops(&key), ("e-1", hops));
        }
        assert_eq!(forwarded(&key), None);
    }
}
