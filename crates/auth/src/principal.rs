//! Callers, as policies see them.

use base::{AccountId, Timestamp};

use crate::Context;

/// Who asks. Made once when a caller is known, not for every request: its names are ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    kind: Kind,
    account: Option<AccountId>,
    arn: String,
    /// Of a session: the role's ARN, with its path.
    role_arn: Option<String>,
    /// Begins with `AIDA` or `AROA`; a session's has `:` and the session's name behind it.
    id: String,
    /// A user's.
    name: Option<String>,
    issued: Option<Timestamp>,
    tags: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Root,
    User,
    Session,
    Service,
    Anonymous,
}

impl Principal {
    fn new(kind: Kind, account: Option<&AccountId>, arn: String, id: String) -> Self {
        Self { kind, account: account.cloned(), arn, role_arn: None, id, name: None, issued: None, tags: Vec::new() }
    }

    /// The owner of an account: may everything in it that no resource's policy denies.
    pub fn root(account: &AccountId) -> Self {
        Self::new(Kind::Root, Some(account), format!("arn:aws:iam::{account}:root"), account.to_string())
    }

    /// A user; `path` begins and ends with `/`, `id` begins with `AIDA`.
    pub fn user(account: &AccountId, path: &str, name: &str, id: &str) -> Self {
        let arn = format!("arn:aws:iam::{account}:user{path}{name}");
        Self { name: Some(name.to_owned()), ..Self::new(Kind::User, Some(account), arn, id.to_owned()) }
    }

    /// A session of a role; `path` begins and ends with `/`, `id` is the role's and begins with `AROA`.
    pub fn session(account: &AccountId, path: &str, role: &str, id: &str, session: &str) -> Self {
        let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{session}");
        Self {
            role_arn: Some(format!("arn:aws:iam::{account}:role{path}{role}")),
            ..Self::new(Kind::Session, Some(account), arn, format!("{id}:{session}"))
        }
    }

    /// A service that acts for itself, such as `sns.amazonaws.com`.
    pub fn service(name: &str) -> Self {
        Self::new(Kind::Service, None, name.to_owned(), name.to_owned())
    }

    /// Nobody known.
    pub fn anonymous() -> Self {
        Self::new(Kind::Anonymous, None, "anonymous".to_owned(), "anonymous".to_owned())
    }

    /// The tags of a user; of a session, those of its role and its own ones, which win.
    #[must_use]
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = (String, String)>) -> Self {
        self.tags = tags.into_iter().collect();
        self
    }

    /// When the temporary keys that the caller uses were issued.
    #[must_use]
    pub fn issued(mut self, at: Timestamp) -> Self {
        self.issued = Some(at);
        self
    }

    /// The account; a service and nobody have none.
    pub fn account(&self) -> Option<&AccountId> {
        self.account.as_ref()
    }

    /// The ARN as STS tells it, with which denials name the caller; a service's name, or `anonymous`.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn role_arn(&self) -> Option<&str> {
        self.role_arn.as_deref()
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Sets the keys that tell of the caller.
    pub(crate) fn tell(&self, context: &mut Context) {
        let kind = match self.kind {
            Kind::Root => "Account",
            Kind::User => "User",
            Kind::Session => "AssumedRole",
            Kind::Service => "Service",
            Kind::Anonymous => "Anonymous",
        };
        context.set("aws:PrincipalType", kind);
        context.set("aws:PrincipalIsAWSService", if self.kind == Kind::Service { "true" } else { "false" });
        if self.kind == Kind::Service {
            context.set("aws:PrincipalServiceName", &*self.arn);
            return;
        }
        context.set("aws:userid", &*self.id);
        let Some(account) = &self.account else { return };
        context.set("aws:PrincipalAccount", account.as_str());
        context.set("aws:PrincipalArn", self.role_arn.as_deref().unwrap_or(&self.arn));
        if let Some(name) = &self.name {
            context.set("aws:username", &**name);
        }
        if let Some(issued) = self.issued {
            context.set("aws:TokenIssueTime", issued.to_iso_secs());
            // Nobody here proves more than a key.
            context.set("aws:MultiFactorAuthPresent", "false");
        }
        for (key, value) in &self.tags {
            context.set(&format!("aws:PrincipalTag/{key}"), &**value);
        }
    }
}
