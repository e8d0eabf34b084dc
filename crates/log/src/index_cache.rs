//! Indexes of sealed segments in memory.
//!
//! Owns which are kept. Promises a bound in bytes, however many segments are read. Must not know where they come from.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::Position;

use crate::index::SegmentIndex;

#[derive(Default)]
struct State {
    entries: HashMap<Position, (Arc<SegmentIndex>, u64)>,
    bytes: usize,
    clock: u64,
}

/// See the module.
pub(crate) struct IndexCache {
    state: Mutex<State>,
    limit: usize,
}

impl IndexCache {
    pub fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), limit }
    }

    /// A segment's index, if it is kept.
    pub fn get(&self, first: Position) -> Option<Arc<SegmentIndex>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let now = state.clock;
        let (index, used) = state.entries.get_mut(&first)?;
        *used = now;
        Some(Arc::clone(index))
    }

    /// Keeps an index; those not used for longest give way.
    pub fn insert(&self, index: &Arc<SegmentIndex>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let entry = (Arc::clone(index), state.clock);
        state.bytes += index.size();
        if let Some((old, _)) = state.entries.insert(index.first, entry) {
            state.bytes -= old.size();
        }
        while state.bytes > self.limit && state.entries.len() > 1 {
            let Some(oldest) = state.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(first, _)| *first) else {
                break;
            };
            state.remove(oldest);
        }
    }

    /// Forgets the index of a deleted segment.
    pub fn remove(&self, first: Position) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).remove(first);
    }
}

impl State {
    fn remove(&mut self, first: Position) {
        if let Some((index, _)) = self.entries.remove(&first) {
            self.bytes -= index.size();
        }
    }
}
