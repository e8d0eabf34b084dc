//! kinesis-local: the npm package of kinesis-mock, Scala compiled to JavaScript.

use std::process::Command;

use super::{Contender, Place, Protocol};

pub const MEMORY: Contender = Contender {
    name: "kinesis-local",
    peer: Some("kinesis-local"),
    durability: "none: memory only (its default)",
    callers: "signature not verified",
    protocol: Protocol::Kinesis,
    keeps: false,
    installed: "kinesis-local/node_modules/kinesis-local/main.js",
    command,
};

fn command(place: &Place<'_>) -> anyhow::Result<Command> {
    let mut command = Command::new("node");
    // It listens with TLS as well, on a port that nobody uses here.
    let unused = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    command
        .arg("main.js")
        .current_dir(place.peers.join("kinesis-local/node_modules/kinesis-local"))
        .env("KINESIS_MOCK_PLAIN_PORT", place.port.to_string())
        .env("KINESIS_MOCK_TLS_PORT", unused.to_string())
        .env("CREATE_STREAM_DURATION", "1ms")
        .env("SHARD_LIMIT", "10000")
        .env("LOG_LEVEL", "ERROR");
    Ok(command)
}
