//! Which instants of a schedule are dealt with: parts of time, not a single mark.
//!
//! Promises that an instant is handed out once, whatever the clock shows from one look to the next. Pure. Must not know
//! what happens at an instant.
//!
//! A single mark would do if clocks only went forward: it would lose what lies between a wrong time ahead and the right
//! one, or repeat what a clock shows twice. So each part of time that was gone through is remembered. Going on from
//! where the clock is, a part grows; where a clock jumped ahead by more than is made up for, another begins.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::Timetable;

/// Parts that are remembered. Past that, the two oldest become one, and what is between them never happens.
const PARTS: usize = 16;

/// Parts of time whose instants are dealt with, in order, apart from each other. Each is after its first time, up to
/// and including its second; the first part begins before everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handled(Vec<(Timestamp, Timestamp)>);

/// The next instant to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The instant.
    pub at: Timestamp,
    /// What was before it and is not made up for, when there is such a thing: after the first, up to the second time.
    pub skipped: Option<(Timestamp, Timestamp)>,
}

impl Handled {
    /// Everything up to now.
    pub fn until(now: Timestamp) -> Self {
        Self(vec![(Timestamp::from_millis(i64::MIN), now)])
    }

    /// The next instant that is not dealt with, for a clock that shows `now`. What passed longer ago than its
    /// timetable makes up for is left out.
    pub fn next(&self, table: &Timetable, now: Timestamp) -> Option<Next> {
        let oldest = now - table.catch_up();
        let mut after = oldest;
        for (from, to) in &self.0 {
            if table.next_after(after)? <= *from {
                break;
            }
            after = after.max(*to);
        }
        let at = table.next_after(after)?;
        // What is before `oldest` and was never dealt with is left out now; mostly there is no such thing.
        let reached = self.0.iter().rfind(|(_, to)| *to <= after).map_or(after, |(_, to)| *to);
        let missed = table.next_after(reached).is_some_and(|missed| missed < at);
        Some(Next { at, skipped: missed.then_some((reached, oldest)) })
    }

    /// Takes an instant that [`Handled::next`] gave as dealt with.
    pub fn done(&mut self, next: &Next) {
        let place = match next.skipped {
            Some((_, oldest)) => {
                let place = self.0.partition_point(|(_, to)| *to <= oldest);
                self.0.insert(place, (oldest, next.at));
                place
            }
            None => {
                let place = self.0.iter().rposition(|(_, to)| *to < next.at).unwrap_or_default();
                self.0[place].1 = next.at;
                place
            }
        };
        while self.0.get(place + 1).is_some_and(|(from, _)| *from <= next.at) {
            let (_, to) = self.0.remove(place + 1);
            self.0[place].1 = self.0[place].1.max(to);
        }
        if self.0.len() > PARTS {
            let (_, to) = self.0.remove(1);
            self.0[0].1 = to;
        }
    }
}
