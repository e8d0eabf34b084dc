//! What a denial does.

use base::{Access, Decision};

/// Whether denials hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// What is denied is refused.
    #[default]
    Enforce,
    /// What is denied is done, and noted: for moving an existing set-up over.
    Audit,
}

impl Mode {
    /// The answer to an access that no policy allows, or that one denies.
    pub(crate) fn denied(self, access: &Access<'_>, reason: String) -> Decision {
        crate::metrics::denied(access.action, self == Self::Enforce);
        match self {
            Self::Enforce => Decision::Deny(reason),
            Self::Audit => {
                tracing::warn!(reason, "allowed only because identity.mode is \"audit\"");
                Decision::Allow
            }
        }
    }
}
