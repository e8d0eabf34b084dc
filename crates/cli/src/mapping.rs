//! `tidegate mapping`: what event-source mappings are stuck on and gave up, and what is done about it.
//!
//! Owns what a person types and reads. What mappings do the server knows.

mod text;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::client::{Client, Target};
use crate::failure;
use text::{All, One, Part};

/// What is written as it is in a path: all that UUIDs have.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-');

const ABOUT: &str = "\
Look after event-source mappings: stuck shards, skipped records, quarantine

A shard is stuck when a batch fails past its first retry: nothing behind it on the shard is handled before it succeeds or
is given up. What is given up goes to the mapping's on-failure destination, or without one into the mapping's
quarantine, with its payload, for two weeks.

Examples:
  tidegate mapping status
  tidegate mapping status 14e0db71-5d35-4eb5-b481-8945cf9d10c2
  tidegate mapping skip 14e0db71-… --shard 0 --sequence 49590338271490256608559692538361571095921575989136588898
  tidegate mapping redrive 14e0db71-…

Exit status: 0 all is well or was done, 1 something is stuck, unreadable or not permitted (status) or was not taken (redrive), 2 nothing can be done.";

/// How it is called.
pub fn command() -> Command {
    let about = ABOUT.lines().next().unwrap_or_default();
    let json = || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON on a terminal too");
    let id = || Arg::new("id").value_name("ID").help("The mapping's UUID");
    let status = Command::new("status")
        .about("Show how mappings get on: their age, what they are stuck on, what is in quarantine")
        .args([id(), json()]);
    let shard = Arg::new("shard").long("shard").required(true).help("The shard, such as shardId-000000000003 or 3");
    let sequence = Arg::new("sequence").long("sequence").required(true).help("The record's sequence number");
    let skip = Command::new("skip")
        .about("Set a record aside that holds up its shard: into quarantine, with its payload")
        .args([id().required(true), shard, sequence, json()]);
    let redrive = Command::new("redrive")
        .about("Hand what is in quarantine to the function again, in order; what it takes leaves the quarantine")
        .args([id().required(true), json()]);
    Command::new("mapping")
        .about(about)
        .long_about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([status, skip, redrive])
}

/// Does what the subcommand says.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    Ok(match args.subcommand() {
        Some(("status", args)) => failure::answered("mapping status", status(args)),
        Some(("skip", args)) => failure::answered("mapping skip", skip(args)),
        Some(("redrive", args)) => failure::answered("mapping redrive", redrive(args)),
        _ => ExitCode::from(2),
    })
}

/// Asks the server, one call after the other.
struct Calls {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Calls {
    fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
        Ok(Self { client: Client::from_environment()?, runtime })
    }

    fn call(&self, method: Method, id: Option<&str>, what: &str, body: Option<&Value>) -> anyhow::Result<Bytes> {
        let mut path = "/_tidegate/mappings".to_owned();
        if let Some(id) = id {
            path = format!("{path}/{}{what}", utf8_percent_encode(id, UNRESERVED));
        }
        let target = Target { service: "tidegate", method, path: &path, headers: &[] };
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let response = self.runtime.block_on(self.client.call(&target, body))?;
        if response.status() != StatusCode::OK {
            let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
            let reason = answer["message"].as_str().unwrap_or("it did not say why");
            bail!("the server answered {}: {reason}", response.status());
        }
        Ok(response.into_body())
    }
}

fn id(args: &ArgMatches) -> Option<&str> {
    args.get_one::<String>("id").map(String::as_str)
}

fn as_json(args: &ArgMatches) -> bool {
    args.get_flag("json") || !io::stdout().is_terminal()
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    Ok(failure::printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?)
}

fn unreadable<T>(result: serde_json::Result<T>) -> anyhow::Result<T> {
    result.context("the server's answer cannot be read")
}

fn status(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let answer = Calls::new()?.call(Method::GET, id(args), "", None)?;
    let mappings = match id(args) {
        Some(_) => vec![unreadable(serde_json::from_slice::<One>(&answer))?],
        None => unreadable(serde_json::from_slice::<All>(&answer))?.mappings,
    };
    print(&match (as_json(args), id(args)) {
        (true, _) => format!("{}\n", String::from_utf8_lossy(&answer)),
        (false, Some(_)) => mappings.iter().map(One::text).collect(),
        (false, None) => text::table(&mappings),
    })?;
    let stuck = mappings
        .iter()
        .any(|mapping| !mapping.stuck.is_empty() || mapping.quarantine.error.is_some() || mapping.denied.is_some());
    Ok(if stuck { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn skip(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let value = |name: &str| args.get_one::<String>(name).cloned().unwrap_or_default();
    let shard = match value("shard").parse::<u32>() {
        Ok(number) => base::ShardId::new(number).to_string(),
        Err(_) => value("shard"),
    };
    let body = json!({ "shard": shard, "sequence": value("sequence") });
    let answer = Calls::new()?.call(Method::POST, id(args), "/skip", Some(&body))?;
    print(&match as_json(args) {
        true => format!("{}\n", String::from_utf8_lossy(&answer)),
        false => format!("{} of {shard} is in quarantine, and the others go on\n", value("sequence")),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn redrive(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (calls, mut all) = (Calls::new()?, Part::default());
    loop {
        let answer = calls.call(Method::POST, id(args), "/redrive", Some(&json!({ "after": all.next })));
        let part = answer.and_then(|answer| unreadable(serde_json::from_slice::<Part>(&answer)));
        match part {
            // What came of the parts before is told all the same.
            Err(error) if all.next.is_some() => {
                all.interrupted = Some(format!("{error:#}"));
                break;
            }
            part => all.add(part?),
        }
        if all.next.is_none() || all.interrupted.is_some() {
            break;
        }
    }
    print(&match as_json(args) {
        true => {
            format!("{}\n", json!({ "succeeded": all.succeeded, "failed": all.failed, "interrupted": all.interrupted }))
        }
        false => all.text(),
    })?;
    let all_taken = all.failed.is_empty() && all.interrupted.is_none();
    Ok(if all_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
