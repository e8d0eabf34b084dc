//! Packages that bring their own runtime.

use serde_json::json as value;

use crate::support::{Room, json, zip};

/// A runtime in shell and a few lines of Python for HTTP, so that nothing needs to be installed.
const BOOTSTRAP: &str = r#"#!/bin/sh
exec python3 - <<'END'
import http.client, json, os
while True:
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    event = api.getresponse()
    id, body = event.headers["Lambda-Runtime-Aws-Request-Id"], event.read()
    api.request("POST", "/2018-06-01/runtime/invocation/not-" + id + "/response", b"{}")
    refused = api.getresponse()
    refused.read()
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    again = api.getresponse()
    again.read()
    answer = {"refused": refused.status, "again": again.status, "deadline": event.headers["Lambda-Runtime-Deadline-Ms"],
              "handler": os.environ["_HANDLER"], "root": os.environ["LAMBDA_TASK_ROOT"] == os.getcwd(),
              "event": json.loads(body)}
    api.request("POST", "/2018-06-01/runtime/invocation/" + id + "/response", json.dumps(answer).encode())
    api.getresponse().read()
END
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_bootstrap_speaks_the_runtime_api() {
    let room = Room::new().await;
    let archive = zip(&[("bootstrap", BOOTSTRAP.as_bytes(), 0o755)]);
    room.create("own", "provided.al2023", "any.thing", archive, |s| s.timeout = 20.try_into().unwrap()).await.unwrap();
    for n in 0..3 {
        let outcome = room.call("own", &n.to_string()).await;
        assert_eq!(outcome.error, None, "{outcome:?}");
        let answer = json(&outcome.payload);
        assert_eq!((&answer["refused"], &answer["again"]), (&value!(400), &value!(403)));
        assert_eq!(
            (&answer["handler"], &answer["root"], &answer["event"]),
            (&value!("any.thing"), &value!(true), &value!(n))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_without_bootstrap_is_said_to_have_none() {
    let room = Room::new().await;
    let archive = zip(&[("other", b"", 0o755)]);
    room.create("none", "provided", "h", archive, |_| {}).await.unwrap();
    let outcome = room.call("none", "{}").await;
    assert_eq!(json(&outcome.payload)["errorType"], "Runtime.InvalidEntrypoint");
    assert!(outcome.log_tail.unwrap().contains("Couldn't find valid bootstrap(s)"));
    room.lines_with("REPORT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_cannot_run_is_an_exit() {
    let room = Room::new().await;
    let archive = zip(&[("bootstrap", b"#!/bin/sh\nexit 0\n", 0o644)]);
    room.create("mode", "provided.al2", "h", archive, |_| {}).await.unwrap();
    let outcome = room.call("mode", "{}").await;
    let error = json(&outcome.payload);
    assert!(error["errorMessage"].as_str().unwrap().ends_with("exit status 126"), "{error}");
    assert!(outcome.log_tail.unwrap().contains("ermission denied"));
}
