//! The log as other rooms use it: on a simulated disk, in virtual time, through crashes and damage.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod append;
mod bench;
mod clock;
mod concurrent;
mod crash;
mod damage;
mod failing;
mod fixture;
mod lifecycle;
mod linear;
mod overload;
mod read;
mod reshard;
mod retention;
mod sealed;
mod sectors;
mod world;
