//! A simulated file system, in memory and repeatable from a seed: every crash and every failing call, rehearsed.
//!
//! Owns a disk that keeps what is synced apart from what is not, for content, lengths and names alike. Promises that
//! after [`SimFs::power_cut`] what was synced is there and that the rest is there in part, torn between sectors, as the
//! seed decides: more unkindly than any one file system would, so that code which survives here leans on nothing but
//! what [`File`](crate::File) and [`Fs`](crate::Fs) promise. Must not know what is stored.
//!
//! It is compiled into every build, for the tests of every crate: it is small and pulls in nothing.
//!
//! ```
//! use std::path::Path;
//! use base::{File, Fs, OpenMode, fs::sim::SimFs};
//!
//! let fs = SimFs::new(7);
//! let file = fs.open(Path::new("/a"), OpenMode::CreateNew)?;
//! file.write_all_at(b"kept", 0)?;
//! file.sync_data()?;
//! fs.sync_dir(Path::new("/"))?;
//! fs.power_cut();
//! assert_eq!(fs.read(Path::new("/a"))?, b"kept");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The model, where it decides something:
//! - Content: every 512-byte sector holds what it held at some moment since the last sync, each sector by itself.
//!   So does the length; an appending write may have grown it by a part, [`File::set_len`](crate::File::set_len) is
//!   whole or absent, as on any file system with a journal. What was never written is zero.
//! - Names: a change of one name, and a rename, is whole or absent. Changes that share a name survive as a prefix of
//!   their order; unrelated changes survive independently. A synced file under a name that is not synced is lost.
//! - A failed sync drops: an arbitrary part of the unsynced writes reaches the disk, the rest never will, though reads
//!   still show it and a later sync succeeds. That is what Linux does.
//! - Repeatable means: the same seed and the same order of calls give the same disk.

mod content;
mod disk;
mod fault;
mod handle;
mod names;
#[cfg(test)]
mod tests;

pub use fault::{Call, Fault};
pub use handle::SimFs;
