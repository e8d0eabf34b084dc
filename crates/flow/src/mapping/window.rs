//! Tumbling windows: what the function gave back is given to it with the next batch of the window.
//!
//! Owns the state of each shard's open window ("Implementing stateful Kinesis Data Streams processing in Lambda", Lambda
//! Developer Guide). Promises that it is the one of the records up to the place that is committed with it, in one row:
//! after a crash the function gets the state and the records that belong together.
//! Must not know when windows are closed: that is the consumer's step.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::{Arn, ShardId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::event::{Bounds, Tumbling};
use crate::checkpoint::Window;
use crate::consumer::Span;

/// Bytes of a state, at most; a larger one ends its window early.
pub(super) const MAX_STATE: usize = 1 << 20;
/// What a state and the window's members take of an event.
pub(super) const ROOM: usize = MAX_STATE + 1_024;

/// What no function has given anything back for yet.
const EMPTY: &str = "{}";

/// The open windows of a mapping's shards.
#[derive(Default)]
pub(super) struct Windows(Mutex<BTreeMap<ShardId, Window>>);

impl Windows {
    pub fn get(&self, shard: ShardId) -> Option<Window> {
        self.windows().get(&shard).cloned()
    }

    pub fn set(&self, shard: ShardId, window: Option<Window>) {
        match window {
            Some(window) => drop(self.windows().insert(shard, window)),
            None => drop(self.windows().remove(&shard)),
        }
    }

    /// The window of these bounds: the open one, or a new one.
    pub fn of(&self, shard: ShardId, span: Span) -> Window {
        let Span { start, end } = span;
        let open = self.get(shard).filter(|window| (window.start, window.end) == (start, end));
        open.unwrap_or_else(|| Window { start, end, state: EMPTY.to_owned() })
    }

    fn windows(&self) -> MutexGuard<'_, BTreeMap<ShardId, Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an event says of a window.
pub(super) fn tumbling<'a>(
    window: &'a Window,
    shard: ShardId,
    source: &'a Arn,
    (last, early): (bool, bool),
) -> Result<Tumbling<'a>, serde_json::Error> {
    Ok(Tumbling {
        window: Bounds { start: window.start.to_iso_secs(), end: window.end.to_iso_secs() },
        state: serde_json::from_str(&window.state)?,
        shard_id: shard.to_string(),
        event_source_arn: source,
        is_final_invoke_for_window: last,
        is_window_terminated_early: early,
    })
}

/// The state of a function's answer.
pub(super) fn state_of(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        state: &'a RawValue,
    }
    serde_json::from_slice::<Answer<'_>>(answer).ok().map(|answer| answer.state.get().to_owned())
}

/// The window with another state.
pub(super) fn with_state(window: Window, state: Option<String>) -> Window {
    Window { state: state.unwrap_or_else(|| EMPTY.to_owned()), ..window }
}
