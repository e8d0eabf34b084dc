//! Resources: what an environment takes too much of ends in it, at its bound, and the next call finds all of it again.

use std::time::Duration;

use serde_json::{Value, json as value};

use super::{none, probe, room};
use crate::support::{Room, json, living};

async fn bounded(room: &Room, name: &str, least: u64, most: u64, error: &str) {
    let answer = probe(room, name, none()).await;
    let (taken, stopped) = (answer[0].as_u64().unwrap(), &answer[1]);
    println!("{name}: {answer}");
    assert!((least..=most).contains(&taken) && stopped == error, "{name}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_files_and_disk_end_at_their_bounds() {
    let room = room(|_| {}).await;
    bounded(&room, "open files", 900, 1_024, "EMFILE").await;
    bounded(&room, "fill disk", 500, 512, "ENOSPC").await;
    let change = functions::SettingsChange { temporary: Some(1_024.try_into().unwrap()), ..Default::default() };
    room.functions.update_settings(&crate::support::scope(), &"probe".parse().unwrap(), change, None).await.unwrap();
    bounded(&room, "fill disk", 1_000, 1_024, "ENOSPC").await;
    bounded(&room, "fill inodes", 200_000, 262_144, "ENOSPC").await;
    bounded(&room, "thread bomb", 100, 1_024, "EAGAIN").await;
    // A thousand processes have more memory of their own than the others' function may.
    let change = functions::SettingsChange { memory: Some(3_008.try_into().unwrap()), ..Default::default() };
    room.functions.update_settings(&crate::support::scope(), &"probe".parse().unwrap(), change, None).await.unwrap();
    bounded(&room, "fork bomb", 100, 1_024, "EAGAIN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_that_hangs_is_ended_in_time_and_nothing_is_left() {
    let room = room(|_| {}).await;
    let source = "import os, signal\nprint('stream ' + os.environ['AWS_LAMBDA_LOG_STREAM_NAME'])\ndef handler(e, c):\n    \
                  while True:\n        try:\n            os.fork()\n        except OSError:\n            pass\n";
    room.python_with("bomb", source, |s| {
        s.timeout = 1.try_into().unwrap();
        // Else it would run out of memory first.
        s.memory = 3_008.try_into().unwrap();
    })
    .await;
    let start = room.env.clock.instant();
    let outcome = room.call("bomb", "{}").await;
    println!("a fork bomb with a timeout of 1 s was answered after {:?}", room.env.clock.instant() - start);
    let error = json(&outcome.payload);
    assert!(error["errorMessage"].as_str().unwrap().contains("Task timed out after 1.00 seconds"), "{error}");
    let lines = room.lines_with("stream ").await;
    let stream = lines.iter().find_map(|line| line.strip_prefix("stream ")).unwrap();
    room.until(|| (living(stream) == 0).then_some(())).await;
    // The server and its other functions go on.
    assert_eq!(probe(&room, "processes", none()).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_ends_at_its_bound_however_it_is_taken() {
    let room = room(|_| {}).await;
    for name in ["eat memory", "eat memory in children", "eat memory by mapping"] {
        let start = room.env.clock.instant();
        let outcome = room.call("probe", &value!({"probe": name}).to_string()).await;
        let error: Value = json(&outcome.payload);
        assert_eq!(error["errorType"], "Runtime.OutOfMemory", "{name}: {error}");
        println!("{name}: ended after {:?}", room.env.clock.instant() - start);
        assert!(room.env.clock.instant() - start < Duration::from_secs(20));
    }
    assert_eq!(probe(&room, "processes", none()).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_its_group_and_session_ends_with_the_environment() {
    let room = room(|c| c.idle_timeout = Duration::from_millis(50)).await;
    let stream = probe(&room, "die with children", none()).await;
    room.until(|| (living(stream.as_str().unwrap()) == 0).then_some(())).await;
}
