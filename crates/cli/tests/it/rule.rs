//! `tidegate rule test` as a process: exit codes, sources, what a program reads.

use std::io::Write as _;
use std::process::{Output, Stdio};

use base::{Fs, RealFs};
use serde_json::Value;

use crate::process::{run, tidegate};

const PATTERN: &str = r#"{"detail":{"state":["running",{"prefix":"stop"}]}}"#;

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_exit_code_says_whether_an_event_matched() {
    let matching = run(&["rule", "test", PATTERN, r#"{"detail":{"state":"stopped"}}"#]);
    assert_eq!(matching.status.code(), Some(0));
    let told = lines(&matching);
    assert_eq!((&told[0]["event"], &told[0]["matched"]), (&Value::from(1), &Value::from(true)));
    let field = &told[0]["alternatives"][0]["fields"][0];
    assert_eq!(field["path"], "detail.state");
    assert_eq!(field["verdict"], "matched");
    assert_eq!(field["found"][0]["value"], "\"stopped\"");

    assert_eq!(run(&["rule", "test", PATTERN, r#"{"detail":{}}"#]).status.code(), Some(1));
    let wrong = run(&["rule", "test", r#"{"a":[]}"#, "{}"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("Event pattern is not valid. Reason: Empty arrays are not allowed"), "{said}");
    let wrong = run(&["rule", "test", PATTERN, r#"{"detail":}"#]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn patterns_and_events_come_from_files_and_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        RealFs.write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        path.display().to_string()
    };
    let pattern = format!("@{}", path("pattern.json", PATTERN));
    let events = path("events.json", "{\n \"detail\": {\"state\": \"x\"}\n}\n{\"detail\":{\"state\":\"running\"}}\n");
    let told = lines(&run(&["rule", "test", &pattern, &events]));
    assert_eq!(told.iter().map(|event| event["matched"] == true).collect::<Vec<_>>(), [false, true]);

    let mut child = tidegate(&["rule", "test", &pattern]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"detail\":{\"state\":\"stopping\"}}\n{\"other\":1}\n").unwrap();
    let told = lines(&child.wait_with_output().unwrap());
    assert_eq!(told.iter().map(|event| event["matched"] == true).collect::<Vec<_>>(), [true, false]);
}
