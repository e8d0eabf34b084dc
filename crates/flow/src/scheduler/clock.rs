//! The clock of schedules: it makes runs of their instants, and sees to what has ended.
//!
//! Promises that an instant becomes one run, because both are written in one commit; that what is due together is
//! written together; that schedules whose runs cannot be made, or whose targets do not take those that were, wait
//! behind the others; and that a schedule which asks for it is deleted once nothing more will come of it. Must not know
//! how runs are attempted.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{Batch, Precondition, StateError};
use futures::future::join_all;

use super::config::{self, CLOCKS, Clock, Key, SCHEDULES};
use super::room::Schedules;
use super::runs::{self, RUNS, Run};
use crate::producer::producer_id;
use crate::schedule::{Due, LOOK};
use crate::{FlowError, metrics, stored};

/// Schedules that are acted on before the clock is looked at again.
const AT_ONCE: usize = 500;
/// The pause after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// Runs that wait; beyond that, a schedule gets no other before those that it has are done.
const MOST_WAITING: usize = 10_000;
/// When such a schedule is looked at again.
const CROWDED: Duration = Duration::from_secs(10);

impl Schedules {
    /// Makes runs of instants as they come, until the end.
    pub(super) async fn run_clock(self) {
        let stopping = self.stopping();
        while !stopping.is_cancelled() {
            let seen_to = self.see_to_what_ended().await;
            let due = {
                let mut agenda = self.agenda();
                agenda.look(self.now());
                agenda.due(AT_ONCE)
            };
            // The store syncs once for what comes together.
            let ticks = join_all(due.iter().map(|due| self.tick(due))).await;
            for (due, outcome) in due.iter().zip(ticks) {
                if let Err(error) = outcome {
                    tracing::warn!(schedule = %due.key.2, %error, "a schedule is put off");
                    self.agenda().put_off(&due.key, self.now() + AGAIN);
                }
            }
            if !due.is_empty() {
                continue;
            }
            let longest = if seen_to { LOOK } else { AGAIN };
            let next = self.agenda().next().map_or(longest, |at| at.since(self.now()).min(longest));
            tokio::select! {
                () = self.clock().sleep(next) => {}
                () = self.changed().notified() => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// Makes runs of a schedule's instants and takes these as dealt with, in one commit.
    async fn tick(&self, due: &Due<Key>) -> Result<(), FlowError> {
        let row = config::row(&due.key);
        let before = self.state().get(CLOCKS, &row)?;
        let found = config::timed(self.state(), &due.key)?;
        // Otherwise changed since it was found to be due.
        if let Some((schedule, ..)) = found.filter(|(.., handled)| *handled == due.before && !due.instants.is_empty()) {
            if self.waiting().len() >= MOST_WAITING && runs::has_any(self.state(), &due.key)? {
                metrics::instants_put_off("schedule");
                self.agenda().put_off(&due.key, self.now() + CROWDED);
                return Ok(());
            }
            // What names a run in the journal is remembered there for as long as this position is.
            let at = self.log().next_position();
            let clock = stored::encode("clock", &Clock { handled: due.handled.clone() })?;
            let condition = before.map_or(Precondition::Absent, Precondition::Equals);
            let mut batch = Batch::new().require(CLOCKS, row.clone(), condition).put(CLOCKS, row, clock);
            let mut made = Vec::with_capacity(due.instants.len());
            for instant in &due.instants {
                let run = Run::new(&due.key, &schedule, *instant, self.now(), at);
                let key = (due.key.clone(), *instant);
                batch = batch.put(RUNS, runs::row(&key), stored::encode("run", &run)?);
                made.push((run.due, key));
            }
            match self.state().commit(batch).await {
                Ok(()) => {
                    for (due, run) in made {
                        self.waiting().add(due, run);
                    }
                }
                // The schedule was changed meanwhile: its clock is another.
                Err(StateError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            for (from, to) in &due.skipped {
                metrics::instants_skipped("schedule");
                tracing::error!(schedule = %due.key.2, %from, %to, "instants passed too long ago and are left out");
            }
        }
        self.rewind(&due.key)
    }

    /// Deletes the schedules that ask for it and have ended, and what is left of deleted groups. What cannot be seen to
    /// now is looked at again; `false` when there is such a thing.
    async fn see_to_what_ended(&self) -> bool {
        let (mut ended, mut orphaned) = (BTreeSet::new(), BTreeSet::new());
        for key in self.take_ended() {
            if let Err(error) = self.complete(&key).await {
                tracing::warn!(schedule = %key.2, %error, "a schedule that has ended cannot be deleted yet");
                ended.insert(key);
            }
        }
        for (scope, group) in self.take_orphaned() {
            let _turn = self.turn().acquire().await;
            if let Err(error) = self.clear_orphaned(&scope, &group).await {
                tracing::warn!(%group, %error, "schedules of a deleted group cannot be deleted yet");
                orphaned.insert((scope, group));
            }
        }
        let all = ended.is_empty() && orphaned.is_empty();
        self.put_back(ended, orphaned);
        all
    }

    /// Deletes a schedule that asks for it, once nothing more will come of it.
    async fn complete(&self, key: &Key) -> Result<(), FlowError> {
        let Some(schedule) = config::find(self.state(), key)? else { return Ok(()) };
        if !schedule.spec.delete_after || !schedule.spec.enabled || self.wind(key)?.is_some() {
            return Ok(());
        }
        // The last of them says so when it is done.
        if runs::has_any(self.state(), key)? {
            return Ok(());
        }
        let row = config::row(key);
        let before = stored::encode("schedule", &schedule)?;
        let batch = Batch::new()
            .require(SCHEDULES, row.clone(), Precondition::Equals(before))
            .delete(SCHEDULES, row.clone())
            .delete(CLOCKS, row.clone());
        match self.state().commit(batch).await {
            Ok(()) => {
                self.quota().remove(&key.0, 1);
                // A creation whose answer was lost may come again.
                self.completions().note(row, creation(&schedule.spec, schedule.token.as_deref())?);
            }
            // It was replaced meanwhile.
            Err(StateError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.wind(key).map(drop)
    }
}

/// What tells one call that creates a schedule from another, when it has a token.
pub(super) fn creation(spec: &config::ScheduleSpec, token: Option<&str>) -> Result<Option<String>, FlowError> {
    let Some(token) = token else { return Ok(None) };
    let spec = stored::encode("schedule", spec)?;
    Ok(Some(format!("{token} {:032x}", producer_id(&[b"schedule created", &spec]).0)))
}
