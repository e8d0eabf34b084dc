//! What happens to a batch of events: each enabled rule is evaluated, and each target gets what its rules matched.
//!
//! Promises: an event is evaluated against the rules that hold when it is handled, all of them in one matcher, and is
//! read into a tree only when a rule matches it; all targets of a batch receive at the same time, each in the bus's
//! order but for what it did not take at once. A target that cannot receive now, or that receives by HTTP, gets its
//! events through its [outbox](super::outbox), so that it holds up neither the bus nor the others; what it refuses for
//! good becomes a dead letter, through the outbox as well when the dead-letter queue cannot take it now. Both are
//! written before the batch is done. The batch is put off only when the log cannot write: no target could receive then,
//! and what an append came to is known only when it is repeated. What was on one of its ways when a batch is repeated
//! goes on there and takes no other.
//! Must not know what a target does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use base::{
    BusName, Delivery, ErrorKind, Kinded, PartitionKey, Position, ProducerId, RuleName, Scope, Target, TargetError,
};
use bytes::Bytes;
use futures::future::join_all;
use log::Record;
use rules::{Engine, Event, Scratch};
use serde_json::Value;

use super::input::Surroundings;
use super::letter::{self, Lost};
use super::outbox::Outboxes;
use super::rule::{ActiveRule, ActiveTarget};
use super::target::{self, MAX_HOPS};
use super::trace::{Fate, Given, Matched, Noted, Trace};
use super::waiting::Waiting;
use crate::archive::ReplayFilters;
use crate::consumer::{Batch, Handler, Outcome};
use crate::dead_letter::DeadLetters;
use crate::metrics;
use crate::producer::{from_shard, producer_id};
use crate::roles::Roles;
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
    pub bus: BusName,
    pub rules: Arc<RuleSet>,
    pub replays: ReplayFilters,
    pub router: Arc<dyn Target>,
    pub dead_letters: DeadLetters,
    pub roles: Roles,
    pub outboxes: Outboxes,
    pub trace: Trace,
    /// Up to where each target's events of the batch under way are counted: they are once, however often it is tried.
    pub counted: Mutex<BTreeMap<(RuleName, String, Lane), Position>>,
}

/// Events whose outcomes come in the order of their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// What a target was to be given.
    Given,
    /// What it was not to be given at all.
    KeptBack,
}

/// Why a target did not take events: whether it may later, and what was wrong.
struct Missed {
    why: Why,
    reason: String,
}

impl From<&TargetError> for Missed {
    fn from(error: &TargetError) -> Self {
        let why = if error.kind().is_transient() { Why::Attempts } else { Why::Refused };
        Self { why, reason: letter::coded(letter::error_code(error.kind), &error.message) }
    }
}

/// What a batch comes to.
#[derive(Default)]
struct Routed {
    /// Matched events by the rule's place.
    matched: BTreeMap<usize, Vec<Position>>,
    /// What each target gets, by rule and id.
    deliveries: BTreeMap<(RuleName, String), (Arc<ActiveTarget>, Vec<Delivery>)>,
    /// Events that a target is not given, and why.
    kept_back: Vec<(Arc<ActiveTarget>, Position, String)>,
}

impl Routed {
    fn push(&mut self, target: &Arc<ActiveTarget>, delivery: Delivery) {
        let key = (target.rule.clone(), target.id.clone());
        self.deliveries.entry(key).or_insert_with(|| (Arc::clone(target), Vec::new())).1.push(delivery);
    }

