//! Chores of the repository: work that a person starts now and then, not part of any build.
//!
//! Owns the refreshing of the service models. Must not be needed to build or test.
#![allow(clippy::disallowed_methods, reason = "a chore reads and writes the repository's own files")]
#![allow(clippy::print_stdout, reason = "its output is for the person who started it")]

mod models;
mod render;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Chores of the Tidegate repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Rewrites crates/wire/models from the service models of a botocore installation.
    Models {
        /// The installed botocore package, such as venv/lib/python3.13/site-packages/botocore.
        #[arg(long)]
        botocore: PathBuf,
        /// Where operations.toml is and the models go.
        #[arg(long, default_value = "crates/wire/models")]
        models: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::Models { botocore, models } => models::refresh(&botocore, &models),
    }
}
