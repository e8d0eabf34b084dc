//! Clients of one stream: they put, get along the lineage, reshard and describe, and note it all.
//!
//! A client may be given a [`Bug`], to show that the checker finds it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, HashKey, Position, Rng, SeededRng, ShardId};
use tidegate_log::{Append, Log, LogError, NewRecord, ReadLimit, Reshard, Shard, Stream};

use super::check::{Element, Outcome};
use super::history::{History, Name};
use crate::world::key;

/// Keys of records, spread over the hash space.
pub const KEYS: usize = 8;
/// Beyond this many open shards there are only merges.
const MOST_OPEN: usize = 12;

/// What is wrong with a client, or with the log that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A put is answered before it is durable.
    EarlyAnswer,
    /// A put that met a closed shard is not sent again, but taken for done.
    NoReroute,
    /// A put is sent again after it was answered.
    SentTwice,
    /// A put of several records is sent as several puts.
    TornBatch,
    /// A get answers what the one before it did.
    StaleGet,
    /// A get leaves a parent for its child before the parent's end.
    ParentUnfinished,
    /// A get reads children before their parents.
    ChildFirst,
    /// A get passes over a record.
    Skips,
    /// A reshard is answered before it is done.
    EarlyReshard,
}

impl Bug {
    pub const ALL: [Self; 9] = [
        Self::EarlyAnswer,
        Self::NoReroute,
        Self::SentTwice,
        Self::TornBatch,
        Self::StaleGet,
        Self::ParentUnfinished,
        Self::ChildFirst,
        Self::Skips,
        Self::EarlyReshard,
    ];
}

/// One client.
pub struct Client {
    log: Log,
    history: History,
    rng: SeededRng,
    bug: Option<Bug>,
    /// As it was when last asked for, which may be long ago.
    stream: Arc<Stream>,
    cursors: Vec<Cursor>,
    /// Waits a little after an error, if a log may need time to go on.
    clock: Option<Arc<dyn Clock>>,
}

/// How far a client has read a key.
#[derive(Clone, Default)]
pub struct Cursor {
    shard: Option<ShardId>,
    from: Position,
    last: Position,
    seen: Vec<Element>,
}

pub fn hash_key(key: usize) -> HashKey {
    HashKey(u128::MAX / KEYS as u128 * key as u128 + 12_345)
}

fn new_record(stream: &Stream, key: usize, element: Element) -> NewRecord {
    let partition_key = format!("key-{key}").parse().unwrap();
    let shard = stream.shard_for(&partition_key, Some(hash_key(key))).slot;
    let pad = "p".repeat(element as usize % 40);
    NewRecord { shard, partition_key, explicit_hash_key: Some(hash_key(key)), data: format!("{element} {pad}").into() }
}

/// What an error says about what was asked for.
fn outcome<T>(result: &Result<T, LogError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(LogError::Poisoned(_) | LogError::Io { .. } | LogError::Closed) => Outcome::Unknown,
        Err(_) => Outcome::Refused,
    }
}

impl Client {
    pub fn new(log: &Log, history: &History, seed: u64, bug: Option<Bug>) -> Result<Self, LogError> {
        Ok(Self {
            stream: log.stream(&key("s"))?,
            log: log.clone(),
            history: history.clone(),
            rng: SeededRng::new(seed),
            bug,
            cursors: vec![Cursor::default(); KEYS],
            clock: None,
        })
    }

