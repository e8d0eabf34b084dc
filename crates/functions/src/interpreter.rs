//! The Python interpreter: found once, asked for its true path.
//!
//! A configured `python3` may be a wrapper that decides by its own environment what to start; functions get none of
//! that environment and should not pay for the wrapper at each start, so the interpreter itself is asked where it is.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base::Env;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::FunctionError;

const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// The interpreter of `python3.*` functions.
pub(crate) struct Interpreter {
    env: Env,
    configured: Option<PathBuf>,
    found: OnceCell<Python>,
}

/// A Python that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    /// The executable itself.
    pub executable: PathBuf,
    /// Where packages that its user installed for himself are. Functions have another home folder, so they are told.
    pub user_base: PathBuf,
}

impl Interpreter {
    pub fn new(env: &Env, configured: Option<PathBuf>) -> Self {
        Self { env: env.clone(), configured, found: OnceCell::new() }
    }

    /// The interpreter. A failure is not remembered: the operator may install it meanwhile.
    pub async fn get(&self) -> Result<&Python, FunctionError> {
        self.found.get_or_try_init(|| self.probe()).await
    }

    async fn probe(&self) -> Result<Python, FunctionError> {
        let program = self.configured.clone().unwrap_or_else(|| PathBuf::from("python3"));
        let missing = |why: String| {
            FunctionError::Unavailable(format!(
                "the Python interpreter '{}' cannot be used: {why}; set python_interpreter in section runtimes \
                 (TIDEGATE_RUNTIMES_PYTHON_INTERPRETER) to a Python 3.8 or newer",
                program.display()
            ))
        };
        let probe = "import site, sys\nassert sys.version_info >= (3, 8), 'Python %d.%d is too old' % sys.version_info[:2]\n\
                     print(sys.executable)\nprint(site.getuserbase())";
        let mut command = Command::new(&program);
        command.args(["-c", probe]).stdin(Stdio::null()).kill_on_drop(true).env_clear();
        // What a wrapper needs to find its interpreter, and nothing that is secret.
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let output = tokio::select! {
            output = command.output() => output.map_err(|e| missing(e.to_string()))?,
            () = self.env.clock.sleep(PROBE_TIMEOUT) => return Err(missing("it does not answer".to_owned())),
        };
        let answer = String::from_utf8_lossy(&output.stdout);
        let mut lines = answer.lines();
        match (output.status.success(), lines.next(), lines.next()) {
            (true, Some(executable), Some(user_base)) if !executable.is_empty() => {
                tracing::debug!(executable, "found the Python interpreter");
                Ok(Python { executable: executable.into(), user_base: user_base.into() })
            }
            _ => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last: String = said.lines().last().unwrap_or("it said nothing").chars().take(200).collect();
                Err(missing(format!("{}, {last}", output.status)))
            }
        }
    }
}
