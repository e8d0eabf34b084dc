//! A lean client: one socket, one request under way, answers scanned for errors, counts and offsets.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base::{Clock, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::encode::{Api, Frame, record_batch};
use crate::load::Records;

/// Bytes that one fetch asks for: as much as a page of `GetRecords` may hold.
const FETCH_BYTES: i32 = 10 << 20;
const TIMEOUT_MS: i32 = 30_000;
/// How long a new topic's partitions may take to have leaders.
const LEADERS: Duration = Duration::from_secs(30);
/// All in-sync replicas: of one broker, itself.
const ACKS_ALL: i16 = -1;

/// A broker to talk to.
#[derive(Clone)]
pub struct Kafka {
    address: String,
}

impl Kafka {
    pub fn at(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    pub async fn connect(&self) -> anyhow::Result<KafkaLink> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(KafkaLink { stream, buffer: Vec::with_capacity(128 << 10) })
    }

    /// Whether the cluster knows a broker.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let mut link = self.connect().await?;
        let mut answer = link.call(&Frame::new(Api::Metadata).i32(0).done()).await?;
        ensure!(answer.i32()? > 0, "the cluster has no broker yet");
        Ok(())
    }

    pub async fn create(&self, topic: &str, partitions: u32) -> anyhow::Result<()> {
        let frame = Frame::new(Api::CreateTopics).i32(1).text(topic).i32(partitions as i32).i16(1).i32(0).i32(0);
        let mut link = self.connect().await?;
        let mut answer = link.call(&frame.i32(TIMEOUT_MS).i8(0).done()).await?;
        let (_throttle, _topics, _name, error) = (answer.i32()?, answer.i32()?, answer.text()?, answer.i16()?);
        ensure!(error == 0, "the topic {topic} was not made: error {error}");
        // A partition takes records once it has a leader; until then a fetch is refused.
        let clock = SystemClock::new();
        for mut reader in self.readers(topic, partitions).await? {
            while let Err(error) = reader.page().await {
                ensure!(clock.instant() < LEADERS, "{error:#}");
                clock.sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Produce requests of `records` records each, given to partitions by their keys as a producer would.
    pub fn calls(&self, topic: &str, partitions: u32, records: &Records, calls: usize, each: usize) -> Vec<Vec<u8>> {
        let now = SystemClock::new().now().millis();
        (0..calls)
            .map(|_| {
                let mut by_partition = vec![Vec::new(); partitions as usize];
                for _ in 0..each {
                    let (key, data) = records.next();
                    by_partition[(crc32c::crc32c(key.as_bytes()) % partitions) as usize].push((key, data));
                }
                let used = by_partition.iter().filter(|records| !records.is_empty()).count();
                let mut frame = Frame::new(Api::Produce).i16(-1).i16(ACKS_ALL).i32(TIMEOUT_MS);
                frame = frame.i32(1).text(topic).i32(used as i32);
                for (n, records) in by_partition.iter().enumerate().filter(|(_, records)| !records.is_empty()) {
                    frame = frame.i32(n as i32).bytes(&record_batch(records, now));
                }
                frame.done()
            })
            .collect()
    }

    /// One reader a partition.
    pub async fn readers(&self, topic: &str, partitions: u32) -> anyhow::Result<Vec<KafkaReader>> {
        let mut readers = Vec::new();
        for partition in 0..partitions {
            let (link, topic) = (self.connect().await?, topic.to_owned());
            readers.push(KafkaReader { link, topic, partition: partition as i32, offset: 0 });
        }
        Ok(readers)
    }
}

/// One connection.
pub struct KafkaLink {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl KafkaLink {
    async fn call(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        self.fill(4).await?;
        let length = u32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]]) as usize;
        self.buffer.reserve(length);
        self.fill(4 + length).await?;
        // Behind the length stands the correlation id, which is always the one asked for.
        Ok(Answer(self.buffer.get(8..4 + length).context("the answer is too short")?))
    }

    async fn fill(&mut self, to: usize) -> anyhow::Result<()> {
        while self.buffer.len() < to {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the broker closed the connection");
            }
        }
        Ok(())
    }

    /// Sends a prepared produce request; any error of a partition is an error.
    pub async fn put(&mut self, request: &[u8]) -> anyhow::Result<()> {
        let mut answer = self.call(request).await?;
        let (_topics, _name, partitions) = (answer.i32()?, answer.text()?, answer.i32()?);
        for _ in 0..partitions {
            let (partition, error) = (answer.i32()?, answer.i16()?);
            ensure!(error == 0, "partition {partition} answered error {error}");
            answer.skip(24)?;
        }
        Ok(())
    }
}

/// Reads one partition from its start.
pub struct KafkaReader {
    link: KafkaLink,
    topic: String,
    partition: i32,
    offset: i64,
}

impl KafkaReader {
    /// Back to the start.
    pub fn rewind(&mut self) {
        self.offset = 0;
    }

    /// How many records came; none at the end. Batches must follow each other without a gap.
    pub async fn page(&mut self) -> anyhow::Result<u64> {
        let frame = Frame::new(Api::Fetch).i32(-1).i32(10).i32(1).i32(FETCH_BYTES).i8(0).i32(1).text(&self.topic);
        let frame = frame.i32(1).i32(self.partition).i64(self.offset).i32(FETCH_BYTES).done();
        let mut answer = self.link.call(&frame).await?;
        let (_throttle, topics) = (answer.i32()?, answer.i32()?);
        if topics == 0 {
            return Ok(0);
        }
        let (_name, _partitions, _partition, error) = (answer.text()?, answer.i32()?, answer.i32()?, answer.i16()?);
        ensure!(error == 0, "partition {} answered error {error}", self.partition);
        answer.skip(16)?;
        let aborted = answer.i32()?.max(0) as usize;
        answer.skip(aborted * 16 + 4)?;
        let mut batches = answer.0;
        let start = self.offset;
        // The last batch may be cut; it comes again.
        while let Some((length, records)) = whole_batch(batches)? {
            let first = i64::from_be_bytes(batches[..8].try_into()?);
            ensure!(first == self.offset, "expected offset {} and got {first}", self.offset);
            self.offset += records;
            batches = &batches[length..];
        }
        Ok((self.offset - start) as u64)
    }
}

/// Bytes and records of the batch in front, when it is there whole.
fn whole_batch(bytes: &[u8]) -> anyhow::Result<Option<(usize, i64)>> {
    let Some(head) = bytes.get(..61) else { return Ok(None) };
    let length = 12 + i32::from_be_bytes(head[8..12].try_into()?) as usize;
    let records = i32::from_be_bytes(head[57..61].try_into()?);
    Ok((bytes.len() >= length).then_some((length, i64::from(records))))
}

/// An answer, read from its front.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn skip(&mut self, n: usize) -> anyhow::Result<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(n).context("the answer ends early")?;
        self.0 = rest;
        Ok(front)
    }

    fn i16(&mut self) -> anyhow::Result<i16> {
        Ok(i16::from_be_bytes(self.skip(2)?.try_into()?))
    }

    fn i32(&mut self) -> anyhow::Result<i32> {
        Ok(i32::from_be_bytes(self.skip(4)?.try_into()?))
    }

    fn text(&mut self) -> anyhow::Result<&'a [u8]> {
        let length = self.i16()?.max(0) as usize;
        self.skip(length)
    }
}
