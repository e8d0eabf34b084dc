//! Tidegate as its users start it.

use std::process::Command;

use super::{Contender, Place, Protocol};

pub const TIDEGATE: Contender = Contender {
    name: "tidegate",
    peer: None,
    durability: "every acknowledgement after fdatasync",
    callers: "SigV4 verified",
    protocol: Protocol::Kinesis,
    keeps: true,
    installed: "",
    command,
};

fn command(place: &Place<'_>) -> anyhow::Result<Command> {
    let mut command = Command::new(place.tidegate);
    command
        .args(["serve", "--listen", &format!("127.0.0.1:{}", place.port), "--data-dir"])
        .arg(place.data)
        .env("TIDEGATE_ROOT_ACCESS_KEY_ID", &place.keys.access)
        .env("TIDEGATE_ROOT_SECRET_ACCESS_KEY", &place.keys.secret)
        .env("TIDEGATE_LOGGING_LEVEL", "warn")
        // Calls are signed before the clock starts, and the largest runs take longer than the usual five minutes.
        .env("TIDEGATE_AUTH_MAX_SKEW_SECONDS", "3600")
        .envs(place.settings.iter().map(|(name, value)| (name, value)));
    Ok(command)
}
