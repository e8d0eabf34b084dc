//! `bench auth`: how fast requests are decided.
//!
//! Every figure is of one thread, of policies that were compiled before, and of a context that is built for each
//! request as the server builds it. Outcomes are counted before any speed is told. Must not know servers.

use std::sync::Arc;

use anyhow::ensure;
use auth::{Attached, Context, Outcome, Policies, Policy, PolicyKind, Principal, Request};
use base::{AccountId, Clock, SystemClock};
use clap::Parser;
use serde_json::{Value, json};

use crate::process::proc_file;
use crate::rules::{best_rate, rate};

const POLICIES: usize = 50;
const STATEMENTS: usize = 20;
const REQUESTS: usize = 1_000;

/// Measures decisions.
#[derive(Parser)]
#[command(name = "bench auth")]
pub struct Options {
    /// How long each figure is measured; at least one pass over the requests after the first.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// Measures and prints.
#[allow(clippy::print_stdout, reason = "the report is this program's purpose")]
pub fn run(options: &Options) -> anyhow::Result<()> {
    let cpu = proc_file("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let load = proc_file("/proc/loadavg");
    println!(
        "decisions: one thread, {} s each; cpu{}; load average {}",
        options.seconds,
        cpu.replace('\t', ""),
        load.trim()
    );
    for (name, services) in [("statements of 20 services", 20), ("statements of one service", 1)] {
        measure(options, name, services)?;
    }
    Ok(())
}

/// One set of policies: the fewer services they are about, the more statements are looked at.
#[allow(clippy::print_stdout, reason = "the report is this program's purpose")]
fn measure(options: &Options, name: &str, services: usize) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let account: AccountId = "111122223333".parse()?;
    let caller =
        Principal::session(&account, "/service-role/", "worker", "AROAEXAMPLEEXAMPLE12", "alert").issued(clock.now());
    let identity: Vec<Attached> =
        (0..POLICIES).map(|number| policy(number, services)).collect::<anyhow::Result<_>>()?;
    let policies = Policies { identity: &identity, ..Policies::default() };
    let asked: Vec<(String, String)> = (0..REQUESTS).map(|number| asked(number, services)).collect();
    let decide = |(action, resource): &(String, String)| {
        let mut context = Context::of(&caller).at(clock.now());
        context.set("aws:SourceIp", "10.0.0.7");
        context.set("aws:SecureTransport", "true");
        context.set("aws:RequestedRegion", "us-east-1");
        context.set(
            "aws:UserAgent",
            "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11.7",
        );
        let request = Request { principal: &caller, action, resource, owner: Some(&account), context: &context };
        policies.decide(&request).outcome
    };
    let count = |wanted| asked.iter().filter(|asked| decide(asked) == wanted).count();
    let counts = [Outcome::Allowed, Outcome::ExplicitDeny, Outcome::ImplicitDeny].map(count);
    ensure!(counts.iter().all(|count| *count > 20), "the outcomes {counts:?} are too much alike to measure anything");
    let speed = best_rate(options.seconds, asked.len(), || {
        asked.iter().for_each(|asked| _ = std::hint::black_box(decide(asked)));
    });
    let [allowed, explicit, implicit] = counts;
    println!(
        "{POLICIES} policies of {STATEMENTS} {name}: {}/s; of {REQUESTS} requests {allowed} are allowed, {explicit} \
         denied explicitly, {implicit} implicitly",
        rate(speed)
    );
    Ok(())
}

fn service(number: usize, services: usize) -> String {
    format!("service{}", number % services)
}

fn policy(number: usize, services: usize) -> anyhow::Result<Attached> {
    let statements: Vec<Value> =
        (0..STATEMENTS).map(|index| statement(number * STATEMENTS + index, services)).collect();
    let document = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    let policy = Policy::parse(PolicyKind::Inline, &document)?;
    Ok(Attached { name: format!("policy{number}").into(), policy: Arc::new(policy) })
}

/// Statements such as people write: names, wildcards, tags, variables, conditions, now and then a denial.
fn statement(id: usize, services: usize) -> Value {
    let service = service(id, services);
    let actions =
        json!([format!("{service}:Get{}", id % 100), format!("{service}:List*"), format!("{service}:Put{id}*")]);
    let resource = format!("arn:aws:{service}:*:111122223333:thing/{}?-*", id / 20 % 20);
    match (id + id / 20) % 10 {
        0..=5 => json!({ "Effect": "Allow", "Action": actions, "Resource": resource }),
        6 => {
            json!({ "Effect": "Allow", "Action": actions, "Resource": [resource, format!("arn:aws:{service}:*:*:*/${{aws:PrincipalTag/team}}/*")] })
        }
        7 => json!({ "Effect": "Allow", "Action": format!("{service}:*"), "Resource": resource,
            "Condition": { "IpAddress": { "aws:SourceIp": ["10.0.0.0/8", "192.168.0.0/16"] }, "Bool": { "aws:SecureTransport": "true" } } }),
        8 => json!({ "Effect": "Allow", "Action": actions, "Resource": "*",
            "Condition": { "StringLike": { "aws:PrincipalArn": format!("arn:aws:iam::111122223333:role/*/{id}") } } }),
        _ => json!({ "Effect": "Deny", "Action": format!("{service}:Delete*"), "Resource": resource,
            "Condition": { "StringNotEquals": { "aws:RequestedRegion": ["eu-central-1", "eu-west-1"] } } }),
    }
}

fn asked(number: usize, services: usize) -> (String, String) {
    let service = service(number, services);
    let action = match number % 3 {
        0 => format!("{service}:Get{}", number % 100),
        1 => format!("{service}:Delete{number}"),
        _ => format!("{service}:Update{number}"),
    };
    (action, format!("arn:aws:{service}:us-east-1:111122223333:thing/{}-x", number % 250))
}
