//! Which runtimes there are. A runtime is an identifier of AWS Lambda; its family says how the process is started.
//!
//! Promises that every version of a family is taken: what runs it is what the machine has, so that a template of years
//! ago (`nodejs6.10`, `python3.6`) runs on today's interpreter. Must not know interpreters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::FunctionError;

/// How a runtime's process is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The configured interpreter on the built-in bootstrap.
    Python,
    /// As Python.
    Node,
    /// The configured `java` on the runtime interface client in the package.
    Java,
    /// The package's own executable `bootstrap`, else the configured client.
    Ruby,
    /// As Ruby.
    Dotnet,
    /// The package's own executable `bootstrap`.
    Provided,
}

/// What the names of a family begin with, and whether that alone is a name.
const FAMILIES: &[(&str, Family, bool)] = &[
    ("python", Family::Python, false),
    ("nodejs", Family::Node, true),
    ("java", Family::Java, false),
    ("ruby", Family::Ruby, false),
    ("dotnetcore", Family::Dotnet, false),
    ("dotnet", Family::Dotnet, false),
    ("provided", Family::Provided, true),
];

const MAX_NAME_BYTES: usize = 32;

/// A runtime identifier, such as `python3.12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    name: Box<str>,
    family: Family,
}

impl Runtime {
    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }
}

/// A version as the service writes them: `3.12`, `20.x`, `8.al2`, `4.3-edge`, or `.al2023` behind `provided`.
fn is_version(rest: &str, bare: bool) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    match rest.bytes().next() {
        None => bare,
        Some(first) => (first.is_ascii_digit() || (bare && first == b'.')) && rest.bytes().all(known),
    }
}

impl FromStr for Runtime {
    type Err = FunctionError;

    fn from_str(v: &str) -> Result<Self, FunctionError> {
        let family = FAMILIES.iter().filter(|_| v.len() <= MAX_NAME_BYTES).find_map(|(prefix, family, bare)| {
            let rest = v.strip_prefix(prefix)?;
            is_version(rest, *bare).then_some(*family)
        });
        if let Some(family) = family {
            return Ok(Self { name: v.into(), family });
        }
        let shown: String = v.chars().take(100).collect();
        let remedy = "an executable named bootstrap that speaks the Runtime API runs as provided.al2023";
        Err(FunctionError::Invalid(format!(
            "The runtime {shown} is not available; there are nodejs…, python…, java…, ruby…, dotnet… and provided…, and {remedy}"
        )))
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Serialize for Runtime {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Runtime {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_a_family_is_taken() {
        for (name, family) in [
            ("python2.7", Family::Python),
            ("python3.15", Family::Python),
            ("nodejs", Family::Node),
            ("nodejs4.3-edge", Family::Node),
            ("nodejs24.x", Family::Node),
            ("java8.al2", Family::Java),
            ("java25", Family::Java),
            ("ruby3.4", Family::Ruby),
            ("dotnetcore2.1", Family::Dotnet),
            ("dotnet10", Family::Dotnet),
            ("provided", Family::Provided),
            ("provided.al2023", Family::Provided),
        ] {
            assert_eq!(name.parse::<Runtime>().unwrap().family(), family, "{name}");
        }
    }

    #[test]
    fn other_names_are_refused_with_a_remedy() {
        for name in
            ["go1.x", "python", "pythonic", "nodejs/../x", "java8 ", "", "provided.al2023.and.far.too.long.a.name"]
        {
            let error = name.parse::<Runtime>().unwrap_err().to_string();
            assert!(error.contains("provided.al2023"), "{error}");
        }
    }
}