    /// One that gives the log time to recover.
    pub fn patient(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Does so many things, one after the other. Ends early when the log no longer answers.
    pub async fn run(mut self, operations: usize) {
        for _ in 0..operations {
            for _ in 0..self.rng.below(3) {
                tokio::task::yield_now().await;
            }
            let result = match self.rng.below(100) {
                0..45 => self.put(1).await,
                45..53 => self.put(2 + self.below(3)).await,
                53..58 => self.reshard().await,
                58..61 => self.describe(),
                61..64 => {
                    self.cursors[self.rng.below(KEYS as u64) as usize] = Cursor::default();
                    Ok(())
                }
                _ => self.get(self.below(KEYS)).await,
            };
            if matches!(result, Err(LogError::Io { .. } | LogError::Closed)) {
                return;
            }
            if let (Err(LogError::Poisoned(_)), Some(clock)) = (result, &self.clock) {
                clock.sleep(Duration::from_millis(5)).await;
            }
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.rng.below(bound as u64) as usize
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    async fn put(&mut self, count: usize) -> Result<(), LogError> {
        let elements: Vec<_> = (0..count).map(|_| (self.below(KEYS), self.history.element())).collect();
        self.put_all(&elements).await
    }

    /// Puts these, each of a key, all in one.
    pub async fn put_all(&mut self, elements: &[(usize, Element)]) -> Result<(), LogError> {
        let names: Vec<_> = elements.iter().map(|(key, element)| (Name::Key(*key), *element)).collect();
        let pending = self.history.call(&names);
        let result = self.append(elements).await;
        self.history.returned(pending, outcome(&result));
        result
    }

    /// Appends to where the client believes the shards to be, and again where they are meanwhile.
    async fn append(&mut self, elements: &[(usize, Element)]) -> Result<(), LogError> {
        loop {
            let records: Vec<_> = elements.iter().map(|(key, e)| new_record(&self.stream, *key, *e)).collect();
            match self.send(records).await {
                Err(LogError::ShardClosed(_)) if self.has(Bug::NoReroute) => return Ok(()),
                Err(LogError::ShardClosed(_)) => self.stream = self.log.stream(&key("s"))?,
                result => return result,
            }
        }
    }

    async fn send(&self, records: Vec<NewRecord>) -> Result<(), LogError> {
        let append = Append { producer: None, records };
        match self.bug {
            Some(Bug::EarlyAnswer) => {
                let log = self.log.clone();
                tokio::spawn(async move { log.append(append).await });
                return Ok(());
            }
            Some(Bug::SentTwice) if self.rng.below(20) == 0 => drop(self.log.append(append.clone()).await?),
            Some(Bug::TornBatch) => {
                for record in append.records {
                    self.log.append(Append { producer: None, records: vec![record] }).await?;
                }
                return Ok(());
            }
            _ => {}
        }
        self.log.append(append).await.map(drop)
    }

    /// Gets a key.
    pub async fn get(&mut self, key: usize) -> Result<(), LogError> {
        let called = self.history.moment();
        let mut cursor = std::mem::take(&mut self.cursors[key]);
        let stale = self.has(Bug::StaleGet) && cursor.shard.is_some() && self.rng.below(4) == 0;
        let result = if stale { Ok(()) } else { self.read_on(&mut cursor, key).await };
        match &result {
            Ok(()) => {
                self.history.got(Name::Key(key), called, cursor.seen.clone());
                self.cursors[key] = cursor;
            }
            // Only a machine whose power is cut may fail to read.
            Err(LogError::Io { .. } | LogError::Closed) if self.clock.is_some() => {}
            Err(error) => self.history.fault(format!("key {key} cannot be read: {error}")),
        }
        result
    }

    /// Reads a key's records until there are no more, from parents to children.
    async fn read_on(&mut self, cursor: &mut Cursor, of: usize) -> Result<(), LogError> {
        if self.has(Bug::ChildFirst) && cursor.shard.is_none() {
            return self.backwards(cursor, of).await;
        }
        while self.step(cursor, of).await? {}
        Ok(())
    }

    /// Reads once; whether there may be more.
    async fn step(&self, cursor: &mut Cursor, of: usize) -> Result<bool, LogError> {
        let stream = self.log.stream(&key("s"))?;
        let Some(shard) = at(&stream, cursor.shard, of) else { return Ok(false) };
        cursor.shard = Some(shard.id);
        let limit = ReadLimit { records: 1 + self.below(60), bytes: 1 << 20 };
        let slice = self.log.read(shard.slot, cursor.from, limit).await?;
        for record in &slice.records {
            if record.position <= cursor.last {
                self.history.fault(format!("position {} comes after {}", record.position, cursor.last));
            }
            cursor.last = record.position;
            if record.partition_key.as_str() == format!("key-{of}") {
                cursor.seen.push(element(&record.data));
            }
        }
        if slice.next < cursor.from || (!slice.records.is_empty() && slice.next <= cursor.last) {
            self.history.fault(format!("reading from {} goes on at {}", cursor.from, slice.next));
        }
        cursor.from = slice.next;
        if self.has(Bug::Skips) && self.rng.below(20) == 0 {
            cursor.from = cursor.from.next();
        }
        let left = self.has(Bug::ParentUnfinished) && shard.closed_at.is_some();
        if slice.at_end || left {
            let stream = self.log.stream(&key("s"))?;
            return match child(&stream, shard.id, of) {
                Some(child) => {
                    (cursor.shard, cursor.from) = (Some(child), Position::ZERO);
                    Ok(true)
                }
                None => {
                    self.history.fault(format!("{} has ended without a child", shard.id));
                    Ok(false)
                }
            };
        }
        Ok(!slice.records.is_empty())
    }

    /// The wrong order.
    async fn backwards(&self, cursor: &mut Cursor, of: usize) -> Result<(), LogError> {
        let stream = self.log.stream(&key("s"))?;
        for shard in stream.shards.iter().rev().filter(|s| s.hash_range.contains(&hash_key(of).0)) {
            let all = ReadLimit { records: 10_000, bytes: 10 << 20 };
            let slice = self.log.read(shard.slot, Position::ZERO, all).await?;
            let of = format!("key-{of}");
            let own = slice.records.iter().filter(|r| r.partition_key.as_str() == of);
            cursor.seen.extend(own.map(|r| element(&r.data)));
        }
        Ok(())
    }

    /// Follows a key, woken by the log, until it has seen `last`.
    pub async fn follow(self, of: usize, last: impl Fn() -> Option<Element>) {
        let history = self.history.clone();
        if let Err(error) = self.follow_on(of, last).await {
            history.fault(format!("key {of} cannot be followed: {error}"));
        }
    }

    async fn follow_on(self, of: usize, last: impl Fn() -> Option<Element>) -> Result<(), LogError> {
        let mut cursor = Cursor::default();
        let mut called = self.history.moment();
        loop {
            if self.step(&mut cursor, of).await? {
                continue;
            }
            self.history.got(Name::Key(of), called, cursor.seen.clone());
            if last().is_some_and(|last| cursor.seen.contains(&last)) {
                return Ok(());
            }
            let stream = self.log.stream(&key("s"))?;
            let Some(shard) = at(&stream, cursor.shard, of) else {
                self.history.fault(format!("no shard has key {of}"));
                return Ok(());
            };
            self.log.wait(shard.slot, cursor.from).await?;
            called = self.history.moment();
        }
    }

    /// Asks for the stream's shards.
    pub fn describe(&mut self) -> Result<(), LogError> {
        let called = self.history.moment();
        let stream = self.log.stream(&key("s"))?;
        if let Some(what) = gap(&stream) {
            self.history.fault(what);
        }
        self.history.got(Name::Topology, called, reshards(&stream));
        self.stream = stream;
        Ok(())
    }

    async fn reshard(&mut self) -> Result<(), LogError> {
        let stream = self.log.stream(&key("s"))?;
        let steps = self.plan(&stream);
        if steps.is_empty() {
            return Ok(());
        }
        let elements = named(&steps);
        let names: Vec<_> = elements.iter().map(|e| (Name::Topology, *e)).collect();
        let pending = self.history.call(&names);
        if self.has(Bug::EarlyReshard) {
            let log = self.log.clone();
            tokio::spawn(async move { log.reshard(&key("s"), steps).await });
            self.history.returned(pending, Outcome::Done);
            return Ok(());
        }
        let result = self.log.reshard(&key("s"), steps).await;
        self.history.returned(pending, outcome(&result));
        if let Ok(stream) = &result {
            let there = reshards(stream);
            if !elements.iter().all(|e| there.contains(e)) {
                self.history.fault("a reshard's answer is without it".into());
            }
        }
        result.map(drop)
    }

    /// A split, a merge, or several steps in one of which later ones rest on earlier ones.
    fn plan(&self, stream: &Stream) -> Vec<Reshard> {
        let mut open: Vec<_> = stream.shards.iter().filter(|s| s.closed_at.is_none()).collect();
        open.sort_by_key(|s| *s.hash_range.start());
        let n = self.below(open.len());
        let merge = (n + 1 < open.len()).then(|| {
            let (low, high) = (open[n].id, open[n + 1].id);
            let (shard, adjacent) = if self.rng.below(2) == 0 { (low, high) } else { (high, low) };
            Reshard::Merge { shard, adjacent }
        });
        let wide = |s: &Shard| s.hash_range.end() - s.hash_range.start() > 1 << 40;
        let split = (open.len() < MOST_OPEN && wide(open[n])).then(|| self.split(open[n].id, &open[n].hash_range));
        let (Some(split), false) = (split, merge.is_some() && self.rng.below(3) == 0) else {
            return merge.into_iter().collect();
        };
        let next = stream.shards.iter().map(|s| s.id.number() + 1).max().unwrap_or_default();
        let (first, second) = (ShardId::new(next), ShardId::new(next + 1));
        let more = match (self.rng.below(4), split) {
            (0, Reshard::Split { at, .. }) => Some(self.split(second, &(at.0..=*open[n].hash_range.end()))),
            (1, _) => Some(Reshard::Merge { shard: first, adjacent: second }),
            _ => None,
        };
        std::iter::once(split).chain(more).collect()
    }

    /// A split where nobody else asks for one, in the middle half of a wide range.
    fn split(&self, shard: ShardId, range: &RangeInclusive<u128>) -> Reshard {
        let quarter = (range.end() - range.start()) / 4;
        let at = range.start() + quarter * u128::from(1 + self.rng.below(3)) + u128::from(self.history.element());
        Reshard::Split { shard, at: HashKey(at) }
    }
}

fn element(data: &[u8]) -> Element {
    let text = std::str::from_utf8(data).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Where a reader of a key is, or begins.
fn at(stream: &Stream, shard: Option<ShardId>, of: usize) -> Option<&Shard> {
    match shard {
        Some(id) => stream.shards.iter().find(|s| s.id == id),
        None => stream.shards.iter().find(|s| s.hash_range.contains(&hash_key(of).0) && s.parents.is_empty()),
    }
}

fn child(stream: &Stream, parent: ShardId, of: usize) -> Option<ShardId> {
    let child = |s: &&Shard| s.parents.contains(&parent) && s.hash_range.contains(&hash_key(of).0);
    stream.shards.iter().find(child).map(|s| s.id)
}

/// What keeps the open shards from tiling the hash space, if anything does.
fn gap(stream: &Stream) -> Option<String> {
    let mut ranges: Vec<_> = stream.shards.iter().filter(|s| s.closed_at.is_none()).map(|s| &s.hash_range).collect();
    ranges.sort_by_key(|r| *r.start());
    let mut next = Some(0);
    for range in ranges {
        if Some(*range.start()) != next || range.start() > range.end() {
            return Some(format!("the open shards do not tile: {range:?} where {next:?} was due"));
        }
        next = range.end().checked_add(1);
    }
    next.map(|next| format!("no open shard takes {next}"))
}

/// A number for a reshard: of which shards it was, and where a split was.
fn number(parents: &[ShardId], at: u128) -> Element {
    let mut parents: Vec<_> = parents.iter().map(|p| u64::from(p.number()) + 1).collect();
    parents.sort_unstable();
    // Each half for itself: thirds of the hash space have halves that are alike, and cancel each other.
    let parts = [(at >> 64) as u64, at as u64].into_iter().chain(parents);
    parts.fold(0, |number: u64, part| (number.rotate_left(17) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Every reshard that a stream has seen, in the order of its shards' numbers.
fn reshards(stream: &Stream) -> Vec<Element> {
    let first_half = |s: &Shard| {
        let parent = stream.shards.iter().find(|p| s.parents == [p.id]);
        parent.is_some_and(|p| p.hash_range.start() == s.hash_range.start())
    };
    let told = stream.shards.iter().filter(|s| !s.parents.is_empty() && !first_half(s));
    told.map(|s| number(&s.parents, if s.parents.len() == 2 { 0 } else { *s.hash_range.start() })).collect()
}

/// The numbers that reshards will have.
fn named(steps: &[Reshard]) -> Vec<Element> {
    let number = |step: &Reshard| match step {
        Reshard::Split { shard, at } => number(&[*shard], at.0),
        Reshard::Merge { shard, adjacent } => number(&[*shard, *adjacent], 0),
    };
    steps.iter().map(number).collect()
}
