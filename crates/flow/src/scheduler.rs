//! EventBridge Scheduler: schedules, their groups, and what they invoke.
//!
//! Owns schedules as configured, which of their instants are dealt with, and the runs that come of them.
//! Promises: an instant becomes one run, whatever ends the process and whatever the clock does, because both are
//! written in one commit; a run is attempted until its target took it, or its retry policy ends, and is then written to
//! the dead-letter queue if there is one; a target that is a journal append gets it once, others at least once.
//! Must not know what targets do.

mod attempt;
mod clock;
mod config;
mod deletions;
mod groups;
mod input;
mod listing;
mod queue;
mod quota;
mod room;
mod runs;

pub use config::{BusInput, Retry, Schedule, ScheduleSpec, ScheduleTarget, group_arn, schedule_arn};
pub use groups::Group;
pub use listing::Listing;
pub use room::Schedules;

pub(crate) use room::SchedulePorts;
