//! Event buses: events go in durably, rules select them, targets receive them.
//!
//! Owns buses, rules and targets as configured, and one consumer for each bus that has rules.
//! Promises: an event that was acknowledged is evaluated against every enabled rule of its bus, in order, at least
//! once, and each journal-backed target gets it once; a rule sees only events put after its creation.
//! Must not know log formats, nor what targets do.
//!
//! Every scope has a bus `default` without creating it. Limits are the service's defaults: 300 rules a bus, 5 targets a
//! rule, 100 buses.

mod config;
mod dispatch;
mod input;
mod intake;
mod letter;
mod outbox;
pub(crate) mod path;
mod rule;
mod seen;
mod sender;
mod target;
mod timed;
mod trace;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Arn, BusName, Position, Scope, StateStore, Target, TaskGroup, Timestamp};
use log::{Log, LogError, Stream, StreamKey, StreamKind, StreamSpec};
use serde::{Deserialize, Serialize};

pub use config::FailedTarget;
pub(crate) use config::stored_bus;
pub use input::InputSpec;
pub use rule::{Rule, RuleSchedule, RuleSpec, RuleState, RuleTarget, TargetRetry, rule_arn};
pub use target::BusTarget;
pub use trace::{AttemptMade, BusWay, EventWay, RuleWay, TargetWay};

use crate::FlowError;
use crate::archive::ReplayFilters;
use crate::consumer::{Consumer, Loop, Policy, Running, Start};
use crate::dead_letter::DeadLetters;
use crate::destinations::Destinations;
use crate::queue::Queues;
use crate::roles::Roles;
use crate::stored;
use dispatch::{Dispatcher, RuleSet};
use outbox::Outboxes;
use seen::Seen;
use timed::RuleClock;
use trace::Trace;

/// A bus as shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BusInfo {
    /// Its name.
    pub name: BusName,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was created; the default bus was always there.
    pub created: Timestamp,
    /// Who may use it, as its owner wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// The ARN of a bus.
pub fn bus_arn(scope: &Scope, bus: &BusName) -> Arn {
    Arn::new("events", scope, format!("event-bus/{bus}"))
}

/// What the buses work with.
#[derive(Clone)]
pub(crate) struct BusPorts {
    pub consumers: Loop,
    pub state: Arc<dyn StateStore>,
    pub router: Arc<dyn Target>,
    pub destinations: Destinations,
    pub queues: Queues,
    pub dead_letters: DeadLetters,
    pub roles: Roles,
    /// How long events stay in a bus's log.
    pub retention: Duration,
}

/// The room of event buses. Cloning gives another handle.
#[derive(Clone)]
pub struct Buses {
    inner: Arc<Inner>,
}

struct Inner {
    ports: BusPorts,
    group: TaskGroup,
    outboxes: Outboxes,
    trace: Trace,
    buses: Mutex<HashMap<(Scope, BusName), Arc<Active>>>,
    clock: RuleClock,
    replays: ReplayFilters,
}

/// One bus at work.
#[derive(Default)]
struct Active {
    rules: Arc<RuleSet>,
    consumer: Mutex<Option<Running>>,
    seen: Seen,
}

