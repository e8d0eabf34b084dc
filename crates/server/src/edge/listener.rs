//! Connections in: accept, bound, serve, and let end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What every request gets.
pub type Answer = http::Response<Full<Bytes>>;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// Bytes that one connection reads ahead of its handler.
const READ_AHEAD_BYTES: usize = 256 << 10;
/// Header fields of a request.
const HEADERS: usize = 100;
/// Before accepting is tried again after it failed (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one; failures are answers too.
    fn handle(&self, request: http::Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// At once; further ones wait in the system's queue.
    pub connections: usize,
    /// For a request's head, and for an idle connection.
    pub head_time: Duration,
}

/// An address that is listened on.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes the address. Port 0 takes a free one, which [`address`](Self::address) tells.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { address: socket.local_addr()?, socket })
    }

    /// The address in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stopping`, then lets running requests end and returns when the last connection has closed.
    pub async fn serve<H: Handler>(
        self,
        handler: Arc<H>,
        limits: ConnectionLimits,
        clock: Arc<dyn Clock>,
        stopping: CancellationToken,
    ) {
        let (places, connections) = (Arc::new(Semaphore::new(limits.connections)), TaskTracker::new());
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => match place {
                    Err(_) => break,
                    Ok(place) => tokio::select! {
                        biased;
                        () = stopping.cancelled() => break,
                        accepted = self.socket.accept() => accepted.map(|(stream, _)| (stream, place)),
                    },
                },
            };
            match accepted {
                Ok((stream, place)) => {
                    let (handler, requests, stopping) = (Arc::clone(&handler), connections.clone(), stopping.clone());
                    connections.spawn(async move {
                        crate::metrics::connections(1.0);
                        connection(stream, handler, limits.head_time, requests, stopping).await;
                        crate::metrics::connections(-1.0);
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        connections.close();
        connections.wait().await;
    }
}

async fn connection<H: Handler>(
    stream: TcpStream,
    handler: Arc<H>,
    head_time: Duration,
    requests: TaskTracker,
    stopping: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "a connection closed at once");
    }
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        // A task of its own: a client that goes away must not leave a change half made.
        let answered = requests.spawn(async move { handler.handle(request).await });
        async move { Ok::<_, Infallible>(answered.await.unwrap_or_else(|error| broken(&error))) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_buf_size(READ_AHEAD_BYTES)
        .max_header_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Clients go away at any time: that is their right, not an event.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A defect in one request is that request's end, not the server's.
fn broken(error: &tokio::task::JoinError) -> Answer {
    tracing::error!(%error, "a request ended in a defect");
    let mut answer = Answer::new(Full::new(Bytes::from_static(b"{\"message\":\"internal failure\"}")));
    *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    answer
}

#[cfg(test)]
mod tests {
    use base::SystemClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Fails;

    impl Handler for Fails {
        async fn handle(&self, request: http::Request<Incoming>) -> Answer {
            assert_ne!(request.uri().path(), "/defect");
            Answer::default()
        }
    }

    #[tokio::test]
    async fn a_defect_costs_its_request_only() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (address, stopping) = (listener.address(), CancellationToken::new());
        let limits = ConnectionLimits { connections: 1, head_time: Duration::from_secs(5) };
        let serving =
            tokio::spawn(listener.serve(Arc::new(Fails), limits, Arc::new(SystemClock::new()), stopping.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        for (path, status) in [("/defect", "500"), ("/", "200")] {
            client.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = [0; 1024];
            let n = client.read(&mut answer).await.unwrap();
            assert!(String::from_utf8_lossy(&answer[..n]).starts_with(&format!("HTTP/1.1 {status}")));
        }
        stopping.cancel();
        serving.await.unwrap();
    }
}
