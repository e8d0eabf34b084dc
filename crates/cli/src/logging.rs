//! Log lines: readable and coloured on a terminal, JSON in a pipe, always on standard error.

use std::io::{IsTerminal, stderr};

use anyhow::{Context, ensure};
use server::config::{LogFormat, Logging};
use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process.
pub fn start(config: &Logging) -> anyhow::Result<()> {
    let wrong =
        || format!("logging.level '{}' is not a level or filter, such as info or info,flow=debug", config.level);
    ensure!(config.level.split(',').all(says_a_level), wrong());
    let filter = EnvFilter::try_new(&config.level).with_context(wrong)?;
    let terminal = stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match config.format {
        LogFormat::Text => lines.with_ansi(terminal).init(),
        LogFormat::Auto if terminal => lines.with_ansi(true).init(),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).init(),
    }
    Ok(())
}

/// Whether a part of a filter is a level, or has one. The library takes any other word for the name of a module, which
/// would silence everything else.
fn says_a_level(part: &str) -> bool {
    let part = part.trim();
    part.contains('=') || (!part.is_empty() && part.parse::<tracing::level_filters::LevelFilter>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        assert!(
            ["info", "WARN", "off", "info,flow=debug", "tidegate[x]=trace"]
                .iter()
                .all(|l| l.split(',').all(says_a_level))
        );
        assert!(["nonsense", "info,flow", ""].iter().all(|level| !level.split(',').all(says_a_level)));
    }
}
