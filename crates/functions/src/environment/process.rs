//! The process of an environment, behind walls or without: the same questions and the same end.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use base::Env;

use super::plain::Plain;
use super::proc::Memory;
use super::walled::Walled;

/// A running (or just ended) process with all that it started.
pub(crate) enum Process {
    Walled(Walled),
    Plain(Plain),
}

impl Process {
    /// Completes when the process has exited by itself. Cancel-safe.
    pub async fn exited(&mut self) {
        match self {
            Self::Walled(process) => process.exited().await,
            Self::Plain(process) => process.exited().await,
        }
    }

    /// The memory of the process and its descendants.
    pub fn memory(&self, env: &Env) -> Memory {
        match self {
            Self::Walled(process) => process.memory(&*env.fs),
            Self::Plain(process) => process.memory(&*env.fs),
        }
    }

    /// Whether the kernel killed for want of memory.
    pub fn ran_out_of_memory(&self, env: &Env) -> bool {
        match self {
            Self::Walled(process) => process.ran_out_of_memory(&*env.fs),
            Self::Plain(_) => false,
        }
    }

    /// Has the kernel end all that is left of it, and does not wait for that.
    pub fn kill(&mut self, env: &Env) {
        match self {
            Self::Walled(process) => process.kill(),
            Self::Plain(process) => process.kill(&*env.fs),
        }
    }

    /// Ends all that is left of it, and says how the process ended.
    pub async fn end(&mut self, env: &Env) -> io::Result<ExitStatus> {
        match self {
            Self::Walled(process) => process.end(env).await,
            Self::Plain(process) => process.end(&*env.fs).await,
        }
    }
}

/// How AWS words the end of a process, after "Runtime exited "; absent for an end in peace.
pub(crate) fn describe(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exit status {code}")),
        (None, signal) => Some(format!("signal: {}", signal_name(signal.unwrap_or(0)))),
    }
}

fn signal_name(signal: i32) -> String {
    match signal {
        4 => "illegal instruction".to_owned(),
        6 => "aborted".to_owned(),
        7 => "bus error".to_owned(),
        8 => "floating point exception".to_owned(),
        9 => "killed".to_owned(),
        11 => "segmentation fault".to_owned(),
        15 => "terminated".to_owned(),
        other => other.to_string(),
    }
}
