//! The walls around an environment, and how a process gets behind them.
//!
//! The server starts its own program once more, as a *launcher* (`enter`). It joins the control groups, leaves the
//! namespaces of the server, and starts itself a third time as process 1 of the new ones, the *init*. That builds the
//! file system that the function sees, takes the loopback up, opens the listeners there and hands them to the server
//! (so the Runtime API is served by the server, on a socket of the environment's own network), then starts the runtime
//! from a thread that has given up everything that it could give up. The init stays: it reaps what is orphaned and says
//! how the runtime ended. When its socket to the server closes, whyever, it ends, and the kernel ends all that is in its
//! namespace with it, before the launcher hears of it: so once the launcher is waited for, nothing is left.
//! No step but one needs unsafe code (`descriptors`), for nothing happens between a fork and an exec: capabilities, user, Landlock and system
//! call filter belong to a thread, and what a thread starts inherits them.
//! Promises that what is missing of the required walls is an error, never silence. Must not know functions, calls or the
//! Runtime API.

mod cgroup;
mod channel;
mod descriptors;
mod enter;
mod init;
mod network;
mod orders;
mod privileges;
mod root;
mod syscalls;
mod users;
mod walls;

pub(crate) use cgroup::{Group, Limits};
pub(crate) use channel::Channel;
pub use enter::enter_environment;
pub(crate) use orders::{Ground, Orders, Report, Start, View};
pub(crate) use users::{User, Users};
pub use walls::{Missing, Walls, survey};
