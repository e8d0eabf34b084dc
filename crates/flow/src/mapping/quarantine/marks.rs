//! Which records are skipped by somebody's word and not passed yet.
//!
//! Promises that the live handling learns that from one small row: it needs nothing of what a quarantine keeps, which
//! may be long, or unreadable. A mark stays until the mapping has passed its record, whatever becomes of the payload.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use base::{Position, ShardId};
use log::{Record, StreamId};

use super::{Gone, Origin, Quarantine, Reason, TABLE};
use crate::{FlowError, stored};

/// Records of a mapping that are skipped and not passed, at most.
const MAX_MARKS: usize = 10_000;

impl Quarantine {
    fn marks(&self) -> MutexGuard<'_, Option<BTreeSet<Origin>>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the row is to say of marks: what is known, or else what it says.
    pub(super) fn marks_to_note(&self) -> Result<Option<BTreeSet<Origin>>, FlowError> {
        if let Some(marks) = &*self.marks() {
            return Ok(Some(marks.clone()));
        }
        Ok(self.row()?.and_then(|gone| gone.skips))
    }

    pub(super) fn row(&self) -> Result<Option<Gone>, FlowError> {
        stored::get(&*self.state, TABLE, &stored::key(&self.scope, &[&self.mapping]))
    }

    pub(super) async fn know_marks(&self) -> Result<(), FlowError> {
        if self.marks().is_some() {
            return Ok(());
        }
        let marks = match self.row()?.and_then(|gone| gone.skips) {
            Some(marks) => marks,
            None if self.slot()?.is_none() => BTreeSet::new(),
            // An earlier version told them by their payloads only.
            None => {
                let mut turn = self.contents.lock().await;
                let contents = self.take(&mut turn).await?;
                let marks: BTreeSet<Origin> = contents.skipped().collect();
                self.marks().get_or_insert(marks.clone());
                self.note(&contents).await?;
                *turn = Some(contents);
                marks
            }
        };
        self.marks().get_or_insert(marks);
        Ok(())
    }

    /// Which of these records of a shard were skipped by somebody's word.
    pub async fn skipped(
        &self,
        stream: StreamId,
        shard: ShardId,
        records: impl Iterator<Item = &Record>,
    ) -> Result<BTreeSet<Position>, FlowError> {
        self.know_marks().await?;
        let marks = self.marks();
        let Some(marks) = marks.as_ref().filter(|marks| !marks.is_empty()) else { return Ok(BTreeSet::new()) };
        let origin = |position| Origin { stream: stream.number(), shard, position };
        Ok(records.map(|record| record.position).filter(|at| marks.contains(&origin(*at))).collect())
    }

    /// Puts a record aside and marks it, durably; forgets the marks of records that are passed.
    pub async fn skip(
        &self,
        (stream, shard): (StreamId, ShardId),
        record: &Record,
        reason: &Reason<'_>,
        is_passed: impl Fn(Origin) -> bool,
    ) -> Result<(), FlowError> {
        self.put(stream, shard, &[record], reason).await?;
        let mark = Origin { stream: stream.number(), shard, position: record.position };
        let mut turn = self.contents.lock().await;
        let contents = self.take(&mut turn).await?;
        let before = self.marks_to_note()?.unwrap_or_default();
        let mut marks = before.clone();
        marks.retain(|origin| !is_passed(*origin));
        if marks.len() >= MAX_MARKS {
            return Err(FlowError::LimitExceeded(format!(
                "{MAX_MARKS} records are skipped that mapping {} has not passed yet",
                self.mapping
            )));
        }
        marks.insert(mark);
        *self.marks() = Some(marks);
        if let Err(error) = self.note(&contents).await {
            *self.marks() = Some(before);
            return Err(error);
        }
        *turn = Some(contents);
        Ok(())
    }

    /// These were handled after all: their payloads go. Their marks go when they are passed.
    pub async fn unskip(
        &self,
        stream: StreamId,
        shard: ShardId,
        positions: impl Iterator<Item = Position>,
    ) -> Result<(), FlowError> {
        let origin = |position| Origin { stream: stream.number(), shard, position };
        let origins: BTreeSet<Origin> = positions.map(origin).collect();
        let mut turn = self.contents.lock().await;
        let mut contents = self.take(&mut turn).await?;
        contents.places(&origins).into_iter().for_each(|place| contents.remove(place));
        self.note(&contents).await?;
        *turn = Some(contents);
        Ok(())
    }
}
