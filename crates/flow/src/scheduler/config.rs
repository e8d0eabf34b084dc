//! Schedules as configured.

use base::{Arn, ScheduleGroupName, ScheduleName, Scope, StateStore, Table, Timestamp};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::schedule::{Expression, Handled, Timetable, time_zone};
use crate::{FlowError, stored};

pub(super) const SCHEDULES: Table = Table("flow.schedules");
pub(super) const CLOCKS: Table = Table("flow.schedule_clocks");

/// A schedule's account, region, group and name.
pub(super) type Key = (Scope, ScheduleGroupName, ScheduleName);

/// How often and how long a target that does not take a run is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Retries, 0 to 185.
    pub max_attempts: u32,
    /// Age of the run in seconds, 60 to 86,400.
    pub max_age_secs: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: 185, max_age_secs: 86_400 }
    }
}

/// What an event has that a schedule puts on a bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusInput {
    /// Its detail type.
    pub detail_type: String,
    /// Its source.
    pub source: String,
}

/// What a schedule invokes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleTarget {
    /// The address.
    pub arn: Arn,
    /// What it invokes that with.
    pub role: Arn,
    /// What it gets; a notification when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Bounds of retries.
    pub retry: Retry,
    /// Where a run goes that is given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Arn>,
    /// For an event bus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<BusInput>,
    /// For a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// For a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_group: Option<String>,
}

/// What a schedule is created with, or replaced by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// `at(…)`, `rate(…)` or `cron(…)`.
    pub expression: String,
    /// A zone of the IANA database; UTC when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// A recurring schedule has no instants before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Nor from this on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// An instant's run begins somewhere in so many minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_minutes: Option<u32>,
    /// Whether it runs.
    pub enabled: bool,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is deleted after its last run.
    pub delete_after: bool,
    /// What it invokes.
    pub target: ScheduleTarget,
}

/// A schedule as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name in its group.
    pub name: ScheduleName,
    /// Its group.
    pub group: ScheduleGroupName,
    /// What it was created with, or last replaced by.
    pub spec: ScheduleSpec,
    /// When it was created.
    pub created: Timestamp,
    /// When it was replaced last.
    pub modified: Timestamp,
    /// Since when its timetable holds: its creation, or its last change.
    pub(super) since: Timestamp,
    /// Of the call that created it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    /// The last calls that replaced it, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) updates: Vec<Update>,
}

/// A call that replaced a schedule, as far as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Update {
    token: String,
    /// The SHA-256 of the spec, hexadecimal.
    spec: String,
}

impl Update {
    pub fn new(token: String, spec: &ScheduleSpec) -> Result<Self, FlowError> {
        let hash = Sha256::digest(stored::encode("schedule", spec)?);
        Ok(Self { token, spec: hash.iter().map(|byte| format!("{byte:02x}")).collect() })
    }
}

impl Schedule {
    /// Whether a call is the repetition of one that is remembered; a conflict when it is that one's token only.
    pub(super) fn knows(&self, update: &Update) -> Result<bool, FlowError> {
        match self.updates.iter().find(|known| known.token == update.token) {
            Some(known) if known.spec == update.spec => Ok(true),
            Some(_) => Err(FlowError::Conflict(format!(
                "Schedule {} was updated otherwise by a call with the same ClientToken.",
                self.name
            ))),
            None => Ok(false),
        }
    }

    /// Remembers a call in place of the oldest one.
    pub(super) fn note(&mut self, update: Update) {
        const REMEMBERED: usize = 8;
        if self.updates.len() >= REMEMBERED {
            self.updates.remove(0);
        }
        self.updates.push(update);
    }
}

/// Which instants are dealt with.
#[derive(Serialize, Deserialize)]
pub(super) struct Clock {
    pub handled: Handled,
}

/// The ARN of a schedule.
pub fn schedule_arn(scope: &Scope, group: &ScheduleGroupName, schedule: &ScheduleName) -> Arn {
    Arn::new("scheduler", scope, format!("schedule/{group}/{schedule}"))
}

/// The ARN of a group of schedules.
pub fn group_arn(scope: &Scope, group: &ScheduleGroupName) -> Arn {
    Arn::new("scheduler", scope, format!("schedule-group/{group}"))
}

pub(super) fn row((scope, group, name): &Key) -> Vec<u8> {
    stored::key(scope, &[group.as_str(), name.as_str()])
}

pub(super) fn find(state: &dyn StateStore, key: &Key) -> Result<Option<Schedule>, FlowError> {
    stored::get(state, SCHEDULES, &row(key))
}

/// A schedule with its timetable and the instants that are dealt with, when it is there and enabled.
pub(super) fn timed(state: &dyn StateStore, key: &Key) -> Result<Option<(Schedule, Timetable, Handled)>, FlowError> {
    let Some(schedule) = find(state, key)?.filter(|schedule| schedule.spec.enabled) else { return Ok(None) };
    let table = schedule.spec.timetable(schedule.since)?;
    let clock: Option<Clock> = stored::get(state, CLOCKS, &row(key))?;
    let handled = clock.map_or_else(|| beginning(schedule.since), |clock| clock.handled);
    Ok(Some((schedule, table, handled)))
}

/// What is dealt with when a timetable begins to hold: everything before. A rate's first instant is that very moment.
pub(super) fn beginning(since: Timestamp) -> Handled {
    Handled::until(Timestamp::from_millis(since.millis() - 1))
}

impl ScheduleSpec {
    /// All instants, for a timetable that holds since then.
    pub(super) fn timetable(&self, since: Timestamp) -> Result<Timetable, FlowError> {
        let invalid = || FlowError::Invalid(format!("Invalid Schedule Expression {}.", self.expression));
        let expression = Expression::of_schedule(&self.expression).map_err(|_| invalid())?;
        let zone = match self.zone.as_deref() {
            None | Some("UTC") => TimeZone::UTC,
            Some(name) => time_zone(name)
                .ok_or_else(|| FlowError::Invalid(format!("The ScheduleExpressionTimezone {name} is not valid.")))?,
        };
        // One-time schedules have no start and no end.
        let recurring = !matches!(expression, Expression::At(_));
        let (from, until) = (self.start.filter(|_| recurring), self.end.filter(|_| recurring));
        Ok(Timetable { expression, zone, first: from.unwrap_or(since), from, until })
    }
}
