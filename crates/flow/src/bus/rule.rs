//! Rules and their targets, as configured and as they run.
//!
//! Owns their documents and what makes them valid. Promises that a compiled rule is one that was accepted. Must not
//! know how events reach it.

use std::sync::Arc;
use std::time::Duration;

use base::{Arn, BusName, PartitionKey, Position, RuleName, Scope, Timestamp};
use rules::Pattern;
use serde::{Deserialize, Serialize};

use super::input::{Input, InputSpec};
use super::path::Path;
use super::timed;
use crate::FlowError;
use crate::destinations::HttpParameters;
use crate::roles::{Acting, Denial, Roles};

/// Whether a rule sees events, and which ("Rule states", EventBridge User Guide).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RuleState {
    /// It sees all but the read-only management events that come through CloudTrail.
    Enabled,
    /// It sees none.
    Disabled,
    /// It sees all.
    EnabledWithAllCloudtrailManagementEvents,
}

impl RuleState {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "ENABLED",
            Self::Disabled => "DISABLED",
            Self::EnabledWithAllCloudtrailManagementEvents => "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS",
        }
    }
}

impl std::str::FromStr for RuleState {
    type Err = FlowError;

    fn from_str(v: &str) -> Result<Self, FlowError> {
        [Self::Enabled, Self::Disabled, Self::EnabledWithAllCloudtrailManagementEvents]
            .into_iter()
            .find(|state| state.as_str() == v)
            .ok_or_else(|| FlowError::Invalid(format!("'{v}' is not a rule state")))
    }
}

/// What a rule is put with.
#[derive(Debug, Clone)]
pub struct RuleSpec {
    /// Its name on the bus.
    pub name: RuleName,
    /// The event pattern, JSON.
    pub pattern: Option<String>,
    /// When it runs by itself: `cron(…)` or `rate(…)`.
    pub schedule: Option<String>,
    /// Whether it sees events.
    pub state: RuleState,
    /// Free text, at most 512 characters.
    pub description: Option<String>,
    /// Kept and shown, and looked at when the rule is put; what gives a target its events is the target's own.
    pub role: Option<Arn>,
}

/// A rule as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rule {
    /// Its name on the bus.
    pub name: RuleName,
    /// The bus.
    pub bus: BusName,
    /// The event pattern, JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// When it runs by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<RuleSchedule>,
    /// Whether it sees events.
    pub state: RuleState,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Kept and shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Arn>,
    /// It sees events from this position on: those after its creation or its last enabling.
    pub since: Position,
    /// Who gets what it matches, by id.
    pub targets: Vec<RuleTarget>,
}

/// The schedule of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSchedule {
    /// `cron(…)` or `rate(…)`.
    pub expression: String,
    /// Since when it holds: since it was put, or the rule enabled, last.
    pub since: Timestamp,
}

/// Where a rule sends what it matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTarget {
    /// Unique in its rule, 1 to 64 letters, digits, '.', '-' or '_'.
    pub id: String,
    /// The address.
    pub arn: Arn,
    /// What it gets.
    pub input: InputSpec,
    /// Where a stream's partition key is found in the event; the event's id when absent or not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_key_path: Option<String>,
    /// What its calls carry, at an API destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpParameters>,
    /// The group of its messages, in a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_group: Option<PartitionKey>,
    /// Bounds of retries.
    pub retry: TargetRetry,
    /// The standard queue that gets what the target does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Arn>,
    /// What it is given its events with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Arn>,
    /// It gets events from this position on. Set by the bus.
    #[serde(default)]
    pub since: Position,
}

/// How long a target that cannot receive now is tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRetry {
    /// Retries, 0 to 185, which is what it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Age of the event in seconds, 60 to 86,400, which is what it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_secs: Option<u32>,
}

impl TargetRetry {
    fn max_attempts(self) -> u32 {
        self.max_attempts.unwrap_or(185)
    }

    fn max_age_secs(self) -> u32 {
        self.max_age_secs.unwrap_or(86_400)
    }
}

