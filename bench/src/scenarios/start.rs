//! From the start of the process to its first answer, with nothing on disk.

use std::time::Duration;

use crate::contenders::{Contender, Server};
use crate::options::Options;
use crate::report::{Better, Row};

const STARTS: usize = 3;
/// How long a contender may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The median of three starts.
pub async fn measure(name: String, contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let mut times = Vec::new();
    let mut memory = None;
    for _ in 0..STARTS {
        let mut server = Server::prepare(contender, options, &[])?;
        times.push(server.start().await?.as_secs_f64());
        memory = Some(server.usage());
        server.stop(PATIENCE).await?;
    }
    times.sort_by(f64::total_cmp);
    let mut row = Row::new(name, times[STARTS / 2], "s", Better::Less);
    row.memory = memory;
    Ok(row)
}