    /// What the trace says of it.
    fn told(&self, rules: &[ActiveRule], first: Position) -> Vec<Matched> {
        let matched = self.matched.iter().filter_map(|(place, positions)| Some((rules.get(*place)?, positions)));
        matched
            .map(|(rule, positions)| {
                let given = |target: &Arc<ActiveTarget>| Given {
                    id: target.id.clone(),
                    arn: target.arn.clone(),
                    since: target.since,
                    slow: target.is_slow(),
                };
                Matched::new(rule.name.clone(), rule.targets.iter().map(given).collect(), first, positions)
            })
            .collect()
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
            if let Err(error) = self.evaluate(&rules, record, &mut routed, &mut scratch) {
                // Only this crate writes to a bus's log, so this is a defect; the bus goes on.
                let (bus, position) = (&self.bus, record.position);
                tracing::error!(%bus, %position, error, "an event cannot be read; left out");
                metrics::dropped(&format!("bus:{}/{}", self.scope, self.bus), "refused", 1);
            }
        }
        if batch.attempt == 1 {
            for (place, events) in &routed.matched {
                let Some(rule) = rules.rules.get(*place) else { continue };
                metrics::rule_matched(self.bus.as_str(), rule.name.as_str(), events.len());
            }
        }
        let traced = self.trace.evaluated((&self.scope, &self.bus), batch, |first| routed.told(&rules.rules, first));
        let deliveries = routed.deliveries.values().map(|(target, deliveries)| self.deliver(batch, target, deliveries));
        let (traced, delivered) = tokio::join!(traced, join_all(deliveries));
        let mut postponed: Vec<String> = delivered.into_iter().filter_map(Result::err).collect();
        postponed.extend(traced.err());
        for (target, position, reason) in &routed.kept_back {
            // In their order: what is behind one that is put off waits for it.
            if let Err(error) = self.keep_back(batch, target, *position, reason).await {
                postponed.push(error);
                break;
            }
        }
        if postponed.is_empty() { Outcome::Done } else { Outcome::Later(postponed.join("; ")) }
    }
}

impl Dispatcher {
    /// Routes one event, or says why it cannot be read.
    fn evaluate(
        &self,
        compiled: &Compiled,
        record: &Record,
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
        let matched = matched.filter_map(|place| Some((*place, compiled.rules.get(*place)?)));
        for (place, rule) in matched.filter(|(_, rule)| record.position >= rule.since) {
            if !self.replays.admit((&self.scope, &self.bus), &event, &rule.arn) {
                continue;
            }
            if !rule.all_management_events && *read_only.get_or_insert_with(|| rules::is_read_only_management(&event)) {
                continue;
            }
            routed.matched.entry(place).or_default().push(record.position);
            let around = Surroundings { rule: &rule.name, rule_arn: &rule.arn, ingested: record.arrival };
            for target in rule.targets.iter().filter(|target| record.position >= target.since) {
                let mut keep_back =
                    |reason: String| routed.kept_back.push((Arc::clone(target), record.position, reason));
                let Some(partition_key) = placed_by(target, &event, &record.partition_key) else {
                    keep_back(format!("it was forwarded to {MAX_HOPS} buses already: rules send it in a circle"));
                    continue;
                };
                let Some(payload) = target.input.apply(&event, &record.data, &around) else {
                    keep_back("the input that its transformer makes of it is too large".to_owned());
                    continue;
                };
                routed.push(target, Delivery { position: record.position, payload, partition_key });
            }
        }
        Ok(())
    }

    /// Gives a target its events, or sees to them otherwise; an error says why nothing could be done yet.
    async fn deliver(&self, batch: &Batch, target: &ActiveTarget, deliveries: &[Delivery]) -> Result<(), String> {
        let producer = self.producer(batch, target);
        let deliveries = behind(deliveries, self.outboxes.passed((&self.scope, &self.bus), target, producer));
        if deliveries.is_empty() {
            return Ok(());
        }
        if target.is_slow() {
            return self.wait(batch, target, producer, deliveries, None).await.map(drop);
        }
        if let Err(denial) = target.permit(&self.roles) {
            // What it took before a crash it has.
            let rest = behind(deliveries, self.router.taken(&target.arn, producer));
            self.delivered(target, &deliveries[..deliveries.len() - rest.len()]);
            let missed = Missed { why: Why::Refused, reason: letter::denied(&denial) };
            return self.not_taken(batch, target, producer, rest, missed).await;
        }
        let error = match self.router.deliver(&target.arn, producer, deliveries).await {
            Ok(()) => {
                self.delivered(target, deliveries);
                return Ok(());
            }
            Err(error) => error,
        };
        if error.kind().is_transient() && error.kind() != ErrorKind::Throttled {
            // It may have been taken all the same, which only the same producer can find out.
            return Err(format!("rule {} target {}: {error}", target.rule, target.id));
        }
        let rest = behind(deliveries, self.router.taken(&target.arn, producer));
        self.delivered(target, &deliveries[..deliveries.len() - rest.len()]);
        if error.kind() == ErrorKind::Invalid && rest.len() > 1 {
            // One event that does not fit must not take the others with it.
            for delivery in rest {
                Box::pin(self.deliver(batch, target, std::slice::from_ref(delivery))).await?;
            }
            return Ok(());
        }
        self.not_taken(batch, target, producer, rest, Missed::from(&error)).await
    }

