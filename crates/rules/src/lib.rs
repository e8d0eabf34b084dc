//! Event patterns, as EventBridge rules have them.
//!
//! Owns the pattern language: reads a pattern, refuses a wrong one in the service's words with the place of the
//! mistake, and says whether an event matches; and tells which events a rule's state hides. Promises to be pure and
//! never to panic, whatever the pattern and the event. Its evaluator is plain on purpose: it stays as the oracle for a
//! faster engine.
//! Must not know buses, rules' configuration, targets or quotas such as the length of a pattern.
//!
//! The language is "Comparison operators for use in event patterns" (EventBridge User Guide); where the guide is silent,
//! the behaviour of the open-source matcher aws/event-ruler holds.

mod address;
mod branch;
mod compile;
mod complexity;
mod engine;
mod error;
mod event;
mod explain;
mod fields;
mod json;
mod matcher;
mod number;
mod pattern;
mod scan;
mod text;
mod visibility;

pub use engine::{Engine, Scratch};
pub use error::RulesError;
pub use event::{Event, EventError};
pub use explain::{Alternative, Explanation, Field, Found, Verdict};
pub use pattern::Pattern;
pub use visibility::is_read_only_management;
