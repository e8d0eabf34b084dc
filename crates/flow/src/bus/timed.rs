//! Rules that run by the clock: their instants become events on the default bus.
//!
//! Owns which instants of a rule's schedule are dealt with. Promises that each instant is on the bus once, whatever
//! ends the process and whatever the clock does: its event's id is made of rule and instant and put as a repeatable
//! intake, and it is taken as dealt with only after that. Must not know what targets do with it.
//!
//! The event is matched like any other, so that a rule whose pattern names it sees it, too. A rule with a schedule
//! matches its own ones besides what its pattern matches.
//!
//! | table | key → value |
//! |---|---|
//! | `flow.rule_clocks` | account/region/rule → parts of time whose instants are dealt with, milliseconds |

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Arn, Batch, BusName, Event, Position, Precondition, RuleName, Scope, StateError, Table, Timestamp, Write};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::rule::{Rule, RuleSchedule, RuleState};
use super::{Buses, rule_arn};
use crate::producer::{producer_id, stable_uuid};
use crate::schedule::{Agenda, Due, Expression, Handled, LOOK, Timetable};
use crate::{FlowError, metrics, stored};

const CLOCKS: Table = Table("flow.rule_clocks");
const SOURCE: &str = "aws.events";
const DETAIL_TYPE: &str = "Scheduled Event";
/// Rules that are acted on before the clock is looked at again.
const RULES_AT_ONCE: usize = 100;
/// The pause after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// A rule of the default bus.
type Key = (Scope, RuleName);

/// The rules that have a schedule and are enabled, by when they are next due.
pub(super) struct RuleClock {
    agenda: Mutex<Agenda<Key>>,
    changed: Notify,
}

#[derive(Serialize, Deserialize)]
struct Clock {
    handled: Handled,
}

impl RuleClock {
    pub fn new(now: Timestamp) -> Self {
        Self { agenda: Mutex::new(Agenda::new(now)), changed: Notify::new() }
    }

    fn agenda(&self) -> MutexGuard<'_, Agenda<Key>> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The expression of a rule, refused as the service words it.
pub(super) fn expression(text: &str) -> Result<Expression, FlowError> {
    Expression::of_rule(text).map_err(|_| bad_expression())
}

fn bad_expression() -> FlowError {
    FlowError::Invalid("Parameter ScheduleExpression is not valid.".to_owned())
}

/// The pattern of a rule's own scheduled events.
pub(super) fn own_events(rule: &Arn) -> Value {
    json!({"source": [SOURCE], "detail-type": [DETAIL_TYPE], "resources": [rule.to_string()]})
}

/// The schedule that a rule is put with: what it had before goes on, another begins now.
pub(super) fn schedule(wanted: Option<&String>, before: Option<&RuleSchedule>, now: Timestamp) -> Option<RuleSchedule> {
    let wanted = wanted?;
    let kept = before.filter(|before| before.expression == *wanted).cloned();
    Some(kept.unwrap_or_else(|| RuleSchedule { expression: wanted.clone(), since: now }))
}

fn clock_key(scope: &Scope, rule: &RuleName) -> Vec<u8> {
    stored::key(scope, &[rule.as_str()])
}

/// What is written with a rule of the default bus, so that a schedule that begins now owes nothing of before.
pub(super) fn set_clock(
    scope: &Scope,
    rule: &RuleName,
    schedule: Option<&RuleSchedule>,
    now: Timestamp,
) -> Result<Vec<Write>, FlowError> {
    let Some(schedule) = schedule else { return Ok(Vec::new()) };
    if schedule.since != now {
        return Ok(Vec::new());
    }
    let clock = stored::encode("clock", &Clock { handled: Handled::until(now) })?;
    Ok(vec![Write::Put(CLOCKS, clock_key(scope, rule), clock)])
}

/// What is written when a rule is deleted.
pub(super) fn stop_clock(scope: &Scope, bus: &BusName, rule: &RuleName) -> Vec<Write> {
    if bus.as_str() == "default" { vec![Write::Delete(CLOCKS, clock_key(scope, rule))] } else { Vec::new() }
}

impl Buses {
    /// Makes the schedule of a rule as stored the one that runs.
    pub(super) fn wind(&self, scope: &Scope, bus: &BusName, name: &RuleName) -> Result<(), FlowError> {
        if bus.as_str() != "default" {
            return Ok(());
        }
        let (key, clock) = ((scope.clone(), name.clone()), &self.inner.clock);
        // The lock is held from reading to replacing, so that an older reading replaces no newer one.
        let mut agenda = clock.agenda();
        match self.timed(&key)? {
            Some((_, table, handled)) => _ = agenda.put(key, table, handled),
            None => agenda.remove(&key),
        }
        drop(agenda);
        clock.changed.notify_one();
        Ok(())
    }

