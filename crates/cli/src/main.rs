//! The `tidegate` binary: one table of subcommands, one file each.

mod auth;
mod client;
mod config;
mod demo;
mod doctor;
mod env;
mod event;
mod failure;
mod figures;
mod flags;
mod ingest;
mod logging;
mod logs;
mod mapping;
mod plan;
mod rule;
mod serve;
mod stream;

use std::io::Write;
use std::process::ExitCode;

use clap::{ArgMatches, Command};

/// A subcommand: how it is called, and what it does.
struct Subcommand {
    command: fn() -> Command,
    run: fn(&ArgMatches) -> anyhow::Result<ExitCode>,
}

/// A request is many small allocations, freed on other threads: the system's allocator cost a third of all single puts.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { command: serve::command, run: serve::run },
    Subcommand { command: env::command, run: env::run },
    Subcommand { command: stream::command, run: stream::run },
    Subcommand { command: ingest::command, run: ingest::run },
    Subcommand { command: rule::command, run: rule::run },
    Subcommand { command: event::command, run: event::run },
    Subcommand { command: logs::command, run: logs::run },
    Subcommand { command: mapping::command, run: mapping::run },
    Subcommand { command: auth::command, run: auth::run },
    Subcommand { command: plan::command, run: plan::run },
    Subcommand { command: demo::command, run: demo::run },
    Subcommand { command: doctor::command, run: doctor::run },
    Subcommand { command: config::command, run: config::run },
];

const EXAMPLES: &str = "\
Examples:
  tidegate serve                          start on 127.0.0.1:4566, data in ./tidegate-data
  eval \"$(tidegate env)\"                  point the AWS CLI and every SDK of this shell at it
  aws kinesis create-stream --stream-name events --shard-count 1
  tidegate stream put events 'hello'      and see it arrive with: tidegate stream tail events";

/// What the server calls its own program with, to become an environment of a function. Nothing for people.
const ENVIRONMENT: &str = "__environment";

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == ENVIRONMENT) {
        return server::enter_environment(std::env::args().skip(2));
    }
    let mut program = Command::new("tidegate")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Real-time security analytics on one machine, spoken to as to AWS")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true);
    for subcommand in SUBCOMMANDS {
        program = program.subcommand((subcommand.command)());
    }
    let matches = program.get_matches();
    let Some((name, args)) = matches.subcommand() else { return ExitCode::FAILURE };
    let chosen = SUBCOMMANDS.iter().find(|s| (s.command)().get_name() == name);
    let ended = chosen.map_or(Ok(ExitCode::FAILURE), |s| (s.run)(args));
    ended.unwrap_or_else(|error| {
        // With standard error closed there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "tidegate {name}: {}", failure::in_words(&error));
        ExitCode::FAILURE
    })
}
