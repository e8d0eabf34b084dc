//! Who there is: users, groups and roles, what is attached to them, and the account's own managed policies.
//!
//! Owns the rules of IAM about them (names, quotas, what must go before what), as pure steps: a step looks at the
//! directory and answers the changes, or why not, in IAM's words. Whoever calls it makes the changes durable and then
//! applies them. Must not know where rows are kept, how secrets are sealed, or a protocol.

mod access_keys;
mod attachments;
mod documents;
mod entities;
mod error;
mod grants;
mod names;
mod renames;
mod rows;
mod state;
mod tags;

pub use error::DirectoryError;
pub use grants::Grants;
pub use names::{EntityName, EntityPath};
pub use rows::{AccessKey, Change, Class, CustomerPolicy, Entity, Kind, PolicyVersion};
pub use state::Directory;
pub use tags::tags_of;
