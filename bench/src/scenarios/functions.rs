//! Functions behind a stream or a rule: how often one environment can be called, how soon a record or an event enters it, what a batch costs the
//! server, and what mappings cost that have nothing to do.

use std::time::Duration;

use anyhow::{Context, ensure};
use base::{Clock, Fs, RealFs, SystemClock};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::STREAM;
use super::latency::{ACCOUNT, call, json_call, package, put_event, role, rule};
use crate::contenders::{Contender, Server};
use crate::handler::{PYTHON, REPORT, now_ns};
use crate::load::{Connection, REGION, Request, render};
use crate::options::Options;
use crate::quantiles::Quantiles;
use crate::report::{Better, Row};

/// How long anything here may take to come.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two records that are put one at a time: long enough for each to be a batch of its own.
const APART: Duration = Duration::from_millis(20);
/// Mappings that have nothing to do.
const IDLE: usize = 500;
/// Records before the first that counts.
const WARM_UP: usize = 50;

/// What the function is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    /// This program as a bootstrap.
    Compiled,
    Python,
}

/// A server with the function `bench` and a stream of one shard.
struct Bench {
    server: Server,
    clock: SystemClock,
}

fn stream_arn(name: &str) -> String {
    format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}")
}

impl Bench {
    async fn new(contender: &'static Contender, options: &Options, language: Language) -> anyhow::Result<Self> {
        let server = Server::fresh(contender, options).await?;
        let (runtime, code) = match language {
            Language::Python => ("python3.12", package("main.py", PYTHON.as_bytes())?),
            Language::Compiled => ("provided.al2023", package("bootstrap", &RealFs.read(&std::env::current_exe()?)?)?),
        };
        let function = json!({
            "FunctionName": "bench", "Runtime": runtime, "Handler": "main.handler", "Timeout": 60, "MemorySize": 1_769,
            "Role": role(&server).await?, "Code": {"ZipFile": STANDARD.encode(code)},
        });
        call(&server, &Request::rest("lambda", "/2015-03-31/functions", function.to_string().as_bytes())).await?;
        server.client.create(STREAM, 1).await?;
        Ok(Self { server, clock: SystemClock::new() })
    }

    async fn map(&self, stream: &str, batch: usize) -> anyhow::Result<()> {
        let mapping = json!({
            "EventSourceArn": stream_arn(stream), "FunctionName": "bench", "StartingPosition": "TRIM_HORIZON", "BatchSize": batch,
        });
        let path = "/2015-03-31/event-source-mappings";
        call(&self.server, &Request::rest("lambda", path, mapping.to_string().as_bytes())).await
    }