    /// A rule that runs by the clock, as stored.
    fn timed(&self, (scope, name): &Key) -> Result<Option<(Rule, Timetable, Handled)>, FlowError> {
        let Ok(bus) = "default".parse() else { return Ok(None) };
        let Some(rule) = super::config::find_rule(self.state(), scope, &bus, name)? else { return Ok(None) };
        let Some(schedule) = rule.schedule.as_ref().filter(|_| rule.state != RuleState::Disabled) else {
            return Ok(None);
        };
        let expression = Expression::of_stored_rule(&schedule.expression).map_err(|_| bad_expression())?;
        let first = match &expression {
            Expression::Rate(period) => schedule.since + *period,
            _ => schedule.since,
        };
        let clock: Option<Clock> = stored::get(self.state(), CLOCKS, &clock_key(scope, name))?;
        let handled = clock.map_or_else(|| Handled::until(schedule.since), |clock| clock.handled);
        let table = Timetable { expression, zone: TimeZone::UTC, first, from: None, until: None };
        Ok(Some((rule, table, handled)))
    }

    /// Acts on instants as they come, until the end.
    pub(super) async fn run_clock(self) {
        let (clock, stopping) = (&self.inner.clock, self.inner.group.stopping());
        let time = &self.inner.ports.consumers.env.clock;
        while !stopping.is_cancelled() {
            let due = {
                let mut agenda = clock.agenda();
                agenda.look(time.now());
                agenda.due(RULES_AT_ONCE)
            };
            let (mut failed, idle) = (false, due.is_empty());
            for due in due {
                if let Err(error) = self.tick(&due).await {
                    tracing::warn!(rule = %due.key.1, %error, "a scheduled rule is put off");
                    failed = true;
                }
            }
            if !idle && !failed {
                continue;
            }
            let next = clock.agenda().next().map_or(LOOK, |at| at.since(time.now()).min(LOOK));
            tokio::select! {
                () = time.sleep(if failed { AGAIN } else { next }) => {}
                () = clock.changed.notified() => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// Puts the events of a rule's instants on the bus, then takes these as dealt with.
    async fn tick(&self, due: &Due<Key>) -> Result<(), FlowError> {
        let (scope, name) = &due.key;
        let Ok(bus) = "default".parse::<BusName>() else { return Ok(()) };
        let key = clock_key(scope, name);
        let before = self.state().get(CLOCKS, &key)?;
        if let Some((rule, _, handled)) = self.timed(&due.key)?
            && !due.instants.is_empty()
        {
            if handled != due.before {
                // Changed since it was found to be due.
                return self.wind(scope, &bus, name);
            }
            let events: Vec<Event> =
                due.instants.iter().filter_map(|instant| scheduled_event(scope, &bus, &rule, *instant)).collect();
            self.put_new_events(scope, &bus, &events).await?;
            for (from, to) in &due.skipped {
                metrics::instants_skipped("rule");
                tracing::error!(rule = %name, %from, %to, "scheduled instants passed too long ago and are left out");
            }
            let clock = stored::encode("clock", &Clock { handled: due.handled.clone() })?;
            let condition = before.map_or(Precondition::Absent, Precondition::Equals);
            let batch = Batch::new().require(CLOCKS, key.clone(), condition).put(CLOCKS, key, clock);
            match self.state().commit(batch).await {
                // The rule was changed meanwhile: its clock is another.
                Ok(()) | Err(StateError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.wind(scope, &bus, name)
    }
}

/// The event of an instant. Its id is that of no other instant, rule, or schedule of the rule.
fn scheduled_event(scope: &Scope, bus: &BusName, rule: &Rule, instant: Timestamp) -> Option<Event> {
    let arn = rule_arn(scope, bus, &rule.name).to_string();
    let since = rule.schedule.as_ref()?.since.millis().to_be_bytes();
    let producer = producer_id(&[b"scheduled-rule", arn.as_bytes(), &since]);
    Some(Event {
        id: stable_uuid(producer, Position::new(instant.millis() as u64)),
        detail_type: DETAIL_TYPE.to_owned(),
        source: SOURCE.to_owned(),
        account: scope.account.clone(),
        time: instant,
        region: scope.region.clone(),
        resources: vec![arn],
        detail: Event::compact("{}").ok()?,
    })
}
