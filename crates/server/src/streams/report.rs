//! The traffic of a stream as the console and its owner see it: JSON, and Prometheus text for streams with enhanced
//! monitoring.
//!
//! The text is made when it is asked for, not kept in the process's recorder: a shard that is gone, or a stream whose
//! monitoring was switched off, leaves no series behind. Must not know HTTP.

use std::fmt::Write as _;

use log::{Log, Stream};
use serde_json::{Value, json};

use super::quotas::{BYTES_IN, RECORDS_IN};
use super::rates::{Amount, WINDOW};
use super::scaler::observe;
use super::settings::ShardMetric;
use super::traffic::ShardTraffic;
use super::{Mode, Streams};

/// The last minute of a stream's shards. Rates are means of the minute; `share` is a shard's part of the stream's bytes
/// in, `heaviestKeys` are parts of their shard's bytes over the last minutes, each at most `error` too high.
pub(crate) fn traffic(streams: &Streams, stream: &Stream) -> Value {
    let traffic = streams.traffic.of(stream);
    let settings = streams.settings.of(stream.id);
    let total: u64 = traffic.iter().map(|shard| shard.into.bytes).sum();
    let observed = observe(stream, &traffic);
    let shards: Vec<Value> = traffic
        .iter()
        .map(|traffic| {
            let open = observed.iter().find(|open| open.shard == traffic.shard);
            let stuck = open.is_some_and(|open| open.is_stuck(&streams.scaling));
            let keys = traffic.heavy.iter();
            json!({
                "shardId": traffic.shard.to_string(),
                "open": open.is_some(),
                "in": rates(traffic.into),
                "out": rates(traffic.out),
                "share": if total == 0 { 0.0 } else { round(traffic.into.bytes as f64 / total as f64) },
                "heaviestKeys": keys.map(|key| json!({"key": key.key, "share": round(key.share), "error": round(key.error)})).collect::<Vec<_>>(),
                "hint": hint(traffic, stuck && settings.mode == Mode::OnDemand),
            })
        })
        .collect();
    json!({
        "streamName": stream.key.name,
        "streamMode": settings.mode.as_str(),
        "windowSeconds": WINDOW.as_secs(),
        "shards": shards,
    })
}

/// What an owner should know of a shard.
fn hint(traffic: &ShardTraffic, stuck: bool) -> Option<String> {
    let key = traffic.heavy.first()?;
    let certain = (key.share - key.error).max(0.0);
    let per_second = |amount: u64| amount as f64 / WINDOW.as_secs_f64() * certain;
    let (bytes, records) = (per_second(traffic.into.bytes), per_second(traffic.into.records));
    if bytes >= BYTES_IN.0 || records >= RECORDS_IN.0 {
        return Some(format!(
            "the partition key '{}' alone has more than a shard's worth (1 MiB or 1,000 records a second): a split \
             cannot help, spread its records over several keys",
            key.key
        ));
    }
    stuck.then(|| "nearly all bytes have one hash key: a split cannot help".to_owned())
}

fn rates(amount: Amount) -> Value {
    let per_second = |amount: u64| round(amount as f64 / WINDOW.as_secs_f64());
    json!({"recordsPerSecond": per_second(amount.records), "bytesPerSecond": per_second(amount.bytes)})
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The metrics of "enhanced monitoring" of every stream that has them on, in Prometheus text.
pub(crate) fn prometheus(streams: &Streams, log: &Log) -> String {
    let monitored: Vec<_> = streams
        .settings
        .monitored()
        .into_iter()
        .filter_map(|(key, settings)| {
            let stream = log.stream(&key).ok()?;
            Some((key, settings, streams.traffic.of(&stream)))
        })
        .collect();
    let mut text = String::new();
    for metric in ShardMetric::ALL {
        let (name, kind, help) = described(metric);
        let mut head = Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (key, settings, traffic) in &monitored {
            if !settings.monitored.contains(&metric) {
                continue;
            }
            text.push_str(&head.take().unwrap_or_default());
            for shard in traffic {
                let (region, stream, value) = (&key.scope.region, &key.name, value(metric, shard));
                // Names of regions and streams have no character that would need an escape.
                let labels = format!("region=\"{region}\",stream=\"{stream}\",shard=\"{}\"", shard.shard);
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        }
    }
    text
}

fn described(metric: ShardMetric) -> (&'static str, &'static str, &'static str) {
    match metric {
        ShardMetric::IncomingBytes => ("tidegate_shard_in_bytes_total", "counter", "Bytes written to a shard."),
        ShardMetric::IncomingRecords => ("tidegate_shard_in_records_total", "counter", "Records written to a shard."),
        ShardMetric::OutgoingBytes => ("tidegate_shard_out_bytes_total", "counter", "Bytes read from a shard."),
        ShardMetric::OutgoingRecords => ("tidegate_shard_out_records_total", "counter", "Records read from a shard."),
        ShardMetric::WriteProvisionedThroughputExceeded => {
            ("tidegate_shard_write_throttled_total", "counter", "Records refused by a shard's quota.")
        }
        ShardMetric::ReadProvisionedThroughputExceeded => {
            ("tidegate_shard_read_throttled_total", "counter", "Reads refused by a shard's quota.")
        }
        ShardMetric::IteratorAgeMilliseconds => {
            ("tidegate_shard_iterator_age_seconds", "gauge", "How far behind the tip the last read of a shard was.")
        }
    }
}

fn value(metric: ShardMetric, shard: &ShardTraffic) -> f64 {
    let totals = &shard.totals;
    match metric {
        ShardMetric::IncomingBytes => totals.into.bytes as f64,
        ShardMetric::IncomingRecords => totals.into.records as f64,
        ShardMetric::OutgoingBytes => totals.out.bytes as f64,
        ShardMetric::OutgoingRecords => totals.out.records as f64,
        ShardMetric::WriteProvisionedThroughputExceeded => totals.refused_in as f64,
        ShardMetric::ReadProvisionedThroughputExceeded => totals.refused_out as f64,
        ShardMetric::IteratorAgeMilliseconds => totals.behind.as_secs_f64(),
    }
}
