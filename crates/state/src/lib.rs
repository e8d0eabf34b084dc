//! The state store: configuration, checkpoints and tables, durable and small.
//!
//! Owns one file, a redb database on the file system that is handed in. Promises that a batch whose commit answered
//! `Ok` survives power loss whole, that any other batch is there whole or not at all, that a read sees every
//! committed batch, and that after an error of the disk nothing is answered until the store is opened anew. Must not
//! know what the tables mean.
//!
//! Every [`base::Table`] is a redb table of its own, keys and values as given: a room's keys stay together on few
//! pages, so a checkpoint dirties no other room's pages and a scan reads none.
//!
//! A commit is one-phase: one fsync, with checksums (XXH3) that tell a torn commit from a whole one at the next open.
//! redb's second phase guards against someone who can forge checksums in a torn commit by choosing its bytes; our keys
//! and values are names, counters and documents of the account's owner, so the second fsync would buy nothing.

mod backend;
mod committer;
mod engine;
mod error;
mod metrics;
mod open;
mod store;

pub use error::OpenError;
pub use store::Store;
