//! The index through its one handler, on a simulated disk or a real one.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints what it measured or why it is skipped"
)]

mod client;
mod cloudtrail;
mod crash;
mod documents;
mod format;
mod oracle;
mod searching;
