//! `bench rules`: how fast events find the rules that match them, beside the `quamina` crate and aws/event-ruler.
//!
//! Every figure is of one thread. Matching starts from bytes that were checked before: the check is measured by itself.
//! Counts are compared before any speed is told. Must not know servers.

mod banks;
mod cloudtrail;
mod contender;
mod load;
mod ruler;

use std::path::PathBuf;
use std::time::Duration;

use base::{Clock, SystemClock};
use clap::{Parser, ValueEnum};

use crate::process::proc_file;

/// Measures the pattern engine.
#[derive(Parser)]
#[command(name = "bench rules")]
pub struct Options {
    /// The folder with the generator of the city-lots events and the rule banks.
    #[arg(long, default_value = "../shared/bench")]
    inputs: PathBuf,
    /// The folder with recorded CloudTrail files.
    #[arg(long, default_value = "../shared/data/cloudtrail")]
    cloudtrail: PathBuf,
    /// A folder for the events, which are kept for the next run.
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// Where scripts/peers installs; without event-ruler there its column stays empty.
    #[arg(long, default_value = ".peers")]
    peers: PathBuf,
    /// How long each figure is measured; at least one pass over the events after the first.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Only these banks.
    #[arg(long, value_delimiter = ',')]
    banks: Vec<String>,
    /// What to measure.
    #[arg(value_enum, default_values_t = [Figure::Banks, Figure::Cloudtrail, Figure::Load])]
    figures: Vec<Figure>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// The fourteen banks of the city-lots benchmark.
    Banks,
    /// CloudTrail events of 1.2 KB against 1,000 rules.
    Cloudtrail,
    /// 100,000 rules: added, matched, removed.
    Load,
}

/// Measures and prints.
#[allow(clippy::print_stdout, reason = "the report is this program's purpose")]
pub fn run(options: &Options) -> anyhow::Result<()> {
    for figure in &options.figures {
        let load = proc_file("/proc/loadavg");
        println!("\n{figure:?}: one thread, {} s each, load average {}", options.seconds, load.trim());
        match figure {
            Figure::Banks => banks::run(options)?,
            Figure::Cloudtrail => cloudtrail::run(options)?,
            Figure::Load => load::run(options)?,
        }
    }
    Ok(())
}

/// The best rate of several passes over `events`, in events per second: the least disturbed pass.
pub fn best_rate(seconds: f64, events: usize, mut pass: impl FnMut()) -> f64 {
    let clock = SystemClock::new();
    let mut best = 0.0_f64;
    loop {
        best = best.max(events as f64 / seconds_of(&mut pass));
        if clock.instant() >= Duration::from_secs_f64(seconds) {
            return best;
        }
    }
}

/// How long something takes.
fn seconds_of(work: impl FnOnce()) -> f64 {
    let clock = SystemClock::new();
    let start = clock.instant();
    work();
    clock.instant().saturating_sub(start).as_secs_f64()
}

/// A rate as it is printed.
pub fn rate(events_per_second: f64) -> String {
    if events_per_second >= 1e6 {
        format!("{:.2} M", events_per_second / 1e6)
    } else {
        format!("{:.0} k", events_per_second / 1e3)
    }
}
