//! Enough of Apache Kafka's protocol to measure a broker: topics, produce, fetch.
//!
//! After "Kafka protocol guide" and "Record batch" of Kafka's documentation. Versions are the last ones before the
//! compact encodings, which every broker of 4.x still speaks.

mod client;
mod encode;

pub use client::{Kafka, KafkaLink, KafkaReader};
