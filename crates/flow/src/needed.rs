//! From which position on a consumer needs its log.
//!
//! Some logs keep their records until every consumer has dealt with them, and not for a certain time. Owns the answer
//! to what that is. Promises that it counts only what is durable: after a crash nothing is missing that is handled
//! again, or that waits for another attempt. Must not know whose logs these are.

use std::time::Duration;

use base::{Position, ShardId, StateStore};
use log::StreamId;

use crate::checkpoint::Checkpoints;
use crate::{FlowError, spool};

/// The retention of a log that is let go only by those who read it.
pub(crate) const FOREVER: Duration = Duration::from_secs(1_000 * 366 * 86_400);

/// How often such logs are shortened.
pub(crate) const PERIOD: Duration = Duration::from_secs(60);

/// The first position that a consumer needs: its durable place, or the first record that waits for another attempt.
pub(crate) fn needed_from(
    state: &dyn StateStore,
    consumer: &str,
    stream: StreamId,
    shard: ShardId,
) -> Result<Position, FlowError> {
    // In this order: a record before the place had its row when the place was written, and may have lost it since.
    let place = Checkpoints::durable(state, consumer, stream, shard)?.unwrap_or(Position::ZERO);
    let waiting = spool::first(state, consumer, stream)?;
    Ok(waiting.map_or(place, |first| first.min(place)))
}
