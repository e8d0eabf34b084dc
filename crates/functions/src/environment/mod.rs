//! One environment: a process that runs one function's handler, the Runtime API it speaks, its output and its end.
//!
//! Promises one invocation at a time, an answer to each that was handed over, and nothing left of the processes when it
//! ends. Must not know the pool's limits or where functions are stored.

mod api;
mod connections;
mod driver;
mod entry;
mod forward;
mod layered;
mod lines;
mod output;
mod place;
mod plain;
pub(crate) mod proc;
mod process;
mod report;
mod start;
mod variables;
mod walled;
mod work;

pub(crate) use entry::{Folders, entry};
pub(crate) use place::Inside;
pub use place::refusal;
pub(crate) use start::{Parts, refuse, run, write_bootstraps};
pub(crate) use work::{Freed, Served, Work};
