//! Who calls and what they may: the root key, sessions, the gate on every route, the guard of every service, and the
//! authority that decides.
//!
//! Promises that a secret or token is compared in constant time and never logged, and that whatever is not expressly
//! allowed is denied. Must not know what an operation does.

mod asking;
mod authority;
mod explained;
mod gate;
mod guard;
mod mode;
mod resources;
mod root;
mod sessions;
mod used;

pub(crate) use ::auth::Attached;
pub(crate) use asking::{Asking, Narrowed};
pub(crate) use authority::Authority;
pub(crate) use gate::{Caller, Gate};
pub(crate) use guard::{Guard, Told};
pub use mode::Mode;
pub(crate) use resources::{Compiled, ResourcePolicies};
pub use root::{RootKey, RootKeyError, RootKeyOrigin};
pub(crate) use root::{access_key_id, secret};
pub(crate) use sessions::Made;
pub use sessions::{Session, SessionStore};
