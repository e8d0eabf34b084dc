//! Who calls and what they may: the root key, function sessions, the fixed policy, and the gate on every route.
//!
//! Promises that a secret or token is compared in constant time and never logged, and that whatever is not expressly
//! allowed is denied. Must not know what an operation does.

mod gate;
mod guard;
mod policy;
mod root;
mod sessions;

pub(crate) use gate::{Caller, Gate};
pub(crate) use guard::{Guard, Told};
pub use policy::FixedPolicy;
pub use root::{RootKey, RootKeyError, RootKeyOrigin};
pub(crate) use root::{access_key_id, secret};
pub(crate) use sessions::Made;
pub use sessions::{Session, SessionStore};
