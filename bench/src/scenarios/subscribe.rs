//! From a put to a waiting `SubscribeToShard`: one record at a time, so that no queue of the benchmark's own making adds
//! to the latency.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base::{Clock, SystemClock};
use memchr::memmem;
use serde_json::json;

use super::STREAM;
use crate::client::Client;
use crate::contenders::{Contender, Server};
use crate::kinesis::Kinesis;
use crate::load::{Connection, Http2Stream, Records, Request, render};
use crate::options::Options;
use crate::quantiles::Quantiles;
use crate::report::{Better, Row};

const TARGET: &str = "Kinesis_20131202.SubscribeToShard";
const WARM_UP: usize = 200;
/// Longer than any record should take by far.
const LOST: Duration = Duration::from_secs(10);

/// A row for each version of HTTP.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (version, label) in [(1, "HTTP/1.1"), (2, "HTTP/2 without TLS")] {
        let server = Server::fresh(contender, options).await?;
        let Client::Kinesis(client) = &server.client else { bail!("{} has no SubscribeToShard", contender.name) };
        client.create(STREAM, 1).await?;
        let mut events = Events::open(client, version).await?;
        let (seen, acknowledged) = one_by_one(client, &mut events, options.duration()).await?;
        let name = format!("put to a waiting SubscribeToShard over {label}, 1 shard, one 200 B record at a time");
        let [p50, p99] = acknowledged.millis([500, 990]);
        let note =
            format!("{} records; the put itself is answered after p50 {p50:.2} ms, p99 {p99:.2} ms", seen.count());
        let mut row = Row::new(name, seen.millis([500])[0], "ms", Better::Less).note(note);
        (row.latency, row.memory) = (Some(seen), Some(server.usage()));
        rows.push(row);
    }
    Ok(rows)
}

/// Puts a record, waits until it was seen and answered, puts the next. Latency until seen, and until answered.
async fn one_by_one(
    client: &Kinesis,
    events: &mut Events,
    duration: Duration,
) -> anyhow::Result<(Quantiles, Quantiles)> {
    let (clock, records, mut puts) = (SystemClock::new(), Records::of(200, 1), client.connect().await?);
    let (mut seen, mut acknowledged) = (Quantiles::default(), Quantiles::default());
    for n in 0.. {
        if clock.instant() >= duration && n > WARM_UP {
            break;
        }
        let (key, call) = client.keyed_put(STREAM, &records)?;
        let start = clock.instant();
        let put = async {
            crate::kinesis::put(&mut puts, &call, 1).await?;
            anyhow::Ok(clock.instant())
        };
        let see = async {
            tokio::time::timeout(LOST, events.until(key.as_bytes())).await.context("a record was not seen")??;
            anyhow::Ok(clock.instant())
        };
        let (answered_at, seen_at) = tokio::try_join!(put, see)?;
        if n > WARM_UP {
            seen.add(seen_at.saturating_sub(start));
            acknowledged.add(answered_at.saturating_sub(start));
        }
    }
    Ok((seen, acknowledged))
}

/// A subscription and the bytes of its messages.
struct Events {
    transport: Transport,
    buffer: Vec<u8>,
}

enum Transport {
    Http1(Connection),
    Http2(Http2Stream),
}

impl Events {
    /// Registers a consumer and subscribes it to the stream's first shard.
    async fn open(client: &Kinesis, version: u8) -> anyhow::Result<Self> {
        let summary = client.call("DescribeStreamSummary", json!({"StreamName": STREAM})).await?;
        let arn = &summary["StreamDescriptionSummary"]["StreamARN"];
        let consumer =
            client.call("RegisterStreamConsumer", json!({"StreamARN": arn, "ConsumerName": "bench"})).await?;
        let consumer = &consumer["Consumer"]["ConsumerARN"];
        let clock = SystemClock::new();
        loop {
            let now = client.call("DescribeStreamConsumer", json!({"ConsumerARN": consumer})).await?;
            if now["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE" {
                break;
            }
            ensure!(clock.instant() < LOST, "the consumer is not active");
            clock.sleep(Duration::from_millis(20)).await;
        }
        let shard = client.shards(STREAM).await?.into_iter().next().context("the stream has no shard")?;
        let body =
            json!({"ConsumerARN": consumer, "ShardId": shard, "StartingPosition": {"Type": "LATEST"}}).to_string();
        let request = Request::json("kinesis", TARGET, body.as_bytes());
        let transport = if version == 1 {
            let mut connection = client.connect().await?;
            let status = connection.open_stream(&render(&request, &client.address, &client.keys)?).await?;
            ensure!(status == 200, "SubscribeToShard answered {status}");
            Transport::Http1(connection)
        } else {
            Transport::Http2(Http2Stream::open(&client.address, &request, &client.keys).await?)
        };
        Ok(Self { transport, buffer: Vec::new() })
    }

    /// Waits for the message that holds `key`.
    async fn until(&mut self, key: &[u8]) -> anyhow::Result<()> {
        loop {
            while let Some(length) = self.whole_message()? {
                let found = memmem::find(&self.buffer[..length], key).is_some();
                self.buffer.drain(..length);
                if found {
                    return Ok(());
                }
            }
            let more = match &mut self.transport {
                Transport::Http1(connection) => connection.next_chunk().await?,
                Transport::Http2(stream) => stream.next().await?,
            };
            self.buffer.extend_from_slice(more.context("the subscription ended")?);
        }
    }

    /// Bytes of the message in front, when it is there whole. Its length is the first of its fields
    /// ("Event stream encoding", Amazon Transcribe Developer Guide).
    fn whole_message(&self) -> anyhow::Result<Option<usize>> {
        let Some(head) = self.buffer.get(..4) else { return Ok(None) };
        let length = u32::from_be_bytes(head.try_into()?) as usize;
        Ok((self.buffer.len() >= length).then_some(length))
    }
}
