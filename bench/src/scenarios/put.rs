//! Batches of 500 records, each call signed on its own.

use std::sync::Arc;

use super::{BATCH, CALLS, CONNECTIONS, STREAM};
use crate::contenders::{Contender, Server};
use crate::load::{Load, Records, drive};
use crate::options::Options;
use crate::report::Row;

/// Records a second.
pub async fn measure(
    name: String,
    bytes: usize,
    contender: &'static Contender,
    options: &Options,
) -> anyhow::Result<Row> {
    let server = Server::fresh(contender, options).await?;
    server.client.create(STREAM, options.shards).await?;
    let load = batches(&server, STREAM, options.shards, bytes, options)?;
    let driven = drive(&server.client, &load, || server.usage()).await?;
    Ok(Row::driven(name, driven, server.usage()))
}

/// The load of batches, with as many distinct calls as asked for.
pub fn batches(server: &Server, stream: &str, shards: u32, bytes: usize, options: &Options) -> anyhow::Result<Load> {
    let calls = server.client.calls(stream, shards, &Records::of(bytes, 1), CALLS, BATCH)?;
    Ok(Load {
        calls: Arc::new(calls),
        records: BATCH,
        connections: CONNECTIONS,
        duration: options.duration(),
        throttling: false,
    })
}
