//! The roles of functions, looked at when a function is made or changed.
//!
//! Must not know how roles are kept, nor what they permit.

use base::{Arn, FunctionName};
use wire::{Call, ServiceError};

use super::{LambdaService, failed, flow_failed, invalid};

/// Who assumes the roles of functions.
const LAMBDA: &str = "lambda.amazonaws.com";

fn arn(call: &Call, function: &FunctionName) -> Arn {
    Arn::new("lambda", &call.scope, format!("function:{function}"))
}

impl LambdaService {
    /// Refuses a role that is not there, or whose trust policy does not name Lambda.
    pub(super) fn check_role(&self, call: &Call, function: &FunctionName, role: &Arn) -> Result<(), ServiceError> {
        let (source, account) = (arn(call, function).to_string(), call.scope.account.to_string());
        let context = [("aws:SourceArn", source.as_str()), ("aws:SourceAccount", account.as_str())];
        let assumed = self.authorizer.assume(LAMBDA, role, function.as_str(), &context);
        assumed.map(drop).map_err(|why| {
            tracing::info!(%function, %role, why, "a function's role cannot be assumed");
            invalid("The role defined for the function cannot be assumed by Lambda.")
        })
    }

    /// Whether events that are given up can go there, with the role that the function is to have.
    pub(super) async fn check_dead_letters(
        &self,
        call: &Call,
        function: &FunctionName,
        role: Option<&Arn>,
        to: Option<&Arn>,
    ) -> Result<(), ServiceError> {
        let Some(to) = to else { return Ok(()) };
        let role = match role {
            Some(role) => role.clone(),
            None => self.functions.get(&call.scope, function).map_err(failed)?.settings.role.clone(),
        };
        let checked = self.invocations.check_dead_letters(&call.scope, &arn(call, function), &role, to).await;
        checked.map_err(flow_failed)
    }
}
