//! The way of one event, found again.
//!
//! Owns the search by an event's id and what is shown of its way. Promises that what is read for it is bounded, and
//! that an answer says when it is not complete for that. Must not know who asks.

use std::collections::HashMap;
use std::time::Duration;

use base::{Arn, BusName, Position, RuleName, Scope, Timestamp};
use log::{Log, ReadLimit, Record, ShardRef, Stream};
use serde::{Serialize, Serializer};

use super::super::dispatch::id_of;
use super::super::outbox;
use super::super::seen;
use super::super::{Buses, consumer_id, stream_key as bus_key};
use super::{Evaluated, Fate, Noted, Versioned, stream_key};
use crate::{FlowError, spool};

/// Bytes that are read for one search.
const BUDGET: usize = 256 << 20;
/// A clock that was set may have stamped an event so much later or earlier than its id says.
const SLACK: Duration = Duration::from_secs(2);

/// The way of an event.
#[derive(Debug, Clone, Serialize)]
pub struct EventWay {
    /// The event's id.
    pub id: String,
    /// The buses that it was put on, by name.
    pub buses: Vec<BusWay>,
    /// Whether everything was read that could say something; if not, what is said is true all the same.
    pub complete: bool,
}

/// What came of it on one bus.
#[derive(Debug, Clone, Serialize)]
pub struct BusWay {
    /// The bus.
    pub bus: BusName,
    /// When it was put there.
    #[serde(serialize_with = "iso")]
    pub put: Timestamp,
    /// Its place there.
    pub position: Position,
    /// `evaluated`, `waiting` (rules have not seen it yet) or `no rules`.
    pub state: &'static str,
    /// The rules that matched it.
    pub rules: Vec<RuleWay>,
}

/// What a rule made of it.
#[derive(Debug, Clone, Serialize)]
pub struct RuleWay {
    /// The rule.
    pub rule: RuleName,
    /// Its targets at that time.
    pub targets: Vec<TargetWay>,
}

/// What came of it at a target.
#[derive(Debug, Clone, Serialize)]
pub struct TargetWay {
    /// The target's id.
    pub id: String,
    /// Its address.
    pub arn: Arn,
    /// `delivered`, `waiting`, `dead-lettered` or `given up`.
    pub outcome: &'static str,
    /// When the outcome came to be, if it did.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "iso_or_none")]
    pub at: Option<Timestamp>,
    /// When the next attempt is made.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "iso_or_none")]
    pub next: Option<Timestamp>,
    /// The attempts that failed.
    pub failures: Vec<AttemptMade>,
}

/// An attempt that failed.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptMade {
    /// When.
    #[serde(serialize_with = "iso")]
    pub at: Timestamp,
    /// Why.
    pub error: String,
}

fn iso<S: Serializer>(time: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(time)
}

fn iso_or_none<S: Serializer>(time: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
    time.as_ref().map(ToString::to_string).serialize(s)
}

/// Reads a shard in order, as far as the search may.
struct Search<'a> {
    log: &'a Log,
    left: usize,
}

impl Search<'_> {
    /// The first thing that `look` finds in a shard from `from` on; `look` ends the search with `Some`.
    async fn find<T>(
        &mut self,
        shard: ShardRef,
        mut from: Position,
        mut look: impl FnMut(&Record) -> Option<T>,
    ) -> Result<Option<T>, FlowError> {
        while self.left > 0 {
            let slice = self.log.read(shard, from, ReadLimit { records: 5_000, bytes: 4 << 20 }).await?;
            if slice.records.is_empty() {
                return Ok(None);
            }
            for record in &slice.records {
                self.left = self.left.saturating_sub(record.data.len() + 64);
                if let Some(found) = look(record) {
                    return Ok(Some(found));
                }
            }
            from = slice.next;
        }
        Ok(None)
    }
}

impl Buses {
    /// The way of the event with this id over all buses of a scope.
    pub async fn trace(&self, scope: &Scope, id: &str) -> Result<EventWay, FlowError> {
        let mut way = EventWay { id: id.to_owned(), buses: Vec::new(), complete: true };
        for info in self.buses(scope)? {
            let mut search = Search { log: self.log(), left: BUDGET };
            if let Some(found) = self.trace_on(&mut search, scope, &info.name, id).await? {
                way.buses.push(found);
            }
            way.complete &= search.left > 0;
        }
        way.buses.sort_by_key(|bus| bus.position);
        Ok(way)
    }

    async fn trace_on(
        &self,
        search: &mut Search<'_>,
        scope: &Scope,
        bus: &BusName,
        id: &str,
    ) -> Result<Option<BusWay>, FlowError> {
        let Ok(stream) = self.log().stream(&bus_key(scope, bus)) else { return Ok(None) };
        let Some(shard) = stream.shards.first() else { return Ok(None) };
        let from = self.first_place(&stream, shard.slot, id).await?;
        let same = |record: &Record| (id_of(&record.partition_key) == id).then_some((record.position, record.arrival));
        let Some((position, put)) = search.find(shard.slot, from, same).await? else { return Ok(None) };
        let checkpoint = self.inner.ports.consumers.checkpoints.get(&consumer_id(scope, bus), stream.id, shard.id)?;
        let rules = self.outcomes(search, scope, bus, (position, put)).await?;
        let state = match checkpoint {
            _ if !rules.is_empty() => "evaluated",
            Some(next) if position < next => "evaluated",
            _ if self.rules(scope, bus)?.is_empty() => "no rules",
            _ => "waiting",
        };
        Ok(Some(BusWay { bus: bus.clone(), put, position, state, rules }))
    }

