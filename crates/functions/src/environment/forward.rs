//! The way from inside an environment to the server's endpoint: connections to a listener in the environment's network
//! are carried to where the server listens.

use std::io;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::connections;

/// Connections of one environment; further ones wait.
const MAX_CONNECTIONS: usize = 64;

/// Carries until dropped.
pub(crate) async fn forward(listener: Option<TcpListener>, to: Arc<str>) {
    let Some(listener) = listener else { return std::future::pending().await };
    connections::serve(listener, MAX_CONNECTIONS, "the way to the server", |inside| {
        let to = Arc::clone(&to);
        async move {
            if let Err(error) = carry(inside, &to).await {
                // The usual end of a killed process.
                tracing::debug!(%error, "a connection of a function to the server ended");
            }
        }
    })
    .await;
}

async fn carry(mut inside: TcpStream, to: &str) -> io::Result<()> {
    let mut outside = TcpStream::connect(to).await?;
    inside.set_nodelay(true)?;
    outside.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut inside, &mut outside).await.map(drop)
}
