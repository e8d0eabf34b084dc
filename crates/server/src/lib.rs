//! The composition root: one listener, one gate, one module a service, and the rooms joined by their ports.
//!
//! Owns the configuration, the HTTP path (limits, signatures, authorisation, routing), and the start and stop of
//! everything. Promises that no route is reached but through the gate, which denies by default, and that a stop
//! drains, commits and syncs. Must not hold any room's logic: a service module translates and calls.

pub mod config;
