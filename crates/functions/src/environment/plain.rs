//! The process of an environment without walls: started in a group of its own, ended with all that belongs to it.
//!
//! Three ways lead to the end, and each is final: [`Plain::end`] kills the group and what left the group but is still
//! a descendant; dropping kills the group; and when the server itself dies (`kill -9`), a watcher of a few hundred
//! kilobytes in the group sees its standard input close and kills the group. The watcher is a shell, because the
//! parent-death signal of the kernel is bound to the thread that starts a process, and asking for it needs unsafe code.

use std::io::{self, PipeWriter};
use std::process::{ExitStatus, Stdio};

use base::Fs;
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::process::{Child, ChildStdin, Command};

use super::proc;
use crate::sandbox::Start;

/// Starts the watcher, sets the limits, becomes the runtime. `$$` is the group that the server made. No core dumps, and
/// as many open files as on AWS Lambda ("Lambda quotas": 1,024) where the server's own limit allows it.
const WRAPPER: &str = r#"exec 3<&0 </dev/null
( ( read -r _ <&3; kill -s KILL -- -$$ ) >/dev/null 2>&1 & )
exec 3<&-
ulimit -c 0
ulimit -n 1024 2>/dev/null
exec "$@""#;

/// A running (or just ended) process group.
pub(crate) struct Plain {
    child: Child,
    group: Pid,
    ended: bool,
    /// Closes with the server, by which the watcher knows.
    _lifeline: Option<ChildStdin>,
}

impl Plain {
    /// Starts a process whose standard output and error both are `output`. Blocks for about a millisecond.
    pub fn start(line: &Start, output: PipeWriter) -> io::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", WRAPPER, "sh"])
            .arg(&line.program)
            .args(&line.arguments)
            .current_dir(&line.folder)
            .env_clear()
            .envs(line.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.ok_or_else(|| io::Error::other("a new process has no id"))?;
        let lifeline = child.stdin.take();
        Ok(Self { child, group, ended: false, _lifeline: lifeline })
    }

    /// Completes when the process has exited by itself. Cancel-safe.
    pub async fn exited(&mut self) {
        if let Err(error) = self.child.wait().await {
            tracing::error!(%error, "cannot wait for a function's process; it is ended");
        }
    }

    /// The memory of the process and its descendants.
    pub fn memory(&self, fs: &dyn Fs) -> proc::Memory {
        proc::memory(fs, self.group.as_raw_nonzero().get())
    }

    /// Kills all that is left of the group, and descendants that left the group.
    pub fn kill(&mut self, fs: &dyn Fs) {
        if self.ended {
            return;
        }
        let escaped = proc::descendants(fs, self.group.as_raw_nonzero().get());
        kill_group(self.group);
        self.ended = true;
        for pid in escaped.into_iter().filter_map(Pid::from_raw) {
            // Most are in the group and gone already.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    /// Kills it, waits until it is gone and says how the process ended.
    pub async fn end(&mut self, fs: &dyn Fs) -> io::Result<ExitStatus> {
        self.kill(fs);
        let status = self.child.wait().await;
        reap_group(self.group);
        status
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if !self.ended {
            kill_group(self.group);
        }
    }
}

/// The watcher is in the group until it is killed here, so the id cannot have become another group's, even when the
/// process itself is gone and waited for.
fn kill_group(pid: Pid) {
    // No such group: all are gone, which is what was wanted.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
}

/// Where the server is process 1 or reaps for others, orphans of the group became its children.
fn reap_group(pid: Pid) {
    while let Ok(Some(_)) = rustix::process::waitpgid(pid, WaitOptions::NOHANG) {}
}
