//! `tidegate stream put`: arguments, lines of a file or of standard input as records.

mod batch;
mod lines;
mod progress;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use base::{Clock, PartitionKey, Rng, ShardId, SystemClock, SystemRng};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::api::{Kinesis, PATIENCE, StreamAddress};
use super::{Calls, Outcome, as_json, json_arg, print, say, stream_arg, stream_of};
use crate::figures::{duration, thousands};
use batch::{Batch, Next, Record};
use lines::{Line, Source};
use progress::Progress;

const ABOUT: &str = "\
Put records into a stream

Each DATA is a record. Without any, each line of the file, or of standard input, is one; empty lines are none. Lines go out in
batches as they come, so a program may be piped in that writes for hours. Records that the server was too busy for are
put again for half a minute, then given up.

Records with the same key go to the same shard and stay in order, unless the server was too busy for some of a batch and
took later ones: those that are put again come after them. Without --key each record gets a random one, which spreads them
over all shards.

Examples:
  tidegate stream put events 'hello' 'world'
  tidegate stream put events --key user-7 '{\"user\": 7, \"did\": \"log in\"}'
  tidegate stream put events --file today.ndjson
  journalctl -f -o json | tidegate stream put events
  tidegate stream put images --file cat.png --whole

Exit status: 0 all put, 1 something was left out, 2 nothing can be put (arguments, connection, refusal).";

/// Lines that are named when they are left out; of more only the number is.
const NAMED: u64 = 20;

/// How it is called.
pub fn command(command: Command) -> Command {
    let about = ABOUT.lines().next().unwrap_or_default();
    let data = Arg::new("data").value_name("DATA").num_args(0..).help("A record's data");
    let file = Arg::new("file").long("file").value_name("FILE").value_parser(clap::value_parser!(PathBuf));
    let key = Arg::new("key").long("key").value_name("KEY").value_parser(clap::value_parser!(PartitionKey));
    let random_key = Arg::new("random-key").long("random-key").action(ArgAction::SetTrue).conflicts_with("key");
    let whole = Arg::new("whole").long("whole").action(ArgAction::SetTrue).conflicts_with("data");
    command.about(about).long_about(ABOUT).args([
        stream_arg(),
        data,
        file.conflicts_with("data").help("A file of records, one a line; - is standard input, as without DATA"),
        key.help("The partition key of every record"),
        random_key.help("A random partition key for each record, as without --key"),
        whole.help("The file or standard input is one record, line ends and all"),
        json_arg().help("Print the summary as JSON, as is done whenever standard output is no terminal"),
    ])
}

/// What was put.
#[derive(Debug, Default)]
struct Totals {
    put: u64,
    bytes: u64,
    skipped: u64,
    shards: BTreeMap<ShardId, u64>,
    last: Option<String>,
}

/// Puts them.
pub fn run(calls: &Calls, args: &ArgMatches) -> anyhow::Result<Outcome> {
    let stream = stream_of(args)?;
    let source = Source::from_args(args)?;
    let (clock, totals) = (SystemClock::new(), Totals::default());
    let key = args.get_one::<PartitionKey>("key").cloned();
    let mut putter = Putter { kinesis: &calls.kinesis, stream, key, totals, progress: Progress::new(source.bytes()) };
    let ended = calls.runtime.block_on(async {
        tokio::select! {
            ended = putter.put_all(source) => ended.map(|()| true),
            _ = tokio::signal::ctrl_c() => Ok(false),
        }
    });
    putter.progress.clear();
    let totals = &putter.totals;
    if totals.skipped > NAMED {
        say(&calls.name, &format!("{} more records were left out", thousands(totals.skipped - NAMED)));
    }
    if ended.is_err() && totals.put == 0 {
        ended?;
        return Ok(Outcome::Incomplete);
    }
    print(&summary(totals, clock.instant(), as_json(args)))?;
    Ok(match ended? {
        true if totals.skipped == 0 => Outcome::Done,
        true => Outcome::Incomplete,
        false => Outcome::Interrupted,
    })
}

struct Putter<'a> {
    kinesis: &'a Kinesis,
    stream: &'a StreamAddress,
    key: Option<PartitionKey>,
    totals: Totals,
    progress: Progress,
}

