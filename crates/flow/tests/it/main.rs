//! Flow on a real journal and state store over a simulated disk, in virtual time, between fakes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod archive;
mod bus;
mod bus_delivery;
mod consumer;
mod crash;
mod dead_letters;
mod delivery;
mod delivery_direct;
mod destinations;
mod fakes;
mod intake;
mod invocations;
mod mapping;
mod mapping_change;
mod mapping_crash;
mod mapping_docs;
mod mapping_give_up;
mod mapping_lanes;
mod mapping_windows;
mod outbox_kept;
mod queue;
mod queue_crash;
mod queue_mapping;
mod queue_moves;
mod queue_target;
mod reshard;
mod scheduler;
mod stored_documents;
mod timed;
mod topic;
mod topic_backlog;
mod topic_kept;
mod topic_local;
mod topic_outside;
mod world;
