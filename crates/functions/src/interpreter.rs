//! What the machine has to run functions with: each interpreter is found once and asked for its true path.
//!
//! A configured `python3` or `node` may be a wrapper that decides by its own environment what to start; functions get
//! none of that environment and should not pay for the wrapper at each start, so the interpreter itself is asked where
//! it is. What is not there is said with its reason and the setting that would name another one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base::Env;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::{Config, FunctionError};

const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// What the built-in bootstraps ask for.
const PYTHON_LEAST: (u32, u32) = (3, 8);
const NODE_LEAST: u32 = 16;

/// The interpreters of all families.
pub(crate) struct Interpreters {
    env: Env,
    python: (PathBuf, OnceCell<Python>),
    node: (PathBuf, OnceCell<Node>),
    java: (PathBuf, OnceCell<PathBuf>),
    ruby: Option<PathBuf>,
    dotnet: Option<PathBuf>,
}

/// A Python that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    /// The executable itself.
    pub executable: PathBuf,
    /// Such as `3.12`.
    pub version: String,
    /// Where packages that its user installed for himself are. Functions have another home folder, so they are told.
    pub user_base: PathBuf,
    /// Where it and its packages are.
    pub needs: Vec<PathBuf>,
}

/// A Node.js that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The executable itself.
    pub executable: PathBuf,
    /// Such as `20.11.1`.
    pub version: String,
}

/// What a program said.
struct Answer {
    succeeded: bool,
    status: String,
    output: String,
    errors: String,
}

impl Answer {
    fn failure(&self) -> String {
        let last: String = self.errors.lines().last().unwrap_or("it said nothing").chars().take(200).collect();
        format!("{}, {last}", self.status)
    }
}

impl Interpreters {
    pub fn new(env: &Env, config: &Config) -> Self {
        let or = |configured: &Option<PathBuf>, name: &str| configured.clone().unwrap_or_else(|| PathBuf::from(name));
        Self {
            env: env.clone(),
            python: (or(&config.python_interpreter, "python3"), OnceCell::new()),
            node: (or(&config.nodejs_interpreter, "node"), OnceCell::new()),
            java: (or(&config.java_interpreter, "java"), OnceCell::new()),
            ruby: config.ruby_client.clone(),
            dotnet: config.dotnet_client.clone(),
        }
    }

    /// The Python interpreter. A failure is not remembered, here and below: the operator may install it meanwhile.
    pub async fn python(&self) -> Result<&Python, FunctionError> {
        let (program, found) = &self.python;
        let probe = || async {
            let probe = "import site, sys\nprint('%d.%d' % sys.version_info[:2])\nprint(sys.executable)\n\
                         print(site.getuserbase())\n\
                         print(site.getusersitepackages())\n\
                         print('\\n'.join([sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]))";
            let wanted = format!("a Python {}.{} or newer", PYTHON_LEAST.0, PYTHON_LEAST.1);
            let missing = |why| missing("Python interpreter", program, "python_interpreter", &wanted, why);
            let answer = self.ask(program, &["-c", probe]).await.map_err(missing)?;
            let mut lines = answer.output.lines();
            match (answer.succeeded, lines.next(), lines.next(), lines.next()) {
                (true, Some(version), _, _) if numbers(version) < PYTHON_LEAST => {
                    Err(missing(format!("it is Python {version}")))
                }
                (true, Some(version), Some(executable), Some(user_base)) if !executable.is_empty() => {
                    tracing::debug!(executable, version, "found the Python interpreter");
                    let (version, needs) = (version.to_owned(), lines.map(PathBuf::from).collect());
                    Ok(Python { executable: executable.into(), version, user_base: user_base.into(), needs })
                }
                _ => Err(missing(answer.failure())),
            }
        };
        found.get_or_try_init(probe).await
    }

    /// The Node.js executable.
    pub async fn node(&self) -> Result<&Node, FunctionError> {
        let (program, found) = &self.node;
        let probe = || async {
            let wanted = format!("a Node.js {NODE_LEAST} or newer");
            let missing = |why| missing("Node.js interpreter", program, "nodejs_interpreter", &wanted, why);
            let probe = "console.log(process.versions.node + '\\n' + process.execPath)";
            let answer = self.ask(program, &["-e", probe]).await.map_err(missing)?;
            let mut lines = answer.output.lines();
            match (answer.succeeded, lines.next(), lines.next()) {
                (true, Some(version), _) if numbers(version).0 < NODE_LEAST => {
                    Err(missing(format!("it is Node.js {version}")))
                }
                (true, Some(version), Some(executable)) if !executable.is_empty() => {
                    tracing::debug!(executable, version, "found the Node.js interpreter");
                    Ok(Node { executable: executable.into(), version: version.to_owned() })
                }
                _ => Err(missing(answer.failure())),
            }
        };
        found.get_or_try_init(probe).await
    }

    /// The `java` executable.
    pub async fn java(&self) -> Result<&Path, FunctionError> {
        let (program, found) = &self.java;
        let probe = || async {
            let missing =
                |why| missing("Java runtime", program, "java_interpreter", "the java of a Java 8 or newer", why);
            let answer = self.ask(program, &["-XshowSettings:properties", "-version"]).await.map_err(missing)?;
            // The properties are written to standard error.
            let home = answer.errors.lines().find_map(|line| line.trim().strip_prefix("java.home = "));
            match (answer.succeeded, home) {
                (true, Some(home)) => {
                    tracing::debug!(home, "found the Java runtime");
                    Ok(Path::new(home).join("bin/java"))
                }
                _ => Err(missing(answer.failure())),
            }
        };
        found.get_or_try_init(probe).await.map(PathBuf::as_path)
    }

    /// The configured client of `ruby*` functions.
    pub fn ruby(&self) -> Result<&Path, String> {
        self.ruby.as_deref().ok_or_else(|| {
            "set ruby_client in section runtimes (TIDEGATE_RUNTIMES_RUBY_CLIENT) to the aws_lambda_ric of the gem of \
             that name, or put an executable named bootstrap into the package"
                .to_owned()
        })
    }

    /// The configured client of `dotnet*` functions.
    pub fn dotnet(&self) -> Result<&Path, String> {
        self.dotnet.as_deref().ok_or_else(|| {
            "put an executable named bootstrap into the package (dotnet publish --self-contained with \
             Amazon.Lambda.RuntimeSupport makes one), or set dotnet_client in section runtimes \
             (TIDEGATE_RUNTIMES_DOTNET_CLIENT) to a program that runs handlers"
                .to_owned()
        })
    }

    async fn ask(&self, program: &Path, arguments: &[&str]) -> Result<Answer, String> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).env_clear();
        // What a wrapper needs to find its interpreter, and nothing that is secret.
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let output = tokio::select! {
            output = command.output() => output.map_err(|e| e.to_string())?,
            () = self.env.clock.sleep(PROBE_TIMEOUT) => return Err("it does not answer".to_owned()),
        };
        Ok(Answer {
            succeeded: output.status.success(),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

fn missing(what: &str, program: &Path, key: &str, wanted: &str, why: String) -> FunctionError {
    let variable = key.to_uppercase();
    FunctionError::Unavailable(format!(
        "the {what} '{}' cannot be used: {why}; set {key} in section runtimes (TIDEGATE_RUNTIMES_{variable}) to {wanted}",
        program.display()
    ))
}

/// The first two numbers of a version; what is none counts as 0.
fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
