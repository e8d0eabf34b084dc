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
        self.waiting.is_empty() && self.heirs.is_none() && self.up_to_date.is_none_or(|asked| asked < seen)
    }
}

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
        let held = self.head().map(|(_, seen)| seen);
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
        let impatient = self.head().map(|(_, seen)| seen + PATIENCE);
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
            let Some((id, seen)) = self.head() else { return shown };
            let impatient = now.saturating_sub(seen) >= PATIENCE;
            if !impatient && self.sources.values().any(|source| source.may_be_older(seen)) {
                return shown;
            }
            shown.extend(self.sources.get_mut(&id).and_then(|source| source.waiting.pop_front()).map(|(_, r)| r));
        }
    }

    /// Whether everything is shown and nothing will come.
    pub fn is_over(&self) -> bool {
        self.sources.is_empty()
    }

    /// The shard whose record is next, and when that was seen.
    fn head(&self) -> Option<(ShardId, Duration)> {
        let heads = self.sources.iter().filter_map(|(id, source)| Some((*id, source.waiting.front()?)));
        // Numbers of more digits are greater.
        let place = |record: &Record| (record.arrival, record.sequence.len());
        let oldest =
            heads.min_by(|(_, (_, a)), (_, (_, b))| place(a).cmp(&place(b)).then_with(|| a.sequence.cmp(&b.sequence)));
        oldest.map(|(id, (seen, _))| (id, *seen))
    }

    /// Puts the heirs of shards that are read to their end in their place.
    fn retire(&mut self) {
        let ended =
            |(id, source): (&ShardId, &Source)| (source.waiting.is_empty() && source.heirs.is_some()).then_some(*id);
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
