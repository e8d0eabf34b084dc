//! The policies that resources have, where their rooms keep them.

use base::{Arn, ErrorKind, FunctionName, Kinded};
use functions::{Functions, Qualifier};

use crate::auth::{Attached, Compiled, ResourcePolicies};

/// Asks the rooms.
pub(super) struct RoomPolicies {
    functions: Functions,
    compiled: Compiled,
}

impl RoomPolicies {
    /// Of the resources of these rooms.
    pub fn new(functions: Functions) -> Self {
        Self { functions, compiled: Compiled::default() }
    }

    /// Of a function, a version or an alias.
    fn of_function(&self, arn: &Arn) -> Result<Option<String>, String> {
        let (Some(scope), Some(resource)) = (arn.scope(), arn.resource_of("function")) else { return Ok(None) };
        let (name, qualifier) = resource.split_once(':').map_or((resource, None), |(name, of)| (name, Some(of)));
        let Ok(name) = name.parse::<FunctionName>() else { return Ok(None) };
        let qualifier = match qualifier.map(str::parse::<Qualifier>).transpose() {
            Ok(qualifier) => qualifier,
            Err(_) => return Ok(None),
        };
        match self.functions.policy(&scope, &name, qualifier.as_ref()) {
            Ok((text, _)) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("the policy of {arn} cannot be read: {error}")),
        }
    }
}

impl ResourcePolicies for RoomPolicies {
    fn policy_of(&self, resource: &str) -> Result<Option<Attached>, String> {
        let Ok(arn) = resource.parse::<Arn>() else { return Ok(None) };
        let text = match arn.service() {
            "lambda" => self.of_function(&arn)?,
            _ => None,
        };
        text.map(|text| self.compiled.of(resource, text)).transpose()
    }
}
