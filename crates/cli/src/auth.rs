//! `tidegate auth`: why somebody may or may not do something, and the least policy for what a role does.
//!
//! Owns what a person types and reads. Decisions are the server's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, Target};
use crate::failure;

const ABOUT: &str = "\
Ask why access is allowed or denied, and write least policies

Examples:
  tidegate auth explain --principal arn:aws:iam::000000000000:role/alert --action kinesis:PutRecord \\
      --resource arn:aws:kinesis:us-east-1:000000000000:stream/events
  tidegate auth explain --principal sns.amazonaws.com --action lambda:InvokeFunction --resource arn:aws:lambda:… \\
      --context aws:SourceArn=arn:aws:sns:…
  tidegate auth suggest --role arn:aws:iam::000000000000:role/alert > least.json

Exit status: 0 it is allowed or done, 1 it is denied, 2 it cannot be said.";

/// How it is called.
pub fn command() -> Command {
    let about = ABOUT.lines().next().unwrap_or_default();
    let json = || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON on a terminal too");
    let value = |name: &'static str, help: &'static str| Arg::new(name).long(name).required(true).help(help);
    let context = Arg::new("context")
        .long("context")
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .help("A condition key, such as aws:SourceIp=10.0.0.1; may be given several times");
    let explain =
        Command::new("explain").about("Show the decision about an action, and the statement that makes it").args([
            value(
                "principal",
                "The ARN of a user, a role or the account's root, or a service such as events.amazonaws.com",
            ),
            value("action", "Such as kinesis:PutRecord"),
            value("resource", "The resource's ARN").required(false).default_value("*"),
            context,
            json(),
        ]);
    let suggest = Command::new("suggest")
        .about("Write the least policy for what a role was allowed to do since the server's start")
        .args([value("role", "The role's ARN")]);
    Command::new("auth")
        .about(about)
        .long_about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([explain, suggest])
}

/// Does what the subcommand says.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    Ok(match args.subcommand() {
        Some(("explain", args)) => failure::answered("auth explain", explain(args)),
        Some(("suggest", args)) => failure::answered("auth suggest", suggest(args)),
        _ => ExitCode::from(2),
    })
}

/// A decision as the server tells it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    decision: String,
    reason: Option<String>,
    by: Option<Statement>,
    matched: Vec<Statement>,
    missing_context: Vec<String>,
}

#[derive(Deserialize, PartialEq)]
struct Statement {
    effect: String,
    kind: String,
    policy: String,
    sid: Option<String>,
    number: usize,
}

#[derive(Deserialize)]
struct Uses {
    uses: Vec<Use>,
}

#[derive(Deserialize)]
struct Use {
    action: String,
    resource: String,
}

fn text<'a>(args: &'a ArgMatches, name: &str) -> &'a str {
    args.get_one::<String>(name).map(String::as_str).unwrap_or_default()
}

fn get(path: &str, query: &[(&str, &str)]) -> anyhow::Result<Bytes> {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let query: Vec<String> = query.iter().map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
    let path = format!("/_tidegate/access/{path}?{}", query.join("&"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let target = Target { service: "tidegate", method: Method::GET, path: &path, headers: &[] };
    let response = runtime.block_on(Client::from_environment()?.call(&target, Bytes::new()))?;
    if response.status() != StatusCode::OK {
        let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let reason = answer["message"].as_str().unwrap_or("it did not say why");
        bail!("the server answered {}: {reason}", response.status());
    }
    Ok(response.into_body())
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    Ok(failure::printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?)
}

fn explain(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut query = vec![
        ("principal", text(args, "principal")),
        ("action", text(args, "action")),
        ("resource", text(args, "resource")),
    ];
    for pair in args.get_many::<String>("context").into_iter().flatten() {
        let pair = pair.split_once('=');
        query.push(pair.context("a condition key is written KEY=VALUE, such as aws:SourceIp=10.0.0.1")?);
    }
    let answer = get("explain", &query)?;
    let explained: Explained = serde_json::from_slice(&answer).context("the server's answer cannot be read")?;
    if args.get_flag("json") || !io::stdout().is_terminal() {
        print(&format!("{}\n", String::from_utf8_lossy(&answer)))?;
    } else {
        print(&explained.text())?;
    }
    Ok(if explained.decision == "allowed" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Explained {
    fn text(&self) -> String {
        let mut out = match &self.reason {
            Some(reason) => format!("denied: {reason}\n"),
            None => "allowed\n".to_owned(),
        };
        let mut line = |what: &str, statement: &Statement| {
            let Statement { effect, kind, policy, sid, number } = statement;
            let sid = sid.as_ref().map(|sid| format!(" \"{sid}\"")).unwrap_or_default();
            // Writing to text does not fail.
            let _ = writeln!(out, "  {what}statement {number}{sid} of {policy} ({kind}): {effect}");
        };
        if let Some(by) = &self.by {
            line("decided by ", by);
        }
        for statement in self.matched.iter().filter(|statement| Some(*statement) != self.by.as_ref()) {
            line("also applies: ", statement);
        }
        if !self.missing_context.is_empty() {
            let _ = writeln!(out, "  not given: {}", self.missing_context.join(", "));
        }
        out
    }
}

fn suggest(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let answer = get("used", &[("role", text(args, "role"))])?;
    let used: Uses = serde_json::from_slice(&answer).context("the server's answer cannot be read")?;
    if used.uses.is_empty() {
        bail!("the role was not used since the server's start; let it do its work, and ask again");
    }
    print(&format!("{:#}\n", least(&used.uses)))?;
    Ok(ExitCode::SUCCESS)
}

/// The least policy that allows all of these: a statement for all actions on the same resources.
fn least(uses: &[Use]) -> Value {
    let mut resources: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Use { action, resource } in uses {
        resources.entry(action).or_default().insert(resource);
    }
    let mut statements: BTreeMap<BTreeSet<&str>, Vec<&str>> = BTreeMap::new();
    for (action, on) in resources {
        statements.entry(on).or_default().push(action);
    }
    let statements: Vec<Value> = statements
        .into_iter()
        .map(|(on, actions)| json!({"Effect": "Allow", "Action": actions, "Resource": on}))
        .collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_least_policy_names_each_resource_with_what_is_done_to_it() {
        let used = |action: &str, resource: &str| Use { action: action.to_owned(), resource: resource.to_owned() };
        let uses = [
            used("kinesis:GetRecords", "s"),
            used("kinesis:ListShards", "s"),
            used("sns:Publish", "t"),
            used("sns:Publish", "u"),
        ];
        let wanted = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["kinesis:GetRecords", "kinesis:ListShards"], "Resource": ["s"]},
            {"Effect": "Allow", "Action": ["sns:Publish"], "Resource": ["t", "u"]},
        ]});
        assert_eq!(least(&uses), wanted);
    }

    #[test]
    fn a_decision_names_its_statement() {
        let statement =
            json!({"effect": "Deny", "kind": "identity-based policy", "policy": "own", "sid": "s", "number": 2});
        let explained = json!({"decision": "explicitDeny", "reason": "it may not", "by": statement, "matched": [statement],
            "missingContext": ["aws:SourceIp"]});
        let explained: Explained = serde_json::from_value(explained).unwrap();
        let wanted = "denied: it may not\n  decided by statement 2 \"s\" of own (identity-based policy): Deny\n  \
                      not given: aws:SourceIp\n";
        assert_eq!(explained.text(), wanted);
    }
}
