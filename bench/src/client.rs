//! One face for the two protocols, so that every scenario is written once.

use crate::kafka::{Kafka, KafkaLink, KafkaReader};
use crate::kinesis::{self, Kinesis, KinesisReader};
use crate::load::{Connection, Records};

/// A contender to talk to.
#[derive(Clone)]
pub enum Client {
    /// The Kinesis API over JSON and HTTP/1.1.
    Kinesis(Kinesis),
    /// Kafka's own protocol.
    Kafka(Kafka),
}

impl Client {
    /// Whether it answers.
    pub async fn ready(&self) -> anyhow::Result<()> {
        match self {
            Self::Kinesis(client) => client.ready().await,
            Self::Kafka(client) => client.ready().await,
        }
    }

    /// Makes a stream, or a topic with as many partitions.
    pub async fn create(&self, stream: &str, shards: u32) -> anyhow::Result<()> {
        match self {
            Self::Kinesis(client) => client.create(stream, shards).await,
            Self::Kafka(client) => client.create(stream, shards).await,
        }
    }

    /// Prepared calls that put `each` records.
    pub fn calls(
        &self,
        stream: &str,
        shards: u32,
        records: &Records,
        calls: usize,
        each: usize,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        match self {
            Self::Kinesis(client) => client.calls(stream, records, calls, each),
            Self::Kafka(client) => Ok(client.calls(stream, shards, records, calls, each)),
        }
    }

    /// A connection to put over.
    pub async fn connect(&self) -> anyhow::Result<Link> {
        Ok(match self {
            Self::Kinesis(client) => Link::Http(client.connect().await?),
            Self::Kafka(client) => Link::Kafka(client.connect().await?),
        })
    }

    /// One reader a shard, each with a connection of its own.
    pub async fn readers(&self, stream: &str, shards: u32) -> anyhow::Result<Vec<Reader>> {
        Ok(match self {
            Self::Kinesis(client) => client.readers(stream).await?.into_iter().map(Reader::Kinesis).collect(),
            Self::Kafka(client) => client.readers(stream, shards).await?.into_iter().map(Reader::Kafka).collect(),
        })
    }
}

/// A connection to put over.
pub enum Link {
    Http(Connection),
    Kafka(KafkaLink),
}

impl Link {
    /// Sends a prepared call and says how many of its records were told to slow down; any other refusal is an error.
    pub async fn put(&mut self, call: &[u8], records: usize) -> anyhow::Result<usize> {
        match self {
            Self::Http(connection) => kinesis::put(connection, call, records).await,
            Self::Kafka(link) => link.put(call).await.map(|()| 0),
        }
    }
}

/// Reads one shard.
pub enum Reader {
    Kinesis(KinesisReader),
    Kafka(KafkaReader),
}

impl Reader {
    /// Back to the start.
    pub fn rewind(&mut self) {
        match self {
            Self::Kinesis(reader) => reader.rewind(),
            Self::Kafka(reader) => reader.rewind(),
        }
    }

    /// The next records: how many came, checked for order. None at the end.
    pub async fn page(&mut self) -> anyhow::Result<u64> {
        match self {
            Self::Kinesis(reader) => reader.page().await,
            Self::Kafka(reader) => reader.page().await,
        }
    }
}
