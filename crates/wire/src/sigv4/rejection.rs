//! Why a signature was refused, and the table of how each protocol says so.

use crate::ServiceError;
use crate::model::Protocol;

/// What is wrong with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    NoToken,
    /// The header is not of its form.
    Incomplete,
    /// The key, or its session token, is not known.
    UnknownKey,
    /// The session is over.
    ExpiredToken,
    /// It is not of this request, time or scope.
    Mismatch,
}

/// A refusal. Its message holds nothing secret and may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// What is wrong.
    pub reason: Reason,
    /// In AWS's words where AWS has words for it.
    pub message: String,
}

impl Rejection {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(super) fn unknown_key() -> Self {
        Self::new(Reason::UnknownKey, "The security token included in the request is invalid.")
    }

    pub(super) fn mismatch() -> Self {
        Self::new(
            Reason::Mismatch,
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.",
        )
    }

    /// The error in a protocol. Codes: the "Common Errors" pages of the services' API references; awsJson answers 400
    /// where query and restJson answer 403.
    pub fn error(&self, protocol: Protocol) -> ServiceError {
        let (code, status) = match (protocol, self.reason) {
            (Protocol::AwsJson, Reason::NoToken) => ("MissingAuthenticationTokenException", 400),
            (Protocol::AwsJson, Reason::Incomplete) => ("IncompleteSignatureException", 400),
            (Protocol::AwsJson, Reason::UnknownKey) => ("UnrecognizedClientException", 400),
            (Protocol::AwsJson, Reason::ExpiredToken) => ("ExpiredTokenException", 400),
            (Protocol::AwsJson, Reason::Mismatch) => ("InvalidSignatureException", 400),
            (Protocol::RestJson, Reason::NoToken) => ("MissingAuthenticationTokenException", 403),
            (Protocol::RestJson, Reason::Incomplete) => ("IncompleteSignatureException", 403),
            (Protocol::RestJson, Reason::UnknownKey) => ("UnrecognizedClientException", 403),
            (Protocol::RestJson, Reason::ExpiredToken) => ("ExpiredTokenException", 403),
            (Protocol::RestJson, Reason::Mismatch) => ("InvalidSignatureException", 403),
            (Protocol::Query, Reason::NoToken) => ("MissingAuthenticationToken", 403),
            (Protocol::Query, Reason::Incomplete) => ("IncompleteSignature", 400),
            (Protocol::Query, Reason::UnknownKey) => ("InvalidClientTokenId", 403),
            (Protocol::Query, Reason::ExpiredToken) => ("ExpiredToken", 403),
            (Protocol::Query, Reason::Mismatch) => ("SignatureDoesNotMatch", 403),
        };
        ServiceError::new(code, self.message.clone()).with_status(status)
    }
}
