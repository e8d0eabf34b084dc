//! What a function's owner decides, each setting validated once.
//!
//! Ranges and reserved names are those of the AWS Lambda developer guide ("Lambda quotas", "Using Lambda environment
//! variables") and the API reference of `CreateFunction`.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Arn;
use serde::{Deserialize, Serialize};

use crate::{FunctionError, LayerUse, Runtime};

/// How long one invocation may take: 1 to 900 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Timeout(u32);

impl Timeout {
    /// In whole seconds.
    pub fn secs(self) -> u32 {
        self.0
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self(3)
    }
}

impl TryFrom<u32> for Timeout {
    type Error = FunctionError;

    fn try_from(secs: u32) -> Result<Self, FunctionError> {
        if (1..=900).contains(&secs) {
            return Ok(Self(secs));
        }
        Err(FunctionError::Invalid(format!("Timeout is {secs}: it must be between 1 and 900 seconds")))
    }
}

impl From<Timeout> for u32 {
    fn from(v: Timeout) -> Self {
        v.0
    }
}

/// Memory of an environment: 128 to 10,240 MB (of 1,024 KB each, as AWS Lambda counts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct MemorySize(u32);

impl MemorySize {
    /// In MB.
    pub fn mb(self) -> u32 {
        self.0
    }

    pub(crate) fn bytes(self) -> u64 {
        u64::from(self.0) << 20
    }
}

impl Default for MemorySize {
    fn default() -> Self {
        Self(128)
    }
}

impl TryFrom<u32> for MemorySize {
    type Error = FunctionError;

    fn try_from(mb: u32) -> Result<Self, FunctionError> {
        if (128..=10_240).contains(&mb) {
            return Ok(Self(mb));
        }
        Err(FunctionError::Invalid(format!("MemorySize is {mb}: it must be between 128 and 10240 MB")))
    }
}

impl From<MemorySize> for u32 {
    fn from(v: MemorySize) -> Self {
        v.0
    }
}

/// The size of an environment's `/tmp`: 512 to 10,240 MB ("Configure ephemeral storage for Lambda functions").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct TemporarySize(u32);

impl TemporarySize {
    /// In MB.
    pub fn mb(self) -> u32 {
        self.0
    }

    pub(crate) fn bytes(self) -> u64 {
        u64::from(self.0) << 20
    }
}

impl TemporarySize {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for TemporarySize {
    fn default() -> Self {
        Self(512)
    }
}

impl TryFrom<u32> for TemporarySize {
    type Error = FunctionError;

    fn try_from(mb: u32) -> Result<Self, FunctionError> {
        if (512..=10_240).contains(&mb) {
            return Ok(Self(mb));
        }
        Err(FunctionError::Invalid(format!("EphemeralStorage is {mb}: it must be between 512 and 10240 MB")))
    }
}

impl From<TemporarySize> for u32 {
    fn from(v: TemporarySize) -> Self {
        v.0
    }
}

/// What the runtime calls: 1 to 128 characters without blanks, such as `module.function`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Handler(String);

impl Handler {
    /// The handler as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Handler {
    type Error = FunctionError;

    fn try_from(v: String) -> Result<Self, FunctionError> {
        if (1..=128).contains(&v.chars().count()) && !v.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Ok(Self(v));
        }
        Err(FunctionError::Invalid("Handler must have 1 to 128 characters and no blanks".to_owned()))
    }
}

impl From<Handler> for String {
    fn from(v: Handler) -> Self {
        v.0
    }
}

/// The function's own environment variables: at most 4 KB in all, none of the reserved names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Variables(BTreeMap<String, String>);

