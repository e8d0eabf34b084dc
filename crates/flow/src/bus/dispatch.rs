//! What happens to a batch of events: each enabled rule is evaluated, and each target gets what its rules matched.
//!
//! Promises: an event is evaluated against the rules that hold when it is handled, all of them in one matcher, and is
//! read into a tree only when a rule matches it; all targets of a batch receive at the same time, each in the bus's
//! order; a target that refuses for good costs the others nothing and is counted.
//!
//! A target that cannot receive *now* holds the batch back, and with it the bus. That is sound because every target is
//! an append into the same journal: when one cannot write, none can. The bounds of a target's retry policy still hold.
//! Must not know what a target does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use base::{Clock, Delivery, Kinded, PartitionKey, Position, ProducerId, RuleName, Scope, Target, TargetError};
use bytes::Bytes;
use futures::future::join_all;
use log::Record;
use rules::{Engine, Event, Scratch};
use serde_json::Value;

use super::input::Surroundings;
use super::letter::{self, error_code};
use super::rule::{ActiveRule, ActiveTarget};
use crate::consumer::{Batch, Handler, Outcome};
use crate::dead_letter::DeadLetters;
use crate::metrics;
use crate::producer::{from_shard, stable_uuid};
use crate::spool::{End, Why};

/// The enabled rules of a bus, replaced whole when one changes.
#[derive(Default)]
pub(crate) struct RuleSet(RwLock<Arc<Compiled>>);

/// Rules, and the matcher that finds them by their place in the list.
#[derive(Default)]
struct Compiled {
    rules: Vec<ActiveRule>,
    engine: Engine<usize>,
}

impl RuleSet {
    pub fn replace(&self, rules: Vec<ActiveRule>) {
        let mut engine = Engine::default();
        for (place, rule) in rules.iter().enumerate() {
            engine.insert(place, &rule.pattern);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Compiled { rules, engine });
    }

    fn current(&self) -> Arc<Compiled> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Evaluates and dispatches the events of one bus.
pub(crate) struct Dispatcher {
    /// The bus's full name, for producer ids.
    pub scope: Scope,
    /// The bus's name, for metrics.
    pub bus: String,
    pub rules: Arc<RuleSet>,
    pub router: Arc<dyn Target>,
    pub dead_letters: DeadLetters,
    pub clock: Arc<dyn Clock>,
    /// Up to where each target's events of the batch under way are counted: they are once, however often it is tried.
    pub counted: Mutex<BTreeMap<(RuleName, String), Position>>,
}

/// What a batch comes to.
#[derive(Default)]
struct Routed {
    /// Matched events by rule.
    matched: BTreeMap<RuleName, usize>,
    /// What each target gets, by rule and id.
    deliveries: BTreeMap<(RuleName, String), (Arc<ActiveTarget>, Vec<Delivery>)>,
}

impl Routed {
    fn matched(&mut self, rule: &ActiveRule) {
        match self.matched.get_mut(&rule.name) {
            Some(events) => *events += 1,
            None => _ = self.matched.insert(rule.name.clone(), 1),
        }
    }

    fn push(&mut self, target: &Arc<ActiveTarget>, delivery: Delivery) {
        let key = (target.rule.clone(), target.id.clone());
        self.deliveries.entry(key).or_insert_with(|| (Arc::clone(target), Vec::new())).1.push(delivery);
    }
}

#[async_trait]
impl Handler for Dispatcher {
    async fn handle(&self, batch: &Batch) -> Outcome {
        let rules = self.rules.current();
        if batch.attempt == 1 {
            self.counted.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        let mut routed = Routed::default();
        let mut scratch = Scratch::default();
        for record in batch.records.iter() {
            if let Err(error) = self.evaluate(&rules, record, batch.attempt, &mut routed, &mut scratch) {
                // Only this crate writes to a bus's log, so this is a defect; the bus goes on.
                let (bus, position) = (&self.bus, record.position);
                tracing::error!(bus, %position, error, "an event cannot be read; left out");
                metrics::dropped(&format!("bus:{}/{}", self.scope, self.bus), "refused", 1);
            }
        }
        if batch.attempt == 1 {
            for (rule, events) in &routed.matched {
                metrics::rule_matched(&self.bus, rule.as_str(), *events);
            }
        }
        let deliveries = routed.deliveries.values().map(|(target, deliveries)| self.deliver(batch, target, deliveries));
        let postponed: Vec<String> = join_all(deliveries).await.into_iter().flatten().collect();
        if postponed.is_empty() { Outcome::Done } else { Outcome::Later(postponed.join("; ")) }
    }
}

impl Dispatcher {
    /// Routes one event, or says why it cannot be read.
    fn evaluate(
        &self,
        compiled: &Compiled,
        record: &Record,
        attempt: u32,
        routed: &mut Routed,
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        let checked = Event::check(&record.data).map_err(|error| error.to_string())?;
        let mut matched = compiled.engine.matches(checked, scratch).peekable();
        if matched.peek().is_none() {
            return Ok(());
        }
        let event: Value = serde_json::from_slice(&record.data).map_err(|error| error.to_string())?;
        let mut read_only = None;
        let rules = matched.filter_map(|place| compiled.rules.get(*place));
        for rule in rules.filter(|rule| record.position >= rule.since) {
            if !rule.all_management_events && *read_only.get_or_insert_with(|| rules::is_read_only_management(&event)) {
                continue;
            }
            routed.matched(rule);
            let around = Surroundings { rule: &rule.name, rule_arn: &rule.arn, ingested: record.arrival };
            for target in rule.targets.iter().filter(|target| record.position >= target.since) {
                let too_old = attempt > 1 && self.clock.now().since(record.arrival) > target.max_age;
                if too_old || attempt > target.max_attempts.saturating_add(1) {
                    self.failed(target, [record.position], "its retries are used up");
                    continue;
                }
                let delivery = Delivery {
                    position: record.position,
                    payload: target.input.apply(&event, &record.data, &around),
                    partition_key: partition_key(target, &event, &record.partition_key),
                };
                routed.push(target, delivery);
            }
        }
        Ok(())
    }

