//! Flow on a real journal and state store over a simulated disk, in virtual time, between fakes.

mod bus;
mod consumer;
mod crash;
mod delivery;
mod intake;
mod invocations;
mod mapping;
mod topic;
mod world;
