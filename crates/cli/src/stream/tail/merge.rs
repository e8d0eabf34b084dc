//! The records of many shards as one sequence, in the order in which they arrived.
//!
//! Owns which shard is asked next, which record may be shown, and when the children of a closed shard take its place.
//! A pure state machine: time is an instant that is handed in, and nothing is awaited.
//!
//! A record is shown when no shard can still give an older one: every other shard has one waiting (a shard's own records
//! come in order), or was asked after this record was seen and had nothing more. A shard that does not answer holds
//! records back for [`PATIENCE`], no longer: then what is there is shown. Records of a shard come after all records of
//! its parents, whatever the clock of the server did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{ShardId, Timestamp};

/// How long a record waits for shards that do not answer.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How often a shard without news is asked: AWS allows five calls a second and shard.
pub const PERIOD: Duration = Duration::from_millis(200);

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub shard: ShardId,
    pub arrival: Timestamp,
    pub sequence: String,
    pub key: String,
    pub data: Vec<u8>,
}

/// A shard and those that it takes over from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    pub shard: ShardId,
    pub parents: Vec<ShardId>,
}

/// What came after the records of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// There is more already.
    More,
    /// Nothing, for now.
    Nothing,
    /// Nothing ever: the shard is closed, and these took over.
    Ended(Vec<Lineage>),
}

impl Rest {
    /// The same, but at the shard's end nobody takes over.
    pub fn without_heirs(self) -> Self {
        if matches!(self, Self::Ended(_)) { Self::Ended(Vec::new()) } else { self }
    }
}

/// A shard that is being read.
#[derive(Debug, Default)]
struct Source {
    /// Records not shown yet, each with the instant at which it was seen.
    waiting: VecDeque<(Duration, Record)>,
    /// When it was last asked, while there is no answer yet.
    asked: Option<Duration>,
    /// When it was asked last, of the times when it had nothing more.
    up_to_date: Option<Duration>,
    /// Asked again no sooner.
    due: Duration,
    /// Set at its end.
    heirs: Option<Vec<Lineage>>,
}

impl Source {
    /// Whether it may still give a record that is older than one seen at `seen`.
    fn may_be_older(&self, seen: Duration) -> bool {
        self.silence().is_some_and(|up_to_date| up_to_date < Some(seen))
    }

    /// Of a shard that has nothing to show and may get something: when it was up to date, if ever.
    fn silence(&self) -> Option<Option<Duration>> {
        (self.waiting.is_empty() && self.heirs.is_none()).then_some(self.up_to_date)
    }

    /// Whether everything in it was shown, and nothing comes.
    fn is_read(&self) -> bool {
        self.waiting.is_empty() && self.heirs.is_some()
    }

    /// Where its next record belongs among those of all shards.
    fn place(&self) -> Option<Place> {
        let (_, record) = self.waiting.front()?;
        Some((record.arrival, record.sequence.len(), record.sequence.clone()))
    }
}

/// A record's place in the order: of two sequence numbers the one with more digits is greater.
type Place = (Timestamp, usize, String);

/// The state of the merge.
#[derive(Debug)]
pub struct Merge {
    sources: BTreeMap<ShardId, Source>,
    /// Shards whose turn comes when their parents are read.
    heirs: BTreeMap<ShardId, Vec<ShardId>>,
    /// Shards that are to be read and are not read to their end: no child of theirs may begin.
    unread: BTreeSet<ShardId>,
    /// Shards with greater numbers are made after the start. One of them is unread although no parent has named it yet.
    newest: Option<ShardId>,
    read: BTreeSet<ShardId>,
    follow: bool,
}

impl Merge {
    /// Of these shards, the only ones there are to be read so far. `newest` is the last shard that was made before the
    /// start, to be read or not. Without `follow` a shard ends where it has nothing more for now.
    pub fn new(shards: Vec<Lineage>, newest: Option<ShardId>, follow: bool) -> Self {
        let unread = shards.iter().map(|lineage| lineage.shard).collect();
        let mut merge =
            Self { sources: BTreeMap::new(), heirs: BTreeMap::new(), unread, newest, read: BTreeSet::new(), follow };
        merge.heirs = shards.into_iter().map(|lineage| (lineage.shard, lineage.parents)).collect();
        merge.begin_heirs();
        merge
    }

