//! The binary as a process: start, signals, keys, exports.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod ingest;
mod process;
mod rule;
mod serve;
