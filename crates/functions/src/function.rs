//! A function as it is stored and shown.

use std::collections::BTreeMap;

use base::{Arn, FunctionName, Scope, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Qualifier, Settings, Version};

/// A function's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// SHA-256 of the uploaded archive, base64, as `CodeSha256` shows it.
    pub sha256: String,
    /// Bytes of the uploaded archive.
    pub size: u64,
}

/// A function. Its revision changes with every change of code or settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Where it lives.
    pub scope: Scope,
    /// Its name.
    pub name: FunctionName,
    /// What its owner decided.
    pub settings: Settings,
    /// What runs.
    pub code: Code,
    /// A UUID.
    pub revision: String,
    /// When code or settings changed last.
    pub last_modified: Timestamp,
    /// For the owner's book-keeping. Published versions have none.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Which version this is.
    #[serde(default, skip_serializing_if = "Version::is_latest")]
    pub version: Version,
}

impl Function {
    /// The unqualified ARN.
    pub fn arn(&self) -> Arn {
        arn(&self.scope, &self.name)
    }

    /// The ARN with this version.
    pub fn qualified_arn(&self) -> Arn {
        qualified(&self.scope, &self.name, &Qualifier::Version(self.version))
    }
}

/// The ARN of a function with a qualifier.
pub(crate) fn qualified(scope: &Scope, name: &FunctionName, qualifier: &Qualifier) -> Arn {
    Arn::new("lambda", scope, format!("function:{name}:{qualifier}"))
}

/// The unqualified ARN of a function.
pub(crate) fn arn(scope: &Scope, name: &FunctionName) -> Arn {
    Arn::new("lambda", scope, format!("function:{name}"))
}
