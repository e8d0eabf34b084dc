//! What is measured, one file a scenario. The first five are asked of everyone, the others of Tidegate alone.

mod alert;
mod backlog;
mod bus;
mod cold;
mod compare;
mod functions;
mod latency;
mod overload;
mod part;
mod put;
mod read;
mod restart;
mod segments;
mod shards;
mod single;
mod start;
mod subscribe;
mod volume;

pub use part::{Part, parts};

/// The stream that each scenario makes on its fresh server.
const STREAM: &str = "bench";
/// Records of a batch: the most that `PutRecords` takes.
const BATCH: usize = 500;
/// Distinct signed calls, so that no answer and no verdict can be reused.
const CALLS: usize = 1_000;
/// Connections of a batch load.
const CONNECTIONS: usize = 16;
