//! The HTTP edge: connections in, bounded bodies, and the client that deliverers call out with.
//!
//! Promises that nothing a client does (slow heads, slow or huge bodies, many connections) holds more than its bound,
//! and that a stop lets running requests end. Must not know what a request means.

mod body;
mod client;
mod listener;

pub use body::{BodyError, BodyLimits};
pub use client::PooledClient;
pub use listener::{Answer, ConnectionLimits, Handler, Listener};
