//! The composition root: one listener, one gate, one module a service, and the rooms joined by their ports.
//!
//! Owns the configuration, the HTTP path (limits, signatures, authorisation, routing), and the start and stop of
//! everything. Promises that no route is reached but through the gate, which denies by default, and that a stop
//! drains, commits and syncs. Must not hold any room's logic: a service module translates and calls.

mod access;
mod app;
mod audit;
pub mod auth;
pub mod config;
pub mod data_dir;
pub mod doctor;
mod edge;
mod endpoints;
mod identity;
mod ingest;
mod logs;
mod mail;
mod mappings;
mod master_key;
mod metrics;
mod refusal;
mod rooms;
mod route;
mod services;
mod signing;
mod start;
mod streams;

pub use functions::{Missing, enter_environment};

pub use edge::{Outgoing, PooledClient, TlsError, Trust};
pub use start::{Server, StartError, StopError};
