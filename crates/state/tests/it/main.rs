//! The state store from outside: against a model, on a disk that fails, under many callers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bed;
mod crash;
mod file;
mod group;
mod model;
