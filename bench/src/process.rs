//! A program under measurement as a child process: started, asked for its processor time and memory, stopped or killed.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use base::{Clock, Fs, OpenMode, RealFs, SystemClock};
use rustix::process::{Pid, Signal, kill_process};

/// The kernel counts processor time for user space in this unit on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// What a process used until now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time of all threads.
    pub cpu: Duration,
    /// Memory that it has, in bytes.
    pub rss: u64,
    /// The most memory that it had, in bytes.
    pub peak: u64,
}

impl Usage {
    /// Of this process.
    pub fn own() -> Self {
        Self::of("self")
    }

    fn of(pid: &str) -> Self {
        let stat = proc_file(&format!("/proc/{pid}/stat"));
        // The name, in parentheses, may hold anything; what follows is numbers.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let status = proc_file(&format!("/proc/{pid}/status"));
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
        };
        Self {
            cpu: Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS_PER_SECOND),
            rss: kilobytes("VmRSS:") << 10,
            peak: kilobytes("VmHWM:") << 10,
        }
    }
}

/// A file of /proc: it has no length to ask for. Empty when it cannot be read.
pub fn proc_file(path: &str) -> String {
    let mut text = vec![0; 64 << 10];
    let read = RealFs.open(Path::new(path), OpenMode::Read).and_then(|file| file.read_at(&mut text, 0));
    text.truncate(read.unwrap_or(0));
    String::from_utf8_lossy(&text).into_owned()
}

/// A running child; killed when dropped.
pub struct Process {
    child: Child,
    label: String,
}

impl Process {
    /// Starts `command` without input or output.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let label = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{label} does not start"))?;
        Ok(Self { child, label })
    }

    /// Processor time and memory until now.
    pub fn usage(&self) -> Usage {
        Usage::of(&self.child.id().to_string())
    }

    /// An error when it has ended.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}", self.label),
        }
    }

    /// Asks it to stop and waits up to `patience`, then kills it. How it ended; `None` when it had to be killed.
    pub async fn stop(mut self, patience: Duration) -> anyhow::Result<Option<ExitStatus>> {
        self.signal(Signal::TERM)?;
        let clock = SystemClock::new();
        while clock.instant() < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            clock.sleep(Duration::from_millis(5)).await;
        }
        Ok(None)
    }

    /// Ends it as a power cut would end it, but for what the operating system keeps.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the process has no id")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing of it stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
