//! What resources are called that a call names by a token only their service can read.

use base::Scope;
use wire::access::{Named, Names};

use super::{kinesis, sqs};
use crate::rooms::Rooms;

/// Asks the rooms.
pub(crate) struct ResourceNames<'a>(pub &'a Rooms);

impl Names for ResourceNames<'_> {
    fn arn_of(&self, scope: &Scope, named: Named<'_>) -> Option<String> {
        match named {
            Named::Iterator(token) => kinesis::stream_of_iterator(scope, token),
            Named::Shards(token) => kinesis::stream_of_shards(scope, token),
            Named::Consumer(stream, name) => kinesis::consumer_arn(self.0, scope, stream, name),
            Named::MoveTask(handle) => sqs::source_of_task(handle),
            Named::User(_) | Named::Group(_) | Named::Role(_) => None,
        }
    }
}
