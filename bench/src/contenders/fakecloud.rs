//! fakecloud: an AWS emulator in Rust, AGPL. Run as a process, never linked.

use std::process::Command;

use super::{Contender, Place, Protocol};

pub const MEMORY: Contender = Contender {
    name: "fakecloud-memory",
    peer: Some("fakecloud"),
    durability: "none: memory only",
    callers: "signature not verified (its default)",
    protocol: Protocol::Kinesis,
    keeps: false,
    installed: "fakecloud/bin/fakecloud",
    command: |place| Ok(command(place)),
};

pub const PERSISTENT: Contender = Contender {
    name: "fakecloud-persistent",
    durability: "all state written anew and fsynced after every call",
    keeps: true,
    command: |place| {
        let mut command = command(place);
        command.args(["--storage-mode", "persistent", "--data-path"]).arg(place.data);
        Ok(command)
    },
    ..MEMORY
};

fn command(place: &Place<'_>) -> Command {
    let mut command = Command::new(place.peers.join(MEMORY.installed));
    command.args(["--addr", &format!("127.0.0.1:{}", place.port), "--log-level", "error"]);
    command
}
