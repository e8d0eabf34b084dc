//! STS: who am I.

use async_trait::async_trait;
use wire::sts::{GetCallerIdentityInput, GetCallerIdentityOutput, Sts};
use wire::{Call, ServiceError};

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
        Ok(GetCallerIdentityOutput {
            user_id: Some(call.principal.id(account)),
            account: Some(account.to_string()),
            arn: Some(call.principal.arn(account)),
        })
    }
}
