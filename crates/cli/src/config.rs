//! `tidegate config`: the reference of every key, as a file to start from.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgMatches, Command};

const EXAMPLES: &str = "\
Examples:
  tidegate config > tidegate.toml            then uncomment what should differ
  tidegate serve --config tidegate.toml";

/// How it is called.
pub fn command() -> Command {
    Command::new("config")
        .about("Print a configuration file with every key, its default and its variable")
        .after_help(EXAMPLES)
}

/// Prints it.
pub fn run(_: &ArgMatches) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(server::config::default_file().as_bytes()).context("cannot print")?;
    Ok(ExitCode::SUCCESS)
}
