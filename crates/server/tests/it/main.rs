//! The server over real HTTP: who is let in, what is refused and how, and how it stops.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should say where")]

mod auth;
mod bounds;
mod console;
mod fixture;
mod ingest;
