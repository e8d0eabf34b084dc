//! The kinds of policy documents and what each demands.
//!
//! Lengths are of "IAM and AWS STS quotas" (IAM User Guide), in characters without white space.

/// The longest managed policy.
pub const MANAGED_CHARACTERS: usize = 6_144;
/// All inline policies of a user together.
pub const USER_INLINE_CHARACTERS: usize = 2_048;
/// All inline policies of a group together.
pub const GROUP_INLINE_CHARACTERS: usize = 5_120;
/// All inline policies of a role together.
pub const ROLE_INLINE_CHARACTERS: usize = 10_240;
/// The longest trust policy.
pub const TRUST_CHARACTERS: usize = 2_048;
/// The longest session policy, white space counted (AssumeRole, AWS STS API Reference).
pub const SESSION_CHARACTERS: usize = 2_048;
/// The longest text that is looked at, white space counted (`policyDocumentType`, IAM API Reference).
pub(crate) const TEXT_BYTES: usize = 131_072;

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// A managed policy, as permissions or as a permissions boundary. Must be of version 2012-10-17.
    Managed,
    /// A policy inside a user, a group or a role.
    Inline,
    /// A policy that narrows one session.
    Session,
    /// A role's trust policy: says who may assume it, and names no resource.
    Trust,
    /// A policy on a resource: says who may use it. Its length is the service's to bound. Without `Resource`, a
    /// statement is about the resource that the policy is on.
    Resource,
}

impl PolicyKind {
    /// Whether its statements say who they are about.
    pub(crate) fn names_principals(self) -> bool {
        matches!(self, Self::Trust | Self::Resource)
    }

    /// The quota's name and its characters.
    pub(crate) fn quota(self) -> Option<(&'static str, usize)> {
        match self {
            Self::Managed => Some(("PolicySize", MANAGED_CHARACTERS)),
            Self::Trust => Some(("ACLSizePerRole", TRUST_CHARACTERS)),
            // What is inside one user, group or role counts together, and the packed size of a session is the
            // session's: whoever has the others checks these.
            Self::Inline | Self::Session | Self::Resource => None,
        }
    }
}
