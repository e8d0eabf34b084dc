//! PutRecords: 500 records of 200 B a call, each call signed on its own, acknowledged after fsync.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use base::{Clock, Rng, SeededRng, SystemClock};
use base64::Engine;

use crate::connection::Connection;
use crate::quantiles::Quantiles;
use crate::server::Server;
use crate::signing::{Request, render};

const RECORDS: usize = 500;
const RECORD_BYTES: usize = 200;
/// Distinct signed bodies, so that no answer and no verdict can be reused.
const BODIES: usize = 1_000;
/// In every answer to a call that took all records; nothing else in it begins so.
const ALL_TAKEN: &[u8] = br#""FailedRecordCount":0,"#;

/// Puts for `duration` from `connections` connections and reports.
pub async fn measure(server: &Server, connections: usize, shards: u32, duration: Duration) -> anyhow::Result<String> {
    let create = format!(r#"{{"StreamName":"bench","ShardCount":{shards}}}"#);
    server.call(&Request::json("kinesis", "Kinesis_20131202.CreateStream", create.as_bytes())).await?;
    let rng = SeededRng::new(1);
    let rendered = (0..BODIES).map(|_| {
        let body = body(&rng);
        let request = Request::json("kinesis", "Kinesis_20131202.PutRecords", body.as_bytes());
        render(&request, &server.address, &server.keys)
    });
    let requests: Arc<Vec<Vec<u8>>> = Arc::new(rendered.collect::<Result<_, _>>()?);
    let clock = Arc::new(SystemClock::new());
    let (warm, end) = (clock.instant() + duration / 5, clock.instant() + duration / 5 + duration);
    let tasks: Vec<_> = (0..connections)
        .map(|n| {
            let (requests, clock, address) = (Arc::clone(&requests), Arc::clone(&clock), server.address.clone());
            tokio::spawn(async move {
                let (mut connection, mut samples) = (Connection::open(&address).await?, Quantiles::default());
                for next in (n * BODIES / connections).. {
                    let start = clock.instant();
                    if start >= end {
                        break;
                    }
                    let (status, answer) = connection.call(&requests[next % BODIES]).await?;
                    let accepted = status == 200 && answer.windows(ALL_TAKEN.len()).any(|w| w == ALL_TAKEN);
                    ensure!(accepted, "{status}: {}", String::from_utf8_lossy(&answer[..answer.len().min(500)]));
                    if start >= warm {
                        samples.add(clock.instant().saturating_sub(start));
                    }
                }
                Ok(samples)
            })
        })
        .collect();
    let mut all = Quantiles::default();
    for task in tasks {
        all.merge(task.await??);
    }
    let rate = (all.count() * RECORDS) as f64 / duration.as_secs_f64();
    Ok(format!(
        "PutRecords {RECORDS} x {RECORD_BYTES} B, {shards} shards, {connections} connections, signature verified, acknowledged after fsync\n  \
         {rate:.0} records/s, {:.1} MB/s of data\n  per call {all}",
        rate * RECORD_BYTES as f64 / 1e6
    ))
}

fn body(rng: &dyn Rng) -> String {
    let mut body = String::from(r#"{"StreamName":"bench","Records":["#);
    for n in 0..RECORDS {
        let mut data = [0; RECORD_BYTES];
        rng.fill(&mut data);
        let data = base64::engine::general_purpose::STANDARD.encode(data);
        let comma = if n == 0 { "" } else { "," };
        body.push_str(&format!(r#"{comma}{{"Data":"{data}","PartitionKey":"{:016x}"}}"#, rng.u64()));
    }
    body.push_str("]}");
    body
}
