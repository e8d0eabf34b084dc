//! The Lambda Runtime API, version 2018-06-01, on one loopback listener an environment.
//!
//! Owns the HTTP of it: paths, headers, sizes, answers. What a call means is decided by the environment's driver, which
//! gets each call with a place to answer. The listener is in the environment's own network, where nobody else can reach it; where
//! environments share the machine's network, only a process of the environment's user is heard.
//! Source: "Using the Lambda runtime API for custom runtimes" and the OpenAPI document it links to, AWS Lambda
//! developer guide.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base::Fs;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::{connections, proc};

/// The largest answer of a function: 6 MB and a little ("Lambda quotas"; the number is that of the error message).
pub(crate) const MAX_RESPONSE_BYTES: u64 = 6_291_556;
const MAX_CONNECTIONS: usize = 32;
/// The kernel's table of connections changes while it is read, so a row can be missed.
const LOOKS: usize = 3;
const PREFIX: &str = "/2018-06-01/runtime/";

/// What the runtime gets when it asks for the next event.
#[derive(Debug)]
pub(crate) struct NextEvent {
    pub request_id: String,
    pub deadline_ms: i64,
    pub function_arn: String,
    pub trace_id: String,
    /// JSON.
    pub client_context: Option<String>,
    pub payload: Bytes,
}

/// A body that was read to its end; `Err` carries the length of one that is too long to keep.
pub(crate) type Body = Result<Bytes, u64>;

/// A call of the runtime, with the place for its answer.
#[derive(Debug)]
pub(crate) enum ApiCall {
    /// Asks for an event; answered when there is one, or refused.
    Next(oneshot::Sender<Result<NextEvent, Refusal>>),
    /// Answers an event.
    Response { request_id: String, body: Body, reply: oneshot::Sender<Result<(), Refusal>> },
    /// Says that the handler failed; the body is the error document.
    Error { request_id: String, body: Body, reply: oneshot::Sender<Result<(), Refusal>> },
    /// Says that the runtime cannot start; the body is the error document.
    InitError { body: Body, reply: oneshot::Sender<Result<(), Refusal>> },
}

/// Why the runtime's call is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such call is due now.
    WrongState,
    /// The request id is not that of the running invocation.
    WrongRequest,
    /// The body passes [`MAX_RESPONSE_BYTES`].
    TooLarge,
}

impl Refusal {
    fn answer(self) -> Response<Full<Bytes>> {
        let (status, kind, message) = match self {
            Self::WrongState => {
                (StatusCode::FORBIDDEN, "InvalidStateTransition", "Transition is not allowed".to_owned())
            }
            Self::WrongRequest => (StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID".to_owned()),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                format!("Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."),
            ),
        };
        json(status, &serde_json::json!({ "errorMessage": message, "errorType": kind }))
    }
}

fn json(status: StatusCode, document: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(document.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Serves the listener until dropped.
pub(crate) async fn serve(listener: TcpListener, heard: Heard, fs: Arc<dyn Fs>, calls: mpsc::Sender<ApiCall>) {
    let calls = Arc::new(calls);
    connections::serve(listener, MAX_CONNECTIONS, "the Runtime API", |stream| {
        let (fs, calls) = (Arc::clone(&fs), Arc::clone(&calls));
        async move {
            match heard.hears(&*fs, &stream) {
                Ok(true) => connection(stream, calls).await,
                Ok(false) => tracing::warn!("a connection to a Runtime API that is not the function's was closed"),
                Err(error) => tracing::warn!(%error, "cannot tell whose connection to a Runtime API it is"),
            }
        }
    })
    .await;
}

/// Whose connections are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Everybody's: nobody else is in that network.
    All,
    /// Those of processes of this user.
    User(u32),
}

impl Heard {
    fn hears(self, fs: &dyn Fs, stream: &TcpStream) -> io::Result<bool> {
        match self {
            Self::All => Ok(true),
            Self::User(user) => is_of(fs, stream, user),
        }
    }
}

/// Whether the process at the other end is of a user. One that has gone already is nobody's.
fn is_of(fs: &dyn Fs, stream: &TcpStream, owner: u32) -> io::Result<bool> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (stream.peer_addr()?, stream.local_addr()?) else {
        return Ok(false);
    };
    for _ in 0..LOOKS {
        if let Some(user) = proc::user_of(fs, from, to)? {
            return Ok(user == owner);
        }
    }
    Ok(false)
}