impl Putter<'_> {
    async fn put_all(&mut self, source: Source) -> anyhow::Result<()> {
        let max_bytes = self.kinesis.summary(self.stream).await?.max_record_bytes();
        let mut chunks = source.read(max_bytes);
        let mut batch = Batch::default();
        while let Some(chunk) = chunks.recv().await {
            for line in chunk? {
                self.add(line, max_bytes, &mut batch).await?;
            }
            // What comes slowly is put as it comes; what comes fast fills batches while one is on its way.
            if chunks.is_empty() {
                self.put(std::mem::take(&mut batch)).await?;
            }
        }
        self.put(batch).await
    }

    async fn add(&mut self, line: Line, max_bytes: usize, batch: &mut Batch) -> anyhow::Result<()> {
        let key = self.key.as_ref().map_or_else(|| format!("{:016x}", SystemRng.u64()), ToString::to_string);
        self.progress.read(line.bytes);
        let Some(data) = line.data.filter(|data| data.len() + key.len() <= max_bytes) else {
            let limit = thousands(max_bytes as u64);
            self.skip(&format!(
                "{} has more than the {limit} bytes that a record of this stream may have with its key \
                 (aws kinesis update-max-record-size raises it)",
                line.name
            ));
            return Ok(());
        };
        let record = Record { key, data };
        if !batch.fits(&record) {
            self.put(std::mem::take(batch)).await?;
        }
        batch.push(record);
        Ok(())
    }

    fn skip(&mut self, reason: &str) {
        self.totals.skipped += 1;
        if self.totals.skipped <= NAMED {
            self.progress.clear();
            say("put", &format!("{reason}; left out"));
        }
    }

    /// Puts a batch, and what of it the server was too busy for again.
    async fn put(&mut self, mut batch: Batch) -> anyhow::Result<()> {
        let clock = SystemClock::new();
        let mut attempts = 0;
        while !batch.is_empty() {
            attempts += 1;
            let call = self.kinesis.of_stream("PutRecords", self.stream, batch.input());
            let answer = match call.await {
                Ok(answer) => answer,
                Err(error) if self.is_worth_another(&error, attempts, &clock) => {
                    clock.sleep(Duration::from_millis(500)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let delay = PATIENCE.next_delay(attempts, clock.instant(), &SystemRng);
            let step = batch.step(answer, delay)?;
            for done in step.done {
                self.totals.put += 1;
                self.totals.bytes += done.bytes;
                *self.totals.shards.entry(done.shard).or_default() += 1;
                self.totals.last = Some(done.sequence);
            }
            self.progress.draw(&self.totals);
            match step.next {
                Next::Done => return Ok(()),
                Next::Again { after } => clock.sleep(after).await,
                Next::GiveUp { code, message } => {
                    let left = thousands(batch.len() as u64);
                    bail!("{left} records of a batch, and all after it, are not put: {message} ({code})")
                }
            }
        }
        Ok(())
    }

    /// A server that was there and went away may come back. Nobody knows what it did with the batch, so some of it may then
    /// be there twice.
    fn is_worth_another(&self, error: &anyhow::Error, attempts: u32, clock: &SystemClock) -> bool {
        let refused = super::api::Refusal::of(error).is_some();
        let in_time = PATIENCE.next_delay(attempts, clock.instant(), &SystemRng).is_some();
        !refused && in_time && self.totals.put > 0
    }
}

fn summary(totals: &Totals, took: Duration, as_json: bool) -> String {
    let Totals { put, bytes, skipped, shards, last } = totals;
    if as_json {
        let seconds = (took.as_secs_f64() * 1_000.0).round() / 1_000.0;
        let shards: BTreeMap<String, u64> = shards.iter().map(|(id, count)| (id.to_string(), *count)).collect();
        let summary = serde_json::json!({
            "records": put, "bytes": bytes, "skipped": skipped, "seconds": seconds, "shards": shards, "last_sequence": last,
        });
        return format!("{summary}\n");
    }
    let left_out = if *skipped > 0 { format!(", {} left out", thousands(*skipped)) } else { String::new() };
    match (put, shards.first_key_value(), last) {
        (1, Some((shard, _)), Some(sequence)) => format!("1 record put into {shard} at {sequence}{left_out}\n"),
        _ => {
            let rate = thousands((*put as f64 / took.as_secs_f64().max(0.001)) as u64);
            let into = match shards.len() {
                1 => "1 shard".to_owned(),
                many => format!("{} shards", thousands(many as u64)),
            };
            format!("{} records put into {into}{left_out}; {} ({rate}/s)\n", thousands(*put), duration(took))
        }
    }
}

/// Whether a person would wait for a prompt.
fn is_typed() -> bool {
    std::io::stdin().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_where_it_went() {
        let shards = BTreeMap::from([(ShardId::new(0), 1_500), (ShardId::new(1), 500)]);
        let totals = Totals { put: 2_000, bytes: 9, skipped: 1, shards, last: Some("49".into()) };
        let text = summary(&totals, Duration::from_secs(2), false);
        assert_eq!(text, "2,000 records put into 2 shards, 1 left out; 2.0 s (1,000/s)\n");
        let json: serde_json::Value = serde_json::from_str(&summary(&totals, Duration::from_secs(2), true)).unwrap();
        assert_eq!((&json["records"], &json["shards"]["shardId-000000000001"]), (&2_000.into(), &500.into()));
        let shards = BTreeMap::from([(ShardId::new(3), 1)]);
        let one = Totals { put: 1, bytes: 5, skipped: 0, shards, last: Some("4957".into()) };
        assert_eq!(summary(&one, Duration::ZERO, false), "1 record put into shardId-000000000003 at 4957\n");
    }
}
