//! The authority: decides by the policies of whoever asks, and of what is asked for.
//!
//! Promises that a decision is made of the policies as they are at that moment, that whatever cannot be found or read
//! denies, and that a role is nobody's whose trust policy does not say so. Must not know operations or protocols.

use std::collections::BTreeMap;
use std::sync::Arc;

use auth::directory::{Class, Entity};
use auth::{Attached, Context, Policies};
use base::{Access, AccountId, Arn, Authorizer, Clock, Decision, Principal, Timestamp};

use super::asking::{Asking, Narrowed, entity_of};
use super::explained::Explained;
use super::mode::Mode;
use super::resources::ResourcePolicies;
use super::used::{Use, Used};
use crate::identity::Identities;

/// Decides for one account.
#[derive(Clone)]
pub(crate) struct Authority {
    account: AccountId,
    clock: Arc<dyn Clock>,
    identities: Identities,
    resources: Arc<dyn ResourcePolicies>,
    mode: Mode,
    used: Arc<Used>,
}

/// Everything that a decision is made of but the session's policies.
struct Asked {
    resource: Option<Attached>,
    asking: Asking,
    now: Timestamp,
}

impl Asked {
    fn ask<T>(
        &self,
        access: &Access<'_>,
        session: Option<&[Attached]>,
        how: impl FnOnce(&Policies<'_>, &auth::Request<'_>) -> T,
    ) -> T {
        let principal = &self.asking.principal;
        let context = context(principal, access, self.now);
        let owner = access.resource.parse::<Arn>().ok().and_then(|arn| arn.account().cloned());
        let (action, resource) = (access.action, access.resource);
        let request = auth::Request { principal, action, resource, owner: owner.as_ref(), context: &context };
        how(&self.asking.policies(session, self.resource.as_ref()), &request)
    }
}

impl Authority {
    /// One that decides by these.
    pub fn new(
        clock: Arc<dyn Clock>,
        identities: Identities,
        resources: Arc<dyn ResourcePolicies>,
        mode: Mode,
    ) -> Self {
        Self { account: identities.account().clone(), clock, identities, resources, mode, used: Arc::default() }
    }

    /// Decides for a session with policies of its own.
    pub fn decide_in(&self, access: &Access<'_>, narrowed: Narrowed<'_>) -> Decision {
        match self.reason_against(access, narrowed) {
            None => {
                if let Principal::Session { role, .. } = access.principal {
                    self.used.note(role, access.action, access.resource, self.clock.now());
                }
                Decision::Allow
            }
            Some(reason) => self.mode.denied(access, reason),
        }
    }

    /// Decides, and tells what took part. Changes nothing, and is noted nowhere.
    pub fn explain(&self, access: &Access<'_>) -> Explained {
        let asked = match self.prepare(access, Narrowed::default()) {
            Ok(asked) => asked,
            Err(reason) => return Explained::unknown(self.because(access, &reason)),
        };
        asked.ask(access, None, |policies, request| {
            let told = policies.explain(request);
            Explained::of(&told, told.decision.denial(request))
        })
    }

    /// What a role was allowed since this process began.
    pub fn used(&self, role: &Arn) -> Vec<Use> {
        self.used.of(role)
    }

    /// Why an access is denied; none when it is allowed.
    fn reason_against(&self, access: &Access<'_>, narrowed: Narrowed<'_>) -> Option<String> {
        match self.prepare(access, narrowed) {
            Err(reason) => Some(self.because(access, &reason)),
            // The owner may everything that no policy of a resource denies, and may always change that policy: nobody
            // else could, once it denies everybody.
            Ok(Asked { resource, .. })
                if *access.principal == Principal::Root && (resource.is_none() || changes_policy(access.action)) =>
            {
                None
            }
            Ok(asked) => {
                asked.ask(access, narrowed.policies, |policies, request| policies.decide(request).denial(request))
            }
        }
    }

    fn prepare(&self, access: &Access<'_>, narrowed: Narrowed<'_>) -> Result<Asked, String> {
        let resource = self.resources.policy_of(access.resource)?;
        let asking = Asking::of(&self.identities, access.principal, narrowed)?;
        Ok(Asked { resource, asking, now: self.clock.now() })
    }

    fn because(&self, access: &Access<'_>, reason: &str) -> String {
        let (who, action, resource) = (access.principal.arn(&self.account), access.action, access.resource);
        format!("User: {who} is not authorized to perform: {action} on resource: {resource} because {reason}")
    }

    /// The role, if its trust policy lets a service assume it.
    fn trusts(&self, service: &str, role: &Arn, context: &[(&str, &str)]) -> Result<Arc<Entity>, String> {
        let entity = entity_of(&self.identities, Class::Role, role, "")?;
        let trust = self.identities.trust(&entity.name).map_err(|error| error.to_string())?;
        let principal = Principal::Service { name: service.to_owned() };
        let text = role.to_string();
        let access = Access { principal: &principal, action: "sts:AssumeRole", resource: &text, context };
        let who = auth::Principal::service(service);
        let context = self::context(&who, &access, self.clock.now());
        let request = auth::Request {
            principal: &who,
            action: access.action,
            resource: access.resource,
            owner: Some(&self.account),
            context: &context,
        };
        let policies = Policies { resource: Some(&trust), ..Policies::default() };
        match policies.decide(&request).denial(&request) {
            None => Ok(entity),
            Some(reason) => Err(reason),
        }
    }
}

impl Authorizer for Authority {
    fn decide(&self, access: &Access<'_>) -> Decision {
        self.decide_in(access, Narrowed::default())
    }

    fn assume(&self, service: &str, role: &Arn, session: &str, context: &[(&str, &str)]) -> Result<Principal, String> {
        let made = |role_id: &str| Principal::Session {
            role: role.clone(),
            role_id: role_id.to_owned(),
            name: session.to_owned(),
        };
        match self.trusts(service, role, context) {
            Ok(entity) => Ok(made(&entity.id)),
            Err(reason) => {
                let (principal, resource) = (Principal::Service { name: service.to_owned() }, role.to_string());
                let access = Access { principal: &principal, action: "sts:AssumeRole", resource: &resource, context };
                match self.mode.denied(&access, reason) {
                    Decision::Allow => Ok(made("")),
                    Decision::Deny(reason) => Err(reason),
                }
            }
        }
    }
}

/// Whether an action changes the policy of the resource that it is asked on.
fn changes_policy(action: &str) -> bool {
    const ACTIONS: [&str; 9] = [
        "events:PutPermission",
        "events:RemovePermission",
        "kinesis:DeleteResourcePolicy",
        "kinesis:PutResourcePolicy",
        "lambda:AddPermission",
        "lambda:RemovePermission",
        "sns:RemovePermission",
        "sns:SetTopicAttributes",
        "sqs:SetQueueAttributes",
    ];
    ACTIONS.contains(&action)
}

/// What conditions see: who asks, when, and what the call tells. A key that is told several times has several values.
fn context(principal: &auth::Principal, access: &Access<'_>, now: Timestamp) -> Context {
    let mut context = Context::of(principal).at(now);
    let mut told: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, value) in access.context {
        told.entry(key).or_default().push((*value).to_owned());
    }
    for (key, values) in told {
        context.set_all(key, values);
    }
    context
}

#[cfg(test)]
mod tests;
