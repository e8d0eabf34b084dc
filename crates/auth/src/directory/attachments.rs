//! What is attached to entities: inline policies, managed ones, boundaries.

use super::{Change, Class, Directory, DirectoryError, EntityName};
use crate::kind::{GROUP_INLINE_CHARACTERS, ROLE_INLINE_CHARACTERS, USER_INLINE_CHARACTERS};
use crate::{Policy, PolicyKind};

/// "IAM object quotas" (IAM User Guide).
const POLICIES_PER_ENTITY: usize = 10;

impl Directory {
    /// Writes an inline policy.
    pub fn put_inline(
        &self,
        class: Class,
        name: &EntityName,
        policy: &EntityName,
        document: &str,
    ) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(class, name)?;
        Policy::parse(PolicyKind::Inline, document)?;
        entity.inline.insert(policy.clone(), document.to_owned());
        let limit = match class {
            Class::User => USER_INLINE_CHARACTERS,
            Class::Group => GROUP_INLINE_CHARACTERS,
            Class::Role => ROLE_INLINE_CHARACTERS,
        };
        let characters = |text: &String| text.chars().filter(|c| !c.is_whitespace()).count();
        if entity.inline.values().map(characters).sum::<usize>() > limit {
            let message = format!("Maximum policy size of {limit} bytes exceeded for {class} {name}");
            return Err(DirectoryError::LimitExceeded(message));
        }
        Ok(vec![Change::Put(entity)])
    }

    /// Removes an inline policy.
    pub fn delete_inline(
        &self,
        class: Class,
        name: &EntityName,
        policy: &EntityName,
    ) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(class, name)?;
        if entity.inline.remove(policy).is_none() {
            let message = format!("The {class} policy with name {policy} cannot be found.");
            return Err(DirectoryError::NoSuchEntity(message));
        }
        Ok(vec![Change::Put(entity)])
    }

    /// Attaches a managed policy; one that is attached stays.
    pub fn attach(&self, class: Class, name: &EntityName, arn: &str) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(class, name)?;
        self.attachable(arn)?;
        entity.attached.insert(arn.to_owned());
        if entity.attached.len() > POLICIES_PER_ENTITY {
            return Err(DirectoryError::quota(&format!("PoliciesPer{}", class.title()), POLICIES_PER_ENTITY));
        }
        Ok(vec![Change::Put(entity)])
    }

    /// Detaches a managed policy.
    pub fn detach(&self, class: Class, name: &EntityName, arn: &str) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(class, name)?;
        if !entity.attached.remove(arn) {
            return Err(DirectoryError::NoSuchEntity(format!("Policy {arn} was not found.")));
        }
        Ok(vec![Change::Put(entity)])
    }

    /// Sets or removes the permissions boundary of a user or a role; a group has none.
    pub fn bound(&self, class: Class, name: &EntityName, arn: Option<&str>) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(class, name)?;
        match arn {
            Some(_) if class == Class::Group => {
                let message = format!("a permissions boundary is for users and roles, not for the group {name}");
                return Err(DirectoryError::Validation(message));
            }
            Some(arn) => self.attachable(arn)?,
            None if entity.boundary.is_none() => {
                let message = format!("The {class} with name {name} does not have a permissions boundary.");
                return Err(DirectoryError::NoSuchEntity(message));
            }
            None => {}
        }
        entity.boundary = arn.map(str::to_owned);
        Ok(vec![Change::Put(entity)])
    }

    pub(super) fn attachable(&self, arn: &str) -> Result<(), DirectoryError> {
        let missing = || format!("Policy {arn} does not exist or is not attachable.");
        self.document(arn).map(|_| ()).ok_or_else(|| DirectoryError::NoSuchEntity(missing()))
    }
}
