//! A request with its policies, built up step by step.

use std::sync::Arc;

use auth::{Attached, Context, Decision, Explanation, Outcome, Policies, Policy, PolicyKind, Principal, Request};
use base::AccountId;
use serde_json::Value;

pub const ACCOUNT: &str = "111122223333";

pub fn account(id: &str) -> AccountId {
    id.parse().unwrap()
}

pub fn user(name: &str) -> Principal {
    Principal::user(&account(ACCOUNT), "/", name, "AIDAAAAAAAAAAAAAAAAA")
}

pub fn session(role: &str, name: &str) -> Principal {
    Principal::session(&account(ACCOUNT), "/", role, "AROABBBBBBBBBBBBBBBB", name)
}

pub fn attached(kind: PolicyKind, document: &Value) -> Attached {
    let policy = Policy::parse(kind, &document.to_string()).unwrap_or_else(|error| panic!("{error}: {document}"));
    Attached { name: "p".into(), policy: Arc::new(policy) }
}

/// Who asks for something, and the policies that apply.
pub struct Case {
    pub principal: Principal,
    pub context: Context,
    identity: Vec<Attached>,
    boundary: Option<Attached>,
    session: Option<Vec<Attached>>,
    resource: Option<Attached>,
    owner: Option<AccountId>,
}

impl Case {
    pub fn of(principal: Principal) -> Self {
        Self {
            context: Context::of(&principal),
            principal,
            identity: Vec::new(),
            boundary: None,
            session: None,
            resource: None,
            owner: None,
        }
    }

    pub fn identity(mut self, document: Value) -> Self {
        self.identity.push(attached(PolicyKind::Inline, &document));
        self
    }

    pub fn boundary(mut self, document: Value) -> Self {
        self.boundary = Some(attached(PolicyKind::Managed, &document));
        self
    }

    pub fn session(mut self, document: Value) -> Self {
        self.session.get_or_insert_default().push(attached(PolicyKind::Session, &document));
        self
    }

    pub fn resource(mut self, document: Value) -> Self {
        self.resource = Some(attached(PolicyKind::Resource, &document));
        self
    }

    pub fn trust(mut self, document: Value) -> Self {
        self.resource = Some(attached(PolicyKind::Trust, &document));
        self
    }

    pub fn owner(mut self, id: &str) -> Self {
        self.owner = Some(account(id));
        self
    }

    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.context.set(key, value);
        self
    }

    pub fn with_all(mut self, key: &str, values: &[&str]) -> Self {
        self.context.set_all(key, values.iter().map(|value| (*value).to_owned()));
        self
    }

    fn policies(&self) -> Policies<'_> {
        Policies {
            identity: &self.identity,
            boundary: self.boundary.as_ref(),
            session: self.session.as_deref(),
            resource: self.resource.as_ref(),
        }
    }

    pub fn request<'r>(&'r self, action: &'r str, resource: &'r str) -> Request<'r> {
        Request { principal: &self.principal, action, resource, owner: self.owner.as_ref(), context: &self.context }
    }

    pub fn decide(&self, action: &str, resource: &str) -> Decision<'_> {
        self.policies().decide(&self.request(action, resource))
    }

    pub fn explain(&self, action: &str, resource: &str) -> Explanation<'_> {
        self.policies().explain(&self.request(action, resource))
    }

    pub fn outcome(&self, action: &str, resource: &str) -> Outcome {
        self.decide(action, resource).outcome
    }

    pub fn denial(&self, action: &str, resource: &str) -> String {
        self.decide(action, resource).denial(&self.request(action, resource)).unwrap()
    }
}
