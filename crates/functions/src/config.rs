//! What the operator decides about functions.

use std::path::PathBuf;
use std::time::Duration;

/// What is asked of the walls around functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Functions are refused where the machine cannot build the required walls.
    Full,
    /// Then they run as processes of the server's user, with what limits there are.
    Reduced,
}

/// What functions can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The server, and nothing else.
    None,
    /// Whatever this machine can reach.
    Host,
}

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
    /// What is asked of the walls.
    pub strictness: Strictness,
    /// What functions can reach.
    pub network: Network,
    /// The first of the users (and groups) of environments, where the server is root; as many from there on as there are
    /// environments.
    pub first_user: u32,
    /// Whether a function never has more processor time than its memory size gives it, though some be idle.
    pub cap_processor: bool,
    /// Files and folders of this machine that functions see, read-only, beside what their runtime needs.
    pub readable: Vec<PathBuf>,
    /// Files and folders that no function sees, wherever they lie.
    pub hidden: Vec<PathBuf>,
    /// The program that starts environments: it calls [`crate::enter_environment`] when its first argument is
    /// `__environment`. This program itself, as a rule.
    pub launcher: PathBuf,
    /// An environment that had no call for this long is ended.
    pub idle_timeout: Duration,
    /// Environments of all functions together; a call that would need one more is throttled.
    pub max_environments: usize,
    /// Environments of one function.
    pub max_environments_per_function: usize,
    /// Bytes of all code archives of functions, versions and layers (75 GB on AWS Lambda).
    pub code_storage_bytes: u64,
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
            strictness: Strictness::Full,
            network: Network::None,
            first_user: 1_900_000_000,
            cap_processor: false,
            readable: Vec::new(),
            hidden: Vec::new(),
            launcher: "/proc/self/exe".into(),
            idle_timeout: Duration::from_secs(600),
            max_environments: 64,
            max_environments_per_function: 16,
            code_storage_bytes: 75 << 30,
            init_timeout: Duration::from_secs(10),
            session_lifetime: Duration::from_secs(6 * 3_600),
        }
    }
}
