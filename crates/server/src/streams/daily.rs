//! What may be done to a stream only so often in a day, when the service's quotas are on.
//!
//! Owns the figures (the operations' own pages in the API Reference; for the mode "Choose the right mode in Kinesis Data
//! Streams" of the Developer Guide) and the times of a stream's last changes. The day rolls: it is the 24 hours before
//! the call. Promises that a stream has at most [`Daily::most`] times of each kind. Pure; must not know whether quotas
//! are on.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;
use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A change with a daily quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Daily {
    UpdateShardCount,
    StartStreamEncryption,
    StopStreamEncryption,
    UpdateStreamMode,
}

impl Daily {
    /// How often in a day.
    pub const fn most(self) -> usize {
        match self {
            Self::UpdateShardCount => 10,
            Self::StartStreamEncryption | Self::StopStreamEncryption => 25,
            Self::UpdateStreamMode => 2,
        }
    }
}

/// When a stream was changed, by what has a daily quota.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changes(BTreeMap<Daily, Vec<Timestamp>>);

impl Changes {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Remembers a change, unless there were as many as may be in the day before it.
    pub fn take(&mut self, what: Daily, now: Timestamp) -> bool {
        let times = self.0.entry(what).or_default();
        times.retain(|time| now.since(*time) < DAY);
        let passes = times.len() < what.most();
        if passes {
            times.push(now);
        }
        passes
    }

    /// Forgets a change that was not made after all.
    pub fn give_back(&mut self, what: Daily, at: Timestamp) {
        let Some(times) = self.0.get_mut(&what) else { return };
        if let Some(place) = times.iter().rposition(|time| *time == at) {
            times.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_rolls_and_each_kind_has_its_own() {
        let start = Timestamp::from_millis(1_700_000_000_000);
        let hours = |hours: u64| start + Duration::from_secs(hours * 3_600);
        let mut changes = Changes::default();
        for hour in 0..10 {
            assert!(changes.take(Daily::UpdateShardCount, hours(hour)));
        }
        assert!(!changes.take(Daily::UpdateShardCount, hours(23)), "the eleventh within a day");
        assert!(changes.take(Daily::UpdateStreamMode, hours(23)));
        // The first is a day ago, the second is not: what was refused does not count.
        assert!(changes.take(Daily::UpdateShardCount, hours(24)) && !changes.take(Daily::UpdateShardCount, hours(24)));
        changes.give_back(Daily::UpdateShardCount, hours(24));
        assert!(changes.take(Daily::UpdateShardCount, hours(24)));
        // A clock that was set back forgets nothing, and never keeps more.
        assert!(!changes.take(Daily::UpdateShardCount, start));
        assert_eq!(changes.0[&Daily::UpdateShardCount].len(), 10);
    }
}
