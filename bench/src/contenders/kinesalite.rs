//! kinesalite: the Kinesis API on LevelDB, in Node.js.

use std::process::Command;

use super::{Contender, Place, Protocol};

pub const MEMORY: Contender = Contender {
    name: "kinesalite-memory",
    peer: Some("kinesalite"),
    durability: "none: memory only",
    callers: "signature not verified",
    protocol: Protocol::Kinesis,
    keeps: false,
    installed: "kinesalite/node_modules/kinesalite/cli.js",
    command: |place| Ok(command(place)),
};

pub const DISK: Contender = Contender {
    name: "kinesalite-disk",
    durability: "LevelDB, written without sync",
    keeps: true,
    command: |place| {
        let mut command = command(place);
        command.arg("--path").arg(place.data);
        Ok(command)
    },
    ..MEMORY
};

fn command(place: &Place<'_>) -> Command {
    let mut command = Command::new("node");
    command.arg(place.peers.join(MEMORY.installed)).args(["--port", &place.port.to_string()]);
    // Streams are made at once, and as many shards as a scenario asks for.
    command.args(["--createStreamMs", "0", "--shardLimit", "10000"]);
    command
}
