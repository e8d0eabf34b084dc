//! How the documents of awsJson are written: as JSON, or as the same values in CBOR.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

const CBOR: &str = "application/x-amz-cbor-1.1";

/// What a request's document is written in, and its answer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// JSON; what is not said to be CBOR.
    #[default]
    Json,
    /// CBOR. The SDK for Java speaks to Kinesis so.
    Cbor,
}

impl Encoding {
    /// What the `Content-Type` of a request says.
    pub fn of(headers: &HeaderMap) -> Self {
        let essence = media_type(headers).split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(CBOR) { Self::Cbor } else { Self::Json }
    }
}

pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
