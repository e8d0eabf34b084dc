//! Scripts that start the runtime in its place.

use std::collections::BTreeMap;

use base::InvokeOutcome;
use functions::{LayerName, NewLayer, Settings};
use serde_json::json as value;

use crate::support::{Room, json, scope, zip};

/// Adds an option to the interpreter and a variable to its environment.
const SCRIPT: &[u8] = b"#!/bin/sh\nexport WRAPPED=$#:${2##*/}\nexec \"$1\" -O \"$2\"\n";
const SOURCE: &[u8] = b"import os, sys\ndef handler(e, c):\n    \
    return [os.environ.get('WRAPPED'), sys.flags.optimize, os.environ.get('AWS_LAMBDA_EXEC_WRAPPER')]\n";

fn wrapper(settings: &mut Settings, script: &str) {
    let name = "AWS_LAMBDA_EXEC_WRAPPER".to_owned();
    settings.variables = BTreeMap::from([(name, script.to_owned())]).try_into().unwrap();
}

async fn called(room: &Room, name: &str, script: &str) -> InvokeOutcome {
    let archive = zip(&[("app.py", SOURCE, 0o644), ("wrap", SCRIPT, 0o755), ("data", b"", 0o644)]);
    room.create(name, "python3.12", "app.handler", archive, |settings| wrapper(settings, script)).await.unwrap();
    room.call(name, "{}").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_the_package_or_a_layer_starts_the_runtime() {
    let room = Room::new().await;
    for (name, script) in [("absolute", "/var/task/wrap"), ("relative", "wrap")] {
        let answer = called(&room, name, script).await;
        assert_eq!(json(&answer.payload), value!(["2:bootstrap.py", 1, script]), "{answer:?}");
    }
    assert_eq!(json(&called(&room, "without", "").await.payload), value!([null, 0, ""]));
    let layer: LayerName = "layer".to_owned().try_into().unwrap();
    let archive = zip(&[("layered", SCRIPT, 0o755)]);
    let version = room.functions.publish_layer(&scope(), &layer, NewLayer::default(), archive).await.unwrap();
    let layers = room.functions.layers_by_arn(&scope(), &[version.arn()]).unwrap();
    let archive = zip(&[("app.py", SOURCE, 0o644)]);
    let with_layer = |settings: &mut Settings| {
        wrapper(settings, "/opt/layered");
        settings.layers = layers;
    };
    room.create("layered", "python3.12", "app.handler", archive, with_layer).await.unwrap();
    assert_eq!(json(&room.call("layered", "{}").await.payload), value!(["2:bootstrap.py", 1, "/opt/layered"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_not_there_or_no_program_is_an_exit_at_the_start() {
    let room = Room::new().await;
    for (name, script, status) in [("missing", "/opt/none", 127), ("data", "/var/task/data", 126)] {
        let outcome = called(&room, name, script).await;
        let error = json(&outcome.payload);
        assert_eq!(error["errorType"], "Runtime.ExitError");
        let how = format!("Error: Runtime exited with error: exit status {status}");
        assert!(error["errorMessage"].as_str().unwrap().ends_with(&how), "{error}");
        assert!(outcome.log_tail.unwrap().contains(&format!("{script}: ")));
    }
}

/// "Wrapper scripts are not supported on OS-only runtimes": there the variable is one like any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_provided_runtime_gets_the_variable_and_no_wrapper() {
    let room = Room::new().await;
    let bootstrap = b"#!/bin/sh\necho \"started $# $AWS_LAMBDA_EXEC_WRAPPER\"\nexit 3\n";
    let archive = zip(&[("bootstrap", bootstrap, 0o755), ("wrap", SCRIPT, 0o755)]);
    room.create("own", "provided.al2023", "x", archive, |settings| wrapper(settings, "/var/task/wrap")).await.unwrap();
    let outcome = room.call("own", "{}").await;
    assert!(outcome.log_tail.unwrap().contains("started 0 /var/task/wrap\n"));
}
