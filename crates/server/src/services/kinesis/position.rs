//! Where reading starts: the five kinds of starting positions that shard iterators and subscriptions share.

use base::{Position, SequenceNumber, Timestamp};
use log::{Log, Shard, Stream};
use wire::{Call, ServiceError};

use super::{failed, invalid};

/// A starting position as a call gives it.
pub(super) struct Start<'a> {
    /// The iterator type.
    pub kind: &'a str,
    pub number: Option<&'a str>,
    pub time: Option<Timestamp>,
    /// The operation's name, for its messages.
    pub operation: &'static str,
}

impl Start<'_> {
    /// The position from which a shard is read.
    pub async fn find(&self, log: &Log, call: &Call, stream: &Stream, shard: &Shard) -> Result<Position, ServiceError> {
        let failed = |error: log::LogError| failed(&call.scope, &stream.key.name, &error);
        if self.time.is_some() && self.kind != "AT_TIMESTAMP" {
            return Err(invalid(format!("A timestamp can only be given with AT_TIMESTAMP, not with {}", self.kind)));
        }
        match (self.kind, self.number) {
            ("TRIM_HORIZON", None) => Ok(Position::ZERO),
            ("LATEST", None) => Ok(log.tail(shard.slot).map_err(failed)?.next),
            ("AT_TIMESTAMP", None) => {
                let time = self.checked_time(call.now)?;
                log.position_at(shard.slot, time).await.map_err(failed)
            }
            ("AT_SEQUENCE_NUMBER", Some(text)) => self.checked_number(log, call, stream, shard, text),
            ("AFTER_SEQUENCE_NUMBER", Some(text)) => Ok(self.checked_number(log, call, stream, shard, text)?.next()),
            (kind, number) => Err(invalid(format!(
                "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) \
                 TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {kind} and {} \
                 StartingSequenceNumber.",
                if number.is_some() { "also a" } else { "no" }
            ))),
        }
    }

    fn checked_time(&self, now: Timestamp) -> Result<Timestamp, ServiceError> {
        let time = self.time.ok_or_else(|| {
            invalid(
                "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no \
                 timestamp parameter.",
            )
        })?;
        if time > now {
            return Err(invalid(format!(
                "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
                 timestampInMillis: {}, currentTimestampInMillis: {}",
                time.millis(),
                now.millis()
            )));
        }
        Ok(time)
    }

    /// The position of a number that was given out on this shard, its first and last ones included.
    fn checked_number(
        &self,
        log: &Log,
        call: &Call,
        stream: &Stream,
        shard: &Shard,
        text: &str,
    ) -> Result<Position, ServiceError> {
        let (name, account, operation) = (&stream.key.name, &call.scope.account, self.operation);
        let used = format!(
            "StartingSequenceNumber {text} used in {operation} on shard {} in stream {name} under account {account}",
            shard.id
        );
        let number: SequenceNumber = text.parse().map_err(|_| invalid(format!("{used} is invalid.")))?;
        if number.shard() != shard.id {
            return Err(invalid(format!(
                "Invalid StartingSequenceNumber. It encodes {}, while it was used in a call to a shard with {}",
                number.shard(),
                shard.id
            )));
        }
        let end = log.tail(shard.slot).map_err(|error| failed(&call.scope, name, &error))?.next;
        let is_last = shard.closed_at == Some(number.position());
        if !is_last && !(shard.opened_at..end).contains(&number.position()) {
            return Err(invalid(format!("{used} is invalid because it did not come from this stream.")));
        }
        Ok(number.position())
    }
}
