//! Events through a bus with a hundred rules, one event in ten matching one of them with two targets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use base::{Clock, SystemClock};
use base64::Engine;
use serde_json::json;

use super::CALLS;
use super::latency::{ACCOUNT, json_call, role};
use crate::contenders::{Contender, Server};
use crate::load::{Connection, REGION, Request, render};
use crate::options::Options;
use crate::quantiles::Quantiles;
use crate::report::{Better, Row};

const RULES: usize = 100;
/// Enough calls under way that a group's sync is shared by many.
const CONNECTIONS: usize = 64;
/// Entries of a call: the most that PutEvents takes.
const ENTRIES: usize = 10;
/// Bytes of an event on its bus.
const EVENT: usize = 300;
/// One event in so many matches a rule.
const MATCHING: usize = 10;
const TARGETS: u64 = 2;
/// How long deliveries may take after the last put.
const PATIENCE: Duration = Duration::from_secs(120);

/// Events a second from the first put until every target has its events.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let server = Server::fresh(contender, options).await?;
    prepare(&server).await?;
    let calls = Arc::new(calls(&server)?);
    let (clock, put) = (Arc::new(SystemClock::new()), Arc::new(AtomicU64::new(0)));
    let (begun, duration) = (clock.instant(), options.duration());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..CONNECTIONS {
        let (calls, clock, put, address) = (Arc::clone(&calls), Arc::clone(&clock), Arc::clone(&put), server.address());
        tasks.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let mut samples = Quantiles::default();
            for n in 0.. {
                let start = clock.instant();
                if start.saturating_sub(begun) >= duration {
                    break;
                }
                let (status, answer) = connection.call(&calls[(task + n * CONNECTIONS) % calls.len()]).await?;
                ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(answer));
                samples.add(clock.instant().saturating_sub(start));
                put.fetch_add(ENTRIES as u64, Ordering::Relaxed);
            }
            anyhow::Ok(samples)
        });
    }
    let mut samples = Quantiles::default();
    while let Some(done) = tasks.join_next().await {
        samples.merge(done??);
    }
    let events = put.load(Ordering::Relaxed);
    let put_in = clock.instant().saturating_sub(begun).as_secs_f64();
    let wanted = events / MATCHING as u64 * TARGETS;
    let last = clock.instant();
    while delivered(&server).await? < wanted {
        let waited = clock.instant().saturating_sub(last);
        ensure!(waited < PATIENCE, "{} of {wanted} deliveries came", delivered(&server).await?);
        clock.sleep(Duration::from_millis(20)).await;
    }
    let all_in = clock.instant().saturating_sub(begun).as_secs_f64();
    let name = format!(
        "bus: {EVENT} B events through {RULES} rules, one in {MATCHING} to {TARGETS} streams; {CONNECTIONS} connections, {ENTRIES} a call"
    );
    let mut row = Row::new(name, events as f64 / all_in, "events/s", Better::More).note(format!(
        "{events} events acknowledged at {:.0}/s, {wanted} deliveries, the last {:.0} ms after the last acknowledgement",
        events as f64 / put_in,
        (all_in - put_in) * 1_000.0
    ));
    (row.latency, row.memory) = (Some(samples), Some(server.usage()));
    Ok(row)
}

async fn prepare(server: &Server) -> anyhow::Result<()> {
    for stream in ["bus-a", "bus-b"] {
        let made = json!({"StreamName": stream, "ShardCount": 4});
        json_call(server, "kinesis", "Kinesis_20131202.CreateStream", made).await?;
    }
    let role = role(server).await?;
    for rule in 0..RULES {
        let name = format!("rule-{rule}");
        let pattern = json!({"source": ["bench"], "detail": {"kind": [name], "level": [{"numeric": [">", 3]}]}});
        let rule = json!({"Name": name, "EventPattern": pattern.to_string()});
        json_call(server, "events", "AWSEvents.PutRule", rule).await?;
        let arn = |stream: &str| format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{stream}");
        let targets = json!([
            {"Id": "a", "Arn": arn("bus-a"), "RoleArn": role}, {"Id": "b", "Arn": arn("bus-b"), "RoleArn": role}]);
        json_call(server, "events", "AWSEvents.PutTargets", json!({"Rule": name, "Targets": targets})).await?;
    }
    Ok(())
}

/// Signed calls: of each call's entries one matches a rule, another one each time.
fn calls(server: &Server) -> anyhow::Result<Vec<Vec<u8>>> {
    // What the envelope of an event adds to its detail.
    let around = 200;
    (0..CALLS)
        .map(|call| {
            let entry = |n: usize| {
                let kind =
                    if n.is_multiple_of(MATCHING) { format!("rule-{}", call % RULES) } else { "other".to_owned() };
                let mut detail = json!({"kind": kind, "level": 5, "call": call, "n": n, "text": ""}).to_string();
                let more = "x".repeat(EVENT.saturating_sub(around + detail.len()));
                detail = detail.replace(r#""text":"""#, &format!(r#""text":"{more}""#));
                json!({"Source": "bench", "DetailType": "event", "Detail": detail})
            };
            let body = json!({"Entries": (0..ENTRIES).map(entry).collect::<Vec<_>>()}).to_string();
            render(&Request::json("events", "AWSEvents.PutEvents", body.as_bytes()), &server.address(), server.keys())
        })
        .collect()
}

/// Events that targets took so far, as the server counts them.
async fn delivered(server: &Server) -> anyhow::Result<u64> {
    let keys = server.keys();
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", keys.access, keys.secret));
    let host = server.address();
    let request = format!("GET /_tidegate/metrics HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {pair}\r\n\r\n");
    let mut connection = Connection::open(&host).await?;
    let (status, body) = connection.call(request.as_bytes()).await?;
    ensure!(status == 200, "the metrics answered {status}");
    let text = String::from_utf8_lossy(body);
    let counts = text.lines().filter(|line| line.starts_with("tidegate_rule_invocations_total{"));
    counts
        .map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).context("a metric is no number"))
        .sum()
}
