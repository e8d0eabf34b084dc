//! One address, one router: everything that can receive an event is found by its ARN.
//!
//! Owns the mapping from an ARN's service and resource type to the room that receives for it, and the rooms that are
//! journal appends: streams, functions (asynchronously), topics.
//! Promises that an unknown address is a final error naming it, and that a replay adds nothing twice.
//! Must not know who sends.

mod append;
mod targets;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Arn, Delivery, ErrorKind, Position, ProducerId, Target, TargetError};

pub(crate) use append::{append_once, before_append, taken_by, target_error};
pub use targets::{FunctionTarget, StreamTarget, TopicTarget};

#[derive(Clone)]
struct Route {
    service: &'static str,
    kind: &'static str,
    target: Arc<dyn Target>,
}

/// Finds the target of an ARN.
#[derive(Clone, Default)]
pub struct Router {
    routes: Vec<Route>,
}

impl Router {
    /// No targets yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a room: it receives for `arn:aws:SERVICE:…:KIND/…` or `…:KIND:…`; an empty kind stands for resources
    /// without type, such as topics.
    #[must_use]
    pub fn with(mut self, service: &'static str, kind: &'static str, target: Arc<dyn Target>) -> Self {
        self.routes.push(Route { service, kind, target });
        self
    }

    fn route(&self, to: &Arn) -> Result<&Arc<dyn Target>, TargetError> {
        let kind = to.resource().split_once(['/', ':']).map_or("", |(kind, _)| kind);
        let found = self.routes.iter().find(|route| route.service == to.service() && route.kind == kind);
        found.map(|route| &route.target).ok_or_else(|| TargetError {
            kind: ErrorKind::Invalid,
            message: format!(
                "{to} cannot be a target: only streams, delivery streams, functions, topics, queues, event buses and \
                 API destinations can receive events yet"
            ),
        })
    }
}

#[async_trait]
impl Target for Router {
    async fn deliver(&self, to: &Arn, producer: ProducerId, batch: &[Delivery]) -> Result<(), TargetError> {
        self.route(to)?.deliver(to, producer, batch).await
    }

    async fn check(&self, to: &Arn) -> Result<(), TargetError> {
        self.route(to)?.check(to).await
    }

    fn taken(&self, to: &Arn, producer: ProducerId) -> Option<Position> {
        self.route(to).ok()?.taken(to, producer)
    }
}
