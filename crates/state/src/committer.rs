//! The one writer: takes the batches that wait, writes them in one transaction, answers each.
//!
//! While a transaction is on its way to the disk the next batches gather, so the busier the store, the more of them
//! share an fsync.

use std::sync::Arc;

use base::{Batch, Clock, StateError};
use tokio::sync::{mpsc, oneshot};

use crate::engine::{Engine, Outcome};

/// The most batches in one transaction; as many may wait for the next before callers wait to be let in.
pub(crate) const GROUP_LIMIT: usize = 1_024;

/// A batch and the caller who waits for it.
pub(crate) struct Pending {
    pub batch: Batch,
    pub answer: oneshot::Sender<Outcome>,
}

/// Runs until every sender is gone and all that they sent is answered.
pub(crate) async fn run(engine: Arc<Engine>, clock: Arc<dyn Clock>, mut waiting: mpsc::Receiver<Pending>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, GROUP_LIMIT).await > 0 {
        let (engine, clock, group) = (Arc::clone(&engine), Arc::clone(&clock), std::mem::take(&mut group));
        let writer = Arc::clone(&engine);
        if let Err(error) = tokio::task::spawn_blocking(move || write(&writer, &*clock, group)).await {
            // The callers' answers went with it: to them the store is unavailable.
            tracing::error!(%error, "the state store failed while it wrote");
            engine.shut("it failed while it wrote and must be opened anew");
        }
    }
    // Closing writes and syncs. Whoever still reads keeps the database open until the read is done.
    let closed = tokio::task::spawn_blocking(move || engine.shut("it is closed")).await;
    if let Err(error) = closed {
        tracing::error!(%error, "the state store failed while it closed");
    }
}

fn write(engine: &Engine, clock: &dyn Clock, group: Vec<Pending>) {
    let started = clock.instant();
    let outcomes = engine.write(group.iter().map(|pending| &pending.batch));
    match &outcomes {
        Ok(outcomes) => {
            let conflicts = outcomes.iter().filter(|outcome| outcome.is_err()).count();
            crate::metrics::committed(clock.instant().saturating_sub(started), outcomes.len(), conflicts);
        }
        Err(_) => crate::metrics::failed(group.len()),
    }
    for (at, pending) in group.into_iter().enumerate() {
        let outcome: Result<(), StateError> = match &outcomes {
            Ok(outcomes) => outcomes[at].clone(),
            Err(error) => Err(error.clone()),
        };
        // A caller who no longer waits has given up the answer, not the write.
        let _ = pending.answer.send(outcome);
    }
}
