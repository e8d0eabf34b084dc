//! Functions as processes: real interpreters, real groups, real pipes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking"
)]

mod code;
mod failures;
mod layers;
mod logs;
mod packages;
mod provided;
mod runtimes;
mod sandbox;
mod stored;
mod support;
mod versions;
mod warm;
mod wrapper;
