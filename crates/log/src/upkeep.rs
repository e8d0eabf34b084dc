//! What the journal does for itself in the background.
//!
//! Owns the healing of a poisoned writer, the index files of sealed segments, the removal of old snapshots and, on a
//! period, of what retention gives up.
//! Promises that each run can be repeated, and that a failed one is. Must not be in the way of appends.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base::{OnError, RetryPolicy};

use crate::core::Core;
use crate::files::Kind;
use crate::{LogError, metrics, retention, writer};

const RETRY: RetryPolicy = RetryPolicy {
    first_delay: Duration::from_millis(20),
    max_delay: Duration::from_secs(2),
    max_attempts: None,
    max_age: None,
};
/// The snapshot of the active segment and a spare one.
const SNAPSHOTS: usize = 2;

/// Runs the upkeep at once and then whenever it is woken, until the journal is closed or dropped. Retention is due on
/// its period, however often something else wakes this or fails meanwhile: a busy journal seals segments all the time.
pub(crate) fn start(core: &Arc<Core>) {
    let (weak, woken, stopping) = (Arc::downgrade(core), Arc::clone(&core.upkeep), core.tasks.stopping());
    let (clock, period) = (Arc::clone(&core.env.clock), core.config.retention_period);
    let due_at = Arc::new(Mutex::new(clock.instant() + period));
    core.upkeep.notify_one();
    core.tasks.spawn::<_, _, LogError>("journal upkeep", OnError::Restart(RETRY), move || {
        let (weak, woken, stopping) = (Weak::clone(&weak), Arc::clone(&woken), stopping.clone());
        let (clock, due_at) = (Arc::clone(&clock), Arc::clone(&due_at));
        async move {
            let mut first = true;
            loop {
                let at = *due_at.lock().unwrap_or_else(PoisonError::into_inner);
                tokio::select! {
                    () = woken.notified() => {}
                    () = clock.sleep(at.saturating_sub(clock.instant())) => {}
                    () = stopping.cancelled() => return Ok(()),
                }
                let Some(core) = weak.upgrade() else { return Ok(()) };
                let due = clock.instant() >= at;
                let (runtime, measure) = (core.runtime.clone(), due || std::mem::take(&mut first));
                let Ok(result) = runtime.spawn_blocking(move || run(&core, due, measure)).await else { return Ok(()) };
                if result.is_err() {
                    // The next attempt must not wait for a signal.
                    woken.notify_one();
                }
                result?;
                if due {
                    *due_at.lock().unwrap_or_else(PoisonError::into_inner) = clock.instant() + period;
                }
            }
        }
    });
}

/// One run. Whether retention is `due`, and whether the journal is to be measured, which opens every segment.
fn run(core: &Core, due: bool, measure: bool) -> Result<(), LogError> {
    let healed = writer::heal(core);
    // A writer that cannot go on may lack the room that retention gives back.
    let enforced = if due { retention::enforce(core) } else { Ok(()) };
    healed?;
    let sealed = core.view().sealed.clone();
    for segment in &sealed {
        let unsaved = segment.unsaved.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(index) = unsaved else { continue };
        let failed = LogError::io(format!("writing the index of segment {}", segment.first));
        core.files.write(segment.first, Kind::Index, &index.encode()).map_err(failed)?;
        core.indexes.insert(&index);
        *segment.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
    tidy(core)?;
    if measure {
        let segments = core.files.list()?.segments;
        let bytes = segments.iter().filter_map(|s| core.files.open_segment(*s).ok()?.len().ok()).sum();
        metrics::journal(segments.len(), bytes);
    }
    enforced
}

/// Removes old snapshots, and notes of deleted segments that nothing stands before.
fn tidy(core: &Core) -> Result<(), LogError> {
    let listing = core.files.list()?;
    for old in listing.snapshots.iter().rev().skip(SNAPSHOTS) {
        core.files.remove(*old, Kind::Snapshot)?;
    }
    let first = listing.segments.first().copied().unwrap_or_default();
    for gone in listing.gone.iter().filter(|g| **g < first) {
        core.files.remove(*gone, Kind::Gone)?;
    }
    for index in listing.indexes.difference(&listing.segments) {
        core.files.remove(*index, Kind::Index)?;
    }
    Ok(())
}
