//! Runs: an instant of a schedule on its way to the target.
//!
//! Owns their rows, and the attempts that are due. Promises that a run's row goes only when its target took it, or it
//! was given up and its dead letter is durable. Must not know how a target is reached.
//!
//! | table | key → value |
//! |---|---|
//! | `flow.schedule_runs` | account/region/group, schedule, instant (ms, 16 digits) → the schedule's beginning, due time, attempts |

use std::time::Duration;

use base::{Batch, ErrorKind, Position, RetryPolicy, Scope, StateStore, Table, TargetError, Timestamp, Write};
use serde::{Deserialize, Serialize};

use super::attempt::Attempt;
use super::config::{self, Key, Schedule};
use super::queue::RunKey;
use super::room::Schedules;
use crate::producer::{producer_id, stable_uuid};
use crate::schedule::LOOK;
use crate::spool::{End, Why};
use crate::{FlowError, metrics, stored};

pub(super) const RUNS: Table = Table("flow.schedule_runs");
/// The back-off between attempts.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(300);
/// How long an attempt may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a failure of the store.
const AGAIN: Duration = Duration::from_secs(1);

/// A run as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    pub scope: Scope,
    pub group: base::ScheduleGroupName,
    pub name: base::ScheduleName,
    pub instant: Timestamp,
    /// The beginning of the timetable that it comes of.
    pub since: Timestamp,
    /// When it was made, or is to begin if that is later.
    pub made: Timestamp,
    /// The next attempt.
    pub due: Timestamp,
    /// Attempts that failed.
    pub attempts: u32,
    /// The journal had come so far when it was made: names the run in idempotent appends.
    pub at: Position,
}

impl Run {
    /// The run of an instant, that begins somewhere in its schedule's window: always at the same time.
    pub fn new(key: &Key, schedule: &Schedule, instant: Timestamp, made: Timestamp, at: Position) -> Self {
        let (scope, group, name) = key.clone();
        let window = u64::from(schedule.spec.window_minutes.unwrap_or_default()) * 60_000;
        let arn = config::schedule_arn(&scope, &group, &name).to_string();
        let chance = producer_id(&[b"window", arn.as_bytes(), &instant.millis().to_be_bytes()]).0;
        let late = if window == 0 { 0 } else { (chance % u128::from(window)) as u64 };
        let due = instant + Duration::from_millis(late);
        // Its age counts from when it is to begin: waiting for its place in the window uses up no retries.
        let made = made.max(due);
        Self { scope, group, name, instant, since: schedule.since, made, due, attempts: 0, at }
    }

    pub fn key(&self) -> Key {
        (self.scope.clone(), self.group.clone(), self.name.clone())
    }

    /// The same at every attempt.
    pub fn execution_id(&self) -> String {
        let arn = config::schedule_arn(&self.scope, &self.group, &self.name).to_string();
        let producer = producer_id(&[b"schedule", arn.as_bytes(), &self.since.millis().to_be_bytes()]);
        stable_uuid(producer, Position::new(self.instant.millis() as u64))
    }
}

pub(super) fn row((key, instant): &RunKey) -> Vec<u8> {
    let mut row = config::row(key);
    row.extend_from_slice(format!("{:016}", instant.millis()).as_bytes());
    row
}

/// Whether a schedule has runs.
pub(super) fn has_any(state: &dyn StateStore, key: &Key) -> Result<bool, FlowError> {
    Ok(!state.scan(RUNS, &config::row(key), None, 1)?.is_empty())
}

/// The rows of all runs of a schedule.
fn of_schedule(state: &dyn StateStore, key: &Key) -> Result<Vec<Run>, FlowError> {
    stored::list(state, RUNS, &config::row(key))
}

/// The writes that remove them.
pub(super) fn forget(state: &dyn StateStore, key: &Key) -> Result<Vec<Write>, FlowError> {
    let runs = of_schedule(state, key)?.into_iter();
    Ok(runs.map(|run| Write::Delete(RUNS, row(&(key.clone(), run.instant)))).collect())
}

