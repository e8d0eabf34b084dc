//! Who may be whom: the trust policy of the role and the policies of whoever asks, together.

use std::sync::Arc;

use auth::directory::{Class, Entity, EntityName, Grants};
use auth::{Attached, Context, Policies, Request};
use base::{Arn, Principal};
use wire::sts::AssumeRoleInput;
use wire::{Call, ServiceError};

use super::assume::Tags;
use super::{TokenService, denied};
use crate::auth::{Session, Told};

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

/// The caller as policies see them, with what is attached to them.
struct Caller {
    principal: auth::Principal,
    grants: Option<Arc<Grants>>,
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

    fn decide(&self, service: &TokenService, caller: &Caller, trust: &Attached, role: &Entity, action: &str) -> bool {
        let account = service.identities.account();
        let (context, resource) = (self.context(&caller.principal, role), role.arn(account));
        let request = Request {
            principal: &caller.principal,
            action,
            resource: &resource,
            owner: Some(account),
            context: &context,
        };
        let session = self.session.and_then(|session| session.policies.as_deref());
        let alone = Policies { session, resource: Some(trust), ..Policies::default() };
        let policies = caller.grants.as_ref().map_or(alone, |grants| grants.policies(session, Some(trust)));
        policies.decide(&request).is_allowed()
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

    fn caller(&self, service: &TokenService) -> Option<Caller> {
        let account = service.identities.account();
        let (class, arn, id) = match &self.call.principal {
            Principal::User { arn, id } => (Class::User, arn, id),
            Principal::Session { role, role_id, .. } => (Class::Role, role, role_id),
            Principal::Root | Principal::Anonymous | Principal::Service { .. } => return None,
        };
        let (entity, grants) = held(service, class, arn, id)?;
        let (path, title) = (entity.path.as_str(), entity.name.as_str());
        let mut principal = match &self.call.principal {
            Principal::Session { name, .. } => auth::Principal::session(account, path, title, &entity.id, name),
            _ => auth::Principal::user(account, path, title, &entity.id),
        };
        let mut tags = entity.tags.clone();
        if let Some(session) = self.session {
            tags.extend(session.tags.iter().cloned());
            principal = principal.issued(session.issued);
        }
        Some(Caller { principal: principal.with_tags(tags), grants: Some(grants) })
    }
}

/// A user or role by ARN, if it is still the one of that id.
fn held(service: &TokenService, class: Class, arn: &Arn, id: &str) -> Option<(Arc<Entity>, Arc<Grants>)> {
    let name = EntityName::of(class, arn.resource().rsplit('/').next()?).ok()?;
    let directory = service.identities.directory();
    let entity = directory.entity(class, &name).ok()?;
    if entity.arn(service.identities.account()) != arn.to_string() || !(id.is_empty() || id == entity.id) {
        return None;
    }
    Some((entity.clone(), service.identities.grants(class, &name).ok()?))
}
