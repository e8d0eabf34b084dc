//! What a record costs with 1 and with 1,000 shards, every batch spread over all of them.

use super::compare::{ROUNDS, change};
use super::{BATCH, CONNECTIONS, put};
use crate::contenders::{Contender, Server};
use crate::load::{Driven, drive};
use crate::options::Options;
use crate::report::Row;

const COUNTS: [u32; 2] = [1, 1_000];

/// A row for each count; both streams live on one server.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Vec<Row>> {
    let server = Server::fresh(contender, options).await?;
    let mut streams = Vec::new();
    for shards in COUNTS {
        let stream = format!("bench-{shards}");
        server.client.create(&stream, shards).await?;
        streams.push((put::batches(&server, &stream, shards, 200, options)?, Driven::default()));
    }
    for _ in 0..ROUNDS {
        for (load, driven) in &mut streams {
            driven.merge(drive(&server.client, load, || server.usage()).await?);
        }
    }
    let against = change(&streams[0].1, &streams[1].1);
    let mut rows = Vec::new();
    for ((_, driven), shards) in streams.into_iter().zip(COUNTS) {
        let name = format!("put batches of {BATCH} x 200 B, each over {shards} shards, {CONNECTIONS} connections");
        let note = if shards == 1 { String::new() } else { format!("against 1 shard: {against}") };
        rows.push(Row::driven(name, driven, server.usage()).note(note));
    }
    Ok(rows)
}
