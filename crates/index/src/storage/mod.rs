//! A tantivy directory on the file system that is handed in.
//!
//! Owns how segment files reach the disk and when they are synced. Promises that what a committed `meta.json` names is
//! durable, and that after a failed write or sync the directory takes nothing more until it is opened anew.
//! Must not know documents, mappings or queries.

mod directory;
mod file;
mod lock;

pub use directory::{FsDirectory, META};
