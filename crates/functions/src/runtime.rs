//! Which runtimes there are. A runtime is an identifier of AWS Lambda and the way its process is started.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::FunctionError;

/// How a runtime's process is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The configured interpreter on the built-in bootstrap.
    Python,
    /// The package's own executable `bootstrap`.
    Provided,
}

const RUNTIMES: &[(&str, Family)] = &[
    ("python3.6", Family::Python),
    ("python3.7", Family::Python),
    ("python3.8", Family::Python),
    ("python3.9", Family::Python),
    ("python3.10", Family::Python),
    ("python3.11", Family::Python),
    ("python3.12", Family::Python),
    ("python3.13", Family::Python),
    ("python3.14", Family::Python),
    ("provided", Family::Provided),
    ("provided.al2", Family::Provided),
    ("provided.al2023", Family::Provided),
];

/// A runtime identifier that can be run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runtime(&'static str, Family);

impl Runtime {
    /// The identifier, such as `python3.12`.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    pub(crate) fn family(self) -> Family {
        self.1
    }
}

impl FromStr for Runtime {
    type Err = FunctionError;

    fn from_str(v: &str) -> Result<Self, FunctionError> {
        RUNTIMES.iter().find(|(name, _)| *name == v).map(|&(name, family)| Self(name, family)).ok_or_else(|| {
            let known: Vec<&str> = RUNTIMES.iter().map(|(name, _)| *name).collect();
            let shown: String = v.chars().take(100).collect();
            FunctionError::Invalid(format!("The runtime {shown} is not available; available are {}", known.join(", ")))
        })
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for Runtime {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0)
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
    fn an_unknown_runtime_is_refused_with_those_there_are() {
        assert_eq!("python3.12".parse::<Runtime>().unwrap().family(), Family::Python);
        let error = "nodejs22.x".parse::<Runtime>().unwrap_err().to_string();
        assert!(error.contains("nodejs22.x") && error.contains("provided.al2023"), "{error}");
    }
}
