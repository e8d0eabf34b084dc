//! What an environment's launcher and init are told, and what they answer.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// By which right the namespaces are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ground {
    /// The server is root: each environment has a user of its own.
    Root,
    /// The server is an ordinary user, who is root of a user namespace: all environments are processes of that user.
    User,
}

/// Something of this machine that a function sees, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    /// Where it is.
    pub from: PathBuf,
    /// Where the function sees it.
    pub to: PathBuf,
}

/// A control group of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    /// The group's folder.
    pub group: PathBuf,
    /// The folder of the group that the server itself is in.
    pub outside: PathBuf,
}

/// One environment. A trial has no program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub ground: Ground,
    /// The user and group of the runtime, as it sees itself.
    pub user: u32,
    /// The environment's control groups.
    pub groups: Vec<Seat>,
    /// An empty folder of the server's, over which the environment's file system is built.
    pub root: PathBuf,
    pub views: Vec<View>,
    /// What is never seen, wherever it lies: the data folder, keys.
    pub hidden: Vec<PathBuf>,
    /// The size of `/tmp`.
    pub temporary_bytes: u64,
    /// Whether the environment has no network but its own loopback.
    pub own_network: bool,
    /// Listeners to open, handed to the server in this order.
    pub listen: Vec<SocketAddr>,
    /// A host name that is this machine's loopback inside.
    pub host: Option<String>,
    /// The most processes and threads, where no control group counts them.
    pub max_processes: Option<u64>,
    pub start: Option<Start>,
}

/// The runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub folder: PathBuf,
    /// The whole environment: nothing of the server's own is added.
    pub variables: Vec<(String, String)>,
}

/// What the launcher or the init says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The runtime runs, or the trial went well. The listeners come with it.
    Started {
        /// Whether Landlock holds.
        landlock: bool,
    },
    /// A wall cannot be built.
    Failed(String),
    /// How the runtime ended, as the kernel says it.
    Ended(i32),
    /// The launcher goes, last of all.
    Gone,
}