    /// The shards to ask now. They count as asked.
    pub fn ask(&mut self, now: Duration) -> Vec<ShardId> {
        let held = self.head();
        let mut asked = Vec::new();
        for (id, source) in &mut self.sources {
            let holds_up = held.is_some_and(|seen| source.may_be_older(seen));
            let idle = source.waiting.is_empty() && source.heirs.is_none() && source.asked.is_none();
            if idle && (holds_up || source.due <= now) {
                source.asked = Some(now);
                asked.push(*id);
            }
        }
        asked
    }

    /// When [`Self::ask`] or [`Self::show`] may have something again although no answer came.
    pub fn wake(&self) -> Option<Duration> {
        let due = self.sources.values().filter(|s| s.asked.is_none() && s.waiting.is_empty()).map(|s| s.due).min();
        let impatient = self.head().map(|seen| seen + PATIENCE);
        due.into_iter().chain(impatient).min()
    }

    /// Takes a shard's answer.
    pub fn take(&mut self, shard: ShardId, records: Vec<Record>, rest: Rest, now: Duration) {
        let Some(source) = self.sources.get_mut(&shard) else { return };
        let asked = source.asked.take().unwrap_or(now);
        source.waiting.extend(records.into_iter().map(|record| (now, record)));
        source.due = now;
        match rest {
            Rest::More => {}
            Rest::Nothing if self.follow => {
                source.up_to_date = Some(asked);
                source.due = asked + PERIOD;
            }
            Rest::Nothing => source.heirs = Some(Vec::new()),
            Rest::Ended(heirs) => source.heirs = Some(heirs),
        }
    }

    /// The records that may be shown now, in order.
    pub fn show(&mut self, now: Duration) -> Vec<Record> {
        let mut shown = Vec::new();
        loop {
            self.retire();
            let mut heads: BTreeSet<_> =
                self.sources.iter().filter_map(|(id, source)| Some((source.place()?, *id))).collect();
            // Of the shards with nothing to show, the one that was up to date longest ago holds back most.
            let mut stalest = self.sources.values().filter_map(Source::silence).min();
            loop {
                let Some((_, id)) = heads.pop_first() else { return shown };
                let Some(source) = self.sources.get_mut(&id) else { return shown };
                let Some((seen, record)) = source.waiting.pop_front() else { return shown };
                let impatient = now.saturating_sub(seen) >= PATIENCE;
                if !impatient && stalest.is_some_and(|up_to_date| up_to_date < Some(seen)) {
                    source.waiting.push_front((seen, record));
                    return shown;
                }
                shown.push(record);
                heads.extend(source.place().map(|place| (place, id)));
                stalest = stalest.into_iter().chain(source.silence()).min();
                if source.is_read() {
                    break;
                }
            }
        }
    }

    /// Whether everything is shown and nothing will come.
    pub fn is_over(&self) -> bool {
        self.sources.is_empty()
    }

    /// When the record that is next was seen.
    fn head(&self) -> Option<Duration> {
        let next = self.sources.values().min_by_key(|source| (source.waiting.is_empty(), source.place()))?;
        next.waiting.front().map(|(seen, _)| *seen)
    }

    /// Puts the heirs of shards that are read to their end in their place.
    fn retire(&mut self) {
        let ended = |(id, source): (&ShardId, &Source)| source.is_read().then_some(*id);
        let ended: Vec<ShardId> = self.sources.iter().filter_map(ended).collect();
        if ended.is_empty() {
            return;
        }
        for id in ended {
            let heirs = self.sources.remove(&id).and_then(|source| source.heirs).unwrap_or_default();
            self.unread.remove(&id);
            self.read.insert(id);
            for heir in heirs {
                if !self.read.contains(&heir.shard) && !self.sources.contains_key(&heir.shard) {
                    self.unread.insert(heir.shard);
                    self.heirs.insert(heir.shard, heir.parents);
                }
            }
        }
        self.begin_heirs();
    }

    fn begin_heirs(&mut self) {
        let Self { sources, heirs, unread, newest, read, .. } = self;
        let is_unread =
            |parent: &ShardId| unread.contains(parent) || (Some(*parent) > *newest && !read.contains(parent));
        heirs.retain(|shard, parents| {
            let must_wait = parents.iter().any(is_unread);
            if !must_wait {
                sources.insert(*shard, Source::default());
            }
            must_wait
        });
    }
}

#[cfg(test)]
mod tests;
