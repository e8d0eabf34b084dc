//! How long events of functions are kept: until they were handled, or given up and told.
//!
//! Owns the reconciler that lets the functions' logs go, and removes at a start what deletions left that were not
//! finished. Promises that an event stays while it waits for another call, or for a destination that takes nothing,
//! however long that is. Must not know how functions are called.

use std::collections::HashSet;
use std::sync::Arc;

use base::{Arn, Batch, ErrorKind, FunctionName, Kinded, Scope};
use log::{Stream, StreamKey, StreamKind};

use super::{Invocations, Known, TABLE, consumer_id, stream_key};
use crate::needed::{FOREVER, PERIOD, needed_from};
use crate::{FlowError, spool, stored};

impl Invocations {
    /// Starts the consumers of all functions that were invoked asynchronously before, and removes what is left of those
    /// that are not there any more.
    pub(crate) async fn restore(&self) -> Result<(), FlowError> {
        let log = &self.inner.consumers.log;
        let mut known = HashSet::new();
        for (scope, Known { function }) in stored::list_scoped::<Known>(&*self.inner.state, TABLE)? {
            let arn = Arn::new("lambda", &scope, format!("function:{function}"));
            if matches!(self.inner.invoke.check(&arn).await, Err(error) if error.kind == ErrorKind::NotFound) {
                self.remove(&scope, &function).await?;
                continue;
            }
            let stream = self.stream(&stream_key(&scope, function.as_str())).await?;
            // Those of earlier versions had another.
            if stream.retention != FOREVER {
                log.set_retention(&stream.key, FOREVER).await?;
            }
            known.insert(stream.key.clone());
        }
        for stray in log.all_streams(StreamKind::Invocations).into_iter().filter(|s| !known.contains(&s.key)) {
            log.delete_stream(&stray.key).await?;
        }
        let there: HashSet<u32> =
            log.all_streams(StreamKind::Invocations).iter().map(|stream| stream.id.number()).collect();
        let writes = spool::sweep(&*self.inner.state, "invocations:", |id| there.contains(&id))?;
        if !writes.is_empty() {
            self.inner.state.commit(Batch { writes, ..Batch::new() }).await?;
        }
        let group = &self.inner.group;
        group.spawn_infallible("invocations/release".to_owned(), self.clone().release_logs());
        Ok(())
    }

    /// Whether there is something of a function, which may not be there: what a deletion left that was not finished, or
    /// a call that crossed one.
    pub fn has_left(&self, scope: &Scope, function: &FunctionName) -> Result<bool, FlowError> {
        let key = stream_key(scope, function.as_str());
        let known = stored::get::<Known>(&*self.inner.state, TABLE, &stored::key(scope, &[function.as_str()]))?;
        let is_logged = self.inner.consumers.log.stream(&key).is_ok();
        Ok(is_logged || known.is_some() || !self.configs(scope, function)?.is_empty())
    }

    /// Deletes a deleted function's events and what was configured for them. Calls under way end as they will.
    ///
    /// The log goes first: whatever is interrupted, nothing of it comes back.
    pub async fn remove(&self, scope: &Scope, function: &FunctionName) -> Result<(), FlowError> {
        let _turn = self.inner.turn.acquire().await;
        let key = stream_key(scope, function.as_str());
        match self.inner.consumers.log.delete_stream(&key).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let running = self.running().remove(&key);
        if let Some((_, running)) = running {
            running.stop().await;
        }
        let id = consumer_id(&key);
        let mut batch = Batch::new().delete(TABLE, stored::key(scope, &[function.as_str()]));
        batch.writes.extend(self.inner.consumers.checkpoints.forget(&id).await?);
        batch.writes.extend(spool::forget(&*self.inner.state, &id)?);
        let batch = self.without_configs(batch, scope, function)?;
        Ok(self.inner.state.commit(batch).await?)
    }

    /// Lets go what nobody needs any more, on a period.
    async fn release_logs(self) {
        let (clock, stopping) = (&self.inner.consumers.env.clock, self.inner.group.stopping());
        loop {
            tokio::select! {
                () = clock.sleep(PERIOD) => {}
                () = stopping.cancelled() => return,
            }
            for stream in self.inner.consumers.log.all_streams(StreamKind::Invocations) {
                if let Err(error) = self.release(&stream) {
                    let key: &StreamKey = &stream.key;
                    tracing::warn!(%key, %error, "the log of a function's events cannot be shortened now");
                }
                tokio::task::yield_now().await;
            }
        }
    }

    fn release(&self, stream: &Arc<Stream>) -> Result<(), FlowError> {
        let Some(shard) = stream.shards.first() else { return Ok(()) };
        let before = needed_from(&*self.inner.state, &consumer_id(&stream.key), stream.id, shard.id)?;
        self.inner.consumers.log.release(shard.slot, before);
        Ok(())
    }
}
