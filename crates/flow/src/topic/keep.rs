//! How long topics keep their messages: until every subscriber has had them, or they were given up.
//!
//! Owns the reconciler that lets the topics' logs go. Promises that a message stays while a confirmed subscription has
//! not dealt with it, and that of a FIFO topic stays what its deduplication reads at a start. How long that can be is
//! bounded by what gives messages up: an hour for web endpoints, seven for mails, a day where they are not even attempted,
//! 23 days for subscribers of this server; and, beyond that, by how long a dead-letter queue takes nothing. A topic
//! without subscriptions keeps nothing.
//! Must not know how messages are delivered.

use std::collections::HashSet;

use base::{Scope, TopicName};
use log::{StreamKey, StreamKind};

use super::attributes::TopicInfo;
use super::config::{all_topics, subscriptions_of};
use super::fifo::LOOK_BACK;
use super::{Topics, consumer_id, stream_key};
use crate::FlowError;
use crate::needed::{FOREVER, PERIOD, needed_from};

impl Topics {
    /// A topic's log, with the retention that it needs: those of earlier versions had another.
    pub(super) async fn keep_log(&self, scope: &Scope, topic: &TopicName) -> Result<(), FlowError> {
        let stream = self.ensure_stream(scope, topic).await?;
        if stream.retention != FOREVER {
            self.log().set_retention(&stream.key, FOREVER).await?;
        }
        Ok(())
    }

    /// Deletes the logs of topics that were deleted only in part: nobody would ever let them go.
    pub(super) async fn delete_strays(&self, topics: &[(Scope, TopicInfo)]) -> Result<(), FlowError> {
        let known: HashSet<StreamKey> = topics.iter().map(|(scope, topic)| stream_key(scope, &topic.name)).collect();
        for stray in self.log().all_streams(StreamKind::Topic).into_iter().filter(|s| !known.contains(&s.key)) {
            self.log().delete_stream(&stray.key).await?;
        }
        Ok(())
    }

    /// Lets go what nobody needs any more, on a period.
    pub(super) async fn release_logs(self) {
        let (clock, stopping) = (&self.inner.ports.consumers.env.clock, self.inner.group.stopping());
        loop {
            match all_topics(self.state()) {
                Ok(topics) => self.release_all(topics).await,
                Err(error) => tracing::warn!(%error, "the logs of topics cannot be shortened now"),
            }
            tokio::select! {
                () = clock.sleep(PERIOD) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    async fn release_all(&self, topics: Vec<(Scope, TopicInfo)>) {
        for (scope, topic) in topics {
            if let Err(error) = self.release(&scope, &topic.name, topic.fifo.is_some()).await {
                tracing::warn!(%scope, topic = %topic.name, %error, "the log of a topic cannot be shortened now");
            }
            tokio::task::yield_now().await;
        }
    }

    async fn release(&self, scope: &Scope, topic: &TopicName, is_fifo: bool) -> Result<(), FlowError> {
        // A subscription that begins meanwhile begins within a turn of its own, so here it is known or begins later.
        let _turn = self.inner.turn.acquire().await;
        // A topic that is being deleted has none.
        let Ok(stream) = self.log().stream(&stream_key(scope, topic)) else { return Ok(()) };
        let Some(shard) = stream.shards.first() else { return Ok(()) };
        let mut before = self.log().tail(shard.slot)?.next;
        for subscription in subscriptions_of(self.state(), scope, topic)?.iter().filter(|s| s.confirmed) {
            before = before.min(needed_from(self.state(), &consumer_id(&subscription.id), stream.id, shard.id)?);
        }
        if is_fifo {
            before = before.min(self.log().position_at(shard.slot, self.now() - LOOK_BACK).await?);
        }
        self.log().release(shard.slot, before);
        Ok(())
    }
}