/// The ARN of a rule: the default bus is left out, as the service does.
pub fn rule_arn(scope: &Scope, bus: &BusName, rule: &RuleName) -> Arn {
    let resource = if bus.as_str() == "default" { format!("rule/{rule}") } else { format!("rule/{bus}/{rule}") };
    Arn::new("events", scope, resource)
}

/// A rule ready to match.
#[derive(Debug)]
pub(crate) struct ActiveRule {
    pub name: RuleName,
    pub arn: Arn,
    pub pattern: Pattern,
    pub all_management_events: bool,
    pub since: Position,
    pub targets: Vec<Arc<ActiveTarget>>,
}

/// A target ready to receive.
#[derive(Debug, Clone)]
pub(crate) struct ActiveTarget {
    pub rule: RuleName,
    pub rule_arn: Arn,
    pub id: String,
    pub arn: Arn,
    pub dead_letter: Option<Arn>,
    /// What it is given its events with.
    pub role: Option<Arn>,
    pub input: Arc<Input>,
    pub partition_key_path: Option<Path>,
    pub message_group: Option<PartitionKey>,
    pub http: HttpParameters,
    pub max_attempts: u32,
    pub max_age: Duration,
    pub since: Position,
}

/// Quota "event pattern size" of the service, in characters.
const MAX_PATTERN: usize = 4_096;
const MAX_DESCRIPTION: usize = 512;

impl RuleSpec {
    /// Whether it can be put.
    pub(crate) fn validate(&self) -> Result<(), FlowError> {
        if self.pattern.is_none() && self.schedule.is_none() {
            let message = "Parameter(s) EventPattern or ScheduleExpression must be specified.";
            return Err(FlowError::Invalid(message.to_owned()));
        }
        if self.pattern.as_ref().is_some_and(|pattern| pattern.len() > MAX_PATTERN) {
            return Err(FlowError::Invalid(format!("an event pattern has at most {MAX_PATTERN} characters")));
        }
        if let Some(expression) = &self.schedule {
            timed::expression(expression)?;
        }
        if self.description.as_ref().is_some_and(|d| d.chars().count() > MAX_DESCRIPTION) {
            return Err(FlowError::Invalid(format!("a description has at most {MAX_DESCRIPTION} characters")));
        }
        Ok(())
    }
}

impl RuleTarget {
    /// Checks everything that does not need the addressed resource, and prepares it.
    pub(crate) fn compile(&self, rule: &RuleName, rule_arn: &Arn) -> Result<ActiveTarget, FlowError> {
        let id_ok = (1..=64).contains(&self.id.len())
            && self.id.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if !id_ok {
            return Err(FlowError::Invalid(format!(
                "target id '{}' is not valid: 1 to 64 letters, digits, '.', '-' or '_'",
                self.id.chars().take(64).collect::<String>()
            )));
        }
        if self.retry.max_attempts() > 185 || !(60..=86_400).contains(&self.retry.max_age_secs()) {
            return Err(FlowError::Invalid(
                "a retry policy has 0 to 185 attempts and an event age of 60 to 86400 seconds".to_owned(),
            ));
        }
        if self.partition_key_path.is_some() && self.arn.service() != "kinesis" {
            return Err(FlowError::Invalid(format!("Kinesis parameters do not fit the target {}", self.arn)));
        }
        if self.http.is_some() && !(self.arn.service() == "events" && self.arn.resource_of("api-destination").is_some())
        {
            return Err(FlowError::Invalid(format!("HTTP parameters do not fit the target {}", self.arn)));
        }
        for value in
            self.http.iter().flat_map(|http| http.path.iter().chain(http.headers.values()).chain(http.query.values()))
        {
            if value.starts_with("$.") {
                Path::parse(value)?;
            }
        }
        if self.message_group.is_some() && self.arn.service() != "sqs" {
            return Err(FlowError::Invalid(format!("SQS parameters do not fit the target {}", self.arn)));
        }
        if self.arn.service() == "events"
            && self.arn.resource_of("event-bus").is_some()
            && self.input != InputSpec::Event
        {
            return Err(FlowError::Invalid(
                "Input, InputPath and InputTransformer are not available for a target that is an event bus".to_owned(),
            ));
        }
        Ok(ActiveTarget {
            rule: rule.clone(),
            rule_arn: rule_arn.clone(),
            id: self.id.clone(),
            arn: self.arn.clone(),
            dead_letter: self.dead_letter.clone(),
            role: self.role.clone(),
            input: Arc::new(self.input.compile(&self.id)?),
            message_group: self.message_group.clone(),
            http: self.http.clone().unwrap_or_default(),
            partition_key_path: self.partition_key_path.as_deref().map(Path::parse).transpose()?,
            max_attempts: self.retry.max_attempts(),
            max_age: Duration::from_secs(self.retry.max_age_secs().into()),
            since: self.since,
        })
    }
}

