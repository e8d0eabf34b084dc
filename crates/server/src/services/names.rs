//! What resources are called that a call names by a token only their service can read.

use auth::directory::{Class, EntityName};
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
            Named::User(name) => self.entity(Class::User, name?),
            Named::Group(name) => self.entity(Class::Group, name),
            Named::Role(name) => self.entity(Class::Role, name),
        }
    }
}

impl ResourceNames<'_> {
    /// A user, group or role with its path.
    fn entity(&self, class: Class, name: &str) -> Option<String> {
        let identities = &self.0.identities;
        let name = EntityName::of(class, name).ok()?;
        identities.directory().entity(class, &name).ok().map(|entity| entity.arn(identities.account()))
    }
}
