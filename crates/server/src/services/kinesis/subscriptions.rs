//! Which consumers are subscribed to which shards.
//!
//! Promises one subscription of a consumer on a shard: a call within five seconds after another is refused, a later one
//! takes over, and that a consumer's subscriptions learn of its end at once. Must not know what subscriptions send.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Scope, ShardId};
use log::Stream;
use tokio_util::sync::CancellationToken;
use wire::ServiceError;

use super::address::ConsumerAddress;
use super::in_use;

/// A second call within this time after the first is refused.
const SETTLED: Duration = Duration::from_secs(5);

/// A consumer on a shard: the stream's number, the consumer, the shard.
type Key = (u32, ConsumerAddress, ShardId);

struct Active {
    /// When it began, on the monotonic clock.
    since: Duration,
    /// Cancelled when another takes over.
    replaced: CancellationToken,
    /// Cancelled when its consumer is deregistered.
    orphaned: CancellationToken,
    /// Cancelled when it is gone.
    gone: CancellationToken,
}

/// See the module.
#[derive(Default)]
pub(super) struct Subscriptions {
    active: Mutex<HashMap<Key, Active>>,
}

/// A consumer's place on a shard; dropped when its subscription ends.
pub(super) struct Subscription {
    message: String,
    replaced: CancellationToken,
    orphaned: CancellationToken,
    gone: CancellationToken,
}

/// What is told to who subscribes as a consumer that another reads as.
pub(super) fn another(scope: &Scope, consumer: &ConsumerAddress, shard: ShardId) -> String {
    let ConsumerAddress { stream, name, .. } = consumer;
    format!("Another active subscription exists for this consumer: {}:{stream}:{shard}:{name}", scope.account)
}

impl Subscriptions {
    /// Takes a consumer's place on a shard.
    pub fn begin(
        &self,
        scope: &Scope,
        stream: &Arc<Stream>,
        consumer: &ConsumerAddress,
        shard: ShardId,
        now: Duration,
    ) -> Result<Subscription, ServiceError> {
        let message = another(scope, consumer, shard);
        let key = (stream.id.number(), consumer.clone(), shard);
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |active: &Active| now.saturating_sub(active.since) < SETTLED;
        active.retain(|_, active| is_fresh(active) || !active.gone.is_cancelled());
        if active.get(&key).is_some_and(is_fresh) {
            return Err(in_use(message));
        }
        let [replaced, orphaned, gone] = std::array::from_fn(|_| CancellationToken::new());
        let (to_replace, to_orphan) = (replaced.clone(), orphaned.clone());
        let new = Active { since: now, replaced: to_replace, orphaned: to_orphan, gone: gone.clone() };
        if let Some(before) = active.insert(key, new) {
            before.replaced.cancel();
        }
        Ok(Subscription { message, replaced, orphaned, gone })
    }

    /// Tells the subscriptions of a consumer that was deregistered.
    pub fn end(&self, stream: &Stream, consumer: &ConsumerAddress) {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let its = active.iter().filter(|((id, of, _), _)| *id == stream.id.number() && of == consumer);
        its.for_each(|(_, active)| active.orphaned.cancel());
    }
}

impl Subscription {
    pub fn is_taken_over(&self) -> bool {
        self.replaced.is_cancelled()
    }

    pub async fn until_taken_over(&self) {
        self.replaced.cancelled().await;
    }

    /// Until its consumer is deregistered.
    pub async fn until_orphaned(&self) {
        self.orphaned.cancelled().await;
    }

    /// What the one that was replaced is told.
    pub fn taken_over(&self) -> ServiceError {
        in_use(self.message.clone())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}