    fn delivered(&self, target: &ActiveTarget, deliveries: &[Delivery]) {
        let events = self.count(target, Lane::Given, deliveries.iter().map(|d| d.position));
        if events > 0 {
            metrics::target_delivered(self.bus.as_str(), target.rule.as_str(), events);
        }
    }

    /// Sees to events that a target did not take: they wait for another attempt, or are put away.
    async fn not_taken(
        &self,
        batch: &Batch,
        target: &ActiveTarget,
        producer: ProducerId,
        deliveries: &[Delivery],
        Missed { why, reason }: Missed,
    ) -> Result<(), String> {
        if deliveries.is_empty() {
            return Ok(());
        }
        let is_over = why == Why::Refused || target.max_attempts == 0;
        let end = is_over.then(|| End { why, attempts: 1, reason: reason.clone() });
        let mut deliveries = deliveries;
        if let Some(end) = end.clone() {
            let positions: Vec<Position> = deliveries.iter().map(|d| d.position).collect();
            let (done, failed) = self.put_away(batch, target, &positions, Lane::Given, end).await;
            if failed.is_none() {
                return Ok(());
            }
            deliveries = &deliveries[done..];
        }
        let positions: Vec<Position> = deliveries.iter().map(|d| d.position).collect();
        let waits = self.wait(batch, target, producer, deliveries, end).await?;
        if self.count(target, Lane::Given, positions.iter().copied()) > 0 && waits {
            metrics::target_retried(self.bus.as_str(), target.rule.as_str());
            let (bus, rule, id) = (&self.bus, &target.rule, &target.id);
            tracing::warn!(%bus, %rule, target = id, events = positions.len(), reason, "a target gets its events later");
            self.note(target, positions, Fate::Failed, reason).await;
        }
        Ok(())
    }

    /// Puts away an event that a target is not to be given; through the outbox when that cannot be done now.
    async fn keep_back(
        &self,
        batch: &Batch,
        target: &ActiveTarget,
        position: Position,
        reason: &str,
    ) -> Result<(), String> {
        // Its place in the outbox says nothing of what lies before it, so these have a producer of their own.
        let producer = producer_id(&[b"kept back", &self.producer(batch, target).0.to_be_bytes()]);
        if self.outboxes.passed((&self.scope, &self.bus), target, producer).is_some_and(|passed| passed >= position) {
            return Ok(());
        }
        let end = End { why: Why::Refused, attempts: 1, reason: letter::coded("INVALID_PARAMETER", reason) };
        let (_, Some(error)) = self.put_away(batch, target, &[position], Lane::KeptBack, end.clone()).await else {
            return Ok(());
        };
        let Some(record) = record_at(batch, position) else { return Ok(()) };
        let delivery = Delivery { position, payload: record.data.clone(), partition_key: None };
        if self.wait(batch, target, producer, &[delivery], Some(end)).await?
            && self.count(target, Lane::KeptBack, [position]) > 0
        {
            let (bus, rule, id) = (&self.bus, &target.rule, &target.id);
            tracing::warn!(%bus, %rule, target = id, %position, error, "a dead letter is written later");
            self.note(target, vec![position], Fate::Failed, error).await;
        }
        Ok(())
    }

    fn producer(&self, batch: &Batch, target: &ActiveTarget) -> ProducerId {
        from_shard(batch.stream, batch.shard, &["rule", self.bus.as_str(), target.rule.as_str(), &target.id])
    }

    /// Puts a target's events into its outbox, with their end when nothing is to be attempted any more. `false` when
    /// the target is gone and they with it.
    async fn wait(
        &self,
        batch: &Batch,
        target: &ActiveTarget,
        producer: ProducerId,
        deliveries: &[Delivery],
        end: Option<End>,
    ) -> Result<bool, String> {
        let waiting = |delivery: &Delivery| {
            let record = record_at(batch, delivery.position)?;
            let (position, payload, key) =
                (delivery.position, delivery.payload.clone(), delivery.partition_key.clone());
            let (born, event, end) = (record.arrival, record.data.clone(), end.clone());
            Some(Waiting { position, born, payload, event, key, end })
        };
        let waiting: Vec<Waiting> = deliveries.iter().filter_map(waiting).collect();
        let put = self.outboxes.put((&self.scope, &self.bus), target, producer, &waiting).await;
        put.map_err(|error| format!("rule {} target {}: {error}", target.rule, target.id))
    }

