//! The index through its one handler, on a simulated disk or a real one.
#![allow(missing_docs, reason = "tests")]

mod client;
mod cloudtrail;
mod crash;
mod documents;
mod oracle;
mod searching;
