//! `tidegate serve`: runs the server until it is told to stop.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use base::{Env, RealFs, SystemClock, SystemRng};
use clap::{ArgMatches, Command};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use server::Server;
use server::auth::RootKeyOrigin;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{flags, logging};

const ABOUT: &str = "\
Run the server: every service on one port, everything it keeps in one folder

Each key can be given in a TOML file (--config), as the variable named beside it, or as a flag; the later wins.

Examples:
  tidegate serve
  tidegate serve --data-dir /var/lib/tidegate --listen 127.0.0.1:4566
  tidegate serve --listen 0.0.0.0:4566 --tls-certificate-file cert.pem --tls-key-file key.pem
  TIDEGATE_LOGGING_LEVEL=debug tidegate serve
  tidegate config > tidegate.toml && tidegate serve --config tidegate.toml";

/// How it is called.
pub fn command() -> Command {
    let about = ABOUT.lines().next().unwrap_or_default();
    flags::with_every_key(Command::new("serve").about(about).long_about(ABOUT))
}

/// Serves until SIGTERM or SIGINT; a second one ends the process at once.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = flags::config(args)?;
    logging::start(&config.logging)?;
    hide();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        // Before anything starts: a signal during the start must not be lost.
        let mut signals = Signals::listen()?;
        let env = Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) };
        let server = tokio::select! {
            server = Server::start(config, env) => server?,
            () = signals.next() => return Ok(ExitCode::SUCCESS),
        };
        greet(&server);
        let failed = tokio::select! {
            () = signals.next() => false,
            () = server.failed() => true,
            () = reload(&server)? => false,
        };
        tracing::info!("stopping: running calls may end; a second signal stops at once");
        tokio::select! {
            stopped = server.stop() => stopped?,
            () = signals.next() => {
                tracing::warn!("stopped at once; the next start recovers");
                std::process::exit(130);
            }
        }
        tracing::info!("stopped");
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

/// Reads the certificate again at every SIGHUP, for ever. Without TLS the signal keeps its meaning: a closed terminal
/// ends what was started there.
fn reload(server: &Server) -> anyhow::Result<impl Future<Output = ()>> {
    let hangup = server.is_secured().then(|| signal(SignalKind::hangup())).transpose();
    let mut hangup = hangup.context("cannot listen for signals")?;
    Ok(async move {
        let Some(hangup) = &mut hangup else { return std::future::pending().await };
        while hangup.recv().await.is_some() {
            match server.reload_certificate() {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(error) => tracing::error!(%error, "the certificate was not read again; the old one stays"),
            }
        }
    })
}

/// Closes this process's memory and environment, where the root key is, to other processes of its user: functions run as
/// that user. No core dump shows them either.
fn hide() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "functions of this server could read its memory: the system does not hide it");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let signal = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What whoever started it wants to know: text on a terminal, a line of the log elsewhere. A new secret is shown on a
/// terminal only: what else reads standard error keeps it.
fn greet(server: &Server) {
    let (running, dir) = (server.running(), server.data_dir());
    let (key, origin) = server.root_key();
    let kept = dir.join("credentials");
    let mut text = String::new();
    if std::io::stderr().is_terminal() {
        text += &format!(
            "\nTidegate {} is ready\n  endpoint   {}\n  data       {}\n  root key   {} ({})\n",
            env!("CARGO_PKG_VERSION"),
            running.endpoint,
            dir.display(),
            key.access_key_id,
            if origin == RootKeyOrigin::Configured {
                "configured".to_owned()
            } else {
                format!("kept in {}", kept.display())
            },
        );
        text +=
            &format!("\nPoint the AWS CLI and SDKs at it:  eval \"$(tidegate env --data-dir {})\"\n\n", dir.display());
        if origin == RootKeyOrigin::Made {
            text += &format!(
                "New root key, shown this once and kept in {}:\n  {}\n  {}\n\n",
                kept.display(),
                key.access_key_id,
                key.secret.reveal()
            );
        }
    } else {
        if origin == RootKeyOrigin::Made {
            tracing::info!(root_key = key.access_key_id, secret_in = %kept.display(), "a new root key was made");
        }
        tracing::info!(endpoint = running.endpoint, data = %dir.display(), root_key = key.access_key_id, "ready");
    }
    // With standard error closed there is nobody to greet.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
