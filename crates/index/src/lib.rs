//! Full-text search with the Elasticsearch and OpenSearch document and query API, on tantivy.
//!
//! Owns the indices under one folder: their documents, mappings and queries, per account and region. Promises that a
//! write is durable and visible when it is answered, that a document id exists once, and that a request it does not
//! fully understand is refused with a message that names the part. It takes the file system, time and randomness as
//! they are handed in. Must not know who calls, how calls are authenticated, or where documents come from.

mod api;
mod config;
mod engine;
mod error;
mod http;
mod mapping;
mod metrics;
mod query;
mod search;
mod service;
mod storage;

pub use config::IndexConfig;
pub use error::IndexError;
pub use service::Index;
