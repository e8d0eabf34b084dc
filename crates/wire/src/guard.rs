//! Who stands between a decoded call and its service.
//!
//! Every call of every operation goes through [`through`]: it is read, validated, permitted, executed and told of, in this
//! order. What is refused on the way is told of as well.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;

use crate::data::{Build, Structure};
use crate::model::Operation;
use crate::{Call, EventStream, ServiceError};

/// Permits calls, and is told of them.
#[async_trait]
pub trait Guard: Send + Sync {
    /// Whether a call may. Its input is valid.
    fn permit(&self, call: &Call, operation: &'static Operation, input: &dyn Structure) -> Result<(), ServiceError>;

    /// Whether it wants to be told how a call of this operation ended.
    fn follows(&self, operation: &'static Operation) -> bool;

    /// Told how a call ended, before its caller is; without the input where that could not be read. Its own error is
    /// answered in place of what the call ended with.
    async fn ended(
        &self,
        call: &Call,
        operation: &'static Operation,
        input: Option<&dyn Structure>,
        outcome: Result<&dyn Structure, &ServiceError>,
    ) -> Result<(), ServiceError>;
}

/// What an operation answers with.
pub trait Output: Send {
    /// What is told at once.
    fn head(&self) -> &dyn Structure;
}

impl<T: Structure> Output for T {
    fn head(&self) -> &dyn Structure {
        self
    }
}

impl<O: Structure, E: Send> Output for EventStream<O, E> {
    fn head(&self) -> &dyn Structure {
        &self.output
    }
}

type Answer<'a, O> = Pin<Box<dyn Future<Output = Result<O, ServiceError>> + Send + 'a>>;

/// Takes a call to its service.
pub(crate) async fn through<'a, I: Build + Clone, O: Output>(
    guard: &dyn Guard,
    call: &Call,
    operation: &'static Operation,
    request: &Request<Bytes>,
    serve: impl FnOnce(I) -> Answer<'a, O> + Send,
) -> Result<O, ServiceError> {
    let follows = guard.follows(operation);
    let (input, outcome) = match crate::protocol::read::<I>(operation, request) {
        Err(error) => (None, Err(error)),
        Ok(input) => match guard.permit(call, operation, &input) {
            Err(error) => (follows.then_some(input), Err(error)),
            Ok(()) => {
                let kept = follows.then(|| input.clone());
                (kept, serve(input).await)
            }
        },
    };
    if follows {
        let input = input.as_ref().map(|input| input as &dyn Structure);
        guard.ended(call, operation, input, outcome.as_ref().map(Output::head)).await?;
    }
    outcome
}
