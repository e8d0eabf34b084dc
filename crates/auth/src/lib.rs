//! Who may do what: policy documents and their evaluation.
//!
//! Owns the policy language of IAM (reads a document, refuses a malformed one in the service's words with the place of
//! the mistake, and compiles it), callers as policies see them, the context of a request, the decision with the
//! statement that made it, and the rules of users, groups, roles and what is attached to them. Promises to be pure, to
//! deny by default, and that what is malformed, unknown or cannot be resolved never allows anything.
//! Must not know where policies are kept, how a caller proved who they are, or what an operation does.
//!
//! The language is "IAM JSON policy element reference" and "Policy evaluation logic" (IAM User Guide). Where the guide
//! is silent, or says that a result is not to be relied on, the reading that allows less is taken, and said.

mod action;
mod arn_pattern;
mod condition;
mod context;
mod decide;
pub mod directory;
mod error;
mod explain;
mod json;
mod keys;
mod kind;
mod listing;
mod managed;
mod named;
mod operator;
mod pattern;
mod place;
mod policy;
mod principal;
mod statement;
mod value;

pub use context::Context;
pub use decide::{Attached, Decision, Layer, Matched, Outcome, Policies, Request};
pub use error::PolicyError;
pub use explain::Explanation;
pub use keys::{Key, ValueType, key};
pub use kind::{
    GROUP_INLINE_CHARACTERS, MANAGED_CHARACTERS, PolicyKind, ROLE_INLINE_CHARACTERS, SESSION_CHARACTERS,
    TRUST_CHARACTERS, USER_INLINE_CHARACTERS,
};
pub use managed::{ManagedPolicy, managed_policies};
pub use policy::Policy;
pub use principal::Principal;
pub use statement::{Effect, Position};
