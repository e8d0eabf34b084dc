//! A mapping's event counts, for those who ask for them ("Types of metrics for Lambda functions": event source mapping
//! metrics, Lambda Developer Guide).
//!
//! Promises that a record is counted as polled once while its mapping runs, however often it is handed over. Must not
//! know when anything is tried again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base::{Position, Timestamp};
use log::Record;

use super::settings::Mapping;
use super::stuck::Part;
use crate::metrics;

/// What became of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventCount {
    /// Read from the source.
    Polled,
    /// Wanted by no filter.
    FilteredOut,
    /// Handed to the function, once for each call.
    Invoked,
    /// Handed over in vain: the call could not be made, the function failed, or it reported them as failed.
    FailedInvoke,
    /// Given up by a limit of the mapping, without a destination that was told of them.
    Dropped,
    /// Given up, and told to the on-failure destination.
    OnFailureDestinationDelivered,
    /// Deleted from a queue after the function succeeded with them.
    Deleted,
}

/// The counters of one mapping. Those of none are silent.
#[derive(Default)]
pub(super) struct EventCounts {
    /// The function's name and the mapping's id.
    of: Option<(String, String)>,
    /// Whether events are counted.
    asked: bool,
    /// Up to where each lane's records are counted as polled.
    polled: Mutex<BTreeMap<Part, Position>>,
}

impl EventCounts {
    pub fn new(mapping: &Mapping) -> Self {
        let function = mapping.function.resource_of("function").and_then(|name| name.split(':').next());
        let of = Some((function.unwrap_or_default().to_owned(), mapping.id.clone()));
        let counts = Self { of, asked: mapping.event_counts, polled: Mutex::default() };
        // Shown as zero before the first: a rate can only be computed from a counter that is there.
        let counted = match super::queue::is_queue(&mapping.source) {
            true => EventCount::Deleted,
            false => EventCount::Dropped,
        };
        for count in [EventCount::Polled, EventCount::Invoked, EventCount::FailedInvoke, counted] {
            counts.add(count, 0);
        }
        counts
    }

    /// Counts events.
    pub fn add(&self, count: EventCount, events: usize) {
        if let Some((_, mapping)) = self.of.as_ref().filter(|_| self.asked) {
            metrics::event_count(mapping, count, events);
        }
    }

    /// How old the last of the records is that are handed over now; told whether counts are asked for or not.
    pub fn aged(&self, records: &[&Record], now: Timestamp) {
        if let (Some((function, mapping)), Some(last)) = (&self.of, records.last()) {
            metrics::mapping_iterator_age(function, mapping, now.since(last.arrival));
        }
    }

    /// Counts those of a batch's records that were not counted before, and those of them that no filter wants.
    pub fn read(&self, part: Part, records: &[Record], mut wants: impl FnMut(&Record) -> bool) {
        let Some(last) = records.last().filter(|_| self.asked) else { return };
        let before = {
            let mut polled = self.polled.lock().unwrap_or_else(PoisonError::into_inner);
            let before = polled.get(&part).copied();
            polled.insert(part, before.map_or(last.position, |before| before.max(last.position)));
            before
        };
        let new = || records.iter().filter(|record| before.is_none_or(|before| record.position > before));
        self.add(EventCount::Polled, new().count());
        self.add(EventCount::FilteredOut, new().filter(|record| !wants(record)).count());
    }
}