impl Schedules {
    /// Attempts runs when they are due, until the end.
    pub(super) async fn run_due(self) {
        let (waiting, stopping) = (self.waiting(), self.stopping());
        loop {
            let now = self.now();
            if let Some(run) = waiting.take(now) {
                let slot = tokio::select! {
                    slot = self.slots().acquire_owned() => slot,
                    () = stopping.cancelled() => return,
                };
                let this = self.clone();
                self.group_of_tasks().spawn_infallible("schedule-run", async move {
                    this.settle(&run).await;
                    drop(slot);
                });
                continue;
            }
            let wait = waiting.next().map_or(LOOK, |due| due.since(now).min(LOOK));
            tokio::select! {
                () = self.clock().sleep(wait) => {}
                () = waiting.changed.notified() => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// Makes one attempt, and writes down what came of it.
    async fn settle(&self, run: &RunKey) {
        if let Err(error) = self.attempt_once(run).await {
            tracing::warn!(schedule = %run.0.2, %error, "a schedule's run is put off");
            self.waiting().add(self.now() + AGAIN, run.clone());
        }
    }

    async fn attempt_once(&self, key: &RunKey) -> Result<(), FlowError> {
        let Some(run) = stored::get::<Run>(self.state(), RUNS, &row(key))? else {
            // Done, or deleted with its schedule.
            self.note_ended(key.0.clone());
            return Ok(());
        };
        let Some(schedule) = config::find(self.state(), &key.0)? else {
            return Ok(self.state().commit(Batch::new().delete(RUNS, row(key))).await?);
        };
        let stopping = self.stopping();
        let attempted = tokio::select! {
            attempted = self.attempt(&schedule, &run) => attempted,
            // Others wait for its slot. What it may still do is recognised when it is repeated.
            () = self.clock().sleep(TIMEOUT) => {
                let message = format!("{} did not take it within {} s", schedule.spec.target.arn, TIMEOUT.as_secs());
                Attempt::Failed(TargetError { kind: ErrorKind::Unavailable, message })
            }
            // The row is durable: the attempt is made again after the restart.
            () = stopping.cancelled() => return Ok(()),
        };
        let group = run.group.as_str();
        match attempted {
            Attempt::Done => metrics::schedule_run(group, "done"),
            Attempt::Refused(error) => {
                let end = End { why: Why::Refused, attempts: run.attempts + 1, reason: error.message.clone() };
                self.give_up(&schedule, &run, &end, error.kind).await?;
                metrics::schedule_run(group, "dropped");
            }
            Attempt::Failed(error) => {
                let retry = schedule.spec.target.retry;
                let policy = RetryPolicy {
                    first_delay: FIRST_DELAY,
                    max_delay: MAX_DELAY,
                    max_attempts: Some(retry.max_attempts + 1),
                    max_age: Some(Duration::from_secs(retry.max_age_secs.into())),
                };
                let (attempts, now) = (run.attempts + 1, self.now());
                if let Some(delay) = policy.next_delay(attempts, now.since(run.made), self.rng()) {
                    tracing::warn!(schedule = %run.name, attempts, error = %error.message, "a schedule's target failed");
                    let again = Run { attempts, due: now + delay, ..run.clone() };
                    let value = stored::encode("run", &again)?;
                    self.state().commit(Batch::new().put(RUNS, row(key), value)).await?;
                    metrics::schedule_run(group, "retried");
                    self.waiting().add(again.due, key.clone());
                    return Ok(());
                }
                let why = if attempts > retry.max_attempts { Why::Attempts } else { Why::Age };
                let end = End { why, attempts, reason: error.message.clone() };
                self.give_up(&schedule, &run, &end, error.kind).await?;
                metrics::schedule_run(group, "dropped");
            }
        }
        self.state().commit(Batch::new().delete(RUNS, row(key))).await?;
        if schedule.spec.delete_after {
            self.note_ended(key.0.clone());
        }
        Ok(())
    }
}
