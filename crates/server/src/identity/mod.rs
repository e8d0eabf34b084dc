//! Who there is, durably: the directory of `auth` over the state store.
//!
//! Owns its rows, the seal on the secrets of access keys, and the order of changes. Promises that a change which was
//! answered survives a power cut and is seen by every decision from then on, that one which was refused changed nothing,
//! and that no secret is in a row, a log or `Debug` output as plain text. Must not know a protocol, or how a caller is
//! proven.

mod error;
mod identities;
mod rows;
mod sealed;
#[cfg(test)]
mod tests;
mod used;

pub(crate) use error::IdentityError;
pub(crate) use identities::{Identities, UserKey};
pub(crate) use used::LastUse;
