//! What the fuzzer does with its bytes: one function a target, which panics when a promise is broken.
//!
//! `make fuzz` runs them under libFuzzer (`libfuzzer/`, a workspace of its own); `tests/` runs them over the seeds and
//! over small changes of them with every other test. A target checks what holds for any bytes, not only that nothing
//! panics: what is read is written and read back the same, in both encodings; a signed request verifies, a changed one
//! does not, and a second canonicaliser agrees; a damaged journal opens, and gives every record or says which it cannot; a
//! policy that is taken is one JSON object, and means the same however it is written.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a target tells of a broken promise by a panic")]
#![allow(clippy::disallowed_macros, reason = "and so do its asserts")]

mod canonical;
mod documents;
mod policies;
mod segments;
mod sigv4;

pub use documents::{cbor, json};
pub use policies::policies;
pub use segments::segments;
pub use sigv4::sigv4;
