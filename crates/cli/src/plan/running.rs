//! The figures of a mapping that runs, as its server tells them.
//!
//! Must not know what is computed from them.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base::{Arn, Clock, SystemClock};
use bytes::Bytes;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Given;
use crate::client::{Client, Target};
use crate::stream::api::{Kinesis, StreamAddress};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mapping {
    batch_size: u32,
    parallelization_factor: Option<u32>,
    event_source_arn: Arn,
    function_arn: Arn,
    #[serde(rename = "UUID")]
    id: String,
}

/// The server's counters at one moment.
struct Reading {
    at: Duration,
    metrics: String,
}

/// Fills in what is not given by what is read of a mapping, and says what should be known of these figures.
///
/// # Errors
/// There is no such mapping, the server cannot be asked, or the mapping did nothing while it was watched.
pub(super) fn complete(given: &mut Given, mapping: &str, over: Duration) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let client = Client::from_environment()?;
        let clock = SystemClock::new();
        let mapping = find(&client, mapping).await?;
        let stream = StreamAddress::Arn(stream_of(&mapping.event_source_arn));
        let shards = Kinesis::from_environment()?.summary(&stream).await?.open_shard_count;
        let shards = u32::try_from(shards).context("so many shards cannot be")?;
        let first = read(&client, &clock).await?;
        if io::stderr().is_terminal() {
            // With standard error closed there is nobody left to tell.
            let _ = writeln!(io::stderr(), "the mapping is watched for {} s", over.as_secs_f64());
        }
        clock.sleep(over).await;
        let last = read(&client, &clock).await?;
        fill(given, &mapping, shards, &first, &last)
    })
}

/// The stream's ARN, also where a mapping reads as a consumer of it: `…:stream/NAME/consumer/CONSUMER:EPOCH`.
fn stream_of(source: &Arn) -> Arn {
    let stream = source.scope().zip(source.resource().split_once("/consumer/"));
    stream.map_or_else(|| source.clone(), |(scope, (stream, _))| Arn::new(source.service(), &scope, stream))
}

async fn ask(client: &Client, service: &'static str, path: &str) -> anyhow::Result<Bytes> {
    let target = Target { service, method: Method::GET, path, headers: &[] };
    let answer = client.call(&target, Bytes::new()).await?;
    if !answer.status().is_success() {
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let reason = body["Message"].as_str().or(body["message"].as_str()).unwrap_or("it did not say why");
        bail!("the server answered {}: {reason}", answer.status());
    }
    Ok(answer.into_body())
}

async fn find(client: &Client, id: &str) -> anyhow::Result<Mapping> {
    let path = format!("/2015-03-31/event-source-mappings/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
    let answer = ask(client, "lambda", &path).await.with_context(|| format!("the mapping {id} cannot be read"))?;
    serde_json::from_slice(&answer).context("the server's answer cannot be read")
}

async fn read(client: &Client, clock: &SystemClock) -> anyhow::Result<Reading> {
    let metrics = ask(client, "tidegate", "/_tidegate/metrics").await.context("the metrics cannot be read")?;
    Ok(Reading { at: clock.instant(), metrics: String::from_utf8_lossy(&metrics).into_owned() })
}

impl Reading {
    /// The values of a metric's series that have these labels.
    fn values<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = f64> + 'a {
        self.metrics.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?.strip_prefix('{')?;
            let (found, value) = rest.rsplit_once("} ")?;
            let has = |(label, value): &(&str, &str)| found.contains(&format!("{label}=\"{value}\""));
            labels.iter().all(has).then(|| value.parse().ok())?
        })
    }

    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.values(name, labels).sum()
    }
}

