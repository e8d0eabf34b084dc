//! `tidegate demo`: the whole pipeline on a made-up day, to watch.
//!
//! Everything goes the way that a user's own things would: a server on a folder and port of its own, a pipeline made
//! through the public AWS APIs with signed calls, records through the ingest route, alerts at a webhook.

mod aws;
mod pipeline;
mod play;
mod screen;
mod search;
mod stage;
mod webhook;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use base::{Clock, Fs, RealFs, SystemClock};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use sources::generate::Day;
use tokio::signal::unix::{SignalKind, signal};

use crate::figures::{duration, thousands};
use pipeline::Pipeline;
use play::Play;
use screen::Screen;
use stage::Stage;
use webhook::Webhook;

const ABOUT: &str = "\
Watch the pipeline work: a made-up day of an AWS account, with its attacks

Starts a server on a temporary folder, makes a pipeline through the AWS APIs (rule, stream, Python function, topic,
webhook, delivery into search), plays a day of CloudTrail through it, and shows each alert with the time that it took.
Then it stays for you to look around, until Ctrl-C; then everything is removed.

Examples:
  tidegate demo
  tidegate demo --once --seed 7
  tidegate demo --events 100000 --seconds 60";

/// How it is called.
pub fn command() -> Command {
    Command::new("demo")
        .about(ABOUT.lines().next().unwrap_or_default())
        .long_about(ABOUT)
        .arg(Arg::new("once").long("once").action(ArgAction::SetTrue).help("Exit when the day is over"))
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .default_value("1")
                .help("Another seed is another day"),
        )
        .arg(
            Arg::new("events")
                .long("events")
                .value_name("N")
                .value_parser(value_parser!(u64).range(100..=5_000_000))
                .default_value("6000")
                .help("How many records the day has"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=3_600))
                .default_value("24")
                .help("How long the day takes to play"),
        )
}

/// Plays it.
pub fn run(args: &ArgMatches) -> anyhow::Result<ExitCode> {
    let number = |name: &str| args.get_one::<u64>(name).copied().unwrap_or_default();
    let options = Options {
        once: args.get_flag("once"),
        seed: number("seed"),
        events: usize::try_from(number("events"))?,
        length: Duration::from_secs(number("seconds")),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let folder = stage::temporary_folder();
        let mut screen = Screen::new();
        let ended = perform(&folder, &options, &mut screen, async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
        .await;
        if RealFs.exists(&folder).unwrap_or(false) {
            RealFs.remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
        }
        ended.map(|()| ExitCode::SUCCESS)
    })
}

/// Plays until the end or a signal, and stops the server.
async fn perform(
    folder: &Path,
    options: &Options,
    screen: &mut Screen,
    signalled: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::pin!(signalled);
    screen.title(options.length);
    let stage = tokio::select! {
        stage = Stage::set(folder, screen) => stage?,
        () = &mut signalled => return Ok(()),
    };
    let played = tokio::select! {
        played = act(&stage, options, screen) => played,
        () = &mut signalled => Ok(()),
    };
    screen.end_status();
    let struck = stage.strike().await;
    played.and(struck)
}

struct Options {
    once: bool,
    seed: u64,
    events: usize,
    length: Duration,
}

async fn act(stage: &Stage, options: &Options, screen: &mut Screen) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let mut webhook = Webhook::open().await?;
    let pipeline = Pipeline::make(stage, &mut webhook, screen).await?;
    pipeline.warm_up(stage, screen, &clock).await?;

    // The day that ended last midnight, so that the records look fresh.
    const DAY_MS: i64 = 86_400_000;
    let midnight = clock.now().millis() / DAY_MS * DAY_MS;
    let day = Day {
        account: "111122223333".parse()?,
        region: stage.region().parse()?,
        start: base::Timestamp::from_millis(midnight - DAY_MS),
        events: options.events,
        seed: options.seed,
    };
    let score = Play::new(stage, &day, options.length, &clock).run(&mut webhook, screen).await?;
    screen.section("The day is over");
    screen.line(&format!(
        "{} records in {}; {} of them changed something and passed the rule; {} alerts",
        thousands(score.sent),
        duration(score.took),
        thousands(score.writes),
        score.alerts.len(),
    ));
    if let Some(summary) = score.latency() {
        screen.line(&format!("From the intake's first byte to the webhook: {summary}"));
    }
    search::show(stage, score.writes, &clock, screen).await?;
    if !options.once {
        screen.explore(stage);
        std::future::pending::<()>().await;
    }
    Ok(())
}
