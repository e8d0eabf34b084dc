//! The way from inside an environment to the server's endpoint: connections to a listener in the environment's network
//! are carried to where the server listens.

use std::io;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections of one environment; further ones wait.
const MAX_CONNECTIONS: usize = 64;

/// Carries until dropped.
pub(crate) async fn forward(listener: Option<TcpListener>, to: Arc<str>) {
    let Some(listener) = listener else { return std::future::pending().await };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((inside, _)) => {
                let to = Arc::clone(&to);
                connections.spawn(async move {
                    if let Err(error) = carry(inside, &to).await {
                        // The usual end of a killed process.
                        tracing::debug!(%error, "a connection of a function to the server ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of a function to the server could not be accepted");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn carry(mut inside: TcpStream, to: &str) -> io::Result<()> {
    let mut outside = TcpStream::connect(to).await?;
    inside.set_nodelay(true)?;
    outside.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut inside, &mut outside).await.map(drop)
}
