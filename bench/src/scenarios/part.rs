//! A figure's parts: what one contender is asked at a time.

use super::{
    BATCH, CONNECTIONS, alert, backlog, bus, cold, functions, overload, put, read, restart, segments, shards, single,
    start, subscribe, volume,
};
use crate::contenders::Contender;
use crate::options::{Figure, Options};
use crate::report::Row;

/// One measurement with its parameters.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    Start,
    Put { bytes: usize },
    Single { bytes: usize, connections: usize },
    Read { bytes: usize },
    Restart,
    Own(Figure),
}

/// The parts of a figure.
pub fn parts(figure: Figure, options: &Options) -> Vec<Part> {
    let sizes = options.bytes.iter().copied();
    match figure {
        Figure::Start => vec![Part::Start],
        Figure::Put => sizes.map(|bytes| Part::Put { bytes }).collect(),
        Figure::Single => {
            sizes.flat_map(|bytes| [16, 64].map(|connections| Part::Single { bytes, connections })).collect()
        }
        Figure::Read => sizes.map(|bytes| Part::Read { bytes }).collect(),
        Figure::Restart => vec![Part::Restart],
        own => vec![Part::Own(own)],
    }
}

impl Part {
    /// What it is called in the report.
    pub fn name(self, options: &Options) -> String {
        let shards = options.shards;
        match self {
            Self::Start => "start on an empty folder: process to first answer, median of 3".to_owned(),
            Self::Put { bytes } => {
                format!("put batches of {BATCH} x {bytes} B, {shards} shards, {CONNECTIONS} connections")
            }
            Self::Single { bytes, connections } => {
                format!("put single records of {bytes} B, {shards} shards, {connections} connections")
            }
            Self::Read { bytes } => format!("read back {bytes} B records just written, {shards} shards, a reader each"),
            Self::Restart => "kill -9 and restart with a log: process to first record read".to_owned(),
            Self::Own(figure) => format!("{figure:?}").to_lowercase(),
        }
    }

    /// Measures it on a fresh server.
    pub async fn measure(self, contender: &'static Contender, options: &Options) -> anyhow::Result<Vec<Row>> {
        let name = self.name(options);
        Ok(match self {
            Self::Start => vec![start::measure(name, contender, options).await?],
            Self::Put { bytes } => vec![put::measure(name, bytes, contender, options).await?],
            Self::Single { bytes, connections } => {
                vec![single::measure(name, bytes, connections, contender, options).await?]
            }
            Self::Read { bytes } => vec![read::measure(name, bytes, contender, options).await?],
            Self::Restart => vec![restart::measure(name, contender, options).await?],
            Self::Own(Figure::Cold) => vec![cold::measure(contender, options).await?],
            Self::Own(Figure::Subscribe) => subscribe::measure(contender, options).await?,
            Self::Own(Figure::Shards) => shards::measure(contender, options).await?,
            Self::Own(Figure::Volume) => volume::measure(contender, options).await?,
            Self::Own(Figure::Segments) => segments::measure(contender, options).await?,
            Self::Own(Figure::Bus) => vec![bus::measure(contender, options).await?],
            Self::Own(Figure::Entered) => vec![functions::events(contender, options).await?],
            Self::Own(Figure::Calls) => vec![functions::calls(contender, options).await?],
            Self::Own(Figure::Records) => functions::records(contender, options).await?,
            Self::Own(Figure::Batches) => vec![functions::batches(contender, options).await?],
            Self::Own(Figure::Idle) => vec![functions::idle(contender, options).await?],
            Self::Own(Figure::Backlog) => vec![backlog::measure(contender, options).await?],
            Self::Own(Figure::Overload) => overload::measure(contender, options).await?,
            Self::Own(_) => vec![alert::measure(contender, options).await?],
        })
    }
}
