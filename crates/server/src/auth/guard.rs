//! The guard: everything that a call asks is allowed before its service sees it.
//!
//! Promises that no call reaches a service whose caller may not do all that it asks, on all that it names. Must not know
//! policies, nor how calls are recorded.

use async_trait::async_trait;
use base::{Access as Wanted, Decision, ErrorKind, Principal};
use wire::access::{Access, Names, asked, context, tags};
use wire::data::Structure;
use wire::model::Operation;
use wire::{Call, ServiceError};

use super::{Authority, Narrowed};
use crate::audit::Audit;

/// Stands between one call and its service.
pub(crate) struct Guard<'a> {
    /// Decides.
    pub authority: &'a Authority,
    /// What the caller's session was made with.
    pub narrowed: Narrowed<'a>,
    /// Knows what tokens name.
    pub names: &'a dyn Names,
    /// Records calls.
    pub audit: &'a Audit,
    /// Whether the call came by a link of a message, which is its own proof.
    pub by_link: bool,
}

#[async_trait]
impl wire::Guard for Guard<'_> {
    fn permit(&self, call: &Call, operation: &'static Operation, input: &dyn Structure) -> Result<(), ServiceError> {
        let denied = |reason| ServiceError::of_kind(operation.service, ErrorKind::Denied, reason);
        if call.principal == Principal::Anonymous {
            let nobody = || denied("nobody is known to ask for this".to_owned());
            return if self.by_link { Ok(()) } else { Err(nobody()) };
        }
        if !matches!(operation.access, Access::Policies { .. }) {
            return Ok(());
        }
        let told = Told::of(self, call, operation, input);
        let common = told.pairs();
        for one in asked(operation, &call.scope, input, self.names) {
            let mut context = common.clone();
            context.extend_from_slice(one.context);
            let wanted =
                Wanted { principal: &call.principal, action: one.action, resource: &one.resource, context: &context };
            if let Decision::Deny(reason) = self.authority.decide_in(&wanted, self.narrowed) {
                return Err(denied(reason));
            }
        }
        Ok(())
    }

    fn follows(&self, operation: &'static Operation) -> bool {
        self.audit.follows(operation)
    }

    async fn ended(
        &self,
        call: &Call,
        operation: &'static Operation,
        input: Option<&dyn Structure>,
        outcome: Result<&dyn Structure, &ServiceError>,
    ) -> Result<(), ServiceError> {
        let recorded = self.audit.record(call, operation, input, outcome, self.names).await;
        recorded.map_err(|error| ServiceError::from_kinded(operation.service, &error))
    }
}

/// Condition keys that a call tells, with their values.
pub(crate) struct Told(Vec<(String, String)>);

impl Told {
    /// What every request tells, whatever it is for.
    pub fn of_call(call: &Call) -> Self {
        let mut told = Vec::with_capacity(8);
        let mut tell = |key: &str, value: String| told.push((key.to_owned(), value));
        if let Some(address) = call.source_ip {
            tell("aws:SourceIp", address.to_string());
        }
        tell("aws:SecureTransport", call.secure.to_string());
        if let Some(agent) = &call.user_agent {
            tell("aws:UserAgent", agent.clone());
        }
        tell("aws:RequestedRegion", call.scope.region.to_string());
        Self(told)
    }

    fn of(guard: &Guard<'_>, call: &Call, operation: &'static Operation, input: &dyn Structure) -> Self {
        let mut told = Self::of_call(call);
        let tagged = tags(input);
        told.0.extend(tagged.given.into_iter().map(|(key, value)| (format!("aws:RequestTag/{key}"), value)));
        told.0.extend(tagged.keys.into_iter().map(|key| ("aws:TagKeys".to_owned(), key)));
        for (key, values) in context(operation, &call.scope, input, guard.names) {
            told.0.extend(values.into_iter().map(|value| (key.to_owned(), value)));
        }
        told
    }

    /// As an authorizer takes them: a key of several values is there several times.
    pub fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value)).collect()
    }
}
