//! Ways out of an environment, each tried behind the full walls. What is expected is the error that stops it.

mod exhaustion;
mod neighbours;
mod network;
mod outside;

use functions::Config;
use serde_json::{Value, json as value};

use crate::support::{Room, json};

const PROBES: &str = include_str!("sandbox/probes.py");

/// A room whose function `probe` tries what it is told. The sandbox is the full one: it is never lowered here.
pub async fn room(change: impl FnOnce(&mut Config)) -> Room {
    let room = Room::with(change).await;
    assert_eq!(room.functions.refusal(), None, "the walls cannot be built here");
    room.python_with("probe", PROBES, |s| {
        s.timeout = 30.try_into().unwrap();
        s.memory = 256.try_into().unwrap();
    })
    .await;
    room
}

/// What a probe says, with `more` in its event.
pub async fn probe(room: &Room, name: &str, more: Value) -> Value {
    let mut event = more.as_object().cloned().unwrap_or_default();
    event.insert("probe".to_owned(), name.into());
    let outcome = room.call("probe", &Value::from(event).to_string()).await;
    assert_eq!(outcome.error, None, "{name}: {}", String::from_utf8_lossy(&outcome.payload));
    json(&outcome.payload)
}

/// Probes and the answers of which each must give one; all are tried, and those that got through are told together.
pub async fn all(room: &Room, probes: &[(&str, Value, &[&str])]) {
    let mut through = Vec::new();
    for (name, more, expected) in probes {
        let answer = probe(room, name, more.clone()).await;
        if !expected.iter().any(|expected| answer == *expected) {
            through.push(format!("{name} {more}: {answer} instead of {expected:?}"));
        }
    }
    assert!(through.is_empty(), "{}", through.join("\n"));
}

/// Whether a wall of this machine is missing; then what needs it is not tried, and that is said.
pub fn lacks(room: &Room, wall: &str) -> bool {
    let missing = room.functions.walls().missing().iter().find(|missing| missing.wall.contains(wall));
    if let Some(missing) = missing {
        println!("skipped: this machine has no {}: {}", missing.wall, missing.reason);
    }
    missing.is_some()
}

pub fn none() -> Value {
    value!({})
}
