//! Publishing to FIFO topics: of messages that are the same, the first within five minutes is taken.
//!
//! Promises that this holds across calls, batches and restarts: what was taken is read back from the topic's log. A
//! message that repeats another is answered as the other was. The messages of a call keep their order.
//! Must not know limits: those are the message's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Position, Timestamp};
use bytes::Bytes;
use log::{Append, NewRecord, ReadLimit, ShardRef, StreamId};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, OnceCell, oneshot};

use super::attributes::FifoTopic;
use super::message::Message;
use super::{Accepted, Topics};
use crate::FlowError;
use crate::queue::dedup::{self, Dedup, First, Key};

/// How far back ids are known, and a little more for clocks that went back.
pub(super) const LOOK_BACK: Duration = Duration::from_secs(330);

/// What is known of the topics' last messages.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<StreamId, Arc<OfTopic>>>);

/// What is known of one topic's.
#[derive(Default)]
pub(super) struct OfTopic {
    dedup: Mutex<Dedup>,
    loaded: OnceCell<()>,
    changed: Notify,
}

impl OfTopic {
    fn dedup(&self) -> MutexGuard<'_, Dedup> {
        self.dedup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn of(&self, stream: StreamId) -> Arc<OfTopic> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(stream).or_default())
    }

    /// Begins anew: what became of an append is not known, and is read from the log.
    fn forget(&self, stream: StreamId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream);
    }
}

/// What becomes of a message of a call.
enum Fate {
    New(usize),
    Known(Accepted),
    Same(usize),
}

fn key(fifo: FifoTopic, message: &Message) -> Option<Key> {
    let group = message.group.as_deref().filter(|_| fifo.deduplicate_by_group);
    message.dedup.as_deref().map(|id| dedup::key(group, id))
}

/// Gives a message its deduplication id, or says what is missing.
pub(super) fn complete(fifo: Option<FifoTopic>, message: &mut Message) -> Result<(), FlowError> {
    let invalid = |text: &str| Err(FlowError::Invalid(format!("Invalid parameter: {text}")));
    let Some(fifo) = fifo else {
        return match message.dedup {
            None => Ok(()),
            Some(_) => invalid(
                "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not \
                 valid for this topic type",
            ),
        };
    };
    if message.group.is_none() {
        return invalid("The MessageGroupId parameter is required for FIFO topics");
    }
    if message.dedup.is_none() {
        if !fifo.content_based_deduplication {
            return invalid(
                "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
                 explicitly",
            );
        }
        let hash = Sha256::digest(message.text.as_bytes());
        message.dedup = Some(hash.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    Ok(())
}

/// Messages that are ready to be appended to a topic's log.
pub(super) struct Ready {
    pub stream: StreamId,
    pub shard: ShardRef,
    pub fifo: FifoTopic,
    pub messages: Vec<(Message, NewRecord)>,
}

impl Topics {
    /// Appends those that were not published before.
    pub(super) async fn publish_once(&self, ready: Ready) -> Result<Vec<Accepted>, FlowError> {
        loop {
            let known = self.inner.fifo.of(ready.stream);
            known.loaded.get_or_try_init(|| self.load(&known, ready.shard, ready.fifo)).await?;
            let mut changed = std::pin::pin!(known.changed.notified());
            changed.as_mut().enable();
            let Some((records, keys, fates)) = self.decide(&known, &ready) else {
                // What becomes of the other one is known soon.
                changed.await;
                continue;
            };
            let placed = if records.is_empty() {
                Vec::new()
            } else {
                self.append_fifo(&ready, Arc::clone(&known), records, keys).await?
            };
            let mut accepted: Vec<Accepted> = Vec::with_capacity(fates.len());
            for (fate, (message, _)) in fates.into_iter().zip(&ready.messages) {
                accepted.push(match fate {
                    Fate::New(record) => Accepted { id: message.id.clone(), sequence: placed.get(record).copied() },
                    Fate::Known(accepted) => accepted,
                    Fate::Same(index) => accepted[index].clone(),
                });
            }
            return Ok(accepted);
        }
    }

    /// What becomes of each message; `None` while one repeats another that is on its way.
    #[allow(clippy::type_complexity, reason = "three lists of the same call")]
    fn decide(&self, known: &OfTopic, ready: &Ready) -> Option<(Vec<NewRecord>, Vec<(Key, String)>, Vec<Fate>)> {
        let now = self.now();
        let mut dedup = known.dedup();
        let (mut records, mut keys, mut fates) = (Vec::new(), Vec::new(), Vec::new());
        let mut in_call: HashMap<Key, usize> = HashMap::new();
        for (index, (message, record)) in ready.messages.iter().enumerate() {
            let Some(key) = key(ready.fifo, message) else { continue };
            if let Some(earlier) = in_call.get(&key) {
                fates.push(Fate::Same(*earlier));
                continue;
            }
            match dedup.first(key, now) {
                Some(First::Underway) => return None,
                Some(First::Taken(id, sequence)) => fates.push(Fate::Known(Accepted { id, sequence: Some(sequence) })),
                None => {
                    fates.push(Fate::New(records.len()));
                    records.push(record.clone());
                    keys.push((key, message.id.clone()));
                }
            }
            in_call.insert(key, index);
        }
        keys.iter().for_each(|(key, _)| dedup.underway(*key, now));
        Some((records, keys, fates))
    }

    /// Appends in a task of its own: a caller who goes away leaves nothing half known.
    async fn append_fifo(
        &self,
        ready: &Ready,
        known: Arc<OfTopic>,
        records: Vec<NewRecord>,
        keys: Vec<(Key, String)>,
    ) -> Result<Vec<Position>, FlowError> {
        let (this, stream) = (self.clone(), ready.stream);
        let (tell, told) = oneshot::channel();
        self.inner.group.spawn_infallible("publish to a FIFO topic", async move {
            let appended = this.log().append(Append { producer: None, records }).await;
            let result = match appended {
                Ok(placed) => {
                    let mut dedup = known.dedup();
                    for ((key, id), placed) in keys.into_iter().zip(&placed) {
                        dedup.taken(key, id, placed.position, placed.arrival);
                    }
                    Ok(placed.into_iter().map(|placed| placed.position).collect())
                }
                Err(error) => {
                    this.inner.fifo.forget(stream);
                    Err(error.into())
                }
            };
            known.changed.notify_waiters();
            // Whoever asked may have gone.
            let _ = tell.send(result);
        });
        told.await.unwrap_or_else(|_| Err(FlowError::Unavailable("the server is stopping".to_owned())))
    }

    async fn load(&self, known: &OfTopic, shard: ShardRef, fifo: FifoTopic) -> Result<(), FlowError> {
        let since = Timestamp::from_millis(self.now().millis().saturating_sub(LOOK_BACK.as_millis() as i64));
        let mut from = self.log().position_at(shard, since).await?;
        loop {
            let slice = self.log().read(shard, from, ReadLimit { records: 1_000, bytes: 8 << 20 }).await?;
            for record in &slice.records {
                let Ok(message) = Message::decode(&Bytes::clone(&record.data)) else { continue };
                if let Some(key) = key(fifo, &message) {
                    known.dedup().taken(key, message.id, record.position, record.arrival);
                }
            }
            if slice.records.is_empty() {
                return Ok(());
            }
            from = slice.next;
        }
    }
}
