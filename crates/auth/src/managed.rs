//! The policies that AWS keeps for everybody, as data: those that templates for the services here commonly name.
//!
//! Names, paths, versions and documents are AWS's ("AWS Managed Policy Reference Guide", as of March 2026). Documents
//! name services that are not here, too; that grants nothing. Only `ReadOnlyAccess`, `SecurityAudit` and
//! `ViewOnlyAccess` are shortened to the services that are here, for theirs name several hundred others.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A policy of AWS's own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagedPolicy {
    /// Such as `AdministratorAccess`.
    pub name: String,
    /// Begins and ends with `/`.
    pub path: String,
    /// Its default version, such as `v2`.
    pub version: String,
    /// When this version was made, RFC 3339.
    pub updated: String,
    document: Box<RawValue>,
}

impl ManagedPolicy {
    /// `arn:aws:iam::aws:policy/…`.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::aws:policy{}{}", self.path, self.name)
    }

    /// The document's text.
    pub fn document(&self) -> &str {
        self.document.get()
    }
}

/// All of them, by name.
pub fn managed_policies() -> &'static [ManagedPolicy] {
    static ALL: LazyLock<Vec<ManagedPolicy>> = LazyLock::new(|| {
        // A test reads the file; it is a part of the program.
        serde_json::from_str(include_str!("../data/managed.json")).unwrap_or_default()
    });
    &ALL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, PolicyKind};

    #[test]
    fn each_is_a_policy_under_its_own_name() {
        let all = managed_policies();
        assert!(all.len() > 40, "{}", all.len());
        assert!(all.is_sorted_by(|a, b| a.name < b.name), "by name, each once");
        for managed in all {
            // AWS's own are not bound by the quota: an inline policy's kind has none.
            let read = Policy::parse(PolicyKind::Inline, managed.document());
            assert!(read.is_ok(), "{}: {}", managed.name, read.unwrap_err());
            assert!(managed.path.starts_with('/') && managed.path.ends_with('/'), "{}", managed.name);
            assert!(managed.updated.parse::<base::Timestamp>().is_ok(), "{}", managed.name);
        }
        let arn = |name: &str| all.iter().find(|managed| managed.name == name).map(ManagedPolicy::arn);
        assert_eq!(
            arn("AWSLambdaKinesisExecutionRole").as_deref(),
            Some("arn:aws:iam::aws:policy/service-role/AWSLambdaKinesisExecutionRole")
        );
        assert_eq!(arn("AmazonSNSFullAccess").as_deref(), Some("arn:aws:iam::aws:policy/AmazonSNSFullAccess"));
    }
}
