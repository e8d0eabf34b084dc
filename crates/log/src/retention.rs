//! Deleting what nobody may read any more.
//!
//! Owns the decision when a segment goes: when every shard with records in it is gone, or when even the segment's
//! newest arrival is past that shard's retention, or nobody needs what that shard has in it; and when a closed shard
//! goes. Promises that a jump of the wall clock deletes nothing, because it judges by the clock that [`crate::clock`]
//! believes. Must not know how records are read.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use base::{Position, Timestamp};

use crate::catalogue::Wish;
use crate::core::Core;
use crate::files::Kind;
use crate::read::index_of;
use crate::view::{Holds, Sealed, View};
use crate::{LogError, Shard, ShardRef, Stream, metrics, writer};

/// Deletes the sealed segments that nobody may read any more, and forgets the closed shards whose records are all
/// past their retention. Idempotent. Blocks.
pub(crate) fn enforce(core: &Core) -> Result<(), LogError> {
    let _alone = core.enforcing.lock().unwrap_or_else(PoisonError::into_inner);
    let now = core.steady_now();
    // Neither can be written on a full disk, and only what follows makes room there: a failure is told afterwards.
    let noted = core.note_time();
    let forgotten = forget(core, now);
    delete_unreadable(core, now)?;
    noted.and(forgotten)
}

fn delete_unreadable(core: &Core, now: Timestamp) -> Result<(), LogError> {
    // The newest sealed segment stays: the snapshot before it is the spare one.
    let sealed = core.view().sealed.clone();
    let (mut oldest, mut result) = (true, Ok(()));
    for segment in sealed.iter().take(sealed.len().saturating_sub(1)) {
        // One that cannot be judged stays, and is told of, but those after it need not.
        let deleted = holds(core, segment).and_then(|holds| {
            let unreadable = unreadable(&core.view(), holds, segment.end, now);
            if unreadable { delete(core, segment, oldest).map(|()| true) } else { Ok(false) }
        });
        oldest &= matches!(deleted, Ok(true));
        result = result.and(deleted.map(drop));
    }
    result
}

/// Takes the closed shards out of the catalogue that neither have readable records nor were closed of late: so long, a
/// reader may still ask where they end.
fn forget(core: &Core, now: Timestamp) -> Result<(), LogError> {
    let wishes: Vec<_> = {
        let view = core.view();
        let forgettable = |shard: &Shard| {
            let state = view.shard(shard.slot).ok()?;
            let past = state.expired(shard.closed?, now) && state.last_arrival.is_none_or(|a| state.expired(a, now));
            past.then_some(shard.id)
        };
        let wish =
            |stream: &Arc<Stream>| Wish::Forget(stream.id, stream.shards.iter().filter_map(forgettable).collect());
        view.catalogue
            .all()
            .map(wish)
            .filter(|wish| !matches!(wish, Wish::Forget(_, shards) if shards.is_empty()))
            .collect()
    };
    wishes.into_iter().try_for_each(|wish| writer::change_blocking(core, wish))
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
        shards: spans(index.shards().chain(lost).collect()),
        unknown: index.damages.iter().any(|d| d.shards.is_none()),
    }))
}

/// The first and the last of shards that follow each other.
fn spans(shards: BTreeSet<ShardRef>) -> Box<[(ShardRef, ShardRef)]> {
    let mut spans: Vec<(ShardRef, ShardRef)> = Vec::new();
    for shard in shards {
        match spans.last_mut() {
            Some((_, last)) if last.0.checked_add(1) == Some(shard.0) => *last = shard,
            _ => spans.push((shard, shard)),
        }
    }
    spans.into()
}

fn unreadable(view: &View, holds: &Holds, end: Position, now: Timestamp) -> bool {
    let gone = |shard: u32| match (view.shard(ShardRef(shard)), holds.newest) {
        (Err(_), _) => true,
        // What lies in other shards behind a shard's last record is no concern of it.
        (Ok(state), _) if state.released >= end.min(state.next) => true,
        (Ok(state), Some(newest)) => state.expired(newest, now),
        // Nothing but damage: when it arrived is not known, so it stays.
        (Ok(_), None) => false,
    };
    // Damage of unknown shards goes with what is around it.
    !(holds.unknown && holds.newest.is_none()) && holds.shards.iter().all(|(first, last)| (first.0..=last.0).all(gone))
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
    fn shards_that_follow_each_other_take_no_room_each() {
        let spans = |shards: &[u32]| {
            let spans = spans(shards.iter().copied().map(ShardRef).collect());
            spans.iter().map(|(first, last)| (first.0, last.0)).collect::<Vec<_>>()
        };
        assert_eq!(spans(&(7..10_007).collect::<Vec<_>>()), [(7, 10_006)]);
        assert_eq!(spans(&[1, 3, 4, 9, u32::MAX]), [(1, 1), (3, 4), (9, 9), (u32::MAX, u32::MAX)]);
        assert_eq!(spans(&[]), []);
    }
}
