//! Tags of users, roles and managed policies. "Tags for AWS Identity and Access Management resources" (IAM User Guide):
//! keys that differ in case only are one, shown as they were given last.

use std::collections::BTreeMap;

use super::{Change, Class, CustomerPolicy, Directory, DirectoryError, EntityName};

/// "IAM object quotas" (IAM User Guide).
const TAGS: usize = 50;
/// What only AWS itself may begin a key with.
const RESERVED: &str = "aws:";

impl Directory {
    /// Adds tags to a user or a role; those of the same keys are replaced. A group has none.
    pub fn tag(
        &self,
        class: Class,
        name: &EntityName,
        tags: BTreeMap<String, String>,
    ) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(class, name)?;
        taggable(class)?;
        add(&mut entity.tags, tags)?;
        Ok(vec![Change::Put(entity)])
    }

    /// Removes tags of a user or a role; keys that are not there are fine.
    pub fn untag(&self, class: Class, name: &EntityName, keys: &[String]) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(class, name)?;
        taggable(class)?;
        remove(&mut entity.tags, keys);
        Ok(vec![Change::Put(entity)])
    }

    /// Adds tags to a managed policy of the account's own.
    pub fn tag_policy(&self, arn: &str, tags: BTreeMap<String, String>) -> Result<Vec<Change>, DirectoryError> {
        let mut policy = CustomerPolicy::clone(self.policy(arn)?);
        add(&mut policy.tags, tags)?;
        Ok(vec![Change::PutPolicy(policy)])
    }

    /// Removes tags of a managed policy of the account's own.
    pub fn untag_policy(&self, arn: &str, keys: &[String]) -> Result<Vec<Change>, DirectoryError> {
        let mut policy = CustomerPolicy::clone(self.policy(arn)?);
        remove(&mut policy.tags, keys);
        Ok(vec![Change::PutPolicy(policy)])
    }
}

/// The tags that a call gives, each key once.
pub fn tags_of(given: impl IntoIterator<Item = (String, String)>) -> Result<BTreeMap<String, String>, DirectoryError> {
    let mut tags = BTreeMap::new();
    for (key, value) in given {
        if tags.keys().any(|held: &String| same(held, &key)) {
            let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
            return Err(DirectoryError::InvalidInput(message.to_owned()));
        }
        if key.get(..RESERVED.len()).is_some_and(|head| same(head, RESERVED)) {
            let message = format!("Tag keys that begin with {RESERVED} are reserved for AWS.");
            return Err(DirectoryError::InvalidInput(message));
        }
        tags.insert(key, value);
    }
    within(&tags)?;
    Ok(tags)
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn within(tags: &BTreeMap<String, String>) -> Result<(), DirectoryError> {
    if tags.len() > TAGS { Err(DirectoryError::quota("TagsPerResource", TAGS)) } else { Ok(()) }
}

fn taggable(class: Class) -> Result<(), DirectoryError> {
    match class {
        Class::Group => Err(DirectoryError::Validation("a group has no tags".to_owned())),
        Class::User | Class::Role => Ok(()),
    }
}

fn add(held: &mut BTreeMap<String, String>, tags: BTreeMap<String, String>) -> Result<(), DirectoryError> {
    held.retain(|key, _| !tags.keys().any(|new| same(key, new)));
    held.extend(tags);
    within(held)
}

fn remove(held: &mut BTreeMap<String, String>, keys: &[String]) {
    held.retain(|key, _| !keys.iter().any(|gone| same(key, gone)));
}
