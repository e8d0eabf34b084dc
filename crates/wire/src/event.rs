//! What an operation with an event stream answers with.

use std::fmt;

use futures::stream::BoxStream;

use crate::ServiceError;
use crate::data::Structure;

/// The events of one stream, generated from its model.
pub trait Event: Send + 'static {
    /// The errors that the stream's model declares, by shape name. Another one ends the stream as well, but its clients
    /// know no type for it.
    const ERRORS: &'static [&'static str];

    /// The event's name and what it carries.
    fn named(&self) -> (&'static str, &dyn Structure);
}

/// An output and the events that follow it. An error is the last thing that is sent.
pub struct EventStream<O, E> {
    /// What is told at once.
    pub output: O,
    /// What is told as it happens.
    pub events: BoxStream<'static, Result<E, ServiceError>>,
}

impl<O: fmt::Debug, E> fmt::Debug for EventStream<O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("output", &self.output).finish_non_exhaustive()
    }
}