fn fill(
    given: &mut Given,
    mapping: &Mapping,
    shards: u32,
    first: &Reading,
    last: &Reading,
) -> anyhow::Result<Vec<String>> {
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    let name = |arn: &Arn, kind: &str| {
        let resource = arn.resource_of(kind).map(str::to_owned);
        resource.with_context(|| format!("{arn} is not understood"))
    };
    let stream = name(&stream_of(&mapping.event_source_arn), "stream")?;
    let function = name(&mapping.function_arn, "function")?;
    let function = function.split(':').next().unwrap_or_default();
    let scope = mapping.event_source_arn.scope();
    let region = scope.as_ref().map_or_else(String::new, |scope| scope.region.to_string());
    let consumer = format!("mapping:{}", mapping.id);
    let (own, of_function, of_stream) = (
        [("consumer", consumer.as_str())],
        [("function", function), ("region", &region)],
        [("kind", "kinesis"), ("stream", stream.as_str()), ("region", &region)],
    );
    let more = |metric: &str, labels: &[(&str, &str)]| last.sum(metric, labels) - first.sum(metric, labels);
    let batches = more("tidegate_consumer_batches_total", &own);
    let records = more("tidegate_consumer_records_total", &own);
    let calls = more("tidegate_lambda_duration_seconds_count", &of_function);
    let busy = more("tidegate_lambda_duration_seconds_sum", &of_function);
    let mut notes = Vec::new();
    if given.attempt.is_none() || given.batch.is_none() {
        ensure!(
            batches > 0.0 && calls > 0.0,
            "the mapping finished no batch in {seconds:.0} s; watch it for longer with --over, or say what to assume with \
             --duration and --batch"
        );
        let mean = (records / batches).round().max(1.0);
        if mean < f64::from(mapping.batch_size) {
            notes.push(format!(
                "batches held {mean} of {} records; fuller ones are assumed to take as much longer",
                mapping.batch_size
            ));
        }
        // Shown and computed with as a whole number of records.
        given.batch.get_or_insert((mean as u32).clamp(1, mapping.batch_size));
        given.attempt.get_or_insert(Duration::try_from_secs_f64(busy / calls).unwrap_or_default());
    }
    if batches > 0.0 {
        given.retries.get_or_insert(more("tidegate_consumer_retries_total", &own) / batches);
    }
    given.shards.get_or_insert(shards.max(1));
    given.parallelization.get_or_insert(mapping.parallelization_factor.unwrap_or(1));
    let incoming = *given.incoming.get_or_insert(more("tidegate_stream_records_in_total", &of_stream) / seconds);
    let age = last.values("tidegate_consumer_iterator_age_seconds", &own).fold(0.0, f64::max);
    given.behind.get_or_insert(age * incoming);
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_between_two_readings_is_what_a_mapping_does() {
        let reading = |at, batches: u32, records: u32, sum: f64, put: u32| Reading {
            at: Duration::from_secs(at),
            metrics: format!(
                "# HELP tidegate_consumer_batches_total Batches\n\
                 tidegate_consumer_batches_total{{consumer=\"mapping:m\"}} {batches}\n\
                 tidegate_consumer_batches_total{{consumer=\"mapping:other\"}} 1{batches}\n\
                 tidegate_consumer_records_total{{consumer=\"mapping:m\"}} {records}\n\
                 tidegate_consumer_retries_total{{consumer=\"mapping:m\",reason=\"failed\"}} {batches}\n\
                 tidegate_consumer_iterator_age_seconds{{consumer=\"mapping:m\",shard=\"shardId-000000000000\"}} 3\n\
                 tidegate_consumer_iterator_age_seconds{{consumer=\"mapping:m\",shard=\"shardId-000000000001\"}} 5.5\n\
                 tidegate_lambda_duration_seconds_sum{{function=\"f\",region=\"us-east-1\"}} {sum}\n\
                 tidegate_lambda_duration_seconds_count{{function=\"f\",region=\"us-east-1\"}} {batches}\n\
                 tidegate_stream_records_in_total{{kind=\"kinesis\",account=\"000000000000\",region=\"us-east-1\",stream=\"s\"}} {put}\n"
            ),
        };
        let mapping = || Mapping {
            batch_size: 100,
            parallelization_factor: None,
            event_source_arn: "arn:aws:kinesis:us-east-1:000000000000:stream/s".parse().unwrap(),
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".parse().unwrap(),
            id: "m".to_owned(),
        };
        let (first, last) = (reading(100, 10, 500, 2.0, 1_000), reading(110, 30, 1_700, 7.0, 3_000));
        let mut given = Given::default();
        let notes = fill(&mut given, &mapping(), 2, &first, &last).unwrap();
        assert_eq!(notes, ["batches held 60 of 100 records; fuller ones are assumed to take as much longer"]);
        assert_eq!((given.shards, given.parallelization, given.batch), (Some(2), Some(1), Some(60)));
        assert_eq!((given.attempt, given.retries), (Some(Duration::from_millis(250)), Some(1.0)));
        assert_eq!((given.incoming, given.behind), (Some(200.0), Some(1_100.0)));

        let mut assumed = Given { parallelization: Some(4), incoming: Some(7.0), ..Given::default() };
        fill(&mut assumed, &mapping(), 2, &first, &last).unwrap();
        assert_eq!((assumed.parallelization, assumed.incoming), (Some(4), Some(7.0)));
        let error = fill(&mut Given::default(), &mapping(), 2, &first, &first).unwrap_err().to_string();
        assert!(error.contains("finished no batch"), "{error}");
    }
}
