//! What the operator decides about functions.

use std::path::PathBuf;
use std::time::Duration;

/// How functions are run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where packages, the built-in bootstraps and temporary folders are kept.
    pub dir: PathBuf,
    /// The server's own address, given to functions as `AWS_ENDPOINT_URL`.
    pub endpoint_url: String,
    /// The interpreter of `python*` functions; `python3` from the server's `PATH` when absent.
    pub python_interpreter: Option<PathBuf>,
    /// The interpreter of `nodejs*` functions; `node` from the server's `PATH` when absent.
    pub nodejs_interpreter: Option<PathBuf>,
    /// The launcher of `java*` functions; `java` from the server's `PATH` when absent.
    pub java_interpreter: Option<PathBuf>,
    /// What runs `ruby*` functions without a `bootstrap` of their own: a program that speaks the Runtime API and is
    /// given the handler.
    pub ruby_client: Option<PathBuf>,
    /// As `ruby_client`, for `dotnet*`.
    pub dotnet_client: Option<PathBuf>,
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
            nodejs_interpreter: None,
            java_interpreter: None,
            ruby_client: None,
            dotnet_client: None,
            idle_timeout: Duration::from_secs(600),
            max_environments: 64,
            max_environments_per_function: 16,
            init_timeout: Duration::from_secs(10),
            session_lifetime: Duration::from_secs(6 * 3_600),
        }
    }
}
