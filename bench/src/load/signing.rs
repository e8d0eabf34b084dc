//! Signed requests, rendered to bytes once so that a load loop only writes them.

use base::{Clock, SystemClock};
use bytes::Bytes;
use wire::sigv4;

/// The region of every call.
pub const REGION: &str = "us-east-1";

/// The root keys of the server under measurement.
#[derive(Clone)]
pub struct Keys {
    /// The access key id.
    pub access: String,
    /// The secret.
    pub secret: String,
}

/// A call before it is signed.
pub struct Request<'a> {
    service: &'a str,
    path: &'a str,
    target: Option<&'a str>,
    content_type: &'static str,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// An awsJson call.
    pub fn json(service: &'a str, target: &'a str, body: &'a [u8]) -> Self {
        Self { service, path: "/", target: Some(target), content_type: "application/x-amz-json-1.1", body }
    }

    /// A call of the query protocol.
    pub fn query(service: &'a str, body: &'a str) -> Self {
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        Self { service, path: "/", target: None, content_type, body: body.as_bytes() }
    }

    /// A REST call with a JSON body.
    pub fn rest(service: &'a str, path: &'a str, body: &'a [u8]) -> Self {
        Self { service, path, target: None, content_type: "application/json", body }
    }

    /// What is sent.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// What was called, for error messages.
    pub fn label(&self) -> String {
        format!("{} {}", self.service, self.target.unwrap_or(self.path))
    }
}

/// The headers of a signed POST, without its length.
pub fn signed(request: &Request<'_>, address: &str, keys: &Keys) -> anyhow::Result<http::HeaderMap> {
    let mut builder =
        http::Request::post(format!("http://{address}{}", request.path)).header("content-type", request.content_type);
    if let Some(target) = request.target {
        builder = builder.header("x-amz-target", target);
    }
    let mut signed = builder.body(Bytes::copy_from_slice(request.body))?;
    let keys =
        sigv4::Keys { access_key_id: keys.access.clone(), secret_access_key: keys.secret.clone(), session_token: None };
    sigv4::sign(&mut signed, &keys, REGION, request.service, SystemClock::new().now())?;
    Ok(std::mem::take(signed.headers_mut()))
}

/// Signs and renders a POST.
pub fn render(request: &Request<'_>, address: &str, keys: &Keys) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(request.body.len() + 640);
    out.extend_from_slice(format!("POST {} HTTP/1.1\r\n", request.path).as_bytes());
    for (name, value) in &signed(request, address, keys)? {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("content-length: {}\r\n\r\n", request.body.len()).as_bytes());
    out.extend_from_slice(request.body);
    Ok(out)
}
