//! moto: the Python mock of AWS, as a server.

use std::process::Command;

use super::{Contender, Place, Protocol};

pub const MEMORY: Contender = Contender {
    name: "moto",
    peer: Some("moto"),
    durability: "none: memory only",
    callers: "signature not verified",
    protocol: Protocol::Kinesis,
    keeps: false,
    installed: "moto/bin/moto_server",
    command,
};

fn command(place: &Place<'_>) -> anyhow::Result<Command> {
    let mut command = Command::new(place.peers.join(MEMORY.installed));
    command.args(["--host", "127.0.0.1", "--port", &place.port.to_string()]);
    Ok(command)
}
