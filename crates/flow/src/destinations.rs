//! HTTP endpoints as targets: connections with their secrets, and API destinations that use them.
//!
//! Owns both as configured, the tokens that connections fetched, and the rate at which a destination is called.
//! Promises: a secret is sealed on disk, is shown to nobody and is in no log; an endpoint is called by https, or by http
//! at an address that the server's settings allow; a destination is called no more often than its limit says.
//! Must not know rules, nor when a call is repeated.
//!
//! Calls, answers and headers are those of "API destinations as targets in Amazon EventBridge" (EventBridge User Guide).

mod authorization;
mod call;
mod config;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Arn, Env, HttpClient, MasterKey, Scope, StateStore};

pub use authorization::{Authorization, Credentials, Parameter, Parameters};
pub use call::HttpParameters;
pub use config::{ApiDestination, ApiDestinationSpec, Connection, ConnectionSpec};

pub use crate::sealed::Secret;

use authorization::Sealer;
use token::Tokens;

/// What destinations work with.
#[derive(Clone)]
pub(crate) struct DestinationPorts {
    pub env: Env,
    pub state: Arc<dyn StateStore>,
    pub http: Arc<dyn HttpClient>,
    pub master_key: MasterKey,
}

/// The room of connections and API destinations. Cloning gives another handle.
#[derive(Clone)]
pub struct Destinations {
    inner: Arc<Inner>,
}

struct Inner {
    ports: DestinationPorts,
    sealer: Sealer,
    tokens: Tokens,
    /// By a destination's id, the instant of its next free turn.
    turns: Mutex<HashMap<String, Duration>>,
}

impl Destinations {
    pub(crate) fn new(ports: DestinationPorts) -> Self {
        let sealer = Sealer::new(&ports.master_key);
        let tokens = Tokens::new();
        Self { inner: Arc::new(Inner { ports, sealer, tokens, turns: Mutex::default() }) }
    }
}

/// The ARN of a connection.
pub fn connection_arn(scope: &Scope, connection: &Connection) -> Arn {
    Arn::new("events", scope, format!("connection/{}/{}", connection.name, connection.id))
}

/// The ARN of an API destination.
pub fn api_destination_arn(scope: &Scope, destination: &ApiDestination) -> Arn {
    Arn::new("events", scope, format!("api-destination/{}/{}", destination.name, destination.id))
}
