//! The indices: how each is laid out in tantivy, written in groups, opened when asked for and closed when idle.
//!
//! Owns the order of writes: one owner task an index takes requests, one commit makes a whole group durable, then all
//! of it is answered. Promises that an answered write is durable and visible to every later search, that a document id
//! exists once, and that a failed commit changes nothing. Must not know HTTP or the query language.

mod group;
mod lookup;
mod meta;
mod open;
mod operation;
mod owner;
mod physical;
mod registry;
mod text;

pub use lookup::{StoredDocument, fetch as fetch_document, find_document};
pub use open::OpenIndex;
pub use operation::{Action, Condition, Operation, Outcome, Update};
pub use owner::blocking;
pub use physical::{Physical, json_term};
pub use registry::{CreateError, CreateRequest, Entry, Registry};
pub use text::words;
