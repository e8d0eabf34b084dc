//! How the documents of awsJson are written: as JSON, as the same values in CBOR, or in the dress of the older query
//! protocol, which SQS still understands.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::model::{Protocol, Service};

const CBOR: &str = "application/x-amz-cbor-1.1";

/// What a request's document is written in, and its answer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// JSON; what is not said to be CBOR.
    #[default]
    Json,
    /// CBOR. The SDK for Java speaks to Kinesis so.
    Cbor,
    /// A form, and XML back, where the service is `query_compatible`; JSON elsewhere. What names no operation in an
    /// `X-Amz-Target`, as every request of awsJson does.
    Form,
}

impl Encoding {
    /// What the headers of a request say.
    pub fn of(headers: &HeaderMap) -> Self {
        let essence = media_type(headers).split(';').next().unwrap_or_default().trim();
        match headers.contains_key("x-amz-target") {
            _ if essence.eq_ignore_ascii_case(CBOR) => Self::Cbor,
            true => Self::Json,
            false => Self::Form,
        }
    }

    /// The protocol of a service's requests and answers that are written so.
    pub fn protocol(self, service: &Service) -> Protocol {
        if self == Self::Form && service.query_compatible { Protocol::Query } else { service.protocol }
    }
}

pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