/// Who assumes the roles of rules and their targets.
pub(super) const SERVICE: &str = "events.amazonaws.com";

/// Refuses a role that the bus could not use.
pub(super) fn check_role(roles: &Roles, role: &Arn, rule: &RuleName, rule_arn: &Arn) -> Result<(), FlowError> {
    let acting = Acting { service: SERVICE, role, session: rule.as_str(), source: rule_arn };
    let refused = |_| format!("Provided role '{role}' cannot be assumed by principal '{SERVICE}'.");
    roles.assume(&acting).map_err(refused).map_err(FlowError::Invalid)
}

impl ActiveTarget {
    /// Whether it may be given events: by its role, or without one by the bus itself.
    pub fn permit(&self, roles: &Roles) -> Result<(), Denial> {
        let Some(role) = &self.role else { return roles.permit_service(SERVICE, &self.rule_arn, &self.arn) };
        let acting = Acting { service: SERVICE, role, session: self.rule.as_str(), source: &self.rule_arn };
        roles.permit_delivery(&acting, &self.arn)
    }

    /// Whether it is an event bus.
    pub fn is_bus(&self) -> bool {
        self.arn.service() == "events" && self.arn.resource_of("event-bus").is_some()
    }

    /// Whether it receives one event at a time, and not by an append.
    pub fn is_slow(&self) -> bool {
        self.arn.service() == "events" && self.arn.resource_of("api-destination").is_some()
    }
}

impl Rule {
    /// Its targets, whether it is enabled or not.
    pub(crate) fn targets(&self, scope: &Scope) -> Result<Vec<ActiveTarget>, FlowError> {
        let arn = rule_arn(scope, &self.bus, &self.name);
        self.targets.iter().map(|target| target.compile(&self.name, &arn)).collect()
    }

    /// The rule ready to run, or `None` when it is disabled.
    pub(crate) fn activate(&self, scope: &Scope) -> Result<Option<ActiveRule>, FlowError> {
        if self.state == RuleState::Disabled {
            return Ok(None);
        }
        let targets = self.targets(scope)?.into_iter().map(Arc::new).collect();
        Ok(Some(ActiveRule {
            name: self.name.clone(),
            arn: rule_arn(scope, &self.bus, &self.name),
            pattern: matching(scope, &self.bus, &self.name, self.pattern.as_deref(), self.schedule.is_some())?,
            all_management_events: self.state == RuleState::EnabledWithAllCloudtrailManagementEvents,
            since: self.since,
            targets,
        }))
    }
}

/// What a rule's targets get: what its pattern matches, and its own scheduled events.
pub(super) fn matching(
    scope: &Scope,
    bus: &BusName,
    rule: &RuleName,
    pattern: Option<&str>,
    scheduled: bool,
) -> Result<Pattern, FlowError> {
    let own = timed::own_events(&rule_arn(scope, bus, rule)).to_string();
    let pattern = match pattern {
        None => own,
        Some(pattern) if scheduled => format!(r#"{{"$or":[{pattern},{own}]}}"#),
        Some(pattern) => pattern.to_owned(),
    };
    Pattern::parse(&pattern).map_err(|e| FlowError::Invalid(e.to_string()))
}
