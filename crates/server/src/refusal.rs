//! What a refused caller is told, in the form of the service they meant to call.
//!
//! Owns the table from refusals to AWS's codes ("Common Errors" of the services' API references). Promises that a
//! message never holds a secret, a token, or what would tell a forger how close they were beyond what AWS tells.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, Response, StatusCode};
use wire::model::{Protocol, Service};
use wire::sigv4::{Reason, Rejection};
use wire::{Encoding, ServiceError, ServiceId, protocol};

use crate::route::is_basic;

/// Why a request is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No signature, or not a right one.
    Unproven(Rejection),
    /// Signed, for another service than the path's.
    WrongService(String),
    /// The user or password of HTTP Basic.
    WrongPassword,
    /// Known, but may not.
    Denied(String),
    /// A body beyond its bound.
    TooLarge(String),
    /// A body that did not come.
    TooSlow(String),
    /// Too much at once.
    Overloaded(String),
    /// Starting or stopping.
    NotReady,
    /// There is nothing of that name.
    NotFound(String),
    /// A service of AWS that is not here.
    NoSuchService(String),
}

/// Marks an answer, among its extensions, that says no more than that the server starts or stops.
#[derive(Clone, Copy)]
pub(crate) struct NotReady;

/// Who speaks to the caller.
#[derive(Clone, Copy)]
pub(crate) enum Voice {
    /// A service in its protocol, in the encoding of the request.
    Service(&'static Service, Encoding),
    /// The search API or Tidegate's own routes: a JSON object with `message`.
    Plain,
    /// S3, which is not here but is tried first by many: its clients read nothing but its own XML.
    S3,
}

impl Voice {
    /// The service that a request means, by its signature if it has one, else by its form.
    pub fn of(head: &Parts, signing_name: Option<&str>) -> Self {
        let path = head.uri.path();
        if path.starts_with("/_tidegate/") || is_basic(&head.headers) {
            return Self::Plain;
        }
        let encoding = Encoding::of(&head.headers);
        let text = |name| head.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
        let models = || ServiceId::ALL.iter().map(|id| id.model());
        if let Some(service) = signing_name.and_then(|name| models().find(|m| m.signing_name == name)) {
            return Self::Service(service, encoding);
        }
        if signing_name == Some("s3") {
            return Self::S3;
        }
        let target = text("x-amz-target");
        if !target.is_empty() {
            let named = models().find(|m| !m.target_prefix.is_empty() && target.starts_with(m.target_prefix));
            return Self::Service(named.unwrap_or(ServiceId::Kinesis.model()), encoding);
        }
        if path.starts_with("/2015-03-31/") {
            return Self::Service(ServiceId::Lambda.model(), encoding);
        }
        let form = text("content-type").starts_with("application/x-www-form-urlencoded");
        if form || head.uri.query().is_some_and(|q| q.contains("Action=")) {
            return Self::Service(ServiceId::Sns.model(), encoding);
        }
        Self::Plain
    }

    /// The name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service(service, _) => service.name,
            Self::Plain => "tidegate",
            Self::S3 => "s3",
        }
    }
}

impl Refusal {
    /// The answer.
    pub fn answer(&self, voice: Voice, request_id: &str) -> Response<Bytes> {
        let error = self.error(voice);
        crate::metrics::refused(&error.code);
        let mut answer = match voice {
            Voice::Service(service, encoding) => protocol::refuse(service, encoding, &error, request_id),
            Voice::Plain => plain(self, &error, request_id),
            Voice::S3 => s3(&error, request_id),
        };
        if *self == Self::NotReady {
            answer.extensions_mut().insert(NotReady);
        }
        answer
    }

    fn error(&self, voice: Voice) -> ServiceError {
        let (service, form) = match voice {
            Voice::Service(service, encoding) => (service.id, encoding.protocol(service)),
            Voice::Plain => (ServiceId::Lambda, Protocol::RestJson),
            Voice::S3 => (ServiceId::Sns, Protocol::Query),
        };
        let of_kind = |kind, message: &str| ServiceError::of_kind(service, kind, message);
        match self {
            Self::Unproven(rejection) => rejection.error(form),
            Self::WrongService(message) => Rejection { reason: Reason::Mismatch, message: message.clone() }.error(form),
            Self::WrongPassword => ServiceError::new("Unauthorized", "wrong access key or secret").with_status(401),
            Self::Denied(reason) => of_kind(base::ErrorKind::Denied, reason),
            Self::TooLarge(reason) => match form {
                Protocol::RestJson => ServiceError::new("RequestTooLargeException", reason.as_str()),
                _ => ServiceError::new("RequestEntityTooLarge", reason.as_str()),
            }
            .with_status(413),
            Self::TooSlow(reason) => ServiceError::new("RequestTimeout", reason.as_str()).with_status(408),
            Self::Overloaded(reason) => of_kind(base::ErrorKind::Throttled, reason),
            Self::NotReady => of_kind(base::ErrorKind::Unavailable, "the server is starting or stopping; try again"),
            Self::NotFound(what) => ServiceError::new("NotFound", what.as_str()).with_status(404),
            Self::NoSuchService(name) => {
                let message = format!("the service '{name}' is not available in this version of Tidegate");
                ServiceError::new("NotImplemented", message).with_status(501)
            }
        }
    }
}

fn plain(refusal: &Refusal, error: &ServiceError, request_id: &str) -> Response<Bytes> {
    let body = serde_json::json!({"message": error.message, "code": error.code});
    let mut response =
        json(StatusCode::from_u16(error.status.unwrap_or(400)).unwrap_or(StatusCode::BAD_REQUEST), &body);
    if *refusal == Refusal::WrongPassword {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"tidegate\""));
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}

/// "Error responses" of the Amazon S3 API Reference. Code and message are ours or clean of what XML reserves.
fn s3(error: &ServiceError, request_id: &str) -> Response<Bytes> {
    let message = error.message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId></Error>",
        error.code
    );
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(error.status.unwrap_or(400)).unwrap_or(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
