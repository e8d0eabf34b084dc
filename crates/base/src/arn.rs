//! Amazon resource names: the one address of everything that can be called, read or sent to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{AccountId, ErrorKind, Kinded, Region, Scope};

/// `arn:aws:service:region:account:resource`. Region and account are empty for global resources.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arn {
    service: String,
    region: Option<Region>,
    account: Option<AccountId>,
    resource: String,
}

/// A string is not an ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an ARN: expected arn:aws:service:region:account:resource")]
pub struct ArnError(String);

impl Kinded for ArnError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

impl Arn {
    /// The ARN of a regional resource, such as `Arn::new("kinesis", &scope, "stream/events")`.
    pub fn new(service: &str, scope: &Scope, resource: impl Into<String>) -> Self {
        Self {
            service: service.to_owned(),
            region: Some(scope.region.clone()),
            account: Some(scope.account.clone()),
            resource: resource.into(),
        }
    }

    /// The ARN of an account-wide resource without region, such as an IAM role.
    pub fn global(service: &str, account: &AccountId, resource: impl Into<String>) -> Self {
        Self { service: service.to_owned(), region: None, account: Some(account.clone()), resource: resource.into() }
    }

    /// The service, such as `kinesis`.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Everything after the account, such as `stream/events`.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The region, absent for global resources.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// The account, absent for resources without owner (buckets).
    pub fn account(&self) -> Option<&AccountId> {
        self.account.as_ref()
    }

    /// Account and region together, when both are named.
    pub fn scope(&self) -> Option<Scope> {
        Some(Scope { account: self.account.clone()?, region: self.region.clone()? })
    }

    /// The resource after `kind` and a `/` or `:`, such as `events` in `stream/events` for kind `stream`.
    pub fn resource_of(&self, kind: &str) -> Option<&str> {
        self.resource.strip_prefix(kind)?.strip_prefix(['/', ':'])
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = self.region.as_ref().map_or("", Region::as_str);
        let account = self.account.as_ref().map_or("", AccountId::as_str);
        write!(f, "arn:aws:{}:{}:{}:{}", self.service, region, account, self.resource)
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(v: &str) -> Result<Self, ArnError> {
        let invalid = || ArnError(v.chars().take(300).collect());
        if v.len() > 2048 {
            return Err(invalid());
        }
        let parts: Vec<&str> = v.splitn(6, ':').collect();
        let &["arn", "aws", service, region, account, resource] = parts.as_slice() else { return Err(invalid()) };
        if service.is_empty() || resource.is_empty() || v.chars().any(char::is_control) {
            return Err(invalid());
        }
        let region = if region.is_empty() { None } else { Some(region.parse().map_err(|_| invalid())?) };
        let account = if account.is_empty() { None } else { Some(account.parse().map_err(|_| invalid())?) };
        Ok(Self { service: service.to_owned(), region, account, resource: resource.to_owned() })
    }
}

impl Serialize for Arn {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Arn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_as_written() {
        for text in [
            "arn:aws:kinesis:us-east-1:000000000000:stream/events",
            "arn:aws:lambda:us-east-1:000000000000:function:alert:7",
            "arn:aws:iam::000000000000:role/service/worker",
            "arn:aws:s3:::bucket/key:with:colons",
        ] {
            assert_eq!(text.parse::<Arn>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_not_an_arn() {
        for text in [
            "",
            "arn",
            "arn:aws:kinesis:us-east-1:12:stream/x",
            "urn:aws:a:b:000000000000:c",
            "arn:aws:::000000000000:x",
        ] {
            assert!(text.parse::<Arn>().is_err(), "{text}");
        }
    }
}
