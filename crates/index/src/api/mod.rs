//! The endpoints of the Elasticsearch API.
//!
//! Owns which requests are answered and with which documents. Promises that an endpoint, parameter or option that is
//! not done is refused by name, never passed over.

mod bulk;
mod cluster;
mod document;
mod indices;
mod names;
mod route;
mod search;

pub use route::{Service, answer};
