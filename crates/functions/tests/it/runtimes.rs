//! Runtimes by family: Node.js on its bootstrap, and what is started, or refused, for the others.

use base::{ErrorKind, Fs, Invocation, Invoke, Kinded, RealFs};
use base64::Engine;
use bytes::Bytes;
use serde_json::{Value, json as value};

use crate::support::{Room, arn, json, zip};

async fn node(room: &Room, name: &str, runtime: &str, handler: &str, files: &[(&str, &str)]) {
    let files: Vec<(&str, &[u8], u32)> = files.iter().map(|(name, text)| (*name, text.as_bytes(), 0o644)).collect();
    let created = room.create(name, runtime, handler, zip(&files), |s| s.timeout = 20.try_into().unwrap()).await;
    created.unwrap();
}

async fn index(room: &Room, name: &str, source: &str) {
    node(room, name, "nodejs20.x", "index.handler", &[("index.js", source)]).await;
}

fn error(outcome: &base::InvokeOutcome) -> (Value, Value) {
    assert_eq!(outcome.error.as_deref(), Some("Unhandled"));
    let document = json(&outcome.payload);
    (document["errorType"].clone(), document["errorMessage"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_handler_gets_event_and_context() {
    let room = Room::new().await;
    let source = r#"
exports.handler = async (event, context) => {
  console.log("seen", event, 7);
  return { event, name: context.functionName, version: context.functionVersion, arn: context.invokedFunctionArn,
    memory: context.memoryLimitInMB, id: context.awsRequestId, group: context.logGroupName,
    left: context.getRemainingTimeInMillis(), custom: context.clientContext.custom, trace: process.env._X_AMZN_TRACE_ID,
    execution: process.env.AWS_EXECUTION_ENV, root: process.env.LAMBDA_TASK_ROOT === process.cwd(), empty: undefined };
};"#;
    node(&room, "echo", "nodejs6.10", "index.handler", &[("index.js", source)]).await;
    let call = Invocation {
        function: arn("echo"),
        payload: Bytes::from_static("{\"a\": \"ü\"}".as_bytes()),
        request_id: Some("5a3bb6b2-0000-4000-8000-000000000001".to_owned()),
        client_context: Some(base64::engine::general_purpose::STANDARD.encode("{\"custom\": {\"who\": \"é\"}}")),
        want_log: true,
        trace: None,
    };
    let outcome = room.functions.invoke(call).await.unwrap();
    assert_eq!(outcome.error, None, "{outcome:?}");
    let seen = json(&outcome.payload);
    assert_eq!(seen["event"], value!({"a": "ü"}));
    assert_eq!(
        (&seen["name"], &seen["version"], &seen["memory"]),
        (&value!("echo"), &value!("$LATEST"), &value!("256"))
    );
    assert_eq!(seen["arn"], arn("echo").to_string());
    assert_eq!(seen["id"], "5a3bb6b2-0000-4000-8000-000000000001");
    assert_eq!((&seen["group"], &seen["custom"]), (&value!("/aws/lambda/echo"), &value!({"who": "é"})));
    assert_eq!((&seen["execution"], &seen["root"]), (&value!("AWS_Lambda_nodejs6.10"), &value!(true)));
    assert!((1..=20_000).contains(&seen["left"].as_i64().unwrap()), "{seen}");
    assert!(seen["trace"].as_str().unwrap().starts_with("Root=1-"));
    let tail = outcome.log_tail.unwrap();
    assert!(tail.contains("\t5a3bb6b2-0000-4000-8000-000000000001\tINFO\tseen { a: 'ü' } 7\n"), "{tail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_answer_is_understood() {
    let room = Room::new().await;
    let source = r#"
let left = "nothing";
exports.handler = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = event.waits !== false;
  const later = () => { left = "later"; };
  switch (event.way) {
    case "callback": setTimeout(later, 50); return callback(null, "answered");
    case "left": { const was = left; left = "nothing"; return callback(null, was); }
    case "late": return void setTimeout(() => callback(null, "late"), 20);
    case "twice": callback(null, 1); return callback(null, 2);
    case "succeed": return context.succeed("succeeded");
    case "done": return context.done(null, { done: true });
    case "promise": return new Promise((resolve) => setTimeout(resolve, 5, "kept"));
    case "never": return new Promise(() => {});
    case "big": return callback(null, "x".repeat(3 << 20));
    default: return undefined;
  }
};"#;
    index(&room, "ways", source).await;
    let call = async |event: Value| json(&room.call("ways", &event.to_string()).await.payload);
    assert_eq!(call(value!({"way": "callback"})).await, "answered");
    // The answer waited for the timer.
    assert_eq!(call(value!({"way": "left"})).await, "later");
    assert_eq!(call(value!({"way": "callback", "waits": false})).await, "answered");
    assert_eq!(call(value!({"way": "left", "waits": false})).await, "nothing");
    assert_eq!(call(value!({"way": "late"})).await, "late");
    assert_eq!(call(value!({"way": "twice"})).await, 2);
    assert_eq!(call(value!({"way": "succeed"})).await, "succeeded");
    assert_eq!(call(value!({"way": "done"})).await, value!({"done": true}));
    assert_eq!(call(value!({"way": "promise"})).await, "kept");
    assert_eq!(call(value!({"way": "never"})).await, value!(null));
    assert_eq!(call(value!({"way": "neither"})).await, value!(null));
    assert_eq!(call(value!({"way": "big"})).await.as_str().unwrap().len(), 3 << 20);
    assert_eq!(call(value!({"way": "big", "event": "y".repeat(2 << 20)})).await.as_str().unwrap().len(), 3 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_handler_raises_is_its_answer() {
    let room = Room::new().await;
    let source = r#"
class NoSuchThing extends Error { constructor(m) { super(m); this.name = "NoSuchThing"; } }
exports.handler = (event, context, callback) => {
  switch (event) {
    case "throw": throw new NoSuchThing("thrown");
    case "callback": return callback(new NoSuchThing("called back"));
    case "reject": return Promise.reject(new NoSuchThing("rejected"));
    case "fail": return context.fail("a text");
    case "circular": { const o = {}; o.o = o; return Promise.resolve(o); }
    case "stray": setTimeout(() => { throw new NoSuchThing("stray"); }, 1); return new Promise(() => {});
    case "unhandled": Promise.reject(new NoSuchThing("lost")); return new Promise((r) => setTimeout(r, 1000));
    default: return Promise.resolve(process.env.AWS_LAMBDA_LOG_STREAM_NAME);
  }
};"#;
    index(&room, "raise", source).await;
    let stream = room.call("raise", "0").await.payload;
    for (event, kind, message) in [
        ("throw", "NoSuchThing", "thrown"),
        ("callback", "NoSuchThing", "called back"),
        ("reject", "NoSuchThing", "rejected"),
        ("fail", "string", "a text"),
        ("circular", "Runtime.MarshalError", "Unable to stringify response body"),
    ] {
        let outcome = room.call("raise", &value!(event).to_string()).await;
        assert_eq!(error(&outcome), (value!(kind), value!(message)), "{event}");
        let tail = outcome.log_tail.unwrap();
        assert!(tail.contains("\tERROR\tInvoke Error\t{\"errorType\""), "{tail}");
    }
    let trace = json(&room.call("raise", "\"throw\"").await.payload)["trace"].clone();
    assert_eq!(trace[0], "NoSuchThing: thrown");
    assert!(trace[1].as_str().unwrap().contains("index.js:5:"), "{trace}");
    // None of these is the end of the process, the next two are.
    assert_eq!(room.call("raise", "0").await.payload, stream);
    assert_eq!(error(&room.call("raise", "\"stray\"").await), (value!("NoSuchThing"), value!("stray")));
    let lost = error(&room.call("raise", "\"unhandled\"").await);
    assert_eq!(lost, (value!("Runtime.UnhandledPromiseRejection"), value!("NoSuchThing: lost")));
    assert_ne!(room.call("raise", "0").await.payload, stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_of_both_kinds_are_loaded() {
    let room = Room::new().await;
    let module = "import { value } from './value.js';\nexport const handler = async () => value;\n";
    let described = "{\"type\": \"module\"}";
    let files = [("index.js", module), ("value.js", "export const value = 1;"), ("package.json", described)];
    node(&room, "described", "nodejs22.x", "index.handler", &files).await;
    let files = [
        (
            "src/app.mjs",
            "import { inner } from '../inner.mjs'; const own = await inner; export const api = { run: async () => own };",
        ),
        ("inner.mjs", "export const inner = Promise.resolve(2);"),
    ];
    node(&room, "named", "nodejs18.x", "src/app.api.run", &files).await;
    let files = [
        ("a.cjs", "exports.h = async () => require('three');"),
        ("node_modules/three/index.js", "module.exports = 3;"),
    ];
    node(&room, "common", "nodejs", "a.h", &files).await;
    let files = [("node_modules/four/index.js", "exports.h = async () => 4;"), ("x", "")];
    node(&room, "package", "nodejs24.x", "four.h", &files).await;
    for (name, expected) in [("described", "1"), ("named", "2"), ("common", "3"), ("package", "4")] {
        let outcome = room.call(name, "{}").await;
        assert_eq!(outcome.payload, expected, "{name}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_handler_that_is_not_there_is_named() {
    let room = Room::new().await;
    for (name, handler, source, kind, message) in [
        ("a", "gone.handler", "", "Runtime.ImportModuleError", "Error: Cannot find module 'gone'"),
        ("b", "index.gone", "", "Runtime.HandlerNotFound", "index.gone is undefined or not exported"),
        ("c", "index.x", "exports.x = 1;", "Runtime.HandlerNotFound", "index.x is not a function"),
        ("d", "index", "", "Runtime.MalformedHandlerName", "Bad handler"),
        ("e", "index..h", "", "Runtime.MalformedHandlerName", "'index..h' is not a valid handler name."),
        ("f", "index.h", "exports.h = (;", "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected token"),
        ("g", "index.h", "throw new RangeError('far');", "RangeError", "far"),
        (
            "h",
            "index.h",
            "exports.h = awslambda.streamifyResponse(() => {});",
            "Error",
            "response streaming is not available",
        ),
    ] {
        node(&room, name, "nodejs20.x", handler, &[("index.js", source)]).await;
        let outcome = room.call(name, "{}").await;
        let (got, text) = error(&outcome);
        assert_eq!(got, kind, "{outcome:?}");
        assert!(text.as_str().unwrap().starts_with(message), "{text}");
        assert!(outcome.log_tail.unwrap().contains("\tERROR\tUncaught Exception\t"));
    }
}

/// A program that is asked like `java`, and then says what it was started with by the Runtime API.
const FAKE: &str = r#"#!/bin/sh
if [ "$1" = -XshowSettings:properties ]; then echo "    java.home = ${0%/bin/java}" >&2; exit 0; fi
body=$(printf '%s|' "$@")
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
exec python3 - "$body" "$api" <<'END'
import json, sys, urllib.request
event = urllib.request.urlopen(sys.argv[2] + "/next")
answer = sys.argv[2] + "/" + event.headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
urllib.request.urlopen(urllib.request.Request(answer, json.dumps(sys.argv[1]).encode(), method="POST"))
urllib.request.urlopen(sys.argv[2] + "/next")
END
"#;

fn program(room: &Room, path: &str) {
    let path = room.beside().join(path);
    RealFs.create_dir_all(path.parent().unwrap()).unwrap();
    RealFs.write_atomic(&path, FAKE.as_bytes(), 0o755).unwrap();
}

async fn fakes() -> Room {
    let room = Room::with(|c| {
        c.java_interpreter = Some(crate::support::beside(&c.dir).join("bin/java"));
        c.ruby_client = Some(crate::support::beside(&c.dir).join("ric"));
    })
    .await;
    program(&room, "bin/java");
    program(&room, "ric");
    room
}

#[tokio::test(flavor = "multi_thread")]
async fn java_starts_the_runtime_interface_client_of_the_package() {
    let room = fakes().await;
    let archive = zip(&[("b.class", b"", 0o644)]);
    let refused = room.create("bare", "java17", "a.B::c", archive, |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("com.amazonaws:aws-lambda-java-runtime-interface-client"), "{refused}");
    let jar = "lib/aws-lambda-java-runtime-interface-client-2.9.0.jar";
    let archive = zip(&[("lib/z.jar", b"", 0o644), (jar, b"", 0o644), ("lib/not.txt", b"", 0o644)]);
    room.create("jar", "java8.al2", "a.B::c", archive, |s| s.memory = 1000.try_into().unwrap()).await.unwrap();
    let started = json(&room.call("jar", "{}").await.payload);
    let words: Vec<&str> = started.as_str().unwrap().split('|').collect();
    assert_eq!(words[2], "-Xmx600m");
    let path: Vec<&str> = words[4].split(':').collect();
    assert!(path[1].ends_with(jar) && path[2].ends_with("lib/z.jar") && path.len() == 3, "{path:?}");
    assert_eq!(words[5..], ["com.amazonaws.services.lambda.runtime.api.client.AWSLambda", "a.B::c", ""]);
    let class = "com/amazonaws/services/lambda/runtime/api/client/AWSLambda.class";
    room.create("fat", "java21", "a.B", zip(&[(class, b"", 0o644)]), |_| {}).await.unwrap();
    assert!(room.call("fat", "{}").await.error.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn ruby_and_dotnet_run_a_bootstrap_or_the_configured_client_or_are_refused() {
    let room = fakes().await;
    let plain = || zip(&[("app.rb", b"", 0o644)]);
    room.create("ruby", "ruby3.3", "app.handler", plain(), |_| {}).await.unwrap();
    assert_eq!(json(&room.call("ruby", "{}").await.payload), "app.handler|");
    let refused = room.create("net", "dotnet8", "A::B::C", plain(), |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let text = refused.to_string();
    assert!(
        text.contains("dotnet8") && text.contains("bootstrap") && text.contains("TIDEGATE_RUNTIMES_DOTNET_CLIENT"),
        "{text}"
    );
    let own = zip(&[("bootstrap", FAKE.as_bytes(), 0o755)]);
    room.create("net", "dotnetcore3.1", "A::B::C", own, |_| {}).await.unwrap();
    assert_eq!(json(&room.call("net", "{}").await.payload), "|");
    // A change that could not run is refused as well, and changes nothing.
    let change = functions::SettingsChange { runtime: Some("java17".parse().unwrap()), ..Default::default() };
    let name = "net".parse().unwrap();
    assert!(room.functions.update_settings(&crate::support::scope(), &name, change, None).await.is_err());
    assert_eq!(room.functions.get(&crate::support::scope(), &name).unwrap().settings.runtime.as_str(), "dotnetcore3.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_runtime_is_refused_with_its_setting() {
    let gone = || Some("/nowhere/program".into());
    let room = Room::with(|c| {
        (c.nodejs_interpreter, c.java_interpreter) = (gone(), gone());
    })
    .await;
    for (runtime, key) in
        [("nodejs20.x", "TIDEGATE_RUNTIMES_NODEJS_INTERPRETER"), ("java21", "TIDEGATE_RUNTIMES_JAVA_INTERPRETER")]
    {
        let archive = zip(&[("index.js", b"", 0o644)]);
        let error = room.create("f", runtime, "index.handler", archive, |_| {}).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "no client may take it for a passing failure: {error}");
        let text = error.to_string();
        assert!(text.contains(runtime) && text.contains("/nowhere/program") && text.contains(key), "{text}");
    }
}