    /// Where the search for an id begins.
    async fn first_place(&self, stream: &Stream, shard: ShardRef, id: &str) -> Result<Position, FlowError> {
        let since = match seen::arrival_of(self.state(), stream, id)? {
            Some(arrival) => Some(arrival),
            None => time_of(id).map(|time| time - SLACK),
        };
        match since {
            Some(time) => Ok(self.log().position_at(shard, time).await?),
            // An id that says nothing, and that is not in the table: it may be among those that are not there yet.
            None => Ok(seen::filed_to(self.state(), stream)?),
        }
    }

    async fn outcomes(
        &self,
        search: &mut Search<'_>,
        scope: &Scope,
        bus: &BusName,
        (position, put): (Position, Timestamp),
    ) -> Result<Vec<RuleWay>, FlowError> {
        let Ok(trace) = self.log().stream(&stream_key(scope, bus)) else { return Ok(Vec::new()) };
        let [matches, outcomes] = &trace.shards[..] else { return Ok(Vec::new()) };
        let from = self.log().position_at(matches.slot, put).await?;
        let found = search.find(matches.slot, from, |record| evaluated(record, position)).await?;
        let Some((evaluated_at, mut rules)) = found.flatten() else { return Ok(Vec::new()) };
        // What a batch's targets refuse is told before the next batch's matches are.
        let next = search.find(matches.slot, evaluated_at.next(), |record| Some(record.position)).await?;
        let from = self.log().position_at(outcomes.slot, put).await?;
        let mut waiting = HashMap::new();
        let told = |record: &Record| {
            let told: Versioned<Noted> = serde_json::from_slice(&record.data).ok()?;
            if told.outcome.positions.contains(&position) {
                tell(&mut rules, record, told.outcome, &mut waiting);
            }
            let all_said = rules.iter().flat_map(|rule| &rule.targets).all(|target| target.at.is_some());
            (all_said && next.is_some_and(|next| record.position > next)).then_some(())
        };
        search.find(outcomes.slot, from, told).await?;
        for rule in &mut rules {
            for target in rule.targets.iter_mut().filter(|target| target.outcome == "waiting") {
                let key = outbox::stream_key(scope, bus, &rule.rule, &target.id);
                if let (Some(at), Ok(stream)) =
                    (waiting.get(&(rule.rule.clone(), target.id.clone())), self.log().stream(&key))
                {
                    target.next = spool::due(self.state(), &outbox::consumer_id(&key), stream.id, *at)?;
                }
            }
        }
        Ok(rules)
    }
}

/// What a record of a batch says of an event: nothing when the batch lies before it; else what matched it.
fn evaluated(record: &Record, position: Position) -> Option<Option<(Position, Vec<RuleWay>)>> {
    let batch: Evaluated = serde_json::from_slice(&record.data).ok()?;
    if batch.last < position {
        return None;
    }
    let matched = batch.rules.into_iter().filter(|rule| rule.has(batch.first, position));
    let rules: Vec<RuleWay> = matched
        .map(|rule| {
            let targets = rule.targets.into_iter().filter(|target| target.since <= position);
            let way = |target: super::Given| TargetWay {
                id: target.id,
                arn: target.arn,
                outcome: if target.slow { "waiting" } else { "delivered" },
                at: (!target.slow).then_some(record.arrival),
                next: None,
                failures: Vec::new(),
            };
            RuleWay { rule: rule.rule, targets: targets.map(way).collect() }
        })
        .collect();
    Some((batch.first <= position && !rules.is_empty()).then_some((record.position, rules)))
}

/// Adds an outcome to what is known.
fn tell(rules: &mut [RuleWay], record: &Record, outcome: Noted, waiting: &mut HashMap<(RuleName, String), Position>) {
    let of_rule = rules.iter_mut().filter(|rule| rule.rule == outcome.rule);
    let Some(target) = of_rule.flat_map(|rule| &mut rule.targets).find(|target| target.id == outcome.target) else {
        return;
    };
    if outcome.fate != Fate::Delivered {
        let error = outcome.error.unwrap_or_default();
        target.failures.push(AttemptMade { at: record.arrival, error });
    }
    target.at = (outcome.fate != Fate::Failed).then_some(record.arrival);
    target.outcome = match outcome.fate {
        Fate::Delivered => "delivered",
        Fate::Failed => "waiting",
        Fate::DeadLettered => "dead-lettered",
        Fate::GivenUp => "given up",
    };
    if let Some(outbox) = outcome.outbox {
        waiting.insert((outcome.rule, outcome.target), outbox);
    }
}

/// When an id of version 7 was made.
fn time_of(id: &str) -> Option<Timestamp> {
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    if id.len() != 36 || digits.len() != 32 || digits.as_bytes()[12] != b'7' {
        return None;
    }
    i64::from_str_radix(digits.get(..12)?, 16).ok().map(Timestamp::from_millis)
}
