//! Log lines: readable and coloured on a terminal, JSON in a pipe, always on standard error.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use server::config::{LogFormat, Logging};
use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process.
pub fn start(config: &Logging) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.level).with_context(|| {
        format!("logging.level '{}' is not a level or filter, such as info or info,flow=debug", config.level)
    })?;
    let terminal = stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match config.format {
        LogFormat::Text => lines.with_ansi(terminal).init(),
        LogFormat::Auto if terminal => lines.with_ansi(true).init(),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).init(),
    }
    Ok(())
}
