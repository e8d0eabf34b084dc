//! `tidegate plan`: whether a pipeline keeps up, and what would let it.
//!
//! Owns what a person types and reads. The arithmetic is `flow::plan`'s.

mod running;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};
use flow::plan::{Lag, Load, Outlook, Pipeline, Remedies};
use serde_json::{Value, json};

use crate::failure;
use crate::figures::{self, thousands};

const ABOUT: &str = "\
Say whether a stream and its function keep up, how far behind they will be, and what would let them catch up

A shard's batches are handled one after the other, so a pipeline handles shards x parallelization x batch / duration
records in a second; a batch that is tried again takes that much longer. Give the figures of a pipeline that is planned, or
--mapping with the UUID of one that runs: its figures are then read from the server twice, --over seconds apart, and flags
beside it say what to assume instead. What waits there is taken from the age of its oldest record.

On a terminal the answer is text; anywhere else, or with --json, JSON.

Examples:
  tidegate plan --shards 2 --batch 1000 --duration 1.7s --incoming 100000/min
  tidegate plan --shards 10 --batch 1000 --duration 1s --retries 5 --incoming 1500/s --after 1d
  tidegate plan --mapping 91eaeb7e-c976-4939-8d62-f1e5a1ca8e2b --within 15m
  tidegate plan --mapping 91eaeb7e-c976-4939-8d62-f1e5a1ca8e2b --parallelization 4

Exit status: 0 it keeps up or catches up, 1 it falls behind, 2 nothing can be said.";

/// The figures that are given, each in place of what is measured.
#[derive(Default)]
struct Given {
    shards: Option<u32>,
    parallelization: Option<u32>,
    batch: Option<u32>,
    attempt: Option<Duration>,
    retries: Option<f64>,
    pause: Option<Duration>,
    incoming: Option<f64>,
    behind: Option<f64>,
}

/// How it is called.
pub fn command() -> Command {
    let value = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let number = |name: &'static str, max: i64, help: &'static str| {
        value(name, "NUMBER", help).value_parser(clap::value_parser!(u32).range(1..=max))
    };
    let about = ABOUT.lines().next().unwrap_or_default();
    Command::new("plan").about(about).long_about(ABOUT).args([
        value("mapping", "UUID", "The event-source mapping whose figures are read"),
        number("shards", 1_000_000, "Open shards"),
        number("batch", 10_000, "Records of a batch"),
        number("parallelization", 10, "Batches of a shard at the same time [default: 1]"),
        value("duration", "TIME", "How long the function takes for a batch, such as 1.7s or 250ms").value_parser(span),
        value("retries", "NUMBER", "How often a batch is tried again, on average [default: 0]").value_parser(count),
        value("pause", "TIME", "The wait before that, on average [default: 0s]").value_parser(span),
        value("incoming", "RATE", "Records that come in, such as 100000/min or 1500/s").value_parser(rate),
        value("behind", "NUMBER", "Records that wait already [default: 0]").value_parser(count),
        value("after", "TIME", "When to say how far behind it is").value_parser(span).default_value("1h"),
        value("within", "TIME", "By when it is to have caught up").value_parser(span).default_value("1h"),
        value("over", "TIME", "How long a running mapping is watched").value_parser(span).default_value("10s"),
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON on a terminal too"),
    ])
}

/// A time, such as `1.7s`, `250ms`, `15m`, `2h` or `1d`.
fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time such as 250ms, 1.7s, 15m, 2h or 1d");
    let at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let seconds = match &text[at..] {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let time = Duration::try_from_secs_f64(count(&text[..at]).map_err(|_| wrong())? * seconds).map_err(|_| wrong())?;
    if time.is_zero() { Err(format!("'{text}' is no time at all")) } else { Ok(time) }
}

/// A number that is not negative.
fn count(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|n| n.is_finite() && *n >= 0.0).ok_or_else(|| format!("'{text}' is not a number from 0 up"))
}

/// Records in a second.
fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("'{text}' is not a rate such as 1500/s, 100000/min or 2000000/h");
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit {
        "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    Ok(count(number).map_err(|_| wrong())? / seconds)
}

/// Does what the subcommand says.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    Ok(failure::answered("plan", plan(args)))
}

