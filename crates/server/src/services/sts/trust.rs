//! Who may be whom: the trust policy of the role and the policies of whoever asks, together.

use auth::directory::Entity;
use auth::{Attached, Context, Request};
use base::Principal;
use wire::sts::AssumeRoleInput;
use wire::{Call, ServiceError};

use super::assume::Tags;
use super::{TokenService, denied};
use crate::auth::{Asking, Narrowed, Session, Told};

/// An AssumeRole on its way.
pub(super) struct Asked<'a> {
    pub call: &'a Call,
    pub input: &'a AssumeRoleInput,
    pub tags: &'a Tags,
    /// The caller's own session.
    pub session: Option<&'a Session>,
}

/// The same whether there is no such role, it does not trust the caller, or the caller may not ask.
pub(super) fn denial(call: &Call, role_arn: &str) -> ServiceError {
    let who = call.principal.arn(&call.scope.account);
    denied(format!("User: {who} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"))
}

impl Asked<'_> {
    /// Whether the caller may have the session, with its tags.
    pub fn is_allowed(&self, service: &TokenService, role: &Entity) -> bool {
        let (Some(caller), Ok(trust)) = (self.caller(service), service.identities.trust(&role.name)) else {
            return false;
        };
        let sets_tags = !self.tags.all.is_empty();
        self.decide(service, &caller, &trust, role, "sts:AssumeRole")
            && (!sets_tags || self.decide(service, &caller, &trust, role, "sts:TagSession"))
    }

    fn decide(&self, service: &TokenService, caller: &Asking, trust: &Attached, role: &Entity, action: &str) -> bool {
        let account = service.identities.account();
        let (context, resource) = (self.context(&caller.principal, role), role.arn(account));
        let request = Request {
            principal: &caller.principal,
            action,
            resource: &resource,
            owner: Some(account),
            context: &context,
        };
        caller.policies(self.narrowed().policies, Some(trust)).decide(&request).is_allowed()
    }

    fn context(&self, principal: &auth::Principal, role: &Entity) -> Context {
        let (call, input) = (self.call, self.input);
        let mut context = Context::of(principal).at(call.now);
        for (key, value) in Told::of_call(call).pairs() {
            context.set(key, value);
        }
        context.set("sts:RoleSessionName", &*input.role_session_name);
        if let Some(id) = &input.external_id {
            context.set("sts:ExternalId", &**id);
        }
        for (key, value) in &self.tags.given {
            context.add_tag("aws:RequestTag", key, value);
        }
        context.set_all("aws:TagKeys", self.tags.given.keys().cloned());
        context.set_all("sts:TransitiveTagKeys", self.tags.transitive.iter().cloned());
        for (key, value) in &role.tags {
            context.add_tag("aws:ResourceTag", key, value);
            context.add_tag("iam:ResourceTag", key, value);
        }
        context.set("aws:ResourceAccount", call.scope.account.as_str());
        context
    }

    /// Users and sessions of roles may have sessions; nobody else has policies that could say so.
    fn caller(&self, service: &TokenService) -> Option<Asking> {
        match &self.call.principal {
            known @ (Principal::User { .. } | Principal::Session { .. }) => {
                Asking::of(&service.identities, known, self.narrowed()).ok()
            }
            Principal::Root | Principal::Anonymous | Principal::Service { .. } => None,
        }
    }

    fn narrowed(&self) -> Narrowed<'_> {
        self.session.map(Session::narrows).unwrap_or_default()
    }
}
