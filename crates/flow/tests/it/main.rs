//! Flow on a real journal and state store over a simulated disk, in virtual time, between fakes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod bus;
mod consumer;
mod crash;
mod delivery;
mod intake;
mod invocations;
mod mapping;
mod reshard;
mod topic;
mod world;
