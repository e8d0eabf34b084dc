//! How many events an archive has, and how large they are.
//!
//! Owns a table of counts by day of arrival, that lags behind the archive's log and is brought up to it when somebody
//! asks. Promises that each archived event is counted once. What retention takes leaves the counts by whole days. Must
//! not know what events are.
//!
//! | table | key → value |
//! |---|---|
//! | `flow.archive_counts` | account/region/archive → log's number, position up to which it is counted, days with events and bytes |

use base::{Batch, Position, Scope, StateStore, Table, Timestamp};
use log::{Log, ReadLimit};
use serde::{Deserialize, Serialize};

use super::config::{self, Archive};
use crate::{FlowError, stored};

pub(super) const COUNTS: Table = Table("flow.archive_counts");
const DAY_MS: i64 = 86_400_000;

/// What an archive holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events.
    pub events: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Counts {
    stream: u32,
    next: Position,
    days: Vec<Day>,
}

#[derive(Serialize, Deserialize)]
struct Day {
    /// Since 1970.
    day: i64,
    events: u64,
    bytes: u64,
}

impl Counts {
    fn add(&mut self, arrival: Timestamp, bytes: usize) {
        let day = arrival.millis().div_euclid(DAY_MS);
        let at = match self.days.binary_search_by_key(&day, |d| d.day) {
            Ok(at) => at,
            Err(at) => {
                self.days.insert(at, Day { day, events: 0, bytes: 0 });
                at
            }
        };
        self.days[at].events += 1;
        self.days[at].bytes += bytes as u64;
    }
}

/// Counts what came since the last time. One caller at a time.
pub(super) async fn tally(
    log: &Log,
    state: &dyn StateStore,
    scope: &Scope,
    archive: &Archive,
) -> Result<Tally, FlowError> {
    let key = config::key(scope, &archive.name);
    let stored: Option<Counts> = stored::get(state, COUNTS, &key)?;
    let fresh = || Counts { stream: archive.stream, ..Counts::default() };
    let mut counts = stored.filter(|counts| counts.stream == archive.stream).unwrap_or_else(fresh);
    let stream = log.stream(&config::stream_key(scope, &archive.name))?;
    let before = counts.next;
    if let Some(shard) = stream.shards.first() {
        loop {
            let slice = log.read(shard.slot, counts.next, ReadLimit { records: 10_000, bytes: 8 << 20 }).await?;
            for record in &slice.records {
                counts.add(record.arrival, record.data.len());
            }
            counts.next = slice.next;
            if slice.records.is_empty() {
                break;
            }
        }
    }
    let oldest = log.believed_time() - config::retention(archive.retention_days);
    counts.days.retain(|day| (day.day + 1).saturating_mul(DAY_MS) > oldest.millis());
    if counts.next != before {
        state.commit(Batch::new().put(COUNTS, key, stored::encode("archive's counts", &counts)?)).await?;
    }
    let sum = |of: fn(&Day) -> u64| counts.days.iter().map(of).sum();
    Ok(Tally { events: sum(|day| day.events), bytes: sum(|day| day.bytes) })
}
