//! The directory in memory: what the rows say, and how to find it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::AccountId;

use super::{Change, Class, CustomerPolicy, DirectoryError, Entity, EntityName, Kind};
use crate::managed_policies;

/// All entities and managed policies of an account.
#[derive(Debug, Clone)]
pub struct Directory {
    pub(super) account: AccountId,
    /// By class and name in lower case.
    entities: BTreeMap<(Class, String), Arc<Entity>>,
    /// By name in lower case.
    policies: BTreeMap<String, Arc<CustomerPolicy>>,
    /// Users by the ids of their keys.
    key_holders: BTreeMap<String, String>,
}

impl Directory {
    /// An empty directory.
    pub fn new(account: AccountId) -> Self {
        Self { account, entities: BTreeMap::new(), policies: BTreeMap::new(), key_holders: BTreeMap::new() }
    }

    /// Does what a step answered, when it is durable; at a start, what the rows are.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Put(entity) => {
                    self.forget_keys(entity.class(), &entity.name);
                    if let Kind::User { keys, .. } = &entity.kind {
                        let ids = keys.iter().map(|key| (key.id.clone(), entity.name.key()));
                        self.key_holders.extend(ids);
                    }
                    self.entities.insert((entity.class(), entity.name.key()), Arc::new(entity));
                }
                Change::Remove(class, name) => {
                    self.forget_keys(class, &name);
                    self.entities.remove(&(class, name.key()));
                }
                Change::PutPolicy(policy) => _ = self.policies.insert(policy.name.key(), Arc::new(policy)),
                Change::RemovePolicy(name) => _ = self.policies.remove(&name.key()),
            }
        }
    }

    fn forget_keys(&mut self, class: Class, name: &EntityName) {
        if class == Class::User {
            let holder = name.key();
            self.key_holders.retain(|_, held| *held != holder);
        }
    }

    /// The entity of a name.
    pub fn entity(&self, class: Class, name: &EntityName) -> Result<&Arc<Entity>, DirectoryError> {
        self.entities
            .get(&(class, name.key()))
            .ok_or_else(|| DirectoryError::NoSuchEntity(format!("The {class} with name {name} cannot be found.")))
    }

    /// All entities of a class, by name.
    pub fn entities(&self, class: Class) -> impl Iterator<Item = &Arc<Entity>> {
        self.entities.iter().filter(move |((of, _), _)| *of == class).map(|(_, entity)| entity)
    }

    /// The users of a group, by name.
    pub fn members(&self, group: &EntityName) -> impl Iterator<Item = &Arc<Entity>> {
        let group = group.key();
        self.entities(Class::User)
            .filter(move |user| matches!(&user.kind, Kind::User { groups, .. } if groups.contains(&group)))
    }

    /// The user who holds a key.
    pub fn key_holder(&self, access_key_id: &str) -> Option<&Arc<Entity>> {
        let name = self.key_holders.get(access_key_id)?;
        self.entities.get(&(Class::User, name.clone()))
    }

    /// The managed policy of the account's own of an ARN.
    pub fn policy(&self, arn: &str) -> Result<&Arc<CustomerPolicy>, DirectoryError> {
        let name = arn.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let found = self.policies.get(&name).filter(|policy| policy.arn(&self.account) == arn);
        found.ok_or_else(|| DirectoryError::NoSuchEntity(format!("Policy {arn} was not found.")))
    }

    /// The managed policies of the account's own, by name.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<CustomerPolicy>> {
        self.policies.values()
    }

    /// The text of a managed policy, the account's own or AWS's.
    pub(super) fn document(&self, arn: &str) -> Option<&str> {
        if arn.starts_with("arn:aws:iam::aws:policy/") {
            return managed_policies().iter().find(|managed| managed.arn() == arn).map(|managed| managed.document());
        }
        self.policy(arn).ok().map(|policy| policy.document())
    }

    /// The entities that a managed policy is attached to, or whose boundary it is.
    pub fn users_of(&self, arn: &str) -> impl Iterator<Item = &Arc<Entity>> {
        self.entities
            .values()
            .filter(move |entity| entity.attached.contains(arn) || entity.boundary.as_deref() == Some(arn))
    }

    pub(super) fn has(&self, class: Class, name: &EntityName) -> bool {
        self.entities.contains_key(&(class, name.key()))
    }

    pub(super) fn has_policy(&self, name: &EntityName) -> bool {
        self.policies.contains_key(&name.key())
    }

    /// A copy to change.
    pub(super) fn copy(&self, class: Class, name: &EntityName) -> Result<Entity, DirectoryError> {
        self.entity(class, name).map(|entity| Entity::clone(entity))
    }

    pub(super) fn group_of_key(&self, key: &str) -> Option<&Arc<Entity>> {
        self.entities.get(&(Class::Group, key.to_owned()))
    }
}
