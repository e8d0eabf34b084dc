//! What a mapping may: it reads its source, and tells its destination, with its function's role.
//!
//! Owns which permissions that takes, and Lambda's words for one that is missing ("Process Amazon Kinesis Data Streams
//! records with Lambda" and "Using Lambda with Amazon SQS", Lambda Developer Guide). The role is the one that the
//! function has when it is asked. Must not know what becomes of a mapping that may not.

use std::sync::Arc;

use base::{Arn, Invoke};

use super::MappingPorts;
use super::fanout::{consumer_of, stream_of};
use super::queue::is_queue;
use super::settings::Mapping;
use crate::FlowError;
use crate::roles::{Acting, Denial, LAMBDA, Roles, action_of, not_permitted, unqualified};

/// On a stream.
const OF_A_STREAM: &[&str] = &["kinesis:GetRecords", "kinesis:GetShardIterator"];
/// On a stream's registered consumer, instead.
const OF_A_CONSUMER: &[&str] = &["kinesis:SubscribeToShard", "kinesis:DescribeStreamConsumer"];
/// A stream's shards are found by the first, or else by the second with the third.
const SHARDS: [&str; 3] = ["kinesis:DescribeStream", "kinesis:ListShards", "kinesis:DescribeStreamSummary"];
/// On a queue.
const OF_A_QUEUE: &[&str] = &["sqs:ReceiveMessage", DELETE, "sqs:GetQueueAttributes"];
const DELETE: &str = "sqs:DeleteMessage";

/// What one mapping may.
pub(super) struct Permissions {
    roles: Roles,
    invoke: Arc<dyn Invoke>,
    function: Arn,
    /// Where the function does not say.
    role: Arn,
    source: Arn,
    session: String,
}

impl Permissions {
    pub fn new(mapping: &Mapping, ports: &MappingPorts) -> Self {
        Self {
            roles: ports.roles.clone(),
            invoke: Arc::clone(&ports.invoke),
            function: mapping.function.clone(),
            role: mapping.role.clone(),
            source: mapping.source.clone(),
            session: format!("awslambda_{}", mapping.id),
        }
    }

    fn acting<T>(&self, then: impl FnOnce(&Acting<'_>) -> T) -> T {
        let role = self.invoke.role(&self.function);
        let role = role.as_ref().unwrap_or(&self.role);
        then(&Acting { service: LAMBDA, role, session: &self.session, source: &unqualified(&self.function) })
    }

    /// Whether the source may be read now.
    pub fn read(&self) -> Result<(), Denial> {
        self.acting(|acting| self.each(|action, on| self.roles.permit(acting, action, on)))
    }

    /// The same for whoever only wants to know.
    pub fn look(&self) -> Result<(), Denial> {
        self.acting(|acting| self.each(|action, on| self.roles.look(acting, action, on)))
    }

    fn each(&self, ask: impl Fn(&str, &Arn) -> Result<(), Denial>) -> Result<(), Denial> {
        if is_queue(&self.source) {
            return OF_A_QUEUE.iter().try_for_each(|action| ask(action, &self.source));
        }
        let needed = if consumer_of(&self.source).is_some() { OF_A_CONSUMER } else { OF_A_STREAM };
        needed.iter().try_for_each(|action| ask(action, &self.source))?;
        let (stream, [describe, list, summary]) = (stream_of(&self.source), SHARDS);
        let may = |action: &str| self.acting(|acting| self.roles.look(acting, action, &stream)).is_ok();
        match may(describe) {
            true => Ok(()),
            // Without either, the one is named that is enough.
            false => ask(if may(summary) { list } else { describe }, &stream),
        }
    }

    /// Whether messages that are dealt with may be deleted from the queue.
    pub fn delete(&self) -> Result<(), Denial> {
        self.acting(|acting| self.roles.permit(acting, DELETE, &self.source))
    }

    /// Whether a destination may be told of what is given up.
    pub fn tell(&self, to: &Arn) -> Result<(), Denial> {
        self.acting(|acting| self.roles.permit_delivery(acting, to))
    }

    /// Refuses a mapping that may not read its source, or tell its destination.
    pub fn check(&self, destination: Option<&Arn>) -> Result<(), FlowError> {
        self.look().map_err(|denial| self.refusal(&denial))?;
        let Some((to, action)) = destination.and_then(|to| Some((to, action_of(to)?))) else { return Ok(()) };
        let asked = self.acting(|acting| self.roles.look(acting, action, to));
        asked.map_err(|denial| if denial.unassumed { self.refusal(&denial) } else { not_permitted(action) })
    }

    fn refusal(&self, denial: &Denial) -> FlowError {
        let source = &self.source;
        if denial.unassumed {
            return FlowError::Invalid("The role defined for the function cannot be assumed by Lambda.".to_owned());
        }
        if is_queue(source) {
            return not_permitted(&denial.action);
        }
        FlowError::Invalid(match consumer_of(source) {
            None => format!(
                "Cannot access stream {source}. Please ensure the role can perform the GetRecords, GetShardIterator, \
                 DescribeStream, ListShards, and ListStreams Actions on your stream in IAM."
            ),
            Some(_) => format!(
                "Cannot access stream consumer {source}. Please ensure the role can perform the SubscribeToShard and \
                 DescribeStreamConsumer Actions on your stream consumer, and DescribeStream on its stream, in IAM."
            ),
        })
    }
}
