//! The search service: one request in, one response out.

use std::path::Path;

use base::{Env, Scope};
use bytes::Bytes;

use crate::{IndexConfig, IndexError};

/// The embedded search service. Clones are handles to the same one.
#[derive(Clone)]
pub struct Index {}

impl Index {
    /// Opens the service whose data is in the folder `dir`.
    pub async fn open(_env: &Env, _dir: &Path, _config: IndexConfig) -> Result<Self, IndexError> {
        Ok(Self {})
    }

    /// Answers one request of the Elasticsearch API. Every outcome, failures too, is a response.
    pub async fn handle(&self, _scope: &Scope, _request: http::Request<Bytes>) -> http::Response<Bytes> {
        let mut response = http::Response::new(Bytes::from_static(b"{\"error\":\"starting\"}"));
        *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
        response
    }

    /// Finishes what is under way and closes every index.
    pub async fn close(&self) {}
}
