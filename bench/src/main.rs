//! Measures the real binary, and its peers, as their clients see them, with the conditions beside every figure.

mod client;
mod conditions;
mod contenders;
mod disk;
mod kafka;
mod kinesis;
mod load;
mod options;
mod process;
mod quantiles;
mod report;
mod run;
mod scenarios;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    let options = options::Options::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run::run(options))
}
