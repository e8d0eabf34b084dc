//! A lean client of the Kinesis API over JSON, for Tidegate and all its peers that speak it.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base::{Clock, SystemClock};
use memchr::memmem;
use serde_json::{Value, json};

use crate::load::{Connection, Keys, Page, Records, Request, render};

/// In every answer to a call that took all records; nothing else in it begins so.
const FAILED_COUNT: &[u8] = br#""FailedRecordCount":"#;

/// A server to talk to.
#[derive(Clone)]
pub struct Kinesis {
    /// `127.0.0.1:port`.
    pub address: String,
    /// The keys that sign.
    pub keys: Keys,
}

impl Kinesis {
    fn render(&self, operation: &str, body: &str) -> anyhow::Result<Vec<u8>> {
        let target = format!("Kinesis_20131202.{operation}");
        render(&Request::json("kinesis", &target, body.as_bytes()), &self.address, &self.keys)
    }

    /// Makes one signed call and reads its JSON answer (`Null` when it is none); any error status is an error.
    pub async fn call(&self, operation: &str, body: Value) -> anyhow::Result<Value> {
        let mut connection = Connection::open(&self.address).await?;
        let (status, answer) = connection.call(&self.render(operation, &body.to_string())?).await?;
        ensure!(status < 300, "{operation} answered {status}: {}", String::from_utf8_lossy(answer));
        Ok(serde_json::from_slice(answer).unwrap_or(Value::Null))
    }

    pub async fn ready(&self) -> anyhow::Result<()> {
        self.call("ListStreams", json!({})).await.map(drop)
    }

    /// Makes a stream and waits until it is active.
    pub async fn create(&self, stream: &str, shards: u32) -> anyhow::Result<()> {
        self.call("CreateStream", json!({"StreamName": stream, "ShardCount": shards})).await?;
        let clock = SystemClock::new();
        while clock.instant() < Duration::from_secs(30) {
            let summary = self.call("DescribeStreamSummary", json!({"StreamName": stream})).await?;
            if summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE" {
                return Ok(());
            }
            clock.sleep(Duration::from_millis(20)).await;
        }
        bail!("the stream {stream} is not active after 30 s")
    }

    /// Signed calls of `each` records: `PutRecord` for one, else `PutRecords`.
    pub fn calls(&self, stream: &str, records: &Records, calls: usize, each: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        (0..calls)
            .map(|_| {
                if each == 1 {
                    return Ok(self.keyed_put(stream, records)?.1);
                }
                let list: Vec<_> = (0..each).map(|_| format!("{{{}}}", records.next_json().1)).collect();
                self.render("PutRecords", &format!(r#"{{"StreamName":"{stream}","Records":[{}]}}"#, list.join(",")))
            })
            .collect()
    }

    /// A signed `PutRecord` and its partition key.
    pub fn keyed_put(&self, stream: &str, records: &Records) -> anyhow::Result<(String, Vec<u8>)> {
        let (key, fields) = records.next_json();
        Ok((key, self.render("PutRecord", &format!(r#"{{"StreamName":"{stream}",{fields}}}"#))?))
    }

    pub async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.address).await
    }

    /// The names of a stream's shards.
    pub async fn shards(&self, stream: &str) -> anyhow::Result<Vec<String>> {
        let list = self.call("ListShards", json!({"StreamName": stream})).await?;
        let shards = list["Shards"].as_array().context("the answer lists no shards")?;
        Ok(shards.iter().filter_map(|shard| shard["ShardId"].as_str().map(str::to_owned)).collect())
    }

    /// One reader a shard.
    pub async fn readers(&self, stream: &str) -> anyhow::Result<Vec<KinesisReader>> {
        let mut readers = Vec::new();
        for shard in self.shards(stream).await? {
            let body = json!({"StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}).to_string();
            let (client, connection) = (self.clone(), self.connect().await?);
            readers.push(KinesisReader { client, connection, body, next: None, last: None });
        }
        Ok(readers)
    }
}

/// Sends a prepared put and says how many of its records were told to slow down.
pub async fn put(connection: &mut Connection, request: &[u8], records: usize) -> anyhow::Result<usize> {
    let (status, answer) = connection.call(request).await?;
    if status == 200 && records == 1 {
        return Ok(0);
    }
    if status == 200 {
        let at = memmem::find(answer, FAILED_COUNT).context("the answer has no FailedRecordCount")?;
        let digits = answer[at + FAILED_COUNT.len()..].trim_ascii_start();
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        return Ok(std::str::from_utf8(&digits[..end])?.parse()?);
    }
    let text = String::from_utf8_lossy(&answer[..answer.len().min(500)]);
    let slow_down = ["ProvisionedThroughputExceeded", "Throttl", "LimitExceeded", "ServiceUnavailable", "SlowDown"];
    ensure!(slow_down.iter().any(|code| text.contains(code)), "{status}: {text}");
    Ok(records)
}

/// Reads one shard from its start.
pub struct KinesisReader {
    client: Kinesis,
    connection: Connection,
    /// What asks for the first iterator.
    body: String,
    /// As it stands in JSON, its escapes kept.
    next: Option<String>,
    last: Option<String>,
}

impl KinesisReader {
    /// Back to the start.
    pub fn rewind(&mut self) {
        (self.next, self.last) = (None, None);
    }

    /// How many records came; none at the end. Their sequence numbers must grow.
    pub async fn page(&mut self) -> anyhow::Result<u64> {
        let iterator = match self.next.take() {
            Some(iterator) => iterator,
            None => {
                let (status, answer) =
                    self.connection.call(&self.client.render("GetShardIterator", &self.body)?).await?;
                ensure!(status == 200, "GetShardIterator: {status}: {}", String::from_utf8_lossy(answer));
                Page::first_iterator(answer).context("the answer has no iterator")?
            }
        };
        let body = format!(r#"{{"ShardIterator":"{iterator}","Limit":10000}}"#);
        let (status, answer) = self.connection.call(&self.client.render("GetRecords", &body)?).await?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(&answer[..answer.len().min(500)]));
        let page = Page::read(answer, self.last.as_deref())?;
        (self.next, self.last) = (page.next, page.last);
        Ok(page.records)
    }
}
