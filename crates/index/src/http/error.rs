//! The error document, as clients of Elasticsearch and OpenSearch read it.

use base::{ErrorKind, Kinded};
use http::StatusCode;
use serde_json::{Value, json};

use crate::error::EngineError;
use crate::query::ParseError;
use crate::search::RunError;

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// Elasticsearch's type of the error.
    pub kind: &'static str,
    /// The message.
    pub reason: String,
    /// The index that it is about.
    pub index: Option<String>,
}

impl ApiError {
    /// An error of this status and type.
    pub fn new(status: StatusCode, kind: &'static str, reason: impl Into<String>) -> Self {
        Self { status, kind, reason: reason.into(), index: None }
    }

    /// 400 `illegal_argument_exception`.
    pub fn argument(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "illegal_argument_exception", reason)
    }

    /// 404 for an index that does not exist.
    pub fn no_index(name: &str) -> Self {
        let reason = format!("no such index [{name}]");
        Self { index: Some(name.to_owned()), ..Self::new(StatusCode::NOT_FOUND, "index_not_found_exception", reason) }
    }

    /// 429: more is under way than there may be.
    pub fn busy(what: &str) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "es_rejected_execution_exception", format!("{what}; try again later"))
    }

    /// The error itself, without the frame around it.
    pub fn cause(&self) -> Value {
        let mut cause = json!({"type": self.kind, "reason": self.reason});
        if let Some(index) = &self.index {
            cause["index"] = json!(index);
            cause["resource.id"] = json!(index);
            cause["resource.type"] = json!("index_or_alias");
        }
        cause
    }

    /// The whole document.
    pub fn document(&self) -> Value {
        let mut error = self.cause();
        error["root_cause"] = json!([self.cause()]);
        json!({"error": error, "status": self.status.as_u16()})
    }
}

impl From<ParseError> for ApiError {
    fn from(error: ParseError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.kind, error.reason)
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        if let EngineError::Gone(name) = &error {
            return Self::no_index(name);
        }
        let (status, kind) = match error.kind() {
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable_shards_exception"),
            ErrorKind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "corrupt_index_exception"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "exception"),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Engine(error) => error.into(),
            RunError::Query { index, kind, reason } => {
                Self { index: Some(index), ..Self::new(StatusCode::BAD_REQUEST, kind, reason) }
            }
        }
    }
}
