//! Requests and responses of the Elasticsearch API as values.
//!
//! Owns what every endpoint shares: path and parameters, the error document, `pretty` and `filter_path`. Must not know
//! any endpoint.

mod error;
mod reply;
mod request;

pub use error::ApiError;
pub use reply::{Format, Reply};
pub use request::{Parameters, Request};
