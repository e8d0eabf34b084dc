//! Everything that moves: the one consumer loop, and what runs on it.
//!
//! Owns event buses, event-source mappings, asynchronous invocations, topics, queues and delivery streams: their
//! configuration, their checkpoints and their consumers, and the router by which events reach their targets.
//! Promises that what was acknowledged is handled at least once in the order of its shard, that targets which are
//! journal appends get it once, and that nothing is given up but by a configured limit, counted and logged. The
//! argument is written once, in [`checkpoint`].
//! Must not know any wire protocol, nor how functions, indexes and HTTP work: those are ports.

pub mod archive;
pub mod bus;
pub mod checkpoint;
pub mod consumer;
mod dead_letter;
pub mod delivery;
pub mod destinations;
mod error;
mod flow;
pub mod invocations;
pub mod mapping;
mod metrics;
mod needed;
pub mod plan;
pub mod producer;
pub mod queue;
mod resources;
mod roles;
pub mod router;
pub mod schedule;
pub mod scheduler;
mod sealed;
mod spool;
mod stored;
pub mod topic;

pub use archive::Archives;
pub use bus::Buses;
pub use delivery::{Deliveries, SearchDomains};
pub use destinations::Destinations;
pub use error::FlowError;
pub use flow::{Flow, FlowConfig, FlowPorts};
pub use invocations::Invocations;
pub use mapping::Mappings;
pub use queue::Queues;
pub use resources::{Owned, owned};
pub use router::Router;
pub use scheduler::Schedules;
pub use topic::Topics;
