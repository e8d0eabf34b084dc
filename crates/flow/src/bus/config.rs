//! Buses, rules and targets: put, shown, removed.
//!
//! Owns their documents in the state store. Promises that a change is durable when it is answered and in force at
//! once. Must not know how events flow.

use std::sync::PoisonError;

use base::{Arn, Batch, BusName, Kinded, RuleName, Scope, StateStore, Table};

use super::rule::{Rule, RuleSpec, RuleState, RuleTarget, check_role};
use super::{BusInfo, Buses, bus_arn, consumer_id, rule_arn, stream_key, timed};
use crate::FlowError;
use crate::archive::has_archives;
use crate::stored::{self, Change};

const BUSES: Table = Table("flow.buses");
const RULES: Table = Table("flow.rules");

const DEFAULT: &str = "default";

const MAX_BUSES: usize = 100;
const MAX_RULES: usize = 300;
const MAX_TARGETS: usize = 5;

/// A target that could not be put or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTarget {
    /// Its id.
    pub id: String,
    /// `ResourceNotFoundException`, …
    pub code: &'static str,
    /// Why.
    pub message: String,
}

/// Every rule of every scope.
pub(super) fn all_rules(state: &dyn StateStore) -> Result<Vec<(Scope, Rule)>, FlowError> {
    stored::list_scoped(state, RULES)
}

/// A bus.
pub(super) fn bus_of(state: &dyn StateStore, scope: &Scope, bus: &BusName) -> Result<BusInfo, FlowError> {
    let found = stored::get(state, BUSES, &stored::key(scope, &[bus.as_str()]))?;
    found.or_else(|| default_bus(bus)).ok_or_else(|| no_bus(bus))
}

fn no_bus(bus: &BusName) -> FlowError {
    FlowError::NotFound(format!("Event bus {bus} does not exist."))
}

/// The bus of an ARN: of the bus itself, or of one of its rules.
pub(crate) fn stored_bus(state: &dyn StateStore, arn: &Arn) -> Result<Option<BusInfo>, FlowError> {
    let rule = || arn.resource_of("rule").map(|rule| rule.rsplit_once('/').map_or("default", |(bus, _)| bus));
    let name = arn.resource_of("event-bus").or_else(rule).and_then(|name| name.parse().ok());
    let Some((scope, name)) = arn.scope().zip(name) else { return Ok(None) };
    match bus_of(state, &scope, &name) {
        Err(FlowError::NotFound(_)) => Ok(None),
        found => found.map(Some),
    }
}

/// The rules of a bus, by name.
pub(super) fn rules_of(state: &dyn StateStore, scope: &Scope, bus: &BusName) -> Result<Vec<Rule>, FlowError> {
    stored::list(state, RULES, &stored::key(scope, &[bus.as_str()]))
}

/// A rule, when it is there.
pub(super) fn find_rule(
    state: &dyn StateStore,
    scope: &Scope,
    bus: &BusName,
    rule: &RuleName,
) -> Result<Option<Rule>, FlowError> {
    let (table, key) = rule_key(scope, bus, rule);
    stored::get(state, table, &key)
}

fn rule_key(scope: &Scope, bus: &BusName, rule: &RuleName) -> (Table, Vec<u8>) {
    (RULES, stored::key(scope, &[bus.as_str(), rule.as_str()]))
}

fn no_rule(bus: &BusName, rule: &RuleName) -> FlowError {
    FlowError::NotFound(format!("Rule {rule} does not exist on EventBus {bus}."))
}

impl Buses {
    /// Creates a bus.
    pub async fn create_bus(
        &self,
        scope: &Scope,
        bus: &BusName,
        description: Option<String>,
    ) -> Result<Arn, FlowError> {
        if bus.as_str() == DEFAULT {
            return Err(FlowError::Conflict("Event bus default already exists.".to_owned()));
        }
        if self.buses(scope)?.len() > MAX_BUSES {
            return Err(FlowError::LimitExceeded(format!("an account has at most {MAX_BUSES} event buses")));
        }
        let created = self.inner.ports.consumers.env.clock.now();
        let info = BusInfo { name: bus.clone(), description, created, policy: None };
        let key = (BUSES, stored::key(scope, &[bus.as_str()]));
        stored::update(self.state(), key, "event bus", |old: Option<BusInfo>| match old {
            Some(_) => Err(FlowError::Conflict(format!("Event bus {bus} already exists."))),
            None => Ok((Change::Put(info.clone(), Vec::new()), ())),
        })
        .await?;
        self.stream(scope, bus).await?;
        Ok(bus_arn(scope, bus))
    }

