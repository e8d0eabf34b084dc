//! Asks shards for their next records.
//!
//! Owns each shard's place. Promises that a place is kept whatever happens to an iterator or the server, so that no record is
//! given twice or left out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use base::{Clock, RetryPolicy, ShardId, SystemClock, SystemRng, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::from::From;
use super::merge::{Lineage, Record, Rest};
use crate::failure;
use crate::stream::api::{Kinesis, Refusal, StreamAddress, is_busy, seconds};
use crate::stream::say;

/// Records of one answer: enough to be quick, few enough that the answers of many shards fit in memory.
const PAGE: u32 = 2_000;

/// How a server that went away is asked again, for as long as anybody follows.
const AWAY: RetryPolicy = RetryPolicy {
    first_delay: Duration::from_millis(200),
    max_delay: Duration::from_secs(3),
    max_attempts: None,
    max_age: None,
};

/// What a shard gave.
pub struct Answer {
    pub shard: ShardId,
    pub records: Vec<Record>,
    pub rest: Rest,
}

/// Where a shard is read.
#[derive(Debug, Clone, Default)]
struct Place {
    iterator: Option<String>,
    /// The last record that was read.
    after: Option<String>,
}

/// Reads the shards of one stream.
pub struct Reader {
    kinesis: Kinesis,
    stream: StreamAddress,
    from: From,
    started: Timestamp,
    /// The last shard that was made before the start: those made later are read whole.
    newest: Option<ShardId>,
    follow: bool,
    places: RefCell<BTreeMap<ShardId, Place>>,
    was_there: Cell<bool>,
    is_away: Cell<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    records: Vec<PageRecord>,
    next_shard_iterator: Option<String>,
    millis_behind_latest: u64,
    #[serde(default)]
    child_shards: Vec<Child>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PageRecord {
    #[serde(deserialize_with = "seconds")]
    approximate_arrival_timestamp: Timestamp,
    data: String,
    partition_key: String,
    sequence_number: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Child {
    shard_id: ShardId,
    parent_shards: Vec<ShardId>,
}

impl Reader {
    /// Nothing is read yet. `newest` is the last shard there is.
    pub fn new(kinesis: Kinesis, stream: StreamAddress, from: From, newest: Option<ShardId>, follow: bool) -> Self {
        let (places, started) = (RefCell::default(), SystemClock::new().now());
        Self {
            kinesis,
            stream,
            from,
            started,
            newest,
            follow,
            places,
            was_there: Cell::new(false),
            is_away: Cell::new(false),
        }
    }

    /// The next records of a shard. Following goes on over a server that is away or busy for a while.
    ///
    /// # Errors
    /// The server refuses, or was never there.
    pub async fn read(&self, shard: ShardId) -> anyhow::Result<Answer> {
        let clock = SystemClock::new();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.attempt(shard).await {
                Ok(answer) => {
                    self.was_there.set(true);
                    if self.is_away.take() {
                        say("tail", "the server is back");
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let passes = Refusal::of(&error).is_none_or(|refusal| is_busy(&refusal.code));
            let delay = AWAY.next_delay(attempts, Duration::ZERO, &SystemRng);
            match delay.filter(|_| passes && self.follow && self.was_there.get()) {
                Some(delay) => {
                    if !self.is_away.replace(true) {
                        say("tail", &format!("{}; waiting for it", failure::in_words(&error)));
                    }
                    clock.sleep(delay).await;
                }
                None => return Err(error),
            }
        }
    }

    /// One question. An iterator that is too old is replaced once: it only stands for a place.
    async fn attempt(&self, shard: ShardId) -> anyhow::Result<Answer> {
        let place = self.places.borrow().get(&shard).cloned().unwrap_or_default();
        if let Some(iterator) = &place.iterator {
            match self.page(iterator).await {
                Err(error) if is_about_the_iterator(&error) => {}
                page => return self.answer(shard, place, page?),
            }
        }
        let iterator = self.iterator(shard, &place).await?;
        // Kept before it is used: it is the place when nothing is read for long.
        self.places.borrow_mut().entry(shard).or_default().iterator = Some(iterator.clone());
        let page = self.page(&iterator).await?;
        self.answer(shard, place, page)
    }

    async fn page(&self, iterator: &str) -> anyhow::Result<Page> {
        self.kinesis.call("GetRecords", &json!({ "ShardIterator": iterator, "Limit": PAGE })).await
    }

    async fn iterator(&self, shard: ShardId, place: &Place) -> anyhow::Result<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Made {
            shard_iterator: String,
        }
        let mut parameters = self.begin_at(shard, place);
        parameters["ShardId"] = shard.to_string().into();
        let made: Made = self.kinesis.of_stream("GetShardIterator", &self.stream, parameters).await?;
        Ok(made.shard_iterator)
    }

    fn begin_at(&self, shard: ShardId, place: &Place) -> Value {
        if let Some(number) = &place.after {
            return json!({ "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": number });
        }
        let from = match self.from {
            From::Latest if Some(shard) > self.newest => From::TrimHorizon,
            // The latest of the beginning, not of now.
            From::Latest if place.iterator.is_some() => From::Time(self.started),
            from => from,
        };
        from.parameters()
    }

    fn answer(&self, shard: ShardId, mut place: Place, page: Page) -> anyhow::Result<Answer> {
        let mut records = Vec::with_capacity(page.records.len());
        for record in page.records {
            let (arrival, key) = (record.approximate_arrival_timestamp, record.partition_key);
            let data = STANDARD.decode(&record.data).context("the server sent data that is not Base64")?;
            records.push(Record { shard, arrival, sequence: record.sequence_number, key, data });
        }
        if let Some(last) = records.last() {
            place.after = Some(last.sequence.clone());
        }
        let rest = match &page.next_shard_iterator {
            None => Rest::Ended(page.child_shards.into_iter().map(Child::lineage).collect()),
            Some(_) if page.millis_behind_latest > 0 => Rest::More,
            Some(_) => Rest::Nothing,
        };
        place.iterator = page.next_shard_iterator;
        self.places.borrow_mut().insert(shard, place);
        Ok(Answer { shard, records, rest })
    }
}

impl Child {
    fn lineage(self) -> Lineage {
        Lineage { shard: self.shard_id, parents: self.parent_shards }
    }
}

/// An iterator lives five minutes, and not over every restart of a server.
fn is_about_the_iterator(error: &anyhow::Error) -> bool {
    let codes = ["ExpiredIteratorException", "InvalidArgumentException"];
    Refusal::of(error).is_some_and(|refusal| codes.contains(&refusal.code.as_str()))
}
