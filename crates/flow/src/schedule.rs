//! What runs by the clock: schedule expressions, the instants they name, and which of these are dealt with.
//!
//! Owns the AWS dialect of `cron(…)`, `rate(…)` and `at(…)`, their instants in a time zone, the agenda of event buses that have one.
//! Promises that every instant is acted on once, whatever the clock does: what is dealt with is remembered as parts of
//! time ([`Handled`]), so a clock that is set back repeats nothing, one that was ahead and is set right loses nothing
//! that is still to come, and instants that passed during a stop are made up for, as far back as [`CATCH_UP`].
//! Must not know what happens at an instant.

mod agenda;
mod cron;
mod expression;
mod handled;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use cron::Cron;
pub use expression::{BadExpression, Expression, Timetable, time_zone};
pub use handled::Handled;

pub(crate) use agenda::{Agenda, Due};

/// Instants that passed longer ago than this when they are noticed are left out, counted and logged: the age at which
/// the service gives an event up.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(86_400);

/// How long a clockwork sleeps at most before it looks at the wall clock again, which may have been set.
pub(crate) const LOOK: Duration = Duration::from_secs(5);