    /// Deletes a bus that has no rules, with its log; one that does not exist is fine.
    pub async fn delete_bus(&self, scope: &Scope, bus: &BusName) -> Result<(), FlowError> {
        if bus.as_str() == DEFAULT {
            return Err(FlowError::Invalid("Cannot delete event bus default.".to_owned()));
        }
        // The service's archives are rules of the bus, which it does not show.
        if !rules_of(self.state(), scope, bus)?.is_empty() || has_archives(self.state(), scope, bus)? {
            return Err(FlowError::Invalid(format!("Event bus {bus} can't be deleted since it has rules.")));
        }
        let mut batch = Batch::new().delete(BUSES, stored::key(scope, &[bus.as_str()]));
        batch.writes.extend(self.inner.ports.consumers.checkpoints.forget(&consumer_id(scope, bus)).await?);
        self.state().commit(batch).await?;
        self.inner.buses.lock().unwrap_or_else(PoisonError::into_inner).remove(&(scope.clone(), bus.clone()));
        self.inner.trace.remove(scope, bus).await?;
        match self.log().delete_stream(&stream_key(scope, bus)).await {
            Err(error) if error.kind() != base::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A bus.
    pub fn bus(&self, scope: &Scope, bus: &BusName) -> Result<BusInfo, FlowError> {
        bus_of(self.state(), scope, bus)
    }

    /// All buses of a scope, by name.
    pub fn buses(&self, scope: &Scope) -> Result<Vec<BusInfo>, FlowError> {
        let mut buses: Vec<BusInfo> = stored::list(self.state(), BUSES, &stored::scope_prefix(scope))?;
        if !buses.iter().any(|bus| bus.name.as_str() == DEFAULT) {
            buses.extend(DEFAULT.parse().ok().as_ref().and_then(default_bus));
        }
        buses.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(buses)
    }

    /// Changes a bus's policy by looking at it.
    pub async fn change_bus_policy(
        &self,
        scope: &Scope,
        bus: &BusName,
        mut change: impl FnMut(Option<&str>) -> Result<Option<String>, FlowError>,
    ) -> Result<(), FlowError> {
        let key = (BUSES, stored::key(scope, &[bus.as_str()]));
        stored::update(self.state(), key, "event bus", |old: Option<BusInfo>| {
            let mut info = old.or_else(|| default_bus(bus)).ok_or_else(|| no_bus(bus))?;
            info.policy = change(info.policy.as_deref())?;
            Ok((Change::Put(info, Vec::new()), ()))
        })
        .await
    }

    /// Creates a rule, or changes one and keeps its targets.
    pub async fn put_rule(&self, scope: &Scope, bus: &BusName, spec: RuleSpec) -> Result<Arn, FlowError> {
        self.bus(scope, bus)?;
        spec.validate()?;
        if let Some(role) = &spec.role {
            check_role(&self.inner.ports.roles, role, &spec.name, &rule_arn(scope, bus, &spec.name))?;
        }
        if let Some(pattern) = &spec.pattern {
            rules::Pattern::parse(pattern).map_err(|e| FlowError::Invalid(e.to_string()))?;
        }
        super::rule::matching(scope, bus, &spec.name, spec.pattern.as_deref(), spec.schedule.is_some())?;
        if spec.schedule.is_some() && bus.as_str() != DEFAULT {
            let message = "ScheduleExpression is supported only on the default event bus.";
            return Err(FlowError::Invalid(message.to_owned()));
        }
        let rules = rules_of(self.state(), scope, bus)?;
        if rules.len() >= MAX_RULES && rules.iter().all(|rule| rule.name != spec.name) {
            return Err(FlowError::LimitExceeded(format!("an event bus has at most {MAX_RULES} rules")));
        }
        let tail = self.tail(scope, bus).await?;
        let (key, now) = (rule_key(scope, bus, &spec.name), self.inner.ports.consumers.env.clock.now());
        stored::update(self.state(), key, "rule", |old: Option<Rule>| {
            let was_on = old.as_ref().filter(|rule| rule.state != RuleState::Disabled);
            let schedule = timed::schedule(spec.schedule.as_ref(), was_on.and_then(|rule| rule.schedule.as_ref()), now);
            let clock = timed::set_clock(scope, &spec.name, schedule.as_ref(), now)?;
            let rule = Rule {
                schedule,
                name: spec.name.clone(),
                bus: bus.clone(),
                pattern: spec.pattern.clone(),
                state: spec.state,
                description: spec.description.clone(),
                role: spec.role.clone(),
                since: was_on.map_or(tail, |rule| rule.since),
                targets: old.map(|rule| rule.targets).unwrap_or_default(),
            };
            Ok((Change::Put(rule, clock), ()))
        })
        .await?;
        self.reload(scope, bus)?;
        self.wind(scope, bus, &spec.name)?;
        Ok(rule_arn(scope, bus, &spec.name))
    }

    /// A rule.
    pub fn rule(&self, scope: &Scope, bus: &BusName, rule: &RuleName) -> Result<Rule, FlowError> {
        self.bus(scope, bus)?;
        find_rule(self.state(), scope, bus, rule)?.ok_or_else(|| no_rule(bus, rule))
    }

    /// The rules of a bus, by name.
    pub fn rules(&self, scope: &Scope, bus: &BusName) -> Result<Vec<Rule>, FlowError> {
        self.bus(scope, bus)?;
        rules_of(self.state(), scope, bus)
    }

    /// Enables or disables a rule. An enabled rule does not see what was put while it was disabled.
    pub async fn set_rule_state(
        &self,
        scope: &Scope,
        bus: &BusName,
        rule: &RuleName,
        enabled: bool,
    ) -> Result<(), FlowError> {
        self.bus(scope, bus)?;
        let (tail, now) = (self.tail(scope, bus).await?, self.inner.ports.consumers.env.clock.now());
        stored::update(self.state(), rule_key(scope, bus, rule), "rule", |old: Option<Rule>| {
            let mut changed = old.ok_or_else(|| no_rule(bus, rule))?;
            match (enabled, changed.state) {
                (false, _) => changed.state = RuleState::Disabled,
                (true, RuleState::Disabled) => (changed.state, changed.since) = (RuleState::Enabled, tail),
                (true, _) => return Ok((Change::Keep, ())),
            }
            if enabled && let Some(schedule) = &mut changed.schedule {
                schedule.since = now;
            }
            let clock = timed::set_clock(scope, rule, changed.schedule.as_ref(), now)?;
            Ok((Change::Put(changed, clock), ()))
        })
        .await?;
        self.reload(scope, bus)?;
        self.wind(scope, bus, rule)
    }

    /// Deletes a rule that has no targets; one that does not exist is fine.
    pub async fn delete_rule(&self, scope: &Scope, bus: &BusName, rule: &RuleName) -> Result<(), FlowError> {
        self.bus(scope, bus)?;
        stored::update(self.state(), rule_key(scope, bus, rule), "rule", |old: Option<Rule>| match old {
            Some(rule) if !rule.targets.is_empty() => {
                Err(FlowError::Invalid("Rule can't be deleted since it has targets.".to_owned()))
            }
            Some(_) => Ok((Change::Delete(timed::stop_clock(scope, bus, rule)), ())),
            None => Ok((Change::Keep, ())),
        })
        .await?;
        self.reload(scope, bus)?;
        self.wind(scope, bus, rule)
    }

    /// Adds targets to a rule, or replaces those of the same id. Targets that cannot be put are answered; the others
    /// are in force.
    pub async fn put_targets(
        &self,
        scope: &Scope,
        bus: &BusName,
        rule: &RuleName,
        targets: Vec<RuleTarget>,
    ) -> Result<Vec<FailedTarget>, FlowError> {
        self.rule(scope, bus, rule)?;
        let tail = self.tail(scope, bus).await?;
        let (mut good, mut failed) = (Vec::new(), Vec::new());
        for mut target in targets {
            target.compile(rule, &rule_arn(scope, bus, rule))?;
            if let Some(role) = &target.role {
                check_role(&self.inner.ports.roles, role, rule, &rule_arn(scope, bus, rule))?;
            }
            if target.message_group.is_none() && self.inner.ports.queues.is_fifo(&target.arn) {
                let id = &target.id;
                return Err(FlowError::Invalid(format!(
                    "Parameter(s) SqsParameters must be specified for target: {id}."
                )));
            }
            if let Some(queue) = &target.dead_letter {
                self.inner.ports.dead_letters.check(scope, queue, false)?;
            }
            if target.arn.scope().as_ref() != Some(scope) {
                return Err(FlowError::Invalid(format!(
                    "target {} is not in this account and region; targets elsewhere cannot be reached",
                    target.arn
                )));
            }
            target.since = tail;
            match self.reach(scope, &target).await? {
                None => good.push(target),
                Some(failure) => failed.push(failure),
            }
        }
        stored::update(self.state(), rule_key(scope, bus, rule), "rule", |old: Option<Rule>| {
            let mut changed = old.ok_or_else(|| no_rule(bus, rule))?;
            for target in &good {
                put_target(&mut changed.targets, target);
            }
            if changed.targets.len() > MAX_TARGETS {
                let message = "The requested resource exceeds the maximum number allowed.";
                return Err(FlowError::LimitExceeded(message.to_owned()));
            }
            Ok((Change::Put(changed, Vec::new()), ()))
        })
        .await?;
        self.reload(scope, bus)?;
        Ok(failed)
    }

    /// Looks whether what a target addresses is there.
    async fn reach(&self, scope: &Scope, target: &RuleTarget) -> Result<Option<FailedTarget>, FlowError> {
        let missing = |why: String| Ok(Some(failure(target.id.clone(), "ResourceNotFoundException", why)));
        if target.arn.service() == "events" && target.arn.resource_of("api-destination").is_some() {
            return match self.inner.ports.destinations.destination_of(scope, &target.arn) {
                Ok(found) => {
                    target.http.clone().unwrap_or_default().check(&found.endpoint)?;
                    Ok(None)
                }
                Err(error) if error.kind() == base::ErrorKind::NotFound => missing(error.to_string()),
                Err(error) => Err(error),
            };
        }
        match self.inner.ports.router.check(&target.arn).await {
            Ok(()) => Ok(None),
            Err(error) if error.kind.is_transient() => {
                Ok(Some(failure(target.id.clone(), "InternalException", error.message)))
            }
            Err(error) if error.kind == base::ErrorKind::NotFound => missing(error.message),
            Err(error) => Err(FlowError::Invalid(error.message)),
        }
    }

    /// Removes targets by id; unknown ids are answered.
    pub async fn remove_targets(
        &self,
        scope: &Scope,
        bus: &BusName,
        rule: &RuleName,
        ids: &[String],
    ) -> Result<Vec<FailedTarget>, FlowError> {
        self.bus(scope, bus)?;
        let failed = stored::update(self.state(), rule_key(scope, bus, rule), "rule", |old: Option<Rule>| {
            let mut changed = old.ok_or_else(|| no_rule(bus, rule))?;
            let unknown = ids.iter().filter(|id| changed.targets.iter().all(|t| t.id != **id));
            let failed: Vec<_> = unknown
                .map(|id| failure(id.clone(), "ResourceNotFoundException", format!("Rule {rule} has no target {id}.")))
                .collect();
            changed.targets.retain(|target| !ids.contains(&target.id));
            Ok((Change::Put(changed, Vec::new()), failed))
        })
        .await?;
        self.reload(scope, bus)?;
        Ok(failed)
    }

    /// The names of the rules that send to an address.
    pub fn rules_by_target(&self, scope: &Scope, bus: &BusName, arn: &Arn) -> Result<Vec<RuleName>, FlowError> {
        let sends = |rule: &Rule| rule.targets.iter().any(|target| target.arn == *arn);
        Ok(self.rules(scope, bus)?.into_iter().filter(sends).map(|rule| rule.name).collect())
    }
}

/// A target that goes on to the same address keeps its place.
fn put_target(targets: &mut Vec<RuleTarget>, new: &RuleTarget) {
    match targets.iter_mut().find(|target| target.id == new.id) {
        Some(old) => {
            let since = if old.arn == new.arn { old.since } else { new.since };
            *old = RuleTarget { since, ..new.clone() };
        }
        None => targets.push(new.clone()),
    }
    targets.sort_by(|a, b| a.id.cmp(&b.id));
}

fn failure(id: String, code: &'static str, message: String) -> FailedTarget {
    FailedTarget { id, code, message }
}

/// The bus that every scope has: it is stored once it has a policy.
fn default_bus(name: &BusName) -> Option<BusInfo> {
    let created = base::Timestamp::default();
    (name.as_str() == DEFAULT).then(|| BusInfo { name: name.clone(), description: None, created, policy: None })
}
