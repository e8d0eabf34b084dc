//! The HTTP edge: connections in, bounded bodies, and the client that deliverers call out with.
//!
//! HTTP/1.1 and HTTP/2, over TLS when there is a certificate. Promises that nothing a client does (slow handshakes, heads
//! or bodies, huge bodies, answers that it does not take, many connections) holds more than its bound, and that a stop
//! lets running requests end. Must not know what a request means.

mod answer;
mod body;
mod client;
mod connection;
mod finishing;
mod listener;
mod outgoing;
mod socket;
mod streams;
mod tls;
mod trust;

pub use answer::{Answer, AnswerBody};
pub use body::{BodyError, BodyLimits};
pub use client::PooledClient;
pub use finishing::{Left, Peer};
pub use listener::{ConnectionLimits, Handler, Listener};
pub use outgoing::Outgoing;
pub use tls::{Tls, TlsError, certificates};
pub use trust::Trust;
