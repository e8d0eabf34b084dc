//! Patterns as AWS documents them, and against the shared benchmark inputs.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says why it is skipped")]

mod city_lots;
mod published;
