//! The account's own managed policies and their versions.

use base::Timestamp;

use super::{Change, CustomerPolicy, Directory, DirectoryError, PolicyVersion};
use crate::{Policy, PolicyKind};

/// "IAM object quotas" (IAM User Guide).
const VERSIONS: usize = 5;
const POLICIES: usize = 1_500;

impl Directory {
    /// Makes a managed policy as it is handed in, with one version.
    pub fn create_policy(&self, policy: CustomerPolicy) -> Result<Vec<Change>, DirectoryError> {
        Policy::parse(PolicyKind::Managed, policy.document())?;
        if self.has_policy(&policy.name) {
            let message = format!("A policy called {} already exists. Duplicate names are not allowed.", policy.name);
            return Err(DirectoryError::EntityAlreadyExists(message));
        }
        if self.policies().count() >= POLICIES {
            return Err(DirectoryError::quota("PoliciesPerAccount", POLICIES));
        }
        Ok(vec![Change::PutPolicy(policy)])
    }

    /// Removes a managed policy that nobody uses, with its one version.
    pub fn delete_policy(&self, arn: &str) -> Result<Vec<Change>, DirectoryError> {
        let policy = self.policy(arn)?;
        if self.users_of(arn).next().is_some() {
            return Err(DirectoryError::DeleteConflict("Cannot delete a policy attached to entities.".to_owned()));
        }
        if policy.versions.len() > 1 {
            let message = "This policy has more than one version. Before you delete a policy, you must delete the \
                           policy's versions. The default version is deleted with the policy.";
            return Err(DirectoryError::DeleteConflict(message.to_owned()));
        }
        Ok(vec![Change::RemovePolicy(policy.name.clone())])
    }

    /// Adds a version, and lets it count if that is asked for.
    pub fn add_version(
        &self,
        arn: &str,
        document: &str,
        as_default: bool,
        now: Timestamp,
    ) -> Result<Vec<Change>, DirectoryError> {
        let mut policy = CustomerPolicy::clone(self.policy(arn)?);
        Policy::parse(PolicyKind::Managed, document)?;
        if policy.versions.len() >= VERSIONS {
            let message = format!(
                "A managed policy can have up to {VERSIONS} versions. Before you create a new version, you must delete an \
                 existing version."
            );
            return Err(DirectoryError::LimitExceeded(message));
        }
        let number = policy.next;
        policy.next += 1;
        policy.versions.insert(number, PolicyVersion { document: document.to_owned(), created: now });
        if as_default {
            policy.default = number;
        }
        policy.updated = now;
        Ok(vec![Change::PutPolicy(policy)])
    }

    /// Removes a version that does not count.
    pub fn delete_version(&self, arn: &str, number: u32, now: Timestamp) -> Result<Vec<Change>, DirectoryError> {
        let mut policy = self.with_version(arn, number)?;
        if policy.default == number {
            let message = "Cannot delete the default version of a policy.".to_owned();
            return Err(DirectoryError::DeleteConflict(message));
        }
        policy.versions.remove(&number);
        policy.updated = now;
        Ok(vec![Change::PutPolicy(policy)])
    }

    /// Lets a version count.
    pub fn set_default_version(&self, arn: &str, number: u32, now: Timestamp) -> Result<Vec<Change>, DirectoryError> {
        let mut policy = self.with_version(arn, number)?;
        policy.default = number;
        policy.updated = now;
        Ok(vec![Change::PutPolicy(policy)])
    }

    fn with_version(&self, arn: &str, number: u32) -> Result<CustomerPolicy, DirectoryError> {
        let policy = self.policy(arn)?;
        if !policy.versions.contains_key(&number) {
            let message = format!("Policy {arn} version v{number} does not exist or is not attachable.");
            return Err(DirectoryError::NoSuchEntity(message));
        }
        Ok(CustomerPolicy::clone(policy))
    }
}
