//! STS: who am I.

use async_trait::async_trait;
use base::Principal;
use wire::sts::{GetCallerIdentityInput, GetCallerIdentityOutput, Sts};
use wire::{Call, ServiceError};

use crate::auth::caller_arn;

/// Answers with the caller's name. Stateless.
pub(crate) struct Identity;

#[async_trait]
impl Sts for Identity {
    async fn get_caller_identity(
        &self,
        call: &Call,
        _: GetCallerIdentityInput,
    ) -> Result<GetCallerIdentityOutput, ServiceError> {
        let account = &call.scope.account;
        let arn = caller_arn(account, &call.principal);
        let user_id = match &call.principal {
            Principal::Root | Principal::Anonymous => account.to_string(),
            Principal::FunctionSession { .. } => {
                let mut parts = arn.rsplit('/');
                let session = parts.next().unwrap_or_default();
                format!("{}:{session}", parts.next().unwrap_or_default())
            }
        };
        Ok(GetCallerIdentityOutput { user_id: Some(user_id), account: Some(account.to_string()), arn: Some(arn) })
    }
}