const RESERVED: &[&str] = &[
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

const MAX_VARIABLES_BYTES: usize = 4 * 1_024;

impl Variables {
    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl TryFrom<BTreeMap<String, String>> for Variables {
    type Error = FunctionError;

    fn try_from(v: BTreeMap<String, String>) -> Result<Self, FunctionError> {
        const REFUSED: &str = "Lambda was unable to configure your environment variables because the environment \
                               variables you have provided";
        let reserved: Vec<&str> = v.keys().map(String::as_str).filter(|name| RESERVED.contains(name)).collect();
        if !reserved.is_empty() {
            return Err(FunctionError::Invalid(format!(
                "{REFUSED} contains reserved keys that are currently not supported for modification. \
                 Reserved keys used in this request: {}",
                reserved.join(", ")
            )));
        }
        for (name, value) in &v {
            let named = name.len() >= 2
                && name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !named {
                let shown: String = name.chars().take(100).collect();
                return Err(FunctionError::Invalid(format!(
                    "the environment variable name '{shown}' is not valid: a letter, then letters, digits or '_', two at least"
                )));
            }
            if value.contains('\0') {
                return Err(FunctionError::Invalid(format!("the environment variable {name} contains a zero byte")));
            }
        }
        // Measured as AWS does: the JSON document of all of them.
        let measured = serde_json::to_string(&v).map_or(usize::MAX, |json| json.len());
        if measured > MAX_VARIABLES_BYTES {
            return Err(FunctionError::Invalid(format!(
                "{REFUSED} exceeded the 4KB limit: they take {measured} bytes"
            )));
        }
        Ok(Self(v))
    }
}

impl From<Variables> for BTreeMap<String, String> {
    fn from(v: Variables) -> Self {
        v.0
    }
}

/// All settings of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What runs it.
    pub runtime: Runtime,
    /// What its session keys stand for.
    pub role: Arn,
    /// What is called.
    pub handler: Handler,
    /// For people; at most 256 characters.
    pub description: String,
    /// How long an invocation may take.
    pub timeout: Timeout,
    /// How much memory an environment may take.
    pub memory: MemorySize,
    /// How much its `/tmp` holds.
    #[serde(default, skip_serializing_if = "TemporarySize::is_default")]
    pub temporary: TemporarySize,
    /// Its own environment variables.
    pub variables: Variables,
    /// The queue or topic that gets the events which are given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<Arn>,
    /// What is laid under `/opt`, later ones over earlier ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerUse>,
}

/// New values of some settings; absent ones stay as they are.
#[derive(Debug, Clone, Default)]
pub struct SettingsChange {
    /// See [`Settings::runtime`].
    pub runtime: Option<Runtime>,
    /// See [`Settings::role`].
    pub role: Option<Arn>,
    /// See [`Settings::handler`].
    pub handler: Option<Handler>,
    /// See [`Settings::description`].
    pub description: Option<String>,
    /// See [`Settings::timeout`].
    pub timeout: Option<Timeout>,
    /// See [`Settings::memory`].
    pub memory: Option<MemorySize>,
    /// See [`Settings::temporary`].
    pub temporary: Option<TemporarySize>,
    /// Replaces all variables.
    pub variables: Option<Variables>,
    /// See [`Settings::dead_letters`]; an inner `None` takes it away.
    pub dead_letters: Option<Option<Arn>>,
    /// Replaces all layers.
    pub layers: Option<Vec<LayerUse>>,
}

impl Settings {
    /// These settings with the change.
    pub(crate) fn with(&self, change: SettingsChange) -> Self {
        let old = self.clone();
        Self {
            runtime: change.runtime.unwrap_or(old.runtime),
            role: change.role.unwrap_or(old.role),
            handler: change.handler.unwrap_or(old.handler),
            description: change.description.unwrap_or(old.description),
            timeout: change.timeout.unwrap_or(old.timeout),
            memory: change.memory.unwrap_or(old.memory),
            temporary: change.temporary.unwrap_or(old.temporary),
            variables: change.variables.unwrap_or(old.variables),
            dead_letters: change.dead_letters.unwrap_or(old.dead_letters),
            layers: change.layers.unwrap_or(old.layers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Result<Variables, FunctionError> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>().try_into()
    }

    #[test]
    fn ranges_are_those_of_lambda() {
        assert!(Timeout::try_from(0).is_err() && Timeout::try_from(901).is_err() && Timeout::try_from(900).is_ok());
        assert!(MemorySize::try_from(127).is_err() && MemorySize::try_from(10_241).is_err());
        assert!(TemporarySize::try_from(511).is_err() && TemporarySize::try_from(10_241).is_err());
        assert!(Handler::try_from("a b.c".to_owned()).is_err() && Handler::try_from(String::new()).is_err());
    }

    #[test]
    fn variables_are_bounded_and_reserved_names_refused_by_name() {
        let error = variables(&[("AWS_REGION", "x"), ("OK", "y")]).unwrap_err().to_string();
        assert!(error.ends_with("used in this request: AWS_REGION"), "{error}");
        assert!(variables(&[("9A", "x")]).is_err() && variables(&[("A=B", "x")]).is_err());
        assert!(variables(&[("BIG", &"x".repeat(4_096))]).unwrap_err().to_string().contains("4KB"));
        assert!(variables(&[("FITS", &"x".repeat(4_000))]).is_ok());
    }
}
