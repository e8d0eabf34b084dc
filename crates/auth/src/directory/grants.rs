//! The policies of a caller, compiled: what a decision needs of a user or a role.

use std::sync::Arc;

use super::{Class, Directory, DirectoryError, Entity, EntityName, Kind};
use crate::{Attached, Policies, Policy, PolicyError, PolicyKind};

/// The identity-based policies and the boundary of a user or a role, as they are now. Keep it until the directory
/// changes: to compile costs more than to decide.
#[derive(Debug, Clone)]
pub struct Grants {
    identity: Vec<Attached>,
    boundary: Option<Attached>,
}

impl Grants {
    /// The policies that apply to a request, with those of the session and the resource.
    pub fn policies<'p>(&'p self, session: Option<&'p [Attached]>, resource: Option<&'p Attached>) -> Policies<'p> {
        Policies { identity: &self.identity, boundary: self.boundary.as_ref(), session, resource }
    }
}

impl Directory {
    /// The grants of a user, their groups' included, or of a role. An error where a policy cannot be had or read: then
    /// nothing may be allowed, for what is missing could deny.
    pub fn grants(&self, class: Class, name: &EntityName) -> Result<Grants, DirectoryError> {
        let entity = self.entity(class, name)?;
        let mut identity = self.of_entity(entity)?;
        if let Kind::User { groups, .. } = &entity.kind {
            for key in groups {
                let group = self.group_of_key(key).ok_or_else(|| {
                    DirectoryError::NoSuchEntity(format!("The group with name {key} cannot be found."))
                })?;
                identity.extend(self.of_entity(group)?);
            }
        }
        let boundary = entity.boundary.as_deref().map(|arn| self.managed(arn)).transpose()?;
        Ok(Grants { identity, boundary })
    }

    /// A role's trust policy.
    pub fn trust_of(&self, role: &EntityName) -> Result<Attached, DirectoryError> {
        let entity = self.entity(Class::Role, role)?;
        let trust = if let Kind::Role { trust, .. } = &entity.kind { trust } else { "" };
        Ok(attached(&entity.arn(&self.account), PolicyKind::Trust, trust)?)
    }

    fn of_entity(&self, entity: &Entity) -> Result<Vec<Attached>, DirectoryError> {
        let inline = entity.inline.iter();
        let inline = inline.map(|(name, text)| Ok(attached(name.as_str(), PolicyKind::Inline, text)?));
        inline.chain(entity.attached.iter().map(|arn| self.managed(arn))).collect()
    }

    /// A managed policy, the account's own or AWS's.
    pub fn managed(&self, arn: &str) -> Result<Attached, DirectoryError> {
        let document = self.document(arn).ok_or_else(|| {
            DirectoryError::NoSuchEntity(format!("Policy {arn} does not exist or is not attachable."))
        })?;
        // AWS's own may be longer than the quota.
        Ok(attached(arn, PolicyKind::Inline, document)?)
    }
}

fn attached(name: &str, kind: PolicyKind, text: &str) -> Result<Attached, PolicyError> {
    Ok(Attached { name: name.into(), policy: Arc::new(Policy::parse(kind, text)?) })
}