    /// Writes what a target will not get to its dead-letter queue, if it has one: how many, from the first on, and why
    /// not all when this queue cannot take them now. The events of a lane are to come in their order.
    async fn put_away(
        &self,
        batch: &Batch,
        target: &ActiveTarget,
        positions: &[Position],
        lane: Lane,
        end: End,
    ) -> (usize, Option<String>) {
        let lane_name: &[u8] = match lane {
            Lane::Given => b"given",
            Lane::KeptBack => b"kept back",
        };
        let own = self.producer(batch, target).0.to_be_bytes();
        let producer = producer_id(&[b"dead letters", lane_name, &own]);
        let lost = positions.iter().filter_map(|position| {
            let event = record_at(batch, *position)?.data.clone();
            Some(Lost { at: *position, position: *position, event })
        });
        let written = letter::put_away(&self.dead_letters, target, producer, lost.collect(), &end).await;
        let (fate, done, failed) = match written {
            Ok(fate) => (fate, positions.len(), None),
            Err(error) => {
                let sent = target.dead_letter.as_ref().and_then(|queue| self.dead_letters.sent(queue, producer));
                let done = positions.partition_point(|position| sent.is_some_and(|sent| *position <= sent));
                (Fate::DeadLettered, done, Some(error))
            }
        };
        let positions = &positions[..done];
        let events = self.count(target, lane, positions.iter().copied());
        if events > 0 {
            metrics::target_failed(self.bus.as_str(), target.rule.as_str(), events);
            let (bus, rule, id, arn) = (&self.bus, &target.rule, &target.id, &target.arn);
            let reason = &end.reason;
            tracing::error!(%bus, %rule, target = id, %arn, events, reason, "a target did not get its events");
            self.note(target, positions.to_vec(), fate, end.reason).await;
        }
        (done, failed)
    }

    async fn note(&self, target: &ActiveTarget, positions: Vec<Position>, fate: Fate, error: String) {
        let (rule, id) = (target.rule.clone(), target.id.clone());
        let outcome = Noted { rule, target: id, positions, fate, error: Some(error), outbox: None };
        self.trace.outcome(&self.scope, &self.bus, &outcome).await;
    }

    /// How many of these events have their outcome for the first time.
    fn count(&self, target: &ActiveTarget, lane: Lane, events: impl IntoIterator<Item = Position>) -> usize {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let last = counted.entry((target.rule.clone(), target.id.clone(), lane)).or_default();
        let before = *last;
        let new = events.into_iter().filter(|position| *position > before);
        new.inspect(|position| *last = *position).count()
    }
}

/// What lies behind a position of the bus.
fn behind(deliveries: &[Delivery], passed: Option<Position>) -> &[Delivery] {
    let Some(passed) = passed else { return deliveries };
    &deliveries[deliveries.partition_point(|delivery| delivery.position <= passed)..]
}

fn record_at(batch: &Batch, position: Position) -> Option<&Record> {
    let at = batch.records.binary_search_by_key(&position, |record| record.position).ok()?;
    batch.records.get(at)
}

/// What places an event at its target; `None` when it was forwarded too often. A stream's is the text at the target's
/// path, else the event's id; a queue's is its group.
fn placed_by(target: &ActiveTarget, event: &Value, own: &PartitionKey) -> Option<Option<PartitionKey>> {
    match target.arn.service() {
        "events" if target.is_bus() => target::forwarded(own).map(Some),
        "sqs" => Some(target.message_group.clone()),
        _ => Some(partition_key(target, event, own)),
    }
}

/// The text at the target's path, else the event's id, which is the record's own key. Cut to what a key may hold.
fn partition_key(target: &ActiveTarget, event: &Value, own: &PartitionKey) -> Option<PartitionKey> {
    let own = || id_of(own).parse().ok();
    let Some(path) = &target.partition_key_path else { return own() };
    let text = match path.find(event) {
        Some(Value::String(text)) => text.chars().take(256).collect(),
        None | Some(Value::Null) => String::new(),
        Some(value) => value.to_string().chars().take(256).collect::<String>(),
    };
    text.parse().ok().or_else(own)
}

/// The id of the event that lies under a key.
pub(super) fn id_of(key: &PartitionKey) -> &str {
    target::id_and_hops(key).0
}

/// The key under which an event lies in its bus's log: its id.
pub(crate) fn event_key(event: &base::Event) -> Option<PartitionKey> {
    event.id.chars().take(256).collect::<String>().parse().ok()
}

/// An event as it lies in its bus's log.
pub(crate) fn event_data(event: &base::Event) -> Bytes {
    event.to_json().into()
}
