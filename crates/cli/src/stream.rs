//! `tidegate stream`: puts records, watches them, looks at streams and changes their shards, from a shell.
//!
//! Owns what a person types and reads. Speaks to the server as any client of Kinesis does, and knows nothing else of it.

pub mod api;
mod describe;
mod ls;
mod put;
mod reshard;
mod shards;
mod table;
mod tail;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::failure;
use api::{Kinesis, StreamAddress};

const ABOUT: &str = "\
Put records into streams, watch them arrive, and look after streams and shards

The server is the one that AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY name. A STREAM is a
name or an ARN; a SHARD is an id such as shardId-000000000003, or just its number, 3. On a terminal all commands print
text for people, anywhere else JSON for programs.

Examples:
  eval \"$(tidegate env)\"
  aws kinesis create-stream --stream-name events --shard-count 2
  tidegate stream put events 'hello' 'world'
  tidegate stream tail events
  tidegate stream tail events -f --from 10m
  tidegate stream describe events
  tidegate stream split events 0

Exit status: 0 done, 1 something was left out (put), 2 nothing can be done (arguments, connection, refusal).";

/// How a subcommand ended well: `Done`, or with something left out.
enum Outcome {
    Done,
    Incomplete,
    Interrupted,
}

/// A subcommand of `stream`.
struct Subcommand {
    name: &'static str,
    command: fn(Command) -> Command,
    run: fn(&Calls, &ArgMatches) -> anyhow::Result<Outcome>,
}

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { name: "put", command: put::command, run: put::run },
    Subcommand { name: "tail", command: tail::command, run: tail::run },
    Subcommand { name: "ls", command: ls::command, run: ls::run },
    Subcommand { name: "describe", command: describe::command, run: describe::run },
    Subcommand { name: "split", command: reshard::split_command, run: reshard::split },
    Subcommand { name: "merge", command: reshard::merge_command, run: reshard::merge },
];

/// How it is called.
pub fn command() -> Command {
    let about = ABOUT.lines().next().unwrap_or_default();
    let command = Command::new("stream").about(about).long_about(ABOUT).subcommand_required(true);
    let subcommands = SUBCOMMANDS.iter().map(|sub| (sub.command)(Command::new(sub.name)));
    command.arg_required_else_help(true).subcommands(subcommands)
}

/// Does what the subcommand says.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let Some((name, args)) = args.subcommand() else { return Ok(ExitCode::from(2)) };
    let Some(chosen) = SUBCOMMANDS.iter().find(|sub| sub.name == name) else { return Ok(ExitCode::from(2)) };
    let ended = Calls::new(name).and_then(|calls| (chosen.run)(&calls, args)).map(|outcome| match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Incomplete => ExitCode::FAILURE,
        Outcome::Interrupted => ExitCode::from(130),
    });
    Ok(failure::answered(&format!("stream {name}"), ended))
}

/// A line on standard error, where nobody may be listening any more.
fn say(name: &str, line: &str) {
    let _ = writeln!(io::stderr(), "tidegate stream {name}: {line}");
}

/// What a subcommand calls the server with.
struct Calls {
    name: String,
    kinesis: Kinesis,
    runtime: tokio::runtime::Runtime,
}

impl Calls {
    fn new(name: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
        Ok(Self { name: name.to_owned(), kinesis: Kinesis::from_environment()?, runtime })
    }
}

fn stream_arg() -> Arg {
    Arg::new("stream")
        .value_name("STREAM")
        .required(true)
        .value_parser(clap::value_parser!(StreamAddress))
        .help("The stream's name or ARN")
}

fn stream_of(args: &ArgMatches) -> anyhow::Result<&StreamAddress> {
    args.get_one("stream").context("a stream's name is needed")
}

fn json_arg() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON on a terminal too")
}

fn as_json(args: &ArgMatches) -> bool {
    args.get_flag("json") || !io::stdout().is_terminal()
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
