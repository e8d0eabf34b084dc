//! Connections in: accept, bound, serve, and let end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Answer;
use super::connection::{self, Shared};
use super::finishing::Finisher;
use super::finishing::{Peer, Place};
use super::tls::Tls;

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
    /// For what precedes the first request, for a request's head, and for an idle connection.
    pub head_time: Duration,
    /// For which a client may take nothing of its answer.
    pub stall_time: Duration,
}

/// An address that is listened on.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Listener {
    /// Takes the address. Port 0 takes a free one, which [`address`](Self::address) tells. With a certificate, nothing
    /// but TLS is spoken there.
    pub async fn bind(address: SocketAddr, tls: Option<Tls>) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { address: socket.local_addr()?, socket, tls })
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
        let (places, tasks) = (Arc::new(Semaphore::new(limits.connections)), TaskTracker::new());
        // Connections are let end once no other is taken: a client whose connection closes and who comes back finds
        // nobody, not a queue that is thrown away.
        let ending = CancellationToken::new();
        let _ended = ending.clone().drop_guard();
        let shared = Arc::new(Shared {
            handler,
            limits,
            clock: Arc::clone(&clock),
            finisher: Finisher::new(tasks.clone()),
            tasks: tasks.clone(),
            tls: self.tls.as_ref().map(Tls::acceptor),
        });
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => match place {
                    Err(_) => break,
                    Ok(place) => tokio::select! {
                        biased;
                        () = stopping.cancelled() => break,
                        accepted = self.socket.accept() => accepted.map(|(stream, from)| (stream, from, place)),
                    },
                },
            };
            match accepted {
                Ok((stream, from, permit)) => {
                    let peer = Peer { address: from.ip().to_canonical(), secure: self.tls.is_some() };
                    let place = Arc::new(Place::new(permit, peer));
                    // A token of its own: waiting on one that all share would cost each poll a contended lock.
                    let (shared, stopping) = (Arc::clone(&shared), ending.child_token());
                    tasks.spawn(async move {
                        crate::metrics::connections(1.0);
                        match stream.set_nodelay(true) {
                            Ok(()) => connection::serve(stream, place, shared, stopping).await,
                            Err(error) => tracing::debug!(%error, "a connection closed at once"),
                        }
                        crate::metrics::connections(-1.0);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        ending.cancel();
        tasks.close();
        tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use base::SystemClock;
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Fails;

    impl Handler for Fails {
        async fn handle(&self, request: http::Request<Incoming>) -> Answer {
            assert_ne!(request.uri().path(), "/defect");
            Answer::new(Bytes::new().into())
        }
    }

    #[tokio::test]
    async fn a_defect_costs_its_request_only() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let (address, stopping) = (listener.address(), CancellationToken::new());
        let time = Duration::from_secs(5);
        let limits = ConnectionLimits { connections: 1, head_time: time, stall_time: time };
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
