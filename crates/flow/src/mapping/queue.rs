//! Mappings whose source is a queue: its messages are handed to a function in batches.
//!
//! Owns what is said of such a mapping and how its messages are received, handed over and deleted ("Using Lambda with
//! Amazon SQS", Lambda Developer Guide). Promises:
//!
//! - A message is deleted when the function succeeded with it, or when no filter wants it, and at no other time. What
//!   failed becomes visible again when its time is up, and its queue's redrive policy decides about dead letters. So
//!   nothing is kept here that a crash could lose: a batch in flight comes back.
//! - Of a FIFO queue's group one batch is under way, and what failed comes before what is behind it: the queue sees to it.
//! - A batch that waits because the function cannot be called keeps its messages invisible, and is received once for all
//!   its attempts. A message is invisible for as long as the function may take, whenever the call begins.
//! - Waiting is pushed by the queue, never polled.
//! - A change of the mapping, or its deletion, lets go no batch that the function has: it ends beside the successor's,
//!   counts as one of those that may be under way, and its messages are deleted as ever.
//!
//! Must not know how queues keep messages, nor how functions run.

mod answer;
mod batch;
mod elsewhere;
mod event;
mod options;
mod pace;
mod poller;

use std::sync::Arc;
use std::time::Duration;

use base::{Arn, Scope};

use super::settings::Mapping;
use super::stuck::Progress;
use super::{Mappings, consumer_id};
use crate::FlowError;
use crate::consumer::Running;
use crate::queue::queue_of;
pub(super) use elsewhere::Elsewhere;
pub(super) use options::{BATCH_SIZE, Facts, apply, check, is_queue, new};
use poller::{Poller, Word};

impl Mappings {
    /// What the options of a queue's mapping are checked against; none when the queue is not there. The time-out of
    /// `function`, if it is given, has to fit.
    pub(super) async fn facts(&self, source: &Arn, function: Option<&Arn>) -> Option<Facts> {
        let ports = &self.inner.ports;
        let info = queue_of(source).and_then(|(scope, name)| ports.queues.get(&scope, &name).ok())?;
        let timeout = match function {
            Some(function) => ports.invoke.timeout(function).await,
            None => None,
        };
        let visibility = Duration::from_secs(info.attributes.visibility_s.into());
        Some(Facts { fifo: info.attributes.fifo.is_some(), visibility, timeout })
    }

    /// Starts what reads the mapping's queue. A queue that was deleted is waited for.
    pub(super) fn run_queue(&self, scope: &Scope, mapping: &Mapping) -> Result<(), FlowError> {
        let Some((_, elsewhere)) = self.inherited(&mapping.id) else { return Ok(()) };
        let last = Arc::new(Progress::default());
        let poller = Poller::new(scope, mapping, &self.inner.ports, Arc::clone(&last), elsewhere)?;
        let group = self.inner.group.child();
        let running = Running::of(group.clone());
        let word = Word { halting: running.halting(), stopping: group.stopping(), release: running.release() };
        group.spawn_infallible(consumer_id(&mapping.id), Arc::new(poller).run(word));
        self.begun(&mapping.id, running, last);
        Ok(())
    }
}