async fn connection(stream: TcpStream, calls: Arc<mpsc::Sender<ApiCall>>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the Runtime API's socket keeps its delay");
    }
    let service = service_fn(move |request| {
        let calls = Arc::clone(&calls);
        async move { Ok::<_, Infallible>(answer(request, &calls).await) }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        // The usual end of a killed process.
        tracing::debug!(%error, "a connection of the Runtime API ended");
    }
}

async fn answer(request: Request<Incoming>, calls: &mpsc::Sender<ApiCall>) -> Response<Full<Bytes>> {
    let path = request.uri().path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
    let parts: Vec<&str> = path.split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => next(calls).await,
        (&Method::POST, ["invocation", id, kind @ ("response" | "error")]) => {
            let (request_id, is_response) = ((*id).to_owned(), *kind == "response");
            let Some(body) = read(request.into_body()).await else { return bad_body() };
            accepted(calls, |reply| {
                if is_response {
                    ApiCall::Response { request_id, body, reply }
                } else {
                    ApiCall::Error { request_id, body, reply }
                }
            })
            .await
        }
        (&Method::POST, ["init", "error"]) => {
            let Some(body) = read(request.into_body()).await else { return bad_body() };
            accepted(calls, |reply| ApiCall::InitError { body, reply }).await
        }
        _ => json(
            StatusCode::NOT_FOUND,
            &serde_json::json!({ "errorMessage": "no such path in the Runtime API", "errorType": "NotFound" }),
        ),
    }
}

fn bad_body() -> Response<Full<Bytes>> {
    json(
        StatusCode::BAD_REQUEST,
        &serde_json::json!({ "errorMessage": "the body did not arrive whole", "errorType": "InvalidRequestBody" }),
    )
}

/// The driver is gone: the process is being killed, so nobody reads this.
fn ending() -> Response<Full<Bytes>> {
    json(StatusCode::GONE, &serde_json::json!({ "errorMessage": "the environment ends", "errorType": "Ending" }))
}

async fn next(calls: &mpsc::Sender<ApiCall>) -> Response<Full<Bytes>> {
    let (reply, answer) = oneshot::channel();
    if calls.send(ApiCall::Next(reply)).await.is_err() {
        return ending();
    }
    match answer.await {
        Ok(Ok(event)) => {
            let headers = next_headers(&event);
            let mut response = Response::new(Full::new(event.payload));
            *response.headers_mut() = headers;
            response
        }
        Ok(Err(refusal)) => refusal.answer(),
        Err(_) => ending(),
    }
}

fn next_headers(event: &NextEvent) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| {
        // All of them are ours or were checked to be JSON; what no header can carry is left out.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("content-type", "application/json");
    set("lambda-runtime-aws-request-id", &event.request_id);
    set("lambda-runtime-deadline-ms", &event.deadline_ms.to_string());
    set("lambda-runtime-invoked-function-arn", &event.function_arn);
    set("lambda-runtime-trace-id", &event.trace_id);
    if let Some(context) = &event.client_context {
        set("lambda-runtime-client-context", context);
    }
    headers
}

async fn accepted(
    calls: &mpsc::Sender<ApiCall>,
    call: impl FnOnce(oneshot::Sender<Result<(), Refusal>>) -> ApiCall,
) -> Response<Full<Bytes>> {
    let (reply, answer) = oneshot::channel();
    if calls.send(call(reply)).await.is_err() {
        return ending();
    }
    match answer.await {
        Ok(Ok(())) => json(StatusCode::ACCEPTED, &serde_json::json!({ "status": "OK" })),
        Ok(Err(refusal)) => refusal.answer(),
        Err(_) => ending(),
    }
}

/// Reads a body to its end but keeps no more than the limit; absent when it breaks off. A sender that is cut off in the
/// middle would not read the refusal, so all of it is taken in.
async fn read(mut body: Incoming) -> Option<Body> {
    let (mut kept, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length += data.len() as u64;
        if length <= MAX_RESPONSE_BYTES {
            kept.extend_from_slice(&data);
        } else {
            kept = BytesMut::new();
        }
    }
    Some(if length <= MAX_RESPONSE_BYTES { Ok(kept.freeze()) } else { Err(length) })
}
