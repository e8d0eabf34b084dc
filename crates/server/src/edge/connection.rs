//! One connection, from its first byte to its last: TLS, which HTTP it speaks, its requests, its end.
//!
//! Promises that each stage has its bound in time: the handshake and the first bytes, a request's head, an answer that
//! is not taken, idleness; and that a stop ends it once its running requests are answered.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use bytes::Bytes;
use http::StatusCode;
use http::header::{HOST, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::finishing::{Finisher, Left, Seat, Workplace};
use super::listener::{ConnectionLimits, Handler};
use super::socket::Socket;
use super::streams::{Progress, Streams};
use super::tls::HTTP2;

/// Bytes of a request's head.
const HEAD_BYTES: u32 = 64 << 10;
/// Bytes that one HTTP/1.1 connection reads ahead of its handler, and that wait to be written.
const BUFFER_BYTES: usize = 128 << 10;
/// The same over HTTP/2, where a client may send many heads at once.
const HTTP2_HEAD_BYTES: u32 = 32 << 10;
/// Header fields of a request.
const HEADERS: usize = 100;
/// With what a client begins that knows beforehand that HTTP/2 is spoken here (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests of one HTTP/2 connection at once; a client keeps the others back.
const STREAMS: u32 = 256;
/// Bytes that a client may send ahead of the handlers, on one stream and on all of a connection.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of one stream's answer that wait to be written.
const STREAM_BUFFER: usize = 64 << 10;
/// Requests that a client may reset before they were handled, until it is taken for an attacker (CVE-2023-44487).
const EARLY_RESETS: usize = 50;
/// Between two questions whether the client of an HTTP/2 connection is still there, and the time it has to answer.
const PING: Duration = Duration::from_secs(20);
/// What a client gets to take notice of a connection's end, once nothing of it is under way.
const FAREWELL: Duration = Duration::from_secs(1);

/// What all connections of a listener share.
pub(super) struct Shared<H> {
    pub handler: Arc<H>,
    pub limits: ConnectionLimits,
    pub clock: Arc<dyn Clock>,
    /// Waits for connections and for the requests that outlive them.
    pub tasks: TaskTracker,
    pub finisher: Finisher,
    pub tls: Option<TlsAcceptor>,
}

/// Serves a connection to its end.
pub(super) async fn serve<H, S>(stream: S, seat: Seat, on: Arc<Shared<H>>, stopping: CancellationToken)
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ended = match &on.tls {
        None => plain(stream, seat, &on, stopping).await,
        Some(tls) => secured(tls.accept(stream), seat, &on, stopping).await,
    };
    if let Err(error) = ended {
        // Clients go away at any time: that is their right, not an event.
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn plain<H, S>(mut stream: S, seat: Seat, on: &Arc<Shared<H>>, stopping: CancellationToken) -> io::Result<()>
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (ahead, http2) = on.in_time(&stopping, begins_http2(&mut stream)).await?;
    let socket = Socket::new(stream, ahead, Arc::clone(&on.clock), on.limits.stall_time);
    if http2 { on.http2(socket, seat, stopping).await } else { on.http1(socket, seat, stopping).await }
}

async fn secured<H, S>(
    handshake: tokio_rustls::Accept<S>,
    seat: Seat,
    on: &Arc<Shared<H>>,
    stopping: CancellationToken,
) -> io::Result<()>
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = on.in_time(&stopping, handshake).await.inspect_err(|_| crate::metrics::handshake_failed())?;
    // The AWS SDK for Java offers no protocol in its handshake and begins HTTP/2 unasked.
    let Some(http2) = stream.get_ref().1.alpn_protocol().map(|chosen| chosen == HTTP2) else {
        return plain(stream, seat, on, stopping).await;
    };
    let socket = Socket::new(stream, Bytes::new(), Arc::clone(&on.clock), on.limits.stall_time);
    if http2 { on.http2(socket, seat, stopping).await } else { on.http1(socket, seat, stopping).await }
}

