//! Measures the real binary, and its peers, as their clients see them, with the conditions beside every figure; and with
//! `bench rules` and `bench auth` the pattern engine and the policy evaluator by themselves. Where it finds the Runtime API
//! of functions, it is a function itself.

mod auth;
mod client;
mod conditions;
mod contenders;
mod disk;
mod handler;
mod kafka;
mod kinesis;
mod load;
mod options;
mod process;
mod quantiles;
mod report;
mod rules;
mod run;
mod scenarios;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    if let Ok(api) = std::env::var(handler::RUNTIME_API) {
        return handler::run(&api);
    }
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    if first.as_ref().is_some_and(|first| first == "rules") {
        return rules::run(&rules::Options::parse_from(std::iter::once("bench rules".into()).chain(arguments)));
    }
    if first.is_some_and(|first| first == "auth") {
        return auth::run(&auth::Options::parse_from(std::iter::once("bench auth".into()).chain(arguments)));
    }
    let options = options::Options::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run::run(options))
}