    /// The reason for waiting, when the target cannot receive now.
    async fn deliver(&self, batch: &Batch, target: &ActiveTarget, deliveries: &[Delivery]) -> Option<String> {
        let way = ["rule", self.bus.as_str(), target.rule.as_str(), &target.id];
        let producer = from_shard(batch.stream, batch.shard, &way);
        match self.router.deliver(&target.arn, producer, deliveries).await {
            Ok(()) => {
                let events = self.count(target, deliveries.iter().map(|d| d.position));
                metrics::target_delivered(&self.bus, target.rule.as_str(), events);
                None
            }
            Err(error) if error.kind().is_transient() => {
                Some(format!("rule {} target {}: {error}", target.rule, target.id))
            }
            Err(error) => match self.put_away(batch, target, producer, deliveries, &error).await {
                Ok(()) => {
                    self.failed(target, deliveries.iter().map(|d| d.position), &error.message);
                    None
                }
                Err(error) => Some(error),
            },
        }
    }

    /// Writes what a target refused for good to its dead-letter queue, if it has one.
    async fn put_away(
        &self,
        batch: &Batch,
        target: &ActiveTarget,
        producer: ProducerId,
        deliveries: &[Delivery],
        error: &TargetError,
    ) -> Result<(), String> {
        let end = End { why: Why::Refused, attempts: 1, reason: error.message.clone() };
        for delivery in deliveries {
            let at = batch.records.binary_search_by_key(&delivery.position, |record| record.position);
            let event = at.map_or_else(|_| Bytes::new(), |at| batch.records[at].data.clone());
            let id = stable_uuid(producer, delivery.position);
            letter::put_away(&self.dead_letters, target, id, event, &end, error_code(error.kind)).await?;
        }
        Ok(())
    }

    /// How many of these events have their outcome for the first time.
    fn count(&self, target: &ActiveTarget, events: impl IntoIterator<Item = Position>) -> usize {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let last = counted.entry((target.rule.clone(), target.id.clone())).or_default();
        let before = *last;
        let new = events.into_iter().filter(|position| *position > before);
        new.inspect(|position| *last = *position).count()
    }

    fn failed(&self, target: &ActiveTarget, events: impl IntoIterator<Item = Position>, reason: &str) {
        let events = self.count(target, events);
        if events == 0 {
            return;
        }
        metrics::target_failed(&self.bus, target.rule.as_str(), events);
        let (bus, rule, id, arn) = (&self.bus, &target.rule, &target.id, &target.arn);
        tracing::error!(bus, %rule, target = id, %arn, events, reason, "a target did not get its events");
    }
}

/// The text at the target's path, else the event's id, which is the record's own key. Cut to what a key may hold.
fn partition_key(target: &ActiveTarget, event: &Value, own: &PartitionKey) -> Option<PartitionKey> {
    let Some(path) = &target.partition_key_path else { return Some(own.clone()) };
    let text = match path.find(event) {
        Some(Value::String(text)) => text.chars().take(256).collect(),
        None | Some(Value::Null) => String::new(),
        Some(value) => value.to_string().chars().take(256).collect::<String>(),
    };
    Some(text.parse().unwrap_or_else(|_| own.clone()))
}

/// The key under which an event lies in its bus's log: its id.
pub(crate) fn event_key(event: &base::Event) -> Option<PartitionKey> {
    event.id.chars().take(256).collect::<String>().parse().ok()
}

/// An event as it lies in its bus's log.
pub(crate) fn event_data(event: &base::Event) -> Bytes {
    event.to_json().into()
}
