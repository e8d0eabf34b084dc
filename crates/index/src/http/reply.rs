//! An answer, before and after `pretty` and `filter_path`.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::error::ApiError;
use super::request::Parameters;
use crate::search::{Pattern, SourceFilter};

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: StatusCode,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Empty,
    Json(Vec<u8>),
    Text(String),
}

/// How an answer is written.
#[derive(Debug, Clone, Default)]
pub struct Format {
    pretty: bool,
    filter: Option<SourceFilter>,
}

impl Format {
    /// Takes the parameters that every request may have.
    pub fn take(parameters: &mut Parameters) -> Result<Self, ApiError> {
        parameters.pass(&["human", "error_trace"]);
        let pretty = parameters.take_flag("pretty")?.unwrap_or(false);
        let filter = parameters.take("filter_path").map(|paths| {
            let (exclude, include) = paths.split(',').partition::<Vec<&str>, _>(|p| p.starts_with('-'));
            SourceFilter::Fields {
                include: include.into_iter().map(Pattern::new).collect(),
                exclude: exclude.into_iter().map(|p| Pattern::new(&p[1..])).collect(),
            }
        });
        Ok(Self { pretty, filter })
    }

    fn write(&self, json: Vec<u8>) -> Vec<u8> {
        if !self.pretty && self.filter.is_none() {
            return json;
        }
        let Ok(mut value) = serde_json::from_slice::<Value>(&json) else { return json };
        if let (Some(filter), Value::Object(map)) = (&self.filter, &mut value) {
            *map = filter.apply(std::mem::take(map));
        }
        let written = if self.pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        written.unwrap_or(json)
    }
}

impl Reply {
    /// A JSON document.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => Self { status, body: Body::Json(json) },
            Err(error) => {
                let reason = format!("the answer cannot be written: {error}");
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", reason).into()
            }
        }
    }

    /// 200 with a JSON document.
    pub fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// A status without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, body: Body::Empty }
    }

    /// 200 with plain text.
    pub fn text(text: String) -> Self {
        Self { status: StatusCode::OK, body: Body::Text(text) }
    }

    /// As an HTTP response.
    pub fn into_response(self, format: &Format, with_body: bool) -> Response<Bytes> {
        let (body, content) = match self.body {
            Body::Empty => (Vec::new(), None),
            Body::Json(json) => (format.write(json), Some("application/json; charset=UTF-8")),
            Body::Text(text) => (text.into_bytes(), Some("text/plain; charset=UTF-8")),
        };
        let mut response = Response::new(if with_body { Bytes::from(body) } else { Bytes::new() });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(content) = content {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
        }
        // Clients made by Elastic refuse to talk to a server that does not say this.
        headers.insert("x-elastic-product", HeaderValue::from_static("Elasticsearch"));
        response
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        Self::json(error.status, &error.document())
    }
}
