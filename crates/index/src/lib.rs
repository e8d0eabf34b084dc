//! Full-text search with the Elasticsearch and OpenSearch document and query API.

mod config;
mod error;
mod service;

pub use config::IndexConfig;
pub use error::IndexError;
pub use service::Index;
