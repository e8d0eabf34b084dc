//! What consumers do with what they received: delete it, or keep it for a shorter or longer time; and purging.
//!
//! Promises that a message which was deleted by any of its receipts stays deleted, and that a receipt changes a
//! message's time only while it is the last. Of a FIFO queue a receipt whose time is over does nothing. Must not know
//! error codes.

use std::time::Duration;

use super::change::Change;
use super::live::{Draft, Live};
use super::shelf::Holding;
use crate::{FlowError, metrics};

/// The longest time that a message is invisible after it was received.
const MOST_INVISIBLE: Duration = Duration::from_secs(43_200);
/// How often a queue can be purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// What became of a request about one receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is done, or there was nothing left to do.
    Done,
    /// The handle is none of this queue's.
    NoHandle,
    /// The receipt's time is over (FIFO).
    Expired,
    /// The message is visible again, and nobody received it since.
    NotInFlight,
    /// The message is not there, or was received again since.
    Stale,
    /// The message would be invisible for more than twelve hours after it was received.
    TooLong,
}

/// Deletes messages by their receipts.
pub(super) async fn delete(live: &Live, handles: &[String]) -> Result<Vec<Settled>, FlowError> {
    let fifo = live.info().attributes.fifo.is_some();
    let receipts: Vec<_> = handles.iter().map(|handle| live.shared.handles.read(live.stream, handle)).collect();
    let changed = live.change(|inner| {
        live.pass(inner);
        let (mut settled, mut leaving) = (Vec::with_capacity(receipts.len()), Vec::new());
        for receipt in &receipts {
            let Some(receipt) = receipt else {
                settled.push(Settled::NoHandle);
                continue;
            };
            settled.push(match inner.shelf.holding(receipt.message, receipt.receives) {
                Holding::Gone => Settled::Done,
                Holding::Newer | Holding::Over if fifo => Settled::Expired,
                // An earlier receipt deletes as well: whoever holds it has dealt with the message.
                Holding::Newer | Holding::Held | Holding::Over => {
                    leaving.push(receipt.message);
                    Settled::Done
                }
            });
        }
        if leaving.is_empty() {
            return Ok((None, (settled, 0)));
        }
        let mut draft = Draft::default();
        draft.changes(live, leaving.iter().map(|message| Change::Deleted { message: *message }).collect())?;
        let underway = live.begin(inner, draft)?;
        for message in &leaving {
            inner.shelf.leave(*message);
            inner.attempts.changed(*message);
        }
        Ok((Some(underway), (settled, leaving.len())))
    });
    let (_, (settled, deleted)) = changed.await?;
    metrics::queue_deleted(live.arn.resource(), deleted);
    Ok(settled)
}

/// Sets how long messages stay invisible from now on.
pub(super) async fn defer(live: &Live, asked: &[(String, Duration)]) -> Result<Vec<Settled>, FlowError> {
    let read = |(handle, time): &(String, Duration)| (live.shared.handles.read(live.stream, handle), *time);
    let receipts: Vec<_> = asked.iter().map(read).collect();
    let changed = live.change(|inner| {
        let now = live.shared.now();
        live.pass(inner);
        let (mut settled, mut changes) = (Vec::with_capacity(receipts.len()), Vec::new());
        for (receipt, time) in &receipts {
            let Some(receipt) = receipt else {
                settled.push(Settled::NoHandle);
                continue;
            };
            let (message, receives) = (receipt.message, receipt.receives);
            let received = inner.shelf.received(message).map_or(now, |(received, _)| received);
            settled.push(match inner.shelf.holding(message, receives) {
                Holding::Held if now.since(received) + *time > MOST_INVISIBLE => Settled::TooLong,
                Holding::Held => {
                    changes.push(Change::Deferred { message, receives, until: now + *time });
                    Settled::Done
                }
                Holding::Over => Settled::NotInFlight,
                Holding::Gone | Holding::Newer => Settled::Stale,
            });
        }
        if changes.is_empty() {
            return Ok((None, settled));
        }
        let mut draft = Draft::default();
        draft.changes(live, changes.clone())?;
        let underway = live.begin(inner, draft)?;
        // At once, so that what is kept longer does not become visible before that is durable.
        let at = inner.applied_to;
        for change in changes {
            if let Change::Deferred { message, .. } = change {
                inner.attempts.changed(message);
            }
            inner.shelf.apply(change, at);
        }
        Ok((Some(underway), settled))
    });
    Ok(changed.await?.1)
}

/// Deletes all messages. Those that are sent meanwhile stay or go.
pub(super) async fn purge(live: &Live) -> Result<(), FlowError> {
    let changed = live.change(|inner| {
        let now = live.shared.now();
        if inner.purged.is_some_and(|purged| now.since(purged) < PURGE_INTERVAL) {
            let name = live.arn.resource();
            let message = format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds.");
            return Err(FlowError::Conflict(message));
        }
        let mut draft = Draft::default();
        draft.changes(live, vec![Change::Purged])?;
        let underway = live.begin(inner, draft)?;
        (inner.purged, inner.purging) = (Some(now), inner.purging + 1);
        Ok((Some(underway), ()))
    });
    changed.await.map(drop)
}
