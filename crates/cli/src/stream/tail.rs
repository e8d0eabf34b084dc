//! `tidegate stream tail`: prints the records of a stream as they arrived, and follows it.

mod from;
mod merge;
mod reader;
mod show;

use std::io::{self, IsTerminal, Write};

use base::{Clock, ShardId, SystemClock};
use clap::{Arg, ArgAction, ArgMatches, Command};
use futures::stream::{FuturesUnordered, StreamExt};

use super::api::{Kinesis, Shard, StreamAddress};
use super::shards::{find, shard_arg};
use super::{Calls, Outcome, json_arg, stream_arg, stream_of};
use from::From;
use merge::{Lineage, Merge, Record};
use reader::{Answer, Reader};
use show::Style;

const ABOUT: &str = "\
Print the records of a stream, all shards together in the order of arrival

A record is a line: when it arrived, its shard, its partition key, its data. What is not printable in data or key is shown
escaped, so that no record can steer the terminal. Anywhere but on a terminal, or with --json, records are lines of JSON with
arrival, shard, sequence, key and data, or data_base64 when the data is no text. The records of a shard come after those of
the shards that it was split or merged from.

Without -f it ends with the last record there is; with -f it goes on until Ctrl-C.

Examples:
  tidegate stream tail events                              all that the stream holds
  tidegate stream tail events -f                           what arrives from now on
  tidegate stream tail events -f --from 10m
  tidegate stream tail events --from 2026-11-23T07:00:00Z --limit 100
  tidegate stream tail events --shard 0 | jq -r .data";

/// How it is called.
pub fn command(command: Command) -> Command {
    let follow = Arg::new("follow").short('f').long("follow").action(ArgAction::SetTrue);
    let from = Arg::new("from").long("from").value_name("PLACE").value_parser(clap::value_parser!(From));
    let limit = Arg::new("limit").long("limit").value_name("N").value_parser(clap::value_parser!(u64).range(1..));
    let about = ABOUT.lines().next().unwrap_or_default();
    command.about(about).long_about(ABOUT).args([
        stream_arg(),
        follow.help("Go on with new records until interrupted"),
        from.help(
            "trim-horizon (the oldest record), latest (new ones only), a time such as 2026-11-23T07:00:00Z, or an age \
             such as 10m [default: latest with -f, otherwise trim-horizon]",
        ),
        shard_arg("shard").long("shard").help("Only this shard, to its end"),
        limit.help("End after so many records"),
        json_arg(),
    ])
}

/// What is asked for.
struct Wish {
    from: From,
    follow: bool,
    shard: Option<ShardId>,
    limit: u64,
}

/// Prints them.
pub fn run(calls: &Calls, args: &ArgMatches) -> anyhow::Result<Outcome> {
    let follow = args.get_flag("follow");
    let default = if follow { From::Latest } else { From::TrimHorizon };
    let wish = Wish {
        from: args.get_one::<From>("from").copied().unwrap_or(default),
        follow,
        shard: args.get_one("shard").copied(),
        limit: args.get_one("limit").copied().unwrap_or(u64::MAX),
    };
    if wish.from == From::Latest && !follow {
        anyhow::bail!("--from latest means records that are yet to come: add -f");
    }
    let style = if args.get_flag("json") || !io::stdout().is_terminal() { Style::Json } else { Style::Text };
    calls.runtime.block_on(async {
        tokio::select! {
            ended = tail(&calls.kinesis, stream_of(args)?, &wish, style) => ended,
            // That is how `tail -f` ends.
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })?;
    Ok(Outcome::Done)
}

async fn tail(kinesis: &Kinesis, stream: &StreamAddress, wish: &Wish, style: Style) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    let shards = kinesis.shards(stream).await?;
    let mut merge = begin(&shards, stream, wish)?;
    let newest = shards.iter().map(|shard| shard.shard_id).max();
    let reader = Reader::new(kinesis.clone(), stream.clone(), wish.from, newest, wish.follow);
    let mut answers = FuturesUnordered::new();
    let mut left = wish.limit;
    loop {
        let now = clock.instant();
        let records = merge.show(now);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(records.len());
        show(&records[..count], style)?;
        left -= count as u64;
        if left == 0 || merge.is_over() {
            return Ok(());
        }
        answers.extend(merge.ask(now).into_iter().map(|shard| reader.read(shard)));
        let nap = merge.wake().map(|at| clock.sleep(at.saturating_sub(clock.instant())));
        tokio::select! {
            Some(answer) = answers.next() => {
                let Answer { shard, records, rest } = answer?;
                let rest = if wish.shard.is_some() { rest.without_heirs() } else { rest };
                merge.take(shard, records, rest, clock.instant());
            }
            () = async { if let Some(nap) = nap { nap.await } else { std::future::pending().await } } => {}
        }
    }
}

/// The shards to read, of all there are.
fn begin(shards: &[Shard], stream: &StreamAddress, wish: &Wish) -> anyhow::Result<Merge> {
    let lineage = |shard: &Shard| Lineage { shard: shard.shard_id, parents: shard.parents().collect() };
    let newest = shards.iter().map(|shard| shard.shard_id).max();
    let wanted = match wish.shard {
        Some(id) => vec![Lineage { parents: Vec::new(), ..lineage(find(shards, stream, id)?) }],
        None if wish.from == From::Latest => shards.iter().filter(|shard| shard.is_open()).map(lineage).collect(),
        None => shards.iter().map(lineage).collect(),
    };
    Ok(Merge::new(wanted, newest, wish.follow))
}

fn show(records: &[Record], style: Style) -> anyhow::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    for record in records {
        out.write_all(style.line(record).as_bytes())?;
    }
    Ok(out.flush()?)
}
