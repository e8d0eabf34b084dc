//! Connections to a listener of an environment: accepted, bounded in number, each served beside the others.

use std::future::Future;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Serves every connection until dropped, and all of them with it. Beyond `most` at once they wait in the system's
/// queue. `what` names the listener where accepting fails.
pub(super) async fn serve<F>(
    listener: TcpListener,
    most: usize,
    what: &'static str,
    connection: impl Fn(TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < most => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => _ = connections.spawn(connection(stream)),
            // Out of descriptors or a connection that is gone again: the next accept tells.
            Err(error) => {
                tracing::warn!(%error, "{what} could not accept a connection");
                tokio::task::yield_now().await;
            }
        }
    }
}
