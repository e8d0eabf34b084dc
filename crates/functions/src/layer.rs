//! A layer: files that functions share, in versions that never change.

use std::fmt;

use base::{Arn, Scope, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Code, FunctionError};

/// The name of a layer: 1 to 140 letters, digits, '_' or '-'.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerName(String);

impl LayerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for LayerName {
    type Error = FunctionError;

    fn try_from(v: String) -> Result<Self, FunctionError> {
        let known = v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if known && (1..=140).contains(&v.len()) {
            return Ok(Self(v));
        }
        let shown: String = v.chars().take(140).collect();
        let message = format!("'{shown}' is not the name of a layer: 1 to 140 letters, digits, '_' or '-'");
        Err(FunctionError::Invalid(message))
    }
}

impl From<LayerName> for String {
    fn from(v: LayerName) -> Self {
        v.0
    }
}

/// A version of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerVersion {
    /// Where it lives.
    pub scope: Scope,
    /// The layer's name.
    pub name: LayerName,
    /// Its number, from 1 on.
    pub number: u64,
    /// What it holds.
    pub code: Code,
    /// For people; at most 256 characters.
    pub description: String,
    /// For people: which runtimes it is for. Nothing is refused by it, as on AWS Lambda.
    pub runtimes: Vec<String>,
    /// Which processors it is for.
    pub architectures: Vec<String>,
    /// For people: how it may be used.
    pub license: String,
    /// When it was published.
    pub created: Timestamp,
}

impl LayerVersion {
    /// The layer's ARN.
    pub fn layer_arn(&self) -> Arn {
        layer_arn(&self.scope, &self.name)
    }

    /// The ARN of this version.
    pub fn arn(&self) -> Arn {
        version_arn(&self.scope, &self.name, self.number)
    }
}

/// A layer version in a function: what it was when the function was made or changed. It stays when the layer version is
/// deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerUse {
    /// The version's ARN.
    pub arn: Arn,
    /// What it holds.
    pub code: Code,
}

impl LayerUse {
    /// Name and number in the ARN.
    pub(crate) fn parts(&self) -> Option<(Scope, LayerName, u64)> {
        parse(&self.arn)
    }
}

pub(crate) fn layer_arn(scope: &Scope, name: &LayerName) -> Arn {
    Arn::new("lambda", scope, format!("layer:{name}"))
}

pub(crate) fn version_arn(scope: &Scope, name: &LayerName, number: u64) -> Arn {
    Arn::new("lambda", scope, format!("layer:{name}:{number}"))
}

/// Scope, name and number of the ARN of a layer version.
pub(crate) fn parse(arn: &Arn) -> Option<(Scope, LayerName, u64)> {
    let (name, number) = arn.resource_of("layer").filter(|_| arn.service() == "lambda")?.split_once(':')?;
    Some((arn.scope()?, name.to_owned().try_into().ok()?, number.parse().ok()?))
}
