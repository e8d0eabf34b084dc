//! Who may come to a stream while it ends.
//!
//! Promises that no consumer is registered on a stream between the moment at which its deletion finds none and the
//! stream's end: one of the two calls is refused. Must not know what either does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::{Stream, StreamId};
use wire::ServiceError;

use super::in_use;

/// What is under way on a stream.
#[derive(Debug, Default)]
struct UnderWay {
    registrations: usize,
    deletions: usize,
}

/// See the module. Only streams with something under way are in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Endings {
    streams: Arc<Mutex<HashMap<StreamId, UnderWay>>>,
}

/// One call that is under way, until it is dropped.
#[must_use]
pub(super) struct Passing {
    endings: Endings,
    stream: StreamId,
    is_deletion: bool,
}

impl Endings {
    /// Begins to register a consumer; none while the stream is being deleted.
    pub fn register(&self, stream: &Stream) -> Option<Passing> {
        let mut streams = self.streams();
        let under_way = streams.entry(stream.id).or_default();
        if under_way.deletions > 0 {
            return None;
        }
        under_way.registrations += 1;
        Some(Passing { endings: self.clone(), stream: stream.id, is_deletion: false })
    }

    /// Begins to delete a stream. None while a consumer is being registered, unless the deletion takes consumers along:
    /// then their registration finds the stream gone.
    pub fn delete(&self, stream: &Stream, with_consumers: bool) -> Option<Passing> {
        let mut streams = self.streams();
        let under_way = streams.entry(stream.id).or_default();
        if under_way.registrations > 0 && !with_consumers {
            return None;
        }
        under_way.deletions += 1;
        Some(Passing { endings: self.clone(), stream: stream.id, is_deletion: true })
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamId, UnderWay>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let mut streams = self.endings.streams();
        let Some(under_way) = streams.get_mut(&self.stream) else { return };
        let count = if self.is_deletion { &mut under_way.deletions } else { &mut under_way.registrations };
        *count = count.saturating_sub(1);
        if (under_way.registrations, under_way.deletions) == (0, 0) {
            streams.remove(&self.stream);
        }
    }
}

/// What is said of a stream that is being deleted.
pub(super) fn is_deleting(stream: &Stream) -> ServiceError {
    let (name, account) = (&stream.key.name, &stream.key.scope.account);
    in_use(format!("Stream {name} under account {account} not ACTIVE, instead in state DELETING"))
}
