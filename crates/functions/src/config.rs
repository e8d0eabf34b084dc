//! What the operator decides about functions.

use std::path::PathBuf;
use std::time::Duration;

/// How functions are run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where packages, the Python bootstrap and temporary folders are kept.
    pub dir: PathBuf,
    /// The server's own address, given to functions as `AWS_ENDPOINT_URL`.
    pub endpoint_url: String,
    /// The interpreter of `python3.*` functions; `python3` from the server's `PATH` when absent.
    pub python_interpreter: Option<PathBuf>,
    /// An environment that had no call for this long is ended.
    pub idle_timeout: Duration,
    /// Environments of all functions together; a call that would need one more is throttled.
    pub max_environments: usize,
    /// Environments of one function.
    pub max_environments_per_function: usize,
    /// How long a process may take until it asks for its first event (10 s on AWS Lambda).
    pub init_timeout: Duration,
    /// The life of the session keys in an environment. An environment is replaced before its keys expire.
    pub session_lifetime: Duration,
}

impl Config {
    /// The defaults, for code in `dir` and a server at `endpoint_url`.
    pub fn new(dir: impl Into<PathBuf>, endpoint_url: impl Into<String>) -> Self {
        Self {
            dir: dir.into(),
            endpoint_url: endpoint_url.into(),
            python_interpreter: None,
            idle_timeout: Duration::from_secs(600),
            max_environments: 64,
            max_environments_per_function: 16,
            init_timeout: Duration::from_secs(10),
            session_lifetime: Duration::from_secs(6 * 3_600),
        }
    }
}
