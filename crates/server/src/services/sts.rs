//! STS: who am I, and temporary keys.
//!
//! Owns the translation between the wire and the sessions of `auth`, and the decision who may be whom: an operation whose
//! resource has a policy that always has to allow. Must not know what sessions may do.

mod assume;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{ErrorKind, Principal, SessionKeys};
use wire::sts::{
    AssumeRoleInput, AssumeRoleOutput, Credentials, GetCallerIdentityInput, GetCallerIdentityOutput,
    GetSessionTokenInput, GetSessionTokenOutput, Sts,
};
use wire::{Call, ServiceError, ServiceId, only};

use crate::auth::{Made, Session, SessionStore};
use crate::identity::Identities;

const SERVICE: ServiceId = ServiceId::Sts;
/// How long a session of a user is good for where nobody says ("GetSessionToken", AWS STS API Reference).
const USER_SECONDS: u64 = 43_200;
/// The longest of the account's owner.
const OWNER_SECONDS: u64 = 3_600;

/// The service.
pub(crate) struct TokenService {
    identities: Identities,
    sessions: Arc<SessionStore>,
}

impl TokenService {
    pub fn new(identities: Identities, sessions: Arc<SessionStore>) -> Arc<Self> {
        Arc::new(Self { identities, sessions })
    }

    /// The session whose key a call is signed with; none for a long-term key.
    fn session_of(&self, call: &Call) -> Option<Arc<Session>> {
        self.sessions.find(call.access_key_id.as_deref()?)
    }

    fn make(&self, made: Made) -> Result<SessionKeys, ServiceError> {
        self.sessions.make(made).ok_or_else(|| {
            let message =
                "too many sessions are under way; try again when some have expired, or raise auth.max_sessions";
            ServiceError::of_kind(SERVICE, ErrorKind::Throttled, message)
        })
    }
}

fn denied(message: impl Into<String>) -> ServiceError {
    ServiceError::of_kind(SERVICE, ErrorKind::Denied, message)
}

fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::of_kind(SERVICE, ErrorKind::Invalid, message)
}

fn shown(keys: SessionKeys) -> Credentials {
    Credentials {
        access_key_id: keys.access_key_id,
        secret_access_key: keys.secret_access_key,
        session_token: keys.session_token,
        expiration: keys.expires,
        ..Default::default()
    }
}

#[async_trait]
impl Sts for TokenService {
    async fn get_caller_identity(
        &self,
        call: &Call,
        _: GetCallerIdentityInput,
    ) -> Result<GetCallerIdentityOutput, ServiceError> {
        let account = &call.scope.account;
        Ok(GetCallerIdentityOutput {
            user_id: Some(call.principal.id(account)),
            account: Some(account.to_string()),
            arn: Some(call.principal.arn(account)),
        })
    }

    async fn get_session_token(
        &self,
        call: &Call,
        input: GetSessionTokenInput,
    ) -> Result<GetSessionTokenOutput, ServiceError> {
        // There are no devices that a code could come from.
        only(SERVICE, &input, &["DurationSeconds"])?;
        let asked = input.duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let seconds = match &call.principal {
            _ if self.session_of(call).is_some() => {
                return Err(denied("Cannot call GetSessionToken with session credentials"));
            }
            Principal::Root => asked.unwrap_or(OWNER_SECONDS).min(OWNER_SECONDS),
            Principal::User { .. } => asked.unwrap_or(USER_SECONDS),
            _ => return Err(denied("Cannot call GetSessionToken with session credentials")),
        };
        let keys = self.make(Made::plain(call.principal.clone(), Duration::from_secs(seconds)))?;
        Ok(GetSessionTokenOutput { credentials: Some(shown(keys)), ..Default::default() })
    }

    async fn assume_role(&self, call: &Call, input: AssumeRoleInput) -> Result<AssumeRoleOutput, ServiceError> {
        assume::role(self, call, input)
    }
}
