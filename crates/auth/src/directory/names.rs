//! Names and paths. "IAM and AWS STS quotas", name requirements (IAM User Guide).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Class, DirectoryError};

/// The name of a user, a group, a role or a policy. Shown as it was given; two that differ in case only are one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntityName(String);

/// Begins and ends with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntityPath(String);

const POLICY_NAME: usize = 128;
const PATH: usize = 512;

impl EntityName {
    /// The name of a user, a group or a role.
    pub fn of(class: Class, text: &str) -> Result<Self, DirectoryError> {
        let (parameter, longest) = match class {
            Class::User => ("userName", 64),
            Class::Group => ("groupName", 128),
            Class::Role => ("roleName", 64),
        };
        Self::read(parameter, longest, text)
    }

    /// The name of a managed or an inline policy.
    pub fn of_policy(text: &str) -> Result<Self, DirectoryError> {
        Self::read("policyName", POLICY_NAME, text)
    }

    fn read(parameter: &str, longest: usize, text: &str) -> Result<Self, DirectoryError> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b)) {
            return Err(DirectoryError::Validation(format!(
                "The specified value for {parameter} is invalid. It must contain only alphanumeric characters and/or the \
                 following: +=,.@_-"
            )));
        }
        if text.len() > longest {
            return Err(DirectoryError::Validation(format!(
                "1 validation error detected: Value at '{parameter}' failed to satisfy constraint: Member must have \
                 length less than or equal to {longest}"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is told apart by: itself in lower case.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl EntityPath {
    /// Reads a path; none is `/`.
    pub fn of(text: Option<&str>) -> Result<Self, DirectoryError> {
        let text = text.unwrap_or("/");
        let is_path = text.starts_with('/')
            && text.ends_with('/')
            && text.len() <= PATH
            && text.bytes().all(|b| (0x21..=0x7e).contains(&b));
        if !is_path {
            let message = "The specified value for path is invalid. It must begin and end with / and contain only \
                           alphanumeric characters and/or / characters.";
            return Err(DirectoryError::Validation(message.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EntityPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
