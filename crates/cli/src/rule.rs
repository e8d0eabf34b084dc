//! `tidegate rule`: tries event patterns from a shell, without a server.
//!
//! Owns what a person types and reads. What matches and why, the pattern engine says.

mod account;
mod events;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};
use rules::{Event, Pattern};

use crate::failure;
use account::Account;
use events::Source;

const ABOUT: &str = "Try event patterns, without a server";

const TEST: &str = "\
Say whether events match a pattern, and why, field by field

The PATTERN is JSON, or @FILE to read it from a file. Each EVENT is a JSON object, or the name of a file of events, one
after the other, on lines of their own or not; - is standard input, as without EVENT. A pattern that the service would
refuse is refused in its words.

On a terminal every event is followed by the fields that the pattern names: what is wanted, what was found, and whether
it matches. Anywhere else, or with --json, each event is a JSON line.

Examples:
  tidegate rule test '{\"source\":[\"aws.ec2\"]}' '{\"source\":\"aws.ec2\"}'
  tidegate rule test @pattern.json event.json
  tidegate rule test '{\"detail\":{\"state\":[{\"anything-but\":\"running\"}]}}' < events.ndjson
  gzip -dc log.json.gz | jq -c '.Records[] | {detail: .}' | tidegate rule test @pattern.json --json | jq -c 'select(.matched)'

Exit status: 0 an event matches, 1 none does, 2 nothing can be said (arguments, a wrong pattern, a wrong event).";

/// How it is called.
pub fn command() -> Command {
    let about = TEST.lines().next().unwrap_or_default();
    let pattern = Arg::new("pattern").value_name("PATTERN").required(true).help("The pattern, or @FILE");
    let events = Arg::new("events").value_name("EVENT").num_args(0..).help("Events, or files of events");
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON on a terminal too");
    let test = Command::new("test").about(about).long_about(TEST).args([pattern, events, json]);
    Command::new("rule").about(ABOUT).subcommand_required(true).arg_required_else_help(true).subcommand(test)
}

/// Does what the subcommand says.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let Some(("test", args)) = args.subcommand() else { return Ok(ExitCode::from(2)) };
    let found = test(args).map(|any| if any { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    Ok(failure::answered("rule test", found))
}

/// Tells of every event; whether one matches.
fn test(args: &ArgMatches) -> anyhow::Result<bool> {
    let pattern = args.get_one::<String>("pattern").context("a pattern is needed")?;
    let pattern = Pattern::parse(events::text(pattern)?)?;
    let json = args.get_flag("json") || !io::stdout().is_terminal();
    let mut out = io::stdout().lock();
    let (mut number, mut any) = (0, false);
    for source in Source::all(args.get_many::<String>("events").unwrap_or_default()) {
        source.each(|event| {
            number += 1;
            let event = Event::check(event).with_context(|| format!("event {number}"))?;
            let account = Account { event: number, explanation: pattern.explain(event) };
            any |= account.explanation.matched;
            let text = if json { account.json()? } else { account.text() };
            out.write_all(text.as_bytes())?;
            Ok(out.flush()?)
        })?;
    }
    Ok(any)
}
