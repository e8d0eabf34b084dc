//! Other environments: of another function, and of the same one at the same time.

use serde_json::{Value, json as value};

use super::{PROBES, none, probe, room};
use crate::support::{Room, json};

async fn ask(room: &Room, function: &str, event: Value) -> Value {
    json(&room.call(function, &event.to_string()).await.payload)
}

async fn two() -> Room {
    let room = room(|_| {}).await;
    room.python_with("other", PROBES, |s| s.timeout = 20.try_into().unwrap()).await;
    room
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_share_nothing() {
    let room = two().await;
    // Files.
    assert_eq!(probe(&room, "exchange", none()).await, "written");
    assert_eq!(probe(&room, "exchange", none()).await, true);
    assert_eq!(ask(&room, "other", value!({"probe": "exchange"})).await, "written");
    // Memory.
    assert_eq!(probe(&room, "shared memory", value!({"make": true})).await, true);
    assert_eq!(probe(&room, "shared memory", value!({"make": false})).await, true);
    assert_eq!(ask(&room, "other", value!({"probe": "shared memory", "make": false})).await, "ENOENT");
    // Sockets without a path.
    assert_eq!(probe(&room, "abstract bind", value!({"name": "meet"})).await, "bound");
    assert_eq!(probe(&room, "abstract connect", value!({"name": "meet"})).await, "connected");
    let there = ask(&room, "other", value!({"probe": "abstract connect", "name": "meet"})).await;
    assert_eq!(there, "ECONNREFUSED");
    // Processes: each sees itself and its init.
    assert_eq!(ask(&room, "other", value!({"probe": "processes"})).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invocation_of_another_cannot_be_answered() {
    let room = std::sync::Arc::new(two().await);
    let source =
        "import time\ndef handler(e, c):\n    print('id ' + c.aws_request_id)\n    time.sleep(1)\n    return 'own'\n";
    room.python_with("victim", source, |s| s.timeout = 20.try_into().unwrap()).await;
    let victim = {
        let room = std::sync::Arc::clone(&room);
        tokio::spawn(async move { room.call("victim", "{}").await })
    };
    let lines = room.lines_with("id ").await;
    let id = lines.iter().find_map(|line| line.strip_prefix("id ")).unwrap();
    assert_eq!(probe(&room, "runtime api", value!({"id": id})).await, 400, "no such invocation here");
    assert_eq!(victim.await.unwrap().payload, "\"own\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_environment_has_its_own_user() {
    let room = two().await;
    if super::lacks(&room, "a user of its own") {
        return;
    }
    let (first, second) = (probe(&room, "user", none()).await, ask(&room, "other", value!({"probe": "user"})).await);
    assert_ne!(first[0], second[0]);
    for user in [first, second] {
        assert!(user[0].as_u64().unwrap() >= 1_900_000_000, "{user}");
        assert_eq!((&user[0], &user[0], &user[3]), (&user[1], &user[2], &value!([])));
    }
}
