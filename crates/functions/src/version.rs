//! Versions of a function, and what a call can name one by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::FunctionError;

/// What the changing version is called.
const LATEST: &str = "$LATEST";
/// The longest alias ("CreateAlias").
const MAX_ALIAS_BYTES: usize = 128;

/// A version of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// The one that changes.
    #[default]
    Latest,
    /// One that was published and stays as it is.
    Number(u64),
}

impl Version {
    pub(crate) fn is_latest(&self) -> bool {
        *self == Self::Latest
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str(LATEST),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl FromStr for Version {
    type Err = FunctionError;

    fn from_str(v: &str) -> Result<Self, FunctionError> {
        match (v, v.parse()) {
            (LATEST, _) => Ok(Self::Latest),
            (_, Ok(number)) if number > 0 && v.bytes().all(|b| b.is_ascii_digit()) => Ok(Self::Number(number)),
            _ => Err(FunctionError::Invalid(format!("'{v}' is not a version: a number from 1 on, or {LATEST}"))),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The name of an alias: 1 to 128 letters, digits, '_' or '-', not all of them digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AliasName(String);

impl AliasName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AliasName {
    type Error = FunctionError;

    fn try_from(v: String) -> Result<Self, FunctionError> {
        let known = v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if known && (1..=MAX_ALIAS_BYTES).contains(&v.len()) && !v.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self(v));
        }
        let shown: String = v.chars().take(MAX_ALIAS_BYTES).collect();
        Err(FunctionError::Invalid(format!(
            "'{shown}' is not the name of an alias: 1 to {MAX_ALIAS_BYTES} letters, digits, '_' or '-', not all digits"
        )))
    }
}

impl From<AliasName> for String {
    fn from(v: AliasName) -> Self {
        v.0
    }
}

/// What stands behind a function's name in a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qualifier {
    /// A version.
    Version(Version),
    /// An alias.
    Alias(AliasName),
}

impl FromStr for Qualifier {
    type Err = FunctionError;

    fn from_str(v: &str) -> Result<Self, FunctionError> {
        match v.parse() {
            Ok(version) => Ok(Self::Version(version)),
            Err(_) => AliasName::try_from(v.to_owned()).map(Self::Alias),
        }
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(f),
            Self::Alias(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qualifier_is_a_version_or_an_alias() {
        let read = |text: &str| text.parse::<Qualifier>();
        assert_eq!(read("$LATEST").unwrap(), Qualifier::Version(Version::Latest));
        assert_eq!(read("12").unwrap(), Qualifier::Version(Version::Number(12)));
        assert!(matches!(read("live-2").unwrap(), Qualifier::Alias(name) if name.as_str() == "live-2"));
        for text in ["", "0", "+1", "a b", "$OTHER", "99999999999999999999", &"x".repeat(129)] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
