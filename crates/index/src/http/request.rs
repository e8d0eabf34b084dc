//! A request taken apart: path segments and parameters decoded, the body as it came.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::error::ApiError;

/// The greatest body (`http.max_content_length`).
const MAX_BODY: usize = 100 << 20;

/// Parameters of the address; what is taken is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Takes one.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes one that is a flag: present without value means `true`.
    pub fn take_flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("" | "true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ApiError::argument(format!(
                "Failed to parse value [{other}] of parameter [{name}] as only [true] or [false] are allowed."
            ))),
        }
    }

    /// Takes some that change nothing here.
    pub fn pass(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Refuses those that were not taken.
    pub fn finish(self, path: &str) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(ApiError::argument(format!("request [{path}] contains unrecognized parameter: [{name}]")))
            }
        }
    }

    /// Those that were not taken, for an endpoint that reads them itself.
    pub fn rest(self) -> BTreeMap<String, String> {
        self.0
    }
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it came.
    pub path: String,
    /// Its parts, decoded.
    pub segments: Vec<String>,
    /// The parameters.
    pub parameters: Parameters,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// Takes a request apart.
    pub fn parse(request: http::Request<Bytes>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if body.len() > MAX_BODY {
            return Err(ApiError::new(
                http::StatusCode::PAYLOAD_TOO_LARGE,
                "content_too_long_exception",
                format!("the body has {} bytes; the most are {MAX_BODY}", body.len()),
            ));
        }
        let decode = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            decoded.map(|t| t.into_owned()).map_err(|_| ApiError::argument(format!("[{text}] is not UTF-8 text")))
        };
        let path = parts.uri.path().to_owned();
        let segments = path.split('/').filter(|s| !s.is_empty()).map(decode).collect::<Result<_, _>>()?;
        let mut parameters = BTreeMap::new();
        for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.insert(decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?);
        }
        Ok(Self { method: parts.method, path, segments, parameters: Parameters(parameters), body })
    }

    /// The body as JSON; an empty one is an empty object.
    pub fn json(&self) -> Result<Value, ApiError> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            ApiError::new(
                http::StatusCode::BAD_REQUEST,
                "x_content_parse_exception",
                format!("the body is not JSON: {error}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_parameters_are_decoded() {
        let request = http::Request::get("/logs-%2A,b/_doc/a%2Fb?q=x%3A1+AND+y&pretty").body(Bytes::new()).unwrap();
        let mut request = Request::parse(request).unwrap();
        assert_eq!(request.segments, ["logs-*,b", "_doc", "a/b"]);
        assert_eq!(request.parameters.take("q").as_deref(), Some("x:1 AND y"));
        assert_eq!(request.parameters.take_flag("pretty").unwrap(), Some(true));
        assert!(request.parameters.finish("/").is_ok());
        let request = http::Request::get("/%ff").body(Bytes::new()).unwrap();
        assert!(Request::parse(request).is_err());
    }
}
