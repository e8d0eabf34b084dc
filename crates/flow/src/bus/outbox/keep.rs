//! How long outboxes keep what waits: until the target took it, or it was put away.
//!
//! Owns the reconciler that lets the outboxes' logs go. Promises that an event stays while it waits for another attempt,
//! or for a dead-letter queue that takes nothing, however long that is. Must not know how attempts are made.

use log::StreamKey;

use super::{OutboxLog, Outboxes, consumer_id};
use crate::FlowError;
use crate::needed::{FOREVER, PERIOD, needed_from};

impl Outboxes {
    /// An outbox's log has no retention of its own: those of earlier versions had one.
    pub(super) async fn keep_log(&self, key: &StreamKey) -> Result<(), FlowError> {
        let log = &self.inner.ports.consumers.log;
        if log.stream(key)?.retention != FOREVER {
            log.set_retention(key, FOREVER).await?;
        }
        Ok(())
    }

    /// Lets go what nobody needs any more, on a period.
    pub(super) async fn release_logs(self) {
        let (clock, stopping) = (&self.inner.ports.consumers.env.clock, self.inner.group.stopping());
        loop {
            tokio::select! {
                () = clock.sleep(PERIOD) => {}
                () = stopping.cancelled() => return,
            }
            let open: Vec<(StreamKey, OutboxLog)> =
                self.known().open.iter().map(|(key, open)| (key.clone(), open.log)).collect();
            for (outbox, log) in open {
                if let Err(error) = self.release(&outbox, log) {
                    tracing::warn!(%outbox, %error, "the log of an outbox cannot be shortened now");
                }
                tokio::task::yield_now().await;
            }
        }
    }

    fn release(&self, key: &StreamKey, log: OutboxLog) -> Result<(), FlowError> {
        let ports = &self.inner.ports;
        let before = needed_from(&*ports.state, &consumer_id(key), log.stream, log.shard)?;
        ports.consumers.log.release(log.slot, before);
        Ok(())
    }
}
