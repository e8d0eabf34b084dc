//! What a record costs with 1 and with 1,000 shards, every batch spread over all of them.

use super::{BATCH, CONNECTIONS, put};
use crate::contenders::{Contender, Server};
use crate::load::drive;
use crate::options::Options;
use crate::report::Row;

const COUNTS: [u32; 2] = [1, 1_000];

/// A row for each count; both streams live on one server and are measured in turn, so that drift hits both alike.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Vec<Row>> {
    let server = Server::fresh(contender, options).await?;
    let (mut rows, mut costs) = (Vec::new(), Vec::new());
    for shards in COUNTS {
        let stream = format!("bench-{shards}");
        server.client.create(&stream, shards).await?;
        let load = put::batches(&server, &stream, shards, 200, options)?;
        let driven = drive(&server.client, &load, || server.usage()).await?;
        let name = format!("put batches of {BATCH} x 200 B over {shards} shards, {CONNECTIONS} connections");
        costs.push((driven.server_us(), driven.rate()));
        rows.push(Row::driven(name, driven, server.usage()));
    }
    let ((cpu_1, rate_1), (cpu_n, rate_n)) = (costs[0], costs[1]);
    let note = format!(
        "against 1 shard: processor time a record {:+.0} %, time a record {:+.0} %",
        (cpu_n / cpu_1 - 1.0) * 100.0,
        (rate_1 / rate_n - 1.0) * 100.0
    );
    let last = rows.pop().map(|row| row.note(note));
    rows.extend(last);
    Ok(rows)
}
