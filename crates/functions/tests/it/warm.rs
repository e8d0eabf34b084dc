//! Which calls share a process.

use std::sync::Arc;

use base::{ConcurrencyLimit, ErrorKind, Invoke};
use functions::{CodeChange, SettingsChange};
use serde_json::json as value;

use crate::support::{Room, arn, json, living, scope, zip};

const COUNTER: &str = "import os\nn = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return [n, os.environ['AWS_LAMBDA_LOG_STREAM_NAME']]\n";

#[tokio::test(flavor = "multi_thread")]
async fn calls_one_after_another_share_a_process() {
    let room = Room::new().await;
    room.python("count", COUNTER).await;
    let first = json(&room.call("count", "{}").await.payload);
    for n in 2..50 {
        assert_eq!(json(&room.call("count", "{}").await.payload), value!([n, first[1]]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_the_same_time_do_not_and_the_limit_throttles() {
    // What stands for the server's endpoint holds each of them until all three are there.
    let endpoint = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", endpoint.local_addr().unwrap());
    let settings = |c: &mut functions::Config| (c.max_environments_per_function, c.endpoint_url) = (3, url);
    let room = Arc::new(Room::with(settings).await);
    let source = r#"
import os, socket, urllib.parse
def handler(event, context):
    server = urllib.parse.urlparse(os.environ["AWS_ENDPOINT_URL"])
    socket.create_connection((server.hostname, server.port)).recv(1)
    return os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
"#;
    room.python_with("slow", source, |s| s.timeout = 20.try_into().unwrap()).await;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let room = Arc::clone(&room);
            tokio::spawn(async move { json(&room.call("slow", "{}").await.payload).as_str().unwrap().to_owned() })
        })
        .collect();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(tokio::time::timeout(crate::support::PATIENCE, endpoint.accept()).await.unwrap().unwrap());
    }
    let error = room.try_call("slow", "{}").await.unwrap_err();
    assert_eq!((error.kind, error.limit), (ErrorKind::Throttled, Some(ConcurrencyLimit::Common)));
    assert!(error.message.contains("function slow is throttled"), "{}", error.message);
    drop(held);
    let mut streams = Vec::new();
    for call in calls {
        streams.push(call.await.unwrap());
    }
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_code_or_settings_replaces_the_process() {
    let room = Room::new().await;
    let name = "change".parse().unwrap();
    let created = room.python("change", COUNTER).await;
    let first = json(&room.call("change", "{}").await.payload);
    let variables = std::collections::BTreeMap::from([("A1".to_owned(), "2".to_owned())]);
    let change = SettingsChange { variables: Some(variables.try_into().unwrap()), ..SettingsChange::default() };
    let updated = room.functions.update_settings(&scope(), &name, change, Some(&created.revision)).await.unwrap();
    assert_ne!(updated.revision, created.revision);
    let second = json(&room.call("change", "{}").await.payload);
    assert_eq!(second[0], 1);
    assert_ne!(second[1], first[1]);
    room.until(|| (living(first[1].as_str().unwrap()) == 0).then_some(())).await;

    let archive = zip(&[("app.py", b"def handler(e, c):\n    return 'new'\n", 0o644)]);
    let stale = CodeChange {
        archive: archive.clone(),
        revision: Some(created.revision.clone()),
        dry_run: false,
        publish: false,
    };
    assert_eq!(
        base::Kinded::kind(&room.functions.update_code(&scope(), &name, stale).await.unwrap_err()),
        ErrorKind::Conflict
    );
    let dry = CodeChange { archive: archive.clone(), revision: None, dry_run: true, publish: false };
    let shown = room.functions.update_code(&scope(), &name, dry).await.unwrap();
    assert_ne!(shown.code, created.code);
    assert_eq!(json(&room.call("change", "{}").await.payload)[0], 2);
    room.functions
        .update_code(&scope(), &name, CodeChange { archive, revision: None, dry_run: false, publish: false })
        .await
        .unwrap();
    assert_eq!(room.call("change", "{}").await.payload, "\"new\"");
    // Of the old code nothing stays.
    let home = room.dir.join("000000000000/eu-central-1/change");
    room.until(|| (room.env.fs.read_dir(&home).unwrap().len() == 2).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_function_is_gone_with_code_and_processes() {
    let room = Room::new().await;
    room.python("gone", COUNTER).await;
    let first = json(&room.call("gone", "{}").await.payload);
    assert_eq!(living(first[1].as_str().unwrap()), 1);
    room.functions.delete(&scope(), &"gone".parse().unwrap()).await.unwrap();
    assert_eq!(room.try_call("gone", "{}").await.unwrap_err().kind, ErrorKind::NotFound);
    room.until(|| (living(first[1].as_str().unwrap()) == 0).then_some(())).await;
    let home = room.dir.join("000000000000/eu-central-1/gone");
    room.until(|| room.env.fs.read_dir(&home).unwrap().is_empty().then_some(())).await;
    room.python("gone", COUNTER).await;
    assert_eq!(json(&room.call("gone", "{}").await.payload)[0], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_ends() {
    let room = Room::with(|c| c.idle_timeout = std::time::Duration::from_millis(50)).await;
    room.python("idle", COUNTER).await;
    let first = json(&room.call("idle", "{}").await.payload);
    room.until(|| (living(first[1].as_str().unwrap()) == 0).then_some(())).await;
    // Its temporary folder goes with it.
    let temporary = room.dir.join("tmp");
    room.until(|| room.env.fs.read_dir(&temporary).unwrap().is_empty().then_some(())).await;
    assert_eq!(json(&room.call("idle", "{}").await.payload)[0], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_died_between_calls_costs_no_call() {
    let room = Room::new().await;
    let source = "import os, threading\ndef handler(e, c):\n    \
                  threading.Timer(0.001, lambda: os._exit(3)).start()\n    return os.environ['AWS_LAMBDA_LOG_STREAM_NAME']\n";
    room.python("dies", source).await;
    for _ in 0..20 {
        let outcome = room.call("dies", "{}").await;
        let answer = json(&outcome.payload);
        // One that dies while it has the call fails it; one that dies before must not.
        assert!(outcome.error.is_none() || answer["errorType"] == "Runtime.ExitError", "{answer}");
        if let Some(stream) = answer.as_str() {
            room.until(|| (living(stream) == 0).then_some(())).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_survive_a_restart() {
    let room = Room::new().await;
    let created = room.python("stays", COUNTER).await;
    let again = room.reopened().await;
    assert_eq!(again.get(&scope(), &"stays".parse().unwrap()).unwrap(), created);
    assert_eq!(again.list(&scope()).len(), 1);
    let call = base::Invocation {
        function: arn("stays"),
        payload: Default::default(),
        request_id: None,
        client_context: None,
        want_log: false,
        trace: None,
    };
    assert_eq!(json(&again.invoke(call.clone()).await.unwrap().payload)[0], 1);
    // Should the unpacked code be lost, the archive is there.
    let home = room.dir.join("000000000000/eu-central-1/stays");
    for entry in room.env.fs.read_dir(&home).unwrap().into_iter().filter(|e| e.is_dir) {
        room.env.fs.remove_dir_all(&home.join(entry.name)).unwrap();
    }
    let third = room.reopened().await;
    assert_eq!(json(&third.invoke(call).await.unwrap().payload)[0], 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn warm_calls() {
    let room = Room::new().await;
    room.python("quick", "def handler(e, c):\n    return e\n").await;
    room.call("quick", "{}").await;
    let mut took = Vec::new();
    for _ in 0..500 {
        let start = room.env.clock.instant();
        room.call("quick", r#"{"Records": []}"#).await;
        took.push(room.env.clock.instant() - start);
    }
    took.sort_unstable();
    println!("warm call: p50 {:?}, p99 {:?}", took[250], took[495]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn cold_starts() {
    let compiled =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/handlers/go/target/bootstrap");
    // Without a launcher that works there are no walls.
    for (walls, launcher) in [("walls", None), ("no walls", Some("/bin/false"))] {
        let room = Room::with(|c| {
            c.strictness = functions::Strictness::Reduced;
            c.launcher = launcher.map_or_else(|| c.launcher.clone(), Into::into);
        })
        .await;
        room.python("python", "def handler(e, c):\n    return e\n").await;
        if room.env.fs.exists(&compiled).unwrap() {
            let archive = zip(&[("bootstrap", &room.env.fs.read(&compiled).unwrap(), 0o755)]);
            room.create("compiled", "provided.al2023", "any", archive, |_| {}).await.unwrap();
        }
        for name in room.functions.list(&scope()).into_iter().map(|function| function.name.to_string()) {
            let mut took = Vec::new();
            for round in 0..15 {
                let variables = std::collections::BTreeMap::from([("ROUND".to_owned(), round.to_string())]);
                let change =
                    SettingsChange { variables: Some(variables.try_into().unwrap()), ..SettingsChange::default() };
                room.functions.update_settings(&scope(), &name.parse().unwrap(), change, None).await.unwrap();
                let start = room.env.clock.instant();
                room.call(&name, "{}").await;
                took.push(room.env.clock.instant() - start);
            }
            took.sort_unstable();
            println!("{name} with {walls}: a first call takes {:?} (p50), {:?} (most)", took[7], took[14]);
        }
    }
}
