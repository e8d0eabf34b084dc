//! The process of an environment behind walls, as the server holds it: the launcher, the channel to its init, and its
//! control group.
//!
//! Promises that once [`Walled::end`] returns nothing of it lives. When this is dropped, or the server dies, the channel
//! closes and the init ends everything.

use std::io::{self, PipeWriter};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::{Env, Fs};
use tokio::process::{Child, Command};

use super::proc::{self, Memory};
use crate::Config;
use crate::packages::blocking;
use crate::sandbox::{Channel, Group, Orders, Report, User};

/// How long building the walls may take on a machine that is busy.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long the kernel may take to end everything, until the launcher is killed too.
const END_PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts to remove a control group that still has an ending process.
const REMOVE_PERIOD: Duration = Duration::from_millis(5);
const REMOVE_ATTEMPTS: usize = 200;

/// A running (or just ended) environment.
pub(crate) struct Walled {
    child: Child,
    channel: Channel,
    group: Option<Group>,
    /// The runtime's process, as the machine sees it, once it was found.
    runtime: OnceLock<i32>,
    /// Its user belongs to nobody else while it lives.
    _user: Option<User>,
}

/// Why, and what there is already, to be ended.
type NotStarted = (io::Error, Option<Box<Walled>>);

impl Walled {
    /// Builds the walls and starts the runtime behind them. Gives the listeners that were opened inside. Blocks for some
    /// milliseconds.
    pub fn start(
        config: &Config,
        orders: &Orders,
        group: Group,
        user: Option<User>,
        output: PipeWriter,
    ) -> Result<(Self, Vec<TcpListener>), NotStarted> {
        let launched = launch(config, orders, output);
        let (child, channel) = launched.map_err(|error| (error, None))?;
        let started = Self { child, channel, group: Some(group), runtime: OnceLock::new(), _user: user };
        match started.channel.receive::<Report>(Some(START_PATIENCE)) {
            Ok(Some((Report::Started { .. }, listeners))) => {
                Ok((started, listeners.into_iter().map(TcpListener::from).collect()))
            }
            Ok(Some((Report::Failed(reason), _))) => Err((io::Error::other(reason), Some(Box::new(started)))),
            Ok(_) => Err((io::Error::other("it ended before its walls stood"), Some(Box::new(started)))),
            Err(error) => Err((error, Some(Box::new(started)))),
        }
    }

    /// Completes when the process has exited by itself. Cancel-safe.
    pub async fn exited(&mut self) {
        if let Err(error) = self.child.wait().await {
            tracing::error!(%error, "cannot wait for a function's process; it is ended");
        }
    }

    /// What the processes have of their own now; the peak is at least the runtime's own.
    pub fn memory(&self, fs: &dyn Fs) -> Memory {
        let Some(runtime) = self.runtime(fs) else { return Memory::default() };
        match self.group.as_ref().and_then(|group| group.memory(fs)) {
            Some(resident) => Memory { resident, peak: resident.max(proc::memory_of(fs, runtime).peak) },
            None => proc::memory(fs, runtime),
        }
    }

    /// The launcher has one child, the init, and that the runtime as its oldest.
    fn runtime(&self, fs: &dyn Fs) -> Option<i32> {
        if let Some(known) = self.runtime.get() {
            return Some(*known);
        }
        let launcher = self.child.id().and_then(|id| i32::try_from(id).ok())?;
        let init = *proc::children(fs, launcher).first()?;
        let runtime = *proc::children(fs, init).first()?;
        Some(*self.runtime.get_or_init(|| runtime))
    }

    /// Whether the kernel killed one of its processes for want of memory.
    pub fn ran_out_of_memory(&self, fs: &dyn Fs) -> bool {
        self.group.as_ref().is_some_and(|group| group.ran_out_of_memory(fs))
    }

    /// Tells the init to end everything.
    pub fn kill(&self) {
        self.channel.close_for_writing();
    }

    /// Ends everything and says how the runtime ended, when it did so by itself.
    pub async fn end(&mut self, env: &Env) -> io::Result<ExitStatus> {
        self.kill();
        let ended = tokio::select! {
            status = self.child.wait() => status,
            () = env.clock.sleep(END_PATIENCE) => {
                self.child.start_kill()?;
                self.child.wait().await
            }
        };
        match self.channel.waiting::<Report>() {
            Ok(Some(Report::Ended(status))) => Ok(ExitStatus::from_raw(status)),
            Ok(Some(Report::Failed(reason))) => Err(io::Error::other(reason)),
            _ => ended,
        }
    }

    /// Removes the control group, once the process has ended. The kernel may take its time for that.
    pub async fn clean(mut self, env: &Env) {
        let Some(mut group) = self.group.take() else { return };
        for _ in 0..REMOVE_ATTEMPTS {
            let fs = Arc::clone(&env.fs);
            let removed = blocking(move || Ok(if group.remove(&*fs) { None } else { Some(group) })).await;
            // Nothing is left of it; or the server ends, and the next one finds it.
            let Ok(Some(left)) = removed else { return };
            group = left;
            env.clock.sleep(REMOVE_PERIOD).await;
        }
        tracing::warn!("the control group of a function stays until the next start");
    }
}

fn launch(config: &Config, orders: &Orders, output: PipeWriter) -> io::Result<(Child, Channel)> {
    let (channel, other) = Channel::pair()?;
    let mut command = Command::new(&config.launcher);
    command.arg("__environment").env_clear().stdin(Stdio::from(other)).stdout(output.try_clone()?).stderr(output);
    channel.send(orders, &[])?;
    let child = command.process_group(0).spawn()?;
    Ok((child, channel))
}
