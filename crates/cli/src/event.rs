//! `tidegate event`: what became of an event.
//!
//! Owns what a person types and reads. The way itself the server knows.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::client::{Client, Target};
use crate::failure;

const ABOUT: &str = "Follow events through buses, rules and targets";

const TRACE: &str = "\
Show the way of an event: its buses, the rules that matched it, and what came of each target

The ID is the one that PutEvents answered, or the event's \"id\". The server keeps the ways of events as long as the events
themselves, a day unless it is configured otherwise. On a terminal the way is text; anywhere else, or with --json, JSON.

Examples:
  tidegate event trace 019ab0c5-7e1f-7b3a-9c41-5f0e7d2c8a11
  tidegate event trace $ID | jq -r '.buses[].rules[].targets[] | select(.outcome != \"delivered\")'

For a function, delivered means that its queue has the event; what it did then is in `tidegate logs`.

Exit status: 0 the event is known, 1 it is not, 2 the server cannot be asked.";

#[derive(Deserialize)]
struct Way {
    id: String,
    buses: Vec<Bus>,
    complete: bool,
}

#[derive(Deserialize)]
struct Bus {
    bus: String,
    put: String,
    state: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    rule: String,
    targets: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    id: String,
    arn: String,
    outcome: String,
    at: Option<String>,
    next: Option<String>,
    failures: Vec<Failed>,
}

#[derive(Deserialize)]
struct Failed {
    at: String,
    error: String,
}

/// How it is called.
pub fn command() -> Command {
    let about = TRACE.lines().next().unwrap_or_default();
    let id = Arg::new("id").value_name("ID").required(true).help("The event's id");
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON on a terminal too");
    let trace = Command::new("trace").about(about).long_about(TRACE).args([id, json]);
    Command::new("event").about(ABOUT).subcommand_required(true).arg_required_else_help(true).subcommand(trace)
}

/// Does what the subcommand says.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let Some(("trace", args)) = args.subcommand() else { return Ok(ExitCode::from(2)) };
    Ok(failure::answered("event trace", trace(args)))
}

fn trace(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let id = args.get_one::<String>("id").context("an event's id is needed")?;
    let client = Client::from_environment()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let answer = runtime.block_on(ask(&client, id))?;
    let mut out = io::stdout().lock();
    let way: Way = serde_json::from_slice(&answer).context("the server's answer cannot be read")?;
    let printed = if args.get_flag("json") || !out.is_terminal() {
        out.write_all(&answer).and_then(|()| out.write_all(b"\n"))
    } else {
        out.write_all(text(&way).as_bytes())
    };
    failure::printed(printed.and_then(|()| out.flush()))?;
    Ok(if way.buses.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn ask(client: &Client, id: &str) -> anyhow::Result<Bytes> {
    let path = format!("/_tidegate/events/{}/trace", utf8_percent_encode(id, NON_ALPHANUMERIC));
    let target = Target { service: "tidegate", method: Method::GET, path: &path, headers: &[] };
    let response = client.call(&target, Bytes::new()).await?;
    if response.status() != StatusCode::OK {
        let answer: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let reason = answer["message"].as_str().unwrap_or("it did not say why");
        bail!("the server answered {}: {reason}", response.status());
    }
    Ok(response.into_body())
}

fn text(way: &Way) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |indent: usize, text: String| _ = writeln!(out, "{:indent$}{}", "", plain(&text));
    line(0, format!("event {}", way.id));
    for bus in &way.buses {
        line(2, format!("{} put on bus {}", bus.put, bus.bus));
        match (bus.state.as_str(), bus.rules.is_empty()) {
            ("evaluated", true) => line(4, "no rule matched it".to_owned()),
            ("waiting", _) => line(4, "its rules have not seen it yet".to_owned()),
            ("no rules", _) => line(4, "the bus has no rules".to_owned()),
            _ => {}
        }
        for rule in &bus.rules {
            line(4, format!("matched rule {}", rule.rule));
            for target in &rule.targets {
                line(6, format!("target {} ({})", target.id, target.arn));
                for failure in &target.failures {
                    line(8, format!("{} failed: {}", failure.at, failure.error));
                }
                line(8, outcome(target));
            }
        }
    }
    match (way.buses.is_empty(), way.complete) {
        (true, true) => line(2, "no bus has it: it was never put, or is past the bus's retention".to_owned()),
        (true, false) => line(2, "it was not found in what was searched".to_owned()),
        (false, false) => line(2, "not all that may say more was read: there is too much of it".to_owned()),
        (false, true) => {}
    }
    out
}

fn outcome(target: &Told) -> String {
    match (&target.at, &target.next) {
        (Some(at), _) => format!("{at} {}", target.outcome),
        (None, Some(next)) => format!("{}: the next attempt is at {next}", target.outcome),
        (None, None) => target.outcome.clone(),
    }
}

/// What others wrote must not steer the terminal.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_told_in_order() {
        let way = serde_json::json!({"id": "e", "complete": true, "buses": [{
            "bus": "default", "put": "2026-11-23T00:00:00.000Z", "position": 7, "state": "evaluated", "rules": [{"rule": "r", "targets": [
                {"id": "a", "arn": "arn:a", "outcome": "delivered", "at": "2026-11-23T00:00:01.000Z", "failures": []},
                {"id": "b", "arn": "arn:b", "outcome": "waiting", "next": "2026-11-23T00:00:09.000Z",
                 "failures": [{"at": "2026-11-23T00:00:02.000Z", "error": "ERROR_FROM_TARGET: away\u{1b}[2J"}]}]}]}]});
        let text = text(&serde_json::from_value(way).unwrap());
        let expected = "\
event e
  2026-11-23T00:00:00.000Z put on bus default
    matched rule r
      target a (arn:a)
        2026-11-23T00:00:01.000Z delivered
      target b (arn:b)
        2026-11-23T00:00:02.000Z failed: ERROR_FROM_TARGET: away\u{fffd}[2J
        waiting: the next attempt is at 2026-11-23T00:00:09.000Z
";
        assert_eq!(text, expected);
    }
}