impl Buses {
    pub(crate) fn new(ports: BusPorts, group: &TaskGroup) -> Self {
        let group = group.child();
        let trace = Trace::new(&ports.consumers.log, ports.retention);
        let outboxes = Outboxes::new(ports.clone(), trace.clone(), &group);
        let clock = RuleClock::new(ports.consumers.env.clock.now());
        let inner = Inner {
            ports,
            group,
            outboxes,
            trace,
            buses: Mutex::new(HashMap::new()),
            clock,
            replays: ReplayFilters::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the consumers of all buses that have rules, of what waits for targets, and the clock of the rules that
    /// have a schedule.
    pub(crate) async fn restore(&self) -> Result<(), FlowError> {
        let rules = config::all_rules(&*self.inner.ports.state)?;
        self.inner.outboxes.restore(&rules).await?;
        for (scope, rule) in rules.iter().filter(|(_, rule)| rule.schedule.is_some()) {
            stored::or_inactive(self.wind(scope, &rule.bus, &rule.name), rule_arn(scope, &rule.bus, &rule.name))?;
        }
        self.inner.group.spawn_infallible("rule-clock", self.clone().run_clock());
        let mut buses: Vec<(Scope, BusName)> = rules.into_iter().map(|(scope, rule)| (scope, rule.bus)).collect();
        buses.dedup();
        for (scope, bus) in buses {
            self.reload(&scope, &bus)?;
        }
        Ok(())
    }

    /// Which rules see the events of which replay.
    pub(crate) fn replay_filters(&self) -> &ReplayFilters {
        &self.inner.replays
    }

    fn state(&self) -> &dyn StateStore {
        &*self.inner.ports.state
    }

    fn log(&self) -> &Log {
        &self.inner.ports.consumers.log
    }

    fn active(&self, scope: &Scope, bus: &BusName) -> Arc<Active> {
        let mut buses = self.inner.buses.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(buses.entry((scope.clone(), bus.clone())).or_default())
    }

    /// The bus's log, made when the bus is first used.
    pub(crate) async fn stream(&self, scope: &Scope, bus: &BusName) -> Result<Arc<Stream>, FlowError> {
        let key = stream_key(scope, bus);
        match self.log().stream(&key) {
            Err(LogError::StreamNotFound(_)) => {
                let spec = StreamSpec { shards: 1, retention: self.inner.ports.retention };
                Ok(self.log().ensure_stream(&key, spec).await?)
            }
            other => Ok(other?),
        }
    }

    /// The position that the next event on the bus will not be below.
    pub(crate) async fn tail(&self, scope: &Scope, bus: &BusName) -> Result<Position, FlowError> {
        let stream = self.stream(scope, bus).await?;
        let shard = stream.shards.first().ok_or_else(|| FlowError::NotFound(format!("bus {bus} has no log")))?;
        Ok(self.log().tail(shard.slot)?.next)
    }

    /// Makes the rules as stored the rules in force. Holding the consumer's lock over reading and replacing keeps an
    /// older reading from replacing a newer one.
    fn reload(&self, scope: &Scope, bus: &BusName) -> Result<(), FlowError> {
        let active = self.active(scope, bus);
        let mut consumer = active.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        let rules: Vec<Rule> = config::rules_of(self.state(), scope, bus)?;
        let first = rules.iter().map(|rule| rule.since).min();
        let mut enabled = Vec::new();
        for rule in &rules {
            let active = stored::or_inactive(rule.activate(scope), rule_arn(scope, bus, &rule.name))?;
            enabled.extend(active.flatten());
        }
        // First, so that no event is dispatched to a target that the outboxes do not know.
        self.inner.outboxes.configure(scope, bus, &rules)?;
        active.rules.replace(enabled);
        match (first, consumer.is_some()) {
            (Some(since), false) => *consumer = Some(self.start(scope, bus, &active, since)),
            (None, true) => {
                // Without rules there is nothing to evaluate; the next rule starts at its own creation.
                if let Some(running) = consumer.take() {
                    self.inner.group.spawn_infallible(format!("stop-bus:{scope}/{bus}"), running.stop());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&self, scope: &Scope, bus: &BusName, active: &Active, since: Position) -> Running {
        let ports = &self.inner.ports;
        let handler = Dispatcher {
            scope: scope.clone(),
            bus: bus.clone(),
            rules: Arc::clone(&active.rules),
            replays: self.inner.replays.clone(),
            router: Arc::clone(&ports.router),
            dead_letters: ports.dead_letters.clone(),
            roles: ports.roles.clone(),
            outboxes: self.inner.outboxes.clone(),
            trace: self.inner.trace.clone(),
            counted: Mutex::default(),
        };
        let consumer = Consumer {
            id: consumer_id(scope, bus),
            source: stream_key(scope, bus),
            start: Start::At(since),
            policy: Policy {
                records: 1_000,
                bytes: 4 << 20,
                weigh: |record| record.data.len(),
                window: Duration::ZERO,
                in_flight: 1,
                retry: base::RetryPolicy {
                    first_delay: Duration::from_millis(100),
                    max_delay: Duration::from_secs(30),
                    max_attempts: None,
                    max_age: None,
                },
                max_age: Some(ports.retention),
                bisect: false,
                lanes: 1,
                tumble: None,
            },
        };
        ports.consumers.start(self.inner.group.child(), consumer, Arc::new(handler))
    }
}

fn consumer_id(scope: &Scope, bus: &BusName) -> String {
    format!("bus:{scope}/{bus}")
}

pub(crate) fn stream_key(scope: &Scope, bus: &BusName) -> StreamKey {
    StreamKey { kind: StreamKind::Bus, scope: scope.clone(), name: bus.to_string() }
}
