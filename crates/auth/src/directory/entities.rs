//! Users, groups and roles: made, renamed, joined, removed.

use super::{Change, Class, Directory, DirectoryError, Entity, EntityName, Kind};
use crate::{Policy, PolicyKind};

/// "IAM object quotas" (IAM User Guide).
const GROUPS_PER_USER: usize = 10;
/// The shortest and the longest session that a role may be given, in seconds (CreateRole, IAM API Reference).
const SESSION_SECONDS: std::ops::RangeInclusive<u32> = 3_600..=43_200;

impl Directory {
    /// Makes an entity as it is handed in.
    pub fn create(&self, entity: Entity) -> Result<Vec<Change>, DirectoryError> {
        let (class, name) = (entity.class(), &entity.name);
        if let Kind::Role { trust, max_session_seconds, .. } = &entity.kind {
            Policy::parse(PolicyKind::Trust, trust)?;
            check_seconds(*max_session_seconds)?;
        }
        if self.has(class, name) {
            let message = format!("{} with name {name} already exists.", class.title());
            return Err(DirectoryError::EntityAlreadyExists(message));
        }
        if let Some(boundary) = &entity.boundary {
            self.attachable(boundary)?;
        }
        let (quota, most) = quota(class);
        if self.entities(class).count() >= most {
            return Err(DirectoryError::quota(quota, most));
        }
        Ok(vec![Change::Put(entity)])
    }

    /// Removes an entity that nothing is left of.
    pub fn delete(&self, class: Class, name: &EntityName) -> Result<Vec<Change>, DirectoryError> {
        let entity = self.entity(class, name)?;
        let first = if !entity.attached.is_empty() {
            "detach all policies"
        } else if !entity.inline.is_empty() {
            "delete policies"
        } else if class == Class::Group && self.members(name).next().is_some() {
            "remove users from group"
        } else {
            match &entity.kind {
                Kind::User { keys, .. } if !keys.is_empty() => "delete access keys",
                Kind::User { groups, .. } if !groups.is_empty() => "remove user from all groups",
                _ => return Ok(vec![Change::Remove(class, name.clone())]),
            }
        };
        Err(DirectoryError::DeleteConflict(format!("Cannot delete entity, must {first} first.")))
    }

    /// Replaces a role's trust policy.
    pub fn trust(&self, role: &EntityName, document: &str) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(Class::Role, role)?;
        Policy::parse(PolicyKind::Trust, document)?;
        if let Kind::Role { trust, .. } = &mut entity.kind {
            document.clone_into(trust);
        }
        Ok(vec![Change::Put(entity)])
    }

    /// Changes what a role is for and how long its sessions may be; what is absent stays.
    pub fn update_role(
        &self,
        role: &EntityName,
        about: Option<&str>,
        seconds: Option<u32>,
    ) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(Class::Role, role)?;
        if let Kind::Role { description, max_session_seconds, .. } = &mut entity.kind {
            if let Some(about) = about {
                *description = Some(about.to_owned());
            }
            if let Some(seconds) = seconds {
                check_seconds(seconds)?;
                *max_session_seconds = seconds;
            }
        }
        Ok(vec![Change::Put(entity)])
    }

    /// Puts a user into a group; one who is in it stays.
    pub fn join(&self, user: &EntityName, group: &EntityName) -> Result<Vec<Change>, DirectoryError> {
        let group = self.entity(Class::Group, group)?.name.key();
        let mut entity = self.copy(Class::User, user)?;
        if let Kind::User { groups, .. } = &mut entity.kind {
            groups.insert(group);
            if groups.len() > GROUPS_PER_USER {
                return Err(DirectoryError::quota("GroupsPerUser", GROUPS_PER_USER));
            }
        }
        Ok(vec![Change::Put(entity)])
    }

    /// Takes a user out of a group.
    pub fn leave(&self, user: &EntityName, group: &EntityName) -> Result<Vec<Change>, DirectoryError> {
        let key = self.entity(Class::Group, group)?.name.key();
        let mut entity = self.copy(Class::User, user)?;
        if let Kind::User { groups, .. } = &mut entity.kind
            && !groups.remove(&key)
        {
            return Err(DirectoryError::NoSuchEntity(format!("User {user} is not in the group {group}.")));
        }
        Ok(vec![Change::Put(entity)])
    }
}

/// How many there may be of a class in an account; of users it cannot be raised ("IAM object quotas", IAM User Guide).
fn quota(class: Class) -> (&'static str, usize) {
    match class {
        Class::User => ("UsersPerAccount", 5_000),
        Class::Group => ("GroupsPerAccount", 300),
        Class::Role => ("RolesPerAccount", 1_000),
    }
}

fn check_seconds(seconds: u32) -> Result<(), DirectoryError> {
    let (least, most) = SESSION_SECONDS.into_inner();
    let bound = match seconds {
        seconds if seconds < least => format!("greater than or equal to {least}"),
        seconds if seconds > most => format!("less than or equal to {most}"),
        _ => return Ok(()),
    };
    Err(DirectoryError::Validation(format!(
        "1 validation error detected: Value at 'maxSessionDuration' failed to satisfy constraint: Member must have value \
         {bound}"
    )))
}
