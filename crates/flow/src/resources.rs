//! What the owner of a topic, queue or bus said that decides who may use it: its policy and its tags.
//!
//! Reads them where they are stored, so that it can be asked before the rooms are at work, whose first step is asked
//! for. Must not know what a policy means.

use std::collections::BTreeMap;

use base::{Arn, StateStore};

use crate::FlowError;
use crate::bus::stored_bus;
use crate::queue::stored_queue;
use crate::topic::stored_topic;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owned {
    /// Its policy, as it was written.
    pub policy: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What is said of a topic, a queue, a bus or a rule, whose bus has the policy; none when there is no such thing.
pub fn owned(state: &dyn StateStore, arn: &Arn) -> Result<Option<Owned>, FlowError> {
    Ok(match arn.service() {
        "sns" => stored_topic(state, arn)?.map(|topic| Owned { policy: topic.policy, tags: topic.tags }),
        "sqs" => stored_queue(state, arn)?.map(|queue| Owned { policy: queue.attributes.policy, tags: queue.tags }),
        "events" => stored_bus(state, arn)?.map(|bus| Owned { policy: bus.policy, tags: BTreeMap::new() }),
        _ => None,
    })
}
