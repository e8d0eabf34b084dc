//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::contenders::{self, Contender};

/// Measures Tidegate, alone or beside its peers, and prints the conditions beside every figure.
///
/// Nothing is asserted: the reader compares. Each figure has a server of its own on a fresh folder; the load generator
/// shares the machine with it.
#[derive(Parser)]
pub struct Options {
    /// The server binary to measure.
    #[arg(long, default_value = "target/release/tidegate")]
    pub server: PathBuf,
    /// A folder on the disk to measure; fresh folders are made in it and removed again.
    #[arg(long, default_value = "target")]
    pub folder: PathBuf,
    /// Where scripts/peers installs.
    #[arg(long, default_value = ".peers")]
    pub peers: PathBuf,
    /// How long each figure is measured, after a warm-up of half of it.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Who is measured.
    #[arg(long, value_delimiter = ',', value_parser = contenders::named, default_value = "tidegate")]
    pub contenders: Vec<&'static Contender>,
    /// Everyone is measured.
    #[arg(long, conflicts_with = "contenders")]
    pub all: bool,
    /// Bytes of a record; several are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "200")]
    pub bytes: Vec<usize>,
    /// Shards, or partitions, of the streams.
    #[arg(long, default_value_t = 4)]
    pub shards: u32,
    /// Records written before a restart and before a cold read, at most.
    #[arg(long, default_value_t = 2_000_000)]
    pub log_records: u64,
    /// Megabytes that the log of figure `volume` grows to.
    #[arg(long, default_value_t = 20_000)]
    pub volume_mb: u64,
    /// Segments of the log of figure `segments`.
    #[arg(long, default_value_t = 10_000)]
    pub segments: usize,
    /// A JSON line for each figure instead of the tables.
    #[arg(long)]
    pub json: bool,
    /// What to measure.
    #[arg(value_enum, default_values_t = [Figure::Start, Figure::Put, Figure::Single, Figure::Read, Figure::Restart])]
    pub figures: Vec<Figure>,
}

impl Options {
    /// The time that each figure is measured.
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Who is measured.
    pub fn contenders(&self) -> Vec<&'static Contender> {
        if self.all { contenders::ALL.iter().collect() } else { self.contenders.clone() }
    }
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// From the start of the process to the first answer.
    Start,
    /// Batches of 500 records.
    Put,
    /// Single records over 16 and 64 connections.
    Single,
    /// Reading back what was just written.
    Read,
    /// A kill and a restart with a large log: time to the first answer, and what is still there.
    Restart,
    /// Tidegate: reading a log that is in no cache.
    Cold,
    /// Tidegate: from a put to a waiting SubscribeToShard.
    Subscribe,
    /// Tidegate: 1 to 1,000 shards, every batch spread over all of them.
    Shards,
    /// Tidegate: cost of a record while the log grows.
    Volume,
    /// Tidegate: ready after a clean stop and after a kill with many segments.
    Segments,
    /// Tidegate: memory under ten times the load that it can take.
    Overload,
    /// Tidegate: events through a bus with a hundred rules to streams.
    Bus,
    /// Tidegate: from PutEvents to the first line of a warm Python function.
    Entered,
    /// Tidegate: how often one environment is called.
    Calls,
    /// Tidegate: from a put to the first line of a warm function, compiled and in Python.
    Records,
    /// Tidegate: processor time for batches through a Python function.
    Batches,
    /// Tidegate: processor time of 500 event-source mappings without records.
    Idle,
    /// Tidegate: from PutEvents to the webhook, through a warm Python function.
    Alert,
    /// Tidegate: what gathered while a webhook was away, told while more keeps coming.
    Backlog,
}

impl Figure {
    /// Whether only Tidegate is asked.
    pub fn own(self) -> bool {
        !matches!(self, Self::Start | Self::Put | Self::Single | Self::Read | Self::Restart)
    }
}