/// Reads until it is clear which HTTP the client speaks; also gives what was read.
async fn begins_http2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Bytes, bool)> {
    let mut begin = [0; PREFACE.len()];
    let mut len = 0;
    while len < PREFACE.len() {
        let n = stream.read(&mut begin[len..]).await?;
        len += n;
        if n == 0 || !PREFACE.starts_with(&begin[..len]) {
            return Ok((Bytes::copy_from_slice(&begin[..len]), false));
        }
    }
    Ok((Bytes::from_static(PREFACE), true))
}

impl<H: Handler> Shared<H> {
    /// What has to be there before the first request's head: no longer than that may take, nor into a stop.
    async fn in_time<T>(
        &self,
        stopping: &CancellationToken,
        step: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        tokio::select! {
            biased;
            done = step => done,
            () = stopping.cancelled() => Err(io::Error::other("the server stops")),
            () = self.clock.sleep(self.limits.head_time) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn http1<S>(self: &Arc<Self>, socket: Socket<S>, seat: Seat, stopping: CancellationToken) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let works = Workplace::new(self.finisher.clone(), seat, 1);
        let service = service_fn(|mut request: http::Request<Incoming>| {
            let (handler, left) = (Arc::clone(&self.handler), Left::default());
            request.extensions_mut().insert(left.clone());
            request.extensions_mut().insert(works.peer());
            let answered = works.finishing(left, async move { handler.handle(request).await });
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_time)
            .max_buf_size(BUFFER_BYTES)
            .max_header_size(HEAD_BYTES as usize)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        ended.map_err(io::Error::other)
    }

    async fn http2<S>(self: &Arc<Self>, socket: Socket<S>, seat: Seat, stopping: CancellationToken) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let streams = Streams::new(self.tasks.clone(), Arc::clone(&self.clock), self.limits.stall_time);
        let works = Workplace::new(self.finisher.clone(), seat, STREAMS as usize);
        let service = service_fn(|mut request: http::Request<Incoming>| {
            let (handler, left) = (Arc::clone(&self.handler), Left::default());
            request.extensions_mut().insert(left.clone());
            request.extensions_mut().insert(works.peer());
            // A field that was sent before costs its sender a byte, so what is held of a head is bounded by number.
            let request = Some(request).filter(|request| request.headers().len() <= HEADERS);
            let answered = works.finishing(left, async move {
                match request {
                    Some(request) => handler.handle(with_host(request)).await,
                    None => too_many_fields(),
                }
            });
            async move {
                let answer = answered.await;
                Ok::<_, Infallible>(answer.map(|body| body.watched(STREAM_BUFFER, Progress::current())))
            }
        });
        let connection = http2::Builder::new(streams.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HTTP2_HEAD_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(STREAM_BUFFER)
            .max_pending_accept_reset_streams(EARLY_RESETS)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = stopping.cancelled() => {}
            () = self.idleness(&streams) => {}
        }
        connection.as_mut().graceful_shutdown();
        self.farewell(connection, &streams).await
    }

    /// Completes when a connection had no request for the time in which its next one should have come, or for up to
    /// twice that.
    async fn idleness(&self, streams: &Streams) {
        let mut before = None;
        loop {
            self.clock.sleep(self.limits.head_time).await;
            let now = streams.idle_after();
            if now.is_some() && now == before {
                return;
            }
            before = now;
        }
    }

    /// Lets running requests end, and does not wait for a client that then does not close.
    async fn farewell<C>(&self, mut connection: Pin<&mut C>, streams: &Streams) -> io::Result<()>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended.map_err(io::Error::other),
                () = self.clock.sleep(FAREWELL) => {}
            }
            if streams.idle_after().is_some() {
                return Ok(());
            }
        }
    }
}

fn too_many_fields() -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    answer
}

/// HTTP/2 tells the host as a part of the address; whoever verifies a signature looks for the header.
fn with_host(mut request: http::Request<Incoming>) -> http::Request<Incoming> {
    if !request.headers().contains_key(HOST) {
        let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        if let Some(host) = host {
            request.headers_mut().insert(HOST, host);
        }
    }
    request
}

#[cfg(test)]
mod tests;
