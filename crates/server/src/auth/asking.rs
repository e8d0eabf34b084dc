//! Whoever asks, as policies see them, with what is attached to them.
//!
//! Promises that it is what the directory has at that moment, and that whoever is not there any more, or is another of the
//! same name, is nobody. Must not decide.

use std::sync::Arc;

use auth::directory::{Class, Entity, EntityName, Grants};
use auth::{Attached, Policies};
use base::{Arn, Principal, Timestamp};

use crate::identity::Identities;

/// What the session that asks was made with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Narrowed<'a> {
    /// Its own policies, if it has any.
    pub policies: Option<&'a [Attached]>,
    /// Its own tags.
    pub tags: &'a [(String, String)],
    /// When it was made.
    pub issued: Option<Timestamp>,
}

/// Whoever asks.
pub(crate) struct Asking {
    /// As policies name them.
    pub principal: auth::Principal,
    /// A user's or a role's.
    grants: Option<Arc<Grants>>,
}

impl Asking {
    /// Somebody, in a session that was made with something or with nothing. An error says why they may nothing.
    pub fn of(identities: &Identities, principal: &Principal, narrowed: Narrowed<'_>) -> Result<Self, String> {
        let account = identities.account();
        let (principal, grants) = match principal {
            Principal::Root => (auth::Principal::root(account), None),
            Principal::Anonymous => (auth::Principal::anonymous(), None),
            Principal::Service { name } => (auth::Principal::service(name), None),
            Principal::User { arn, id } => {
                let user = entity_of(identities, Class::User, arn, id)?;
                let known = auth::Principal::user(account, user.path.as_str(), user.name.as_str(), &user.id);
                (known.with_tags(tags(&user, narrowed)), Some(grants_of(identities, &user)?))
            }
            Principal::Session { role, role_id, name } => {
                let role = entity_of(identities, Class::Role, role, role_id)?;
                let known = auth::Principal::session(account, role.path.as_str(), role.name.as_str(), &role.id, name);
                (known.with_tags(tags(&role, narrowed)), Some(grants_of(identities, &role)?))
            }
        };
        let principal = match narrowed.issued {
            Some(issued) => principal.issued(issued),
            None => principal,
        };
        Ok(Self { principal, grants })
    }

    /// What applies to what they ask, with the policies of their session and of the resource.
    pub fn policies<'p>(&'p self, session: Option<&'p [Attached]>, resource: Option<&'p Attached>) -> Policies<'p> {
        match &self.grants {
            Some(grants) => grants.policies(session, resource),
            None => Policies { session, resource, ..Policies::default() },
        }
    }
}

/// Those of the user or role, and of the session, which win.
fn tags(entity: &Entity, narrowed: Narrowed<'_>) -> std::collections::BTreeMap<String, String> {
    let mut all = entity.tags.clone();
    all.extend(narrowed.tags.iter().cloned());
    all
}

fn grants_of(identities: &Identities, entity: &Entity) -> Result<Arc<Grants>, String> {
    let grants = identities.grants(entity.class(), &entity.name);
    grants.map_err(|error| format!("its policies cannot be used: {error}"))
}

/// A user or role by ARN, if it is still the one of that id; of no id, whichever has the name.
pub(super) fn entity_of(identities: &Identities, class: Class, arn: &Arn, id: &str) -> Result<Arc<Entity>, String> {
    let gone = || format!("the {class} {arn} does not exist any more");
    let name = arn.resource().rsplit('/').next().unwrap_or_default();
    let name = EntityName::of(class, name).map_err(|_| gone())?;
    let directory = identities.directory();
    let entity = directory.entity(class, &name).map_err(|_| gone())?;
    if entity.arn(identities.account()) != arn.to_string() || !(id.is_empty() || id == entity.id) {
        return Err(gone());
    }
    Ok(Arc::clone(entity))
}
