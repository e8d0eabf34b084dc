//! Power cuts and failing calls at every step of a script of writes: what is acknowledged survives, once.

use std::collections::BTreeMap;

use base::fs::sim::{Call, Fault, SimFs};
use serde_json::{Value, json};

use crate::client::{Client, env};

/// The documents that a script leaves, by id.
type State = BTreeMap<String, Value>;

/// One request and what it does to the state.
fn script(rounds: u64) -> Vec<Vec<(&'static str, String, u64)>> {
    let index = |id: u64, n: u64| ("index", format!("d{id}"), n);
    let mut steps = vec![
        vec![index(1, 1), index(2, 1), index(3, 1)],
        vec![index(2, 2), index(4, 2), ("delete", "d1".to_owned(), 0)],
    ];
    for n in 0..rounds {
        steps.push(vec![index(2, 10 + n), index(100 + n, 10 + n)]);
    }
    steps.push(vec![("delete", "d4".to_owned(), 0), index(1, 99)]);
    steps
}

fn apply(state: &mut State, step: &[(&'static str, String, u64)]) {
    for (verb, id, n) in step {
        match *verb {
            "index" => _ = state.insert(id.clone(), json!({ "n": n, "fresh": format!("f{n}") })),
            _ => _ = state.remove(id),
        }
    }
}

/// Sends a step; whether every item was acknowledged.
async fn send(client: &Client, step: &[(&'static str, String, u64)]) -> bool {
    let mut body = String::new();
    for (verb, id, n) in step {
        body.push_str(&format!("{}\n", json!({ *verb: {"_index": "logs", "_id": id} })));
        if *verb == "index" {
            body.push_str(&format!("{}\n", json!({ "n": n, "fresh": format!("f{n}") })));
        }
    }
    let response = client.send("POST", "/_bulk", body).await;
    let answer: Value = serde_json::from_slice(response.body()).unwrap();
    // Deleting again what a replayed step had deleted is "not found", which is no failure.
    response.status() == 200 && answer["errors"] == false
}

/// What is searchable. Every id must be there once, and what is found must be what is stored.
async fn state(client: &Client) -> State {
    let (status, found) = client.call("POST", "/_search", json!({"size": 1_000})).await;
    assert_eq!(status, 200, "the index must be readable: {found}");
    let mut state = State::new();
    for hit in found["hits"]["hits"].as_array().unwrap() {
        let id = hit["_id"].as_str().unwrap().to_owned();
        let by_id = client.get(&format!("/logs/_doc/{id}")).await;
        assert_eq!(by_id["_source"], hit["_source"]);
        assert!(state.insert(id.clone(), hit["_source"].clone()).is_none(), "{id} is there twice");
    }
    state
}

/// Runs the script with one planned fault, then a power cut; `None` when the fault never struck.
async fn crash_at(
    nth: u64,
    kinds: &'static [Call],
    fault: Fault,
    rounds: u64,
    lying: bool,
) -> Option<Result<(), String>> {
    let fs = SimFs::new(nth);
    fs.set_lying_sync(lying);
    let env = env(&fs);
    let before = fs.calls(kinds);
    fs.fail(kinds, nth, fault);
    let Ok(index) = index::Index::open(&env, std::path::Path::new("/index"), crate::client::config()).await else {
        return Some(Ok(()));
    };
    let client = Client { index, scope: crate::client::scope("us-east-1") };
    let steps = script(rounds);
    let mut acknowledged = State::new();
    let mut done = 0;
    for step in &steps {
        let mut sent = send(&client, step).await;
        // A call that failed once must be the end of neither the index nor the script.
        if !sent && fault != Fault::Crash {
            sent = send(&client, step).await || send(&client, step).await;
            if !sent {
                return Some(Err(format!("step {done} fails again and again after {fault:?} at call {nth}")));
            }
        }
        if !sent {
            break;
        }
        apply(&mut acknowledged, step);
        done += 1;
    }
    if fault != Fault::Crash {
        assert_eq!(state(&client).await, acknowledged, "after {fault:?} at call {nth}");
    }
    client.index.close().await;
    let struck = fs.calls(kinds) - before >= nth;
    fs.power_cut();
    fs.set_lying_sync(false);

    let client = Client::on(&env, "/index").await;
    let mut with_next = acknowledged.clone();
    if let Some(step) = steps.get(done) {
        apply(&mut with_next, step);
    }
    let readable = client.call("POST", "/_search", json!({})).await;
    if readable.0 != 200 {
        return Some(Err(format!("not readable after call {nth}: {}", readable.1)));
    }
    let found = state(&client).await;
    if found != acknowledged && found != with_next {
        return Some(Err(format!("after call {nth} at step {done}: {found:?}, acknowledged {acknowledged:?}")));
    }
    // Everything again from the step that was not acknowledged: once.
    for step in &steps[done..] {
        assert!(send(&client, step).await, "after the crash at call {nth}");
        apply(&mut acknowledged, step);
    }
    assert_eq!(state(&client).await, acknowledged);
    client.index.close().await;
    struck.then_some(Ok(()))
}

async fn crash_everywhere(kinds: &'static [Call], fault: Fault, rounds: u64, stride: usize) -> u64 {
    let mut points = 0;
    for nth in (1..).step_by(stride) {
        match crash_at(nth, kinds, fault, rounds, false).await {
            None => break,
            Some(result) => result.unwrap(),
        }
        points += 1;
    }
    points
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_at_every_change_loses_nothing_acknowledged() {
    let points = crash_everywhere(Call::CHANGES, Fault::Crash, 0, 1).await;
    println!("{points} crash points");
    assert!(points > 60, "the script has more changes than {points}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_while_segments_are_merged_loses_nothing_acknowledged() {
    let points = crash_everywhere(Call::CHANGES, Fault::Crash, 12, 37).await;
    println!("{points} crash points");
    assert!(points > 10, "the script has more changes than {points}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_once_is_no_false_acknowledgement() {
    let points = crash_everywhere(Call::CHANGES, Fault::Eio, 0, 1).await;
    println!("{points} failing calls");
    assert!(points > 60, "the script has more changes than {points}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syncs_that_lie_are_caught() {
    for nth in 20..200 {
        match crash_at(nth, Call::CHANGES, Fault::Crash, 0, true).await {
            Some(Err(_)) => return,
            Some(Ok(())) => {}
            None => break,
        }
    }
    panic!("no crash lost anything although no sync was done: the test proves nothing");
}

/// A process that was started anew numbers its changes as the one before it did, and so names its files. What that one
/// left of a commit must not be in the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_commit_left_is_in_nobodys_way() {
    let steps = script(0);
    for nth in 1.. {
        let fs = SimFs::new(nth);
        let env = env(&fs);
        let client = Client::on(&env, "/index").await;
        assert!(send(&client, &steps[0]).await);
        fs.kill();
        let client = Client::on(&env, "/index").await;
        fs.fail(Call::CHANGES, nth, Fault::Crash);
        let sent = send(&client, &steps[1]).await;
        client.index.close().await;
        let struck = fs.is_off();
        fs.kill();
        let client = Client::on(&env, "/index").await;
        assert!(sent || send(&client, &steps[1]).await, "the step fails after a kill at its change {nth}");
        assert_eq!(state(&client).await.len(), 3);
        if !struck {
            assert!(nth > 10, "the step has more changes than {nth}");
            return;
        }
    }
}
