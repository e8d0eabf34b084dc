//! Deleting what nobody may read any more.
//!
//! Owns the decision when a segment goes: when every shard with records in it is deleted, or when even the segment's
//! newest arrival is past that shard's retention. Promises that a jump of the wall clock deletes nothing: after a jump
//! forward the clock is believed only once it has gone on steadily. Must not know how records are read.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base::Timestamp;

use crate::core::Core;
use crate::files::Kind;
use crate::read::index_of;
use crate::view::{Holds, Sealed, View};
use crate::{LogError, ShardRef, metrics};

/// A difference between wall and monotonic time that is no jump.
const TOLERANCE: Duration = Duration::from_secs(300);
/// How long a clock that jumped forward is not believed.
const DOUBT: Duration = Duration::from_secs(3_600);

/// The wall clock as far as it can be believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SteadyClock {
    wall: Timestamp,
    instant: Duration,
    doubted_until: Duration,
}

impl SteadyClock {
    pub fn new(wall: Timestamp, instant: Duration) -> Self {
        Self { wall, instant, doubted_until: Duration::ZERO }
    }

    /// The time by which to delete; none while the clock is in doubt.
    pub fn step(&mut self, wall: Timestamp, instant: Duration) -> Option<Timestamp> {
        let expected = self.wall + instant.saturating_sub(self.instant);
        if wall.since(expected) > TOLERANCE {
            self.doubted_until = instant + DOUBT;
        }
        (self.wall, self.instant) = (wall, instant);
        (instant >= self.doubted_until).then_some(wall)
    }
}

/// Deletes the sealed segments that nobody may read any more. Idempotent. Blocks.
pub(crate) fn enforce(core: &Core) -> Result<(), LogError> {
    let step =
        |mut clock: std::sync::MutexGuard<'_, SteadyClock>| clock.step(core.env.clock.now(), core.env.clock.instant());
    let Some(now) = step(core.steady.lock().unwrap_or_else(PoisonError::into_inner)) else {
        tracing::warn!("the wall clock jumped forward; nothing is deleted until it has been steady for an hour");
        return Ok(());
    };
    // The newest sealed segment stays: the snapshot before it is the spare one.
    let sealed = core.view().sealed.clone();
    let mut oldest = true;
    for segment in sealed.iter().take(sealed.len().saturating_sub(1)) {
        let holds = holds(core, segment)?;
        let unreadable = unreadable(&core.view(), holds, now);
        if unreadable {
            delete(core, segment, oldest)?;
        } else {
            oldest = false;
        }
    }
    Ok(())
}

/// Asks the index once; what it says of a sealed segment never changes.
fn holds<'a>(core: &Core, segment: &'a Sealed) -> Result<&'a Holds, LogError> {
    if let Some(holds) = segment.holds.get() {
        return Ok(holds);
    }
    let index = index_of(core, segment)?;
    let lost = index.damages.iter().filter_map(|d| d.shards.as_ref()).flatten().copied();
    Ok(segment.holds.get_or_init(|| Holds {
        newest: index.arrivals.map(|(_, newest)| newest),
        shards: index.shards().chain(lost).collect(),
        unknown: index.damages.iter().any(|d| d.shards.is_none()),
    }))
}

fn unreadable(view: &View, holds: &Holds, now: Timestamp) -> bool {
    let gone = |shard: &ShardRef| match (view.shard(*shard), holds.newest) {
        (Err(_), _) => true,
        (Ok(state), Some(newest)) => state.expired(newest, now),
        // Nothing but damage: when it arrived is not known, so it stays.
        (Ok(_), None) => false,
    };
    // Damage of unknown shards goes with what is around it.
    !(holds.unknown && holds.newest.is_none()) && holds.shards.iter().all(gone)
}

fn delete(core: &Core, segment: &Arc<Sealed>, oldest: bool) -> Result<(), LogError> {
    tracing::info!(segment = %segment.first, end = %segment.end, "retention deletes a segment");
    core.publish().sealed.retain(|s| s.first != segment.first);
    core.indexes.remove(segment.first);
    core.files.forget(segment.first);
    if !oldest {
        // The segment before must go on knowing where it ends.
        let failed = LogError::io(format!("noting that segment {} is gone", segment.first));
        core.files.write(segment.first, Kind::Gone, &[]).map_err(failed)?;
    }
    for kind in [Kind::Segment, Kind::Index, Kind::Snapshot] {
        core.files.remove(segment.first, kind)?;
    }
    core.files.sync_names()?;
    metrics::segment_deleted();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_forward_is_doubted_for_an_hour() {
        let secs = Duration::from_secs;
        let at = |s: i64| Timestamp::from_millis(s * 1_000);
        let mut clock = SteadyClock::new(at(1_000), secs(0));
        assert_eq!(clock.step(at(1_060), secs(60)), Some(at(1_060)));
        assert_eq!(clock.step(at(1_000_000), secs(120)), None);
        assert_eq!(clock.step(at(1_003_000), secs(3_120)), None);
        assert_eq!(clock.step(at(1_003_600), secs(3_720)), Some(at(1_003_600)));
        assert_eq!(clock.step(at(500), secs(3_780)), Some(at(500)), "a clock set back deletes nothing anyway");
    }
}
