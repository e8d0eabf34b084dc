//! `tidegate ingest`: sends CloudTrail files to a running server.

mod files;
mod progress;
mod sender;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use base::{Clock, Fs, OpenMode, RealFs, SystemClock};
use clap::{Arg, ArgAction, ArgMatches, Command};
use sources::{Piece, Records};

use crate::client::Client;
use crate::failure;
use crate::figures::{duration, thousands};
use files::Source;
use progress::Progress;
use sender::Sender;

const ABOUT: &str = "\
Send CloudTrail files to a running server, which puts their events on the default bus

Takes files as CloudTrail delivers them to S3 (.json, .json.gz), NDJSON (.ndjson, .jsonl), and folders of these, in the
order of their paths. Broken files and records are named with their place and skipped. Sending the same again adds
nothing: the server remembers events for a day.

The server is the one that AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY name.

Examples:
  eval \"$(tidegate env)\" && tidegate ingest ./cloudtrail
  aws s3 sync s3://trail-bucket/AWSLogs ./logs && tidegate ingest ./logs
  tidegate ingest today.ndjson --json | jq .accepted

Exit status: 0 all sent, 1 something was skipped, 2 nothing can be sent (arguments, connection, refusal).";

/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 256 << 10;

/// How it is called.
pub fn command() -> Command {
    Command::new("ingest")
        .about(ABOUT.lines().next().unwrap_or_default())
        .long_about(ABOUT)
        .arg(
            Arg::new("path")
                .value_name("PATH")
                .required(true)
                .num_args(1..)
                .value_parser(clap::value_parser!(PathBuf))
                .help("A file or a folder"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print the summary as JSON, as is done whenever standard output is no terminal"),
        )
}

/// What was sent in all.
#[derive(Debug, Default, Clone, Copy)]
struct Totals {
    accepted: u64,
    duplicates: u64,
    skipped: u64,
}

/// Sends the files and says how it went.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let paths: Vec<PathBuf> = args.get_many("path").into_iter().flatten().cloned().collect();
    let as_json = args.get_flag("json") || !std::io::stdout().is_terminal();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    match runtime.block_on(ingest(&paths, as_json)) {
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::FAILURE),
        Err(error) => {
            say(&failure::in_words(&error));
            Ok(ExitCode::from(2))
        }
    }
}

/// Sends all files; the answer is how many records or files were skipped.
async fn ingest(paths: &[PathBuf], as_json: bool) -> anyhow::Result<u64> {
    let client = Client::from_environment()?;
    let clock = SystemClock::new();
    let sources = files::find(&RealFs, paths)?;
    let mut progress = Progress::new(sources.iter().map(|source| source.bytes).sum(), clock.instant());
    let mut sender = Sender::new(client);
    let mut unreadable = 0;
    for source in &sources {
        if let Err(error) = send_file(source, &mut sender, &mut progress, &clock).await? {
            progress.clear();
            say(&error);
            unreadable += 1;
        }
    }
    sender.flush().await?;
    progress.clear();
    sender.report_problems();
    let mut totals = sender.totals();
    totals.skipped += unreadable;
    summarise(&totals, sources.len(), clock.instant().saturating_sub(progress.started()), as_json)?;
    Ok(totals.skipped)
}

/// Sends one file. The inner error is of the file, and the next file goes on; the outer is of the server.
async fn send_file(
    source: &Source,
    sender: &mut Sender,
    progress: &mut Progress,
    clock: &dyn Clock,
) -> anyhow::Result<Result<(), String>> {
    let unreadable =
        |error: std::io::Error| Ok(Err(format!("{}: cannot be read: {error}; skipped", source.path.display())));
    let file = match RealFs.open(&source.path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) => return unreadable(error),
    };
    let (mut records, mut buffer, mut offset) = (Records::new(u64::MAX), vec![0; READ_BYTES], 0);
    loop {
        let count = match file.read_at(&mut buffer, offset) {
            Ok(count) => count,
            Err(error) => return unreadable(error),
        };
        offset += count as u64;
        let mut pieces = Vec::new();
        let last = count == 0;
        let result = if last {
            std::mem::replace(&mut records, Records::new(0)).finish(|piece| pieces.push(piece))
        } else {
            records.push(&buffer[..count], |piece| pieces.push(piece))
        };
        take(source, sender, pieces).await?;
        if let Err(error) = result {
            return Ok(Err(format!(
                "{}: {error} (before byte {offset} of the file); the rest is skipped",
                source.path.display()
            )));
        }
        progress.advance(count as u64, sender.totals(), clock.instant());
        if last {
            return Ok(Ok(()));
        }
    }
}

async fn take(source: &Source, sender: &mut Sender, pieces: Vec<Piece>) -> anyhow::Result<()> {
    for piece in pieces {
        match piece {
            Piece::Record { offset, text } => sender.add(&source.path, offset, &text).await?,
            Piece::Broken { offset, reason } => sender.skip(&source.path, offset, &reason),
        }
    }
    Ok(())
}

fn summarise(totals: &Totals, files: usize, took: Duration, as_json: bool) -> anyhow::Result<()> {
    let Totals { accepted, duplicates, skipped } = *totals;
    let text = if as_json {
        let seconds = (took.as_secs_f64() * 1_000.0).round() / 1_000.0;
        let summary = serde_json::json!({
            "files": files, "accepted": accepted, "duplicates": duplicates, "skipped": skipped, "seconds": seconds,
        });
        format!("{summary}\n")
    } else {
        let rate = (accepted + duplicates) as f64 / took.as_secs_f64().max(0.001);
        format!(
            "{} events put on the bus, {} were there already, {} skipped; {} {} in {} ({}/s)\n",
            thousands(accepted),
            thousands(duplicates),
            thousands(skipped),
            thousands(files as u64),
            if files == 1 { "file" } else { "files" },
            duration(took),
            thousands(rate as u64),
        )
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot print")
}

/// A line on standard error, where nobody may be listening any more.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "tidegate ingest: {line}");
}