fn plan(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let time = |name: &str| args.get_one::<Duration>(name).copied();
    let number = |name: &str| args.get_one::<u32>(name).copied();
    let fraction = |name: &str| args.get_one::<f64>(name).copied();
    let mut given = Given {
        shards: number("shards"),
        parallelization: number("parallelization"),
        batch: number("batch"),
        attempt: time("duration"),
        retries: fraction("retries"),
        pause: time("pause"),
        incoming: fraction("incoming"),
        behind: fraction("behind"),
    };
    let mut notes = Vec::new();
    if let Some(mapping) = args.get_one::<String>("mapping") {
        let over = time("over").context("a time to watch is needed")?;
        notes = running::complete(&mut given, mapping, over)?;
    }
    let (pipeline, load) = figures_of(&given)?;
    let (after, within) = (time("after").context("a time is needed")?, time("within").context("a time is needed")?);
    let plan = Plan {
        pipeline,
        load,
        outlook: pipeline.outlook(load),
        after: (after, pipeline.lag_after(load, after)),
        within: (within, pipeline.remedies(load, within)),
        notes,
    };
    let mut out = io::stdout().lock();
    let text = if args.get_flag("json") || !out.is_terminal() { format!("{}\n", plan.json()) } else { plan.text() };
    failure::printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(if matches!(plan.outlook, Outlook::FallsBehind(_)) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn figures_of(given: &Given) -> anyhow::Result<(Pipeline, Load)> {
    let missing: Vec<&str> = [
        ("--shards", given.shards.is_none()),
        ("--batch", given.batch.is_none()),
        ("--duration", given.attempt.is_none()),
        ("--incoming", given.incoming.is_none()),
    ]
    .into_iter()
    .filter_map(|(name, missing)| missing.then_some(name))
    .collect();
    ensure!(missing.is_empty(), "{} is missing; or name a running mapping by --mapping UUID", missing.join(", "));
    let pipeline = Pipeline {
        shards: given.shards.unwrap_or(1),
        parallelization: given.parallelization.unwrap_or(1),
        batch: given.batch.unwrap_or(1),
        attempt: given.attempt.unwrap_or_default(),
        retries: given.retries.unwrap_or(0.0),
        pause: given.pause.unwrap_or_default(),
    };
    Ok((pipeline, Load { incoming: given.incoming.unwrap_or(0.0), behind: given.behind.unwrap_or(0.0) }))
}

/// What is answered.
struct Plan {
    pipeline: Pipeline,
    load: Load,
    outlook: Outlook,
    after: (Duration, Lag),
    within: (Duration, Remedies),
    notes: Vec<String>,
}

fn whole(number: f64) -> String {
    // Shown, not computed with.
    thousands(number.round().max(0.0) as u64)
}

impl Plan {
    fn text(&self) -> String {
        let Pipeline { shards, parallelization, batch, attempt, retries, pause } = self.pipeline;
        let mut out = String::new();
        // Writing to a String cannot fail.
        let mut line = |text: String| _ = writeln!(out, "{text}");
        let times = if parallelization > 1 { format!(" x {parallelization} at a time") } else { String::new() };
        let tries = match retries > 0.0 {
            true if pause.is_zero() => format!(" x (1 + {retries} retries)"),
            true => format!(" x (1 + {retries} retries) + {retries} x {:.3} s", pause.as_secs_f64()),
            false => String::new(),
        };
        line(format!(
            "{} shards{times} x {} records / {:.3} s{tries} = {} records/s",
            thousands(shards.into()),
            thousands(batch.into()),
            attempt.as_secs_f64(),
            whole(self.pipeline.capacity().floor())
        ));
        let waiting =
            if self.load.behind > 0.0 { format!(", and {} wait", whole(self.load.behind)) } else { String::new() };
        line(format!("{} records/s come in{waiting}", whole(self.load.incoming)));
        line(match self.outlook {
            Outlook::KeepsUp => "it keeps up".to_owned(),
            Outlook::CatchesUp(time) => format!("it has caught up after {}", figures::duration(time)),
            Outlook::FallsBehind(by) => format!("it falls behind by {} records/s", whole(by)),
        });
        let (after, lag) = self.after;
        if lag.records >= 1.0 {
            let age =
                lag.age.map_or_else(String::new, |age| format!(", the oldest came {} before", figures::duration(age)));
            line(format!("in {} {} records wait{age}", figures::duration(after), whole(lag.records)));
        }
        if matches!(self.outlook, Outlook::FallsBehind(_)) || self.is_late() {
            let (within, remedies) = self.within;
            line(format!("to have caught up within {}, any one of these would do:", figures::duration(within)));
            line(format!("  shards           {}", thousands(remedies.shards.into())));
            let enough = |number: Option<u32>| {
                number.map_or_else(|| "the most there is would not do".to_owned(), |number| thousands(number.into()))
            };
            line(format!("  parallelization  {}", enough(remedies.parallelization)));
            line(format!("  batch            {}, if the function takes no longer for it", enough(remedies.batch)));
            line(format!("  duration         {:.3} s", remedies.attempt.as_secs_f64()));
        }
        self.notes.iter().for_each(|note| line(format!("({note})")));
        out
    }

    /// It catches up, but later than is asked.
    fn is_late(&self) -> bool {
        matches!(self.outlook, Outlook::CatchesUp(time) if time > self.within.0)
    }

    fn json(&self) -> Value {
        let Pipeline { shards, parallelization, batch, attempt, retries, pause } = self.pipeline;
        let (outlook, caught_up) = match self.outlook {
            Outlook::KeepsUp => ("keeps up", Some(0.0)),
            Outlook::CatchesUp(time) => ("catches up", Some(time.as_secs_f64())),
            Outlook::FallsBehind(_) => ("falls behind", None),
        };
        let (after, lag) = self.after;
        let (within, remedies) = self.within;
        json!({
            "shards": shards, "parallelization": parallelization, "batch": batch,
            "duration_s": attempt.as_secs_f64(), "retries": retries, "pause_s": pause.as_secs_f64(),
            "incoming_per_s": self.load.incoming, "behind": self.load.behind,
            "capacity_per_s": self.pipeline.capacity(), "outlook": outlook, "caught_up_after_s": caught_up,
            "later": {"after_s": after.as_secs_f64(), "behind": lag.records, "age_s": lag.age.map(|age| age.as_secs_f64())},
            "remedies": {"within_s": within.as_secs_f64(), "shards": remedies.shards,
                "parallelization": remedies.parallelization, "batch": remedies.batch,
                "duration_s": remedies.attempt.as_secs_f64()},
            "notes": self.notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(args: &[&str]) -> Plan {
        let args = command().try_get_matches_from([&["plan"], args].concat()).unwrap();
        let number = |name: &str| args.get_one::<u32>(name).copied();
        let given = Given {
            shards: number("shards"),
            batch: number("batch"),
            attempt: args.get_one::<Duration>("duration").copied(),
            incoming: args.get_one::<f64>("incoming").copied(),
            ..Given::default()
        };
        let (pipeline, load) = figures_of(&given).unwrap();
        let hour = Duration::from_secs(3_600);
        let (outlook, lag) = (pipeline.outlook(load), pipeline.lag_after(load, hour));
        let within = (hour, pipeline.remedies(load, hour));
        Plan { pipeline, load, outlook, after: (hour, lag), within, notes: vec!["a note".to_owned()] }
    }

    #[test]
    fn the_answer_tells_how_it_came_about() {
        let behind = planned(&["--shards", "2", "--batch", "1000", "--duration", "1.7s", "--incoming", "100000/min"]);
        let expected = "\
2 shards x 1,000 records / 1.700 s = 1,176 records/s
1,667 records/s come in
it falls behind by 490 records/s
in 1 h 00 min 1,764,706 records wait, the oldest came 17 min 38 s before
to have caught up within 1 h 00 min, any one of these would do:
  shards           3
  parallelization  2
  batch            1,417, if the function takes no longer for it
  duration         1.200 s
(a note)
";
        assert_eq!(behind.text(), expected);
        assert_eq!(behind.json()["outlook"], "falls behind");
        let ahead = planned(&["--shards", "4", "--batch", "1000", "--duration", "1700ms", "--incoming", "1666.7"]);
        assert_eq!(
            ahead.text(),
            "4 shards x 1,000 records / 1.700 s = 2,352 records/s\n1,667 records/s come in\nit keeps up\n(a note)\n"
        );
    }

    #[test]
    fn what_is_typed_is_a_time_a_rate_or_refused() {
        assert_eq!(span("1.7s"), Ok(Duration::from_millis(1_700)));
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(span("1d"), Ok(Duration::from_secs(86_400)));
        assert!(["", "1", "s", "-1s", "0s", "nans", "infs", "1w"].iter().all(|text| span(text).is_err()));
        assert_eq!(rate("120/min"), Ok(2.0));
        assert_eq!(rate("1500"), Ok(1_500.0));
        assert!(["", "/s", "1/day", "-1/s", "inf/s"].iter().all(|text| rate(text).is_err()));
        let error = figures_of(&Given { shards: Some(1), ..Given::default() }).unwrap_err().to_string();
        assert_eq!(error, "--batch, --duration, --incoming is missing; or name a running mapping by --mapping UUID");
    }
}
