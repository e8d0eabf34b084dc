//! Measures the real binary as its clients see it, and prints the conditions beside every figure.
//!
//! Each benchmark starts a server of its own on a fresh folder; the load generator shares the machine with it, as the
//! printed conditions say. Nothing here asserts: a figure is compared with its target by the reader.

mod alert;
mod conditions;
mod connection;
mod put;
mod quantiles;
mod server;
mod signing;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Benchmarks of Tidegate. Prints the machine's conditions, then a table of figures.
#[derive(Parser)]
struct Options {
    /// The server binary to measure.
    #[arg(long, default_value = "target/release/tidegate")]
    server: PathBuf,
    /// A folder on the disk to measure; a fresh folder is made in it and removed again.
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// How long each figure is measured, after a warm-up of a fifth of it.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections of the put benchmark.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Shards of the put benchmark's stream.
    #[arg(long, default_value_t = 4)]
    shards: u32,
    /// What to measure.
    #[arg(value_enum, default_values_t = [Figure::Put, Figure::Alert])]
    figures: Vec<Figure>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// PutRecords of 500 × 200 B, acknowledged after fsync.
    Put,
    /// From PutEvents to the webhook, through a warm Python function.
    Alert,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(options))
}

#[allow(clippy::print_stdout, reason = "the report is this program's purpose")]
async fn run(options: Options) -> anyhow::Result<()> {
    println!("{}", conditions::describe(&options.folder, &options.server)?);
    let duration = Duration::from_secs(options.seconds);
    for figure in &options.figures {
        let server = server::Server::start(&options.server, &options.folder).await?;
        let report = match figure {
            Figure::Put => put::measure(&server, options.connections, options.shards, duration).await,
            Figure::Alert => alert::measure(&server, duration).await,
        };
        let memory = server.peak_memory();
        server.stop().await?;
        println!("{}\n  server's peak memory {memory}\n", report?);
    }
    Ok(())
}