    async fn put(&self, connection: &mut Connection, records: usize) -> anyhow::Result<()> {
        let record = json!({"Data": STANDARD.encode([b'x'; 200]), "PartitionKey": "k"});
        let body = json!({"StreamName": STREAM, "Records": vec![record; records]}).to_string();
        let request = Request::json("kinesis", "Kinesis_20131202.PutRecords", body.as_bytes());
        let (status, answer) = connection.call(&render(&request, &self.server.address(), self.server.keys())?).await?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(answer));
        Ok(())
    }

    async fn connection(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.server.address()).await
    }

    /// When the function was entered, in nanoseconds, since it was asked last.
    async fn entered(&self) -> anyhow::Result<Vec<u64>> {
        let path = "/2015-03-31/functions/bench/invocations";
        let request = render(&Request::rest("lambda", path, REPORT), &self.server.address(), self.server.keys())?;
        let mut connection = self.connection().await?;
        let (status, answer) = connection.call(&request).await?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(answer));
        serde_json::from_slice(answer).with_context(|| format!("the function said {}", String::from_utf8_lossy(answer)))
    }

    /// Puts one at a time, so that each is a call by itself: milliseconds from the call of `put` to the function's entry.
    async fn one_at_a_time(
        &self,
        options: &Options,
        name: String,
        mut put: impl AsyncFnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Row> {
        self.entered().await?;
        let (end, mut sent) = (self.clock.instant() + options.duration(), Vec::new());
        while self.clock.instant() < end || sent.len() <= WARM_UP {
            sent.push(now_ns());
            put().await?;
            self.clock.sleep(APART).await;
        }
        self.called(sent.len() + 1).await?;
        let entered = self.entered().await?;
        ensure!(entered.len() == sent.len(), "{} calls for {} puts", entered.len(), sent.len());
        let mut samples = Quantiles::default();
        let pairs = sent.iter().zip(&entered).skip(WARM_UP);
        pairs.for_each(|(sent, entered)| samples.add(Duration::from_nanos(entered.saturating_sub(*sent))));
        let mut row = Row::new(name, samples.millis([500])[0], "ms", Better::Less);
        row = row.note(format!("{} of them, one every {} ms", samples.count(), APART.as_millis()));
        (row.latency, row.memory) = (Some(samples), Some(self.server.usage()));
        Ok(row)
    }

    /// Waits until the function was called `times` in all.
    async fn called(&self, times: usize) -> anyhow::Result<()> {
        let keys = self.server.keys();
        let basic = STANDARD.encode(format!("{}:{}", keys.access, keys.secret));
        let request = format!(
            "GET /_tidegate/metrics HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {basic}\r\n\r\n",
            self.server.address()
        );
        let (mut connection, end) = (self.connection().await?, self.clock.instant() + PATIENCE);
        loop {
            let (status, answer) = connection.call(request.as_bytes()).await?;
            ensure!(status == 200, "the metrics answered {status}");
            let text = String::from_utf8_lossy(answer);
            let line = text.lines().find(|line| line.starts_with("tidegate_lambda_invocations_total{"));
            let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0);
            if count >= times as f64 {
                return Ok(());
            }
            ensure!(self.clock.instant() < end, "the function was called {count} times, not {times}");
            self.clock.sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How often a warm compiled function that does nothing is called, a record a call: calls a second over one shard, and how
/// long a call takes all in all, by the times at which the function is entered.
pub async fn calls(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let bench = Bench::new(contender, options, Language::Compiled).await?;
    bench.entered().await?;
    let (batches, each) = (options.seconds as usize * 20, 500);
    let mut connection = bench.connection().await?;
    for _ in 0..batches {
        bench.put(&mut connection, each).await?;
    }
    bench.map(STREAM, 1).await?;
    bench.called(batches * each + 1).await?;
    let entered = bench.entered().await?;
    ensure!(entered.len() == batches * each, "{} calls", entered.len());
    let mut samples = Quantiles::default();
    entered.windows(2).skip(WARM_UP).for_each(|pair| samples.add(Duration::from_nanos(pair[1] - pair[0])));
    let seconds = (entered[entered.len() - 1] - entered[0]) as f64 / 1e9;
    let name =
        "warm calls of a compiled function that does nothing: mapping with batches of 1, one shard, one environment";
    let mut row = Row::new(name, entered.len() as f64 / seconds, "calls/s", Better::More);
    (row.latency, row.memory) = (Some(samples), Some(bench.server.usage()));
    Ok(row.note("latency: from one entry to the next"))
}

/// Milliseconds from the call of PutRecords until the function is entered, one record at a time.
pub async fn records(contender: &'static Contender, options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for language in [Language::Compiled, Language::Python] {
        let bench = Bench::new(contender, options, language).await?;
        bench.map(STREAM, 100).await?;
        let mut connection = bench.connection().await?;
        let name = format!("PutRecords of one record to warm {language:?} function entered").to_lowercase();
        rows.push(bench.one_at_a_time(options, name, async || bench.put(&mut connection, 1).await).await?);
    }
    Ok(rows)
}

/// Milliseconds from the call of PutEvents until the function, a rule's target, is entered, one event at a time.
pub async fn events(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let bench = Bench::new(contender, options, Language::Python).await?;
    rule(&bench.server, &format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:bench")).await?;
    let request = put_event(&bench.server, 0)?;
    let mut connection = bench.connection().await?;
    let name = "PutEvents of one event to warm python function entered, by a rule".to_owned();
    let put = async || {
        let (status, answer) = connection.call(&request).await?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(answer));
        Ok(())
    };
    bench.one_at_a_time(options, name, put).await
}

/// The part of one core that the server takes for 1,000 records a second through a Python function, in batches of 100. The
/// function's own process is not counted; the puts are.
pub async fn batches(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let bench = Bench::new(contender, options, Language::Python).await?;
    bench.map(STREAM, 100).await?;
    bench.entered().await?;
    let mut connection = bench.connection().await?;
    let (start, before, mut sent) = (bench.clock.instant(), bench.server.usage().cpu, 0);
    while bench.clock.instant() - start < options.duration() {
        bench.put(&mut connection, 100).await?;
        sent += 1;
        bench.clock.sleep((start + Duration::from_millis(100) * sent).saturating_sub(bench.clock.instant())).await;
    }
    let (took, cpu) = (bench.clock.instant() - start, bench.server.usage().cpu - before);
    bench.called(sent as usize + 1).await?;
    let share = cpu.as_secs_f64() / took.as_secs_f64() * 100.0;
    let name = "1,000 records/s of 200 B through a Python function, batches of 100: the server's processor time";
    Ok(Row::new(name, share, "% of one core", Better::Less).note(format!("{sent} batches, puts included")))
}

/// The part of one core that mappings take that have nothing to do, beside a server without any.
pub async fn idle(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let bench = Bench::new(contender, options, Language::Python).await?;
    let share = async || {
        let (start, before) = (bench.clock.instant(), bench.server.usage().cpu);
        bench.clock.sleep(options.duration()).await;
        (bench.server.usage().cpu - before).as_secs_f64() / (bench.clock.instant() - start).as_secs_f64() * 100.0
    };
    let without = share().await;
    for n in 0..IDLE {
        let stream: Value = json!({"StreamName": format!("idle{n}"), "ShardCount": 1});
        json_call(&bench.server, "kinesis", "Kinesis_20131202.CreateStream", stream).await?;
    }
    for n in 0..IDLE {
        bench.map(&format!("idle{n}"), 100).await?;
    }
    bench.clock.sleep(options.duration() / 2).await;
    let name = format!("{IDLE} mappings that have nothing to do: the server's processor time");
    Ok(Row::new(name, share().await, "% of one core", Better::Less)
        .note(format!("{without:.2} % before there were any")))
}
