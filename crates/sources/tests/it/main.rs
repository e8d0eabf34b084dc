//! Real CloudTrail files.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says why it is skipped")]

mod real_files;
