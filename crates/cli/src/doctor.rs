//! `tidegate doctor`: what this machine can give to functions, and what it cannot.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use base::{Env, Fs, RealFs, SystemClock, SystemRng};
use clap::{ArgMatches, Command};
use server::doctor::{Findings, examine};

use crate::flags;

const EXAMPLES: &str = "\
Examples:
  tidegate doctor
  sudo tidegate doctor --config /etc/tidegate.toml     as the user and with the settings that the server has";

/// How it is called.
pub fn command() -> Command {
    let command = Command::new("doctor")
        .about("Say which walls around functions this machine can build, and what would help with the others")
        .long_about(
            "Say which walls around functions this machine can build, and what would help with the others\n\n\
             It builds an environment that runs nothing, as the server does at its start. It fails when functions would be \
             refused.",
        )
        .after_help(EXAMPLES);
    flags::with_data_dir(command)
}

/// Examines and prints.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let config = flags::config(args)?;
    let env = Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) };
    let folder = std::env::temp_dir().join(format!("tidegate-doctor-{:016x}", env.rng.u64()));
    RealFs.create_dir_all(&folder).context("a folder to try it in")?;
    let findings = examine(&env, &config, &folder);
    RealFs.remove_dir_all(&folder).context("the folder in which it was tried")?;
    std::io::stdout().write_all(text(&findings).as_bytes()).context("cannot print")?;
    Ok(if findings.refusal.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(findings: &Findings) -> String {
    let mut text = String::from("Walls around functions\n");
    for wall in &findings.standing {
        text += &format!("  yes       {wall}\n");
    }
    for missing in &findings.missing {
        let kind = if missing.required { "REQUIRED" } else { "no" };
        text += &format!(
            "  {kind:<9} {}\n            why   {}\n            help  {}\n",
            missing.wall, missing.reason, missing.remedy
        );
    }
    match &findings.refusal {
        Some(refusal) => text += &format!("\n{refusal}\n"),
        None if findings.reduced => {
            text += "\nFunctions are run, with less than the required walls where they are missing.\n"
        }
        None => text += "\nFunctions are run.\n",
    }
    text
}
