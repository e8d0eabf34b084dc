//! Who is measured, and how each is started. One file a program; what it promises is said beside every figure.

mod fakecloud;
mod kafka;
mod kinesalite;
mod kinesis_local;
mod moto;
mod server;
mod tidegate;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use server::Server;

use crate::load::Keys;

/// What it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The Kinesis API, JSON over HTTP/1.1.
    Kinesis,
    /// Kafka's.
    Kafka,
}

/// A program to measure, in one configuration.
pub struct Contender {
    /// As on the command line and in the report.
    pub name: &'static str,
    /// What `scripts/peers` calls it; `None` for Tidegate.
    pub peer: Option<&'static str>,
    /// What an acknowledgement promises.
    pub durability: &'static str,
    /// What it checks of the caller.
    pub callers: &'static str,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether anything of it outlives its process.
    pub keeps: bool,
    /// The file that must be there for it to start, below the folder of the peers.
    pub installed: &'static str,
    /// How it is started.
    pub command: fn(&Place<'_>) -> anyhow::Result<Command>,
}

/// Where a contender runs.
pub struct Place<'a> {
    /// Tidegate's binary.
    pub tidegate: &'a Path,
    /// Where `scripts/peers` installs.
    pub peers: &'a Path,
    /// A folder for its data, empty at its first start.
    pub data: &'a Path,
    /// The port of 127.0.0.1 to listen on.
    pub port: u16,
    /// The root keys.
    pub keys: &'a Keys,
    /// Settings of Tidegate beyond the defaults: environment variables.
    pub settings: &'a [(String, String)],
}

/// Every contender; Tidegate first, because the others' ratios refer to it.
pub const ALL: &[Contender] = &[
    tidegate::TIDEGATE,
    fakecloud::MEMORY,
    fakecloud::PERSISTENT,
    kinesalite::MEMORY,
    kinesalite::DISK,
    kinesis_local::MEMORY,
    moto::MEMORY,
    kafka::DEFAULT,
    kafka::FLUSHED,
];

/// The one of this name.
pub fn named(name: &str) -> Result<&'static Contender, String> {
    let known = || ALL.iter().map(|contender| contender.name).collect::<Vec<_>>().join(", ");
    ALL.iter()
        .find(|contender| contender.name == name)
        .ok_or_else(|| format!("no such contender; there are {}", known()))
}

impl Contender {
    /// Why it cannot be measured here, if so.
    pub fn absent(&self, tidegate: &Path, peers: &Path) -> Option<String> {
        let (file, cure): (PathBuf, _) = match self.peer {
            None => (tidegate.to_owned(), "cargo build --release --package tidegate".to_owned()),
            Some(peer) => (peers.join(self.installed), format!("run scripts/peers {peer}")),
        };
        (!file.exists()).then(|| format!("not installed ({cure})"))
    }
}
