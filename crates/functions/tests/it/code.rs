//! What a Python handler sees, and what becomes of what it returns or raises.

use base::Invocation;
use base::Invoke;
use base64::Engine;
use bytes::Bytes;
use serde_json::json as value;

use crate::support::{Room, arn, json, zip};

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_gets_event_and_context() {
    let room = Room::new().await;
    let source = r#"
import os
def handler(event, context):
    return {
        "event": event, "name": context.function_name, "version": context.function_version,
        "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb, "id": context.aws_request_id,
        "group": context.log_group_name, "stream": context.log_stream_name,
        "left": context.get_remaining_time_in_millis(), "custom": context.client_context.custom,
        "app": context.client_context.client.app_title, "identity": context.identity.cognito_identity_id,
        "trace": os.environ["_X_AMZN_TRACE_ID"],
    }
"#;
    room.python("echo", source).await;
    let context = r#"{"custom": {"who": "é"}, "client": {"app_title": "t"}}"#;
    let call = Invocation {
        function: "arn:aws:lambda:eu-central-1:000000000000:function:echo:$LATEST".parse().unwrap(),
        payload: Bytes::from_static("{\"a\": \"ü\"}".as_bytes()),
        request_id: Some("5a3bb6b2-0000-4000-8000-000000000001".to_owned()),
        client_context: Some(base64::engine::general_purpose::STANDARD.encode(context)),
        want_log: false,
        trace: None,
    };
    let outcome = room.functions.invoke(call).await.unwrap();
    assert_eq!(outcome.error, None, "{outcome:?}");
    assert_eq!(outcome.log_tail, None);
    let seen = json(&outcome.payload);
    assert_eq!(seen["event"], value!({"a": "ü"}));
    assert_eq!(
        (&seen["name"], &seen["version"], &seen["memory"]),
        (&value!("echo"), &value!("$LATEST"), &value!("256"))
    );
    assert_eq!(seen["arn"], "arn:aws:lambda:eu-central-1:000000000000:function:echo:$LATEST");
    assert_eq!(seen["id"], "5a3bb6b2-0000-4000-8000-000000000001");
    assert_eq!(seen["group"], "/aws/lambda/echo");
    assert!(seen["stream"].as_str().unwrap().contains("/[$LATEST]"));
    let left = seen["left"].as_i64().unwrap();
    assert!((1..=3_000).contains(&left), "{left}");
    assert_eq!((&seen["custom"], &seen["app"]), (&value!({"who": "é"}), &value!("t")));
    assert_eq!(seen["identity"], value!(null));
    assert!(seen["trace"].as_str().unwrap().starts_with("Root=1-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_documented_one_and_nothing_of_the_servers() {
    let room = Room::new().await;
    let source = r#"
import os, sys
def handler(event, context):
    files = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            files.append(os.readlink("/proc/self/fd/" + fd))
        except OSError:
            pass
    return dict(os.environ, cwd=os.getcwd(), stdin=sys.stdin.read(), files=files)
"#;
    let variables = [("STAGE", "test"), ("LANG", "de_DE.UTF-8")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    room.python_with("env", source, |s| s.variables = std::collections::BTreeMap::from(variables).try_into().unwrap())
        .await;
    let seen = json(&room.call("env", "{}").await.payload);
    for (name, expected) in [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
        ("AWS_ACCESS_KEY_ID", "ASIATEST"),
        ("AWS_SECRET_ACCESS_KEY", "secret of arn:aws:iam::000000000000:role/test"),
        ("AWS_SESSION_TOKEN", "token of arn:aws:lambda:eu-central-1:000000000000:function:env"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_python3.12"),
        ("AWS_LAMBDA_FUNCTION_NAME", "env"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("_HANDLER", "app.handler"),
        ("STAGE", "test"),
        ("LANG", "de_DE.UTF-8"),
        ("TZ", ":UTC"),
        ("stdin", ""),
    ] {
        assert_eq!(seen[name], expected, "{name}");
    }
    assert_eq!(seen["cwd"], seen["LAMBDA_TASK_ROOT"]);
    // Of the package alone: there is no layer.
    let root = seen["LAMBDA_TASK_ROOT"].as_str().unwrap();
    assert_eq!(seen["LD_LIBRARY_PATH"], format!("{root}:{root}/lib"));
    // Input, output, and the Runtime API: no file and no other socket of the server is open here.
    let files: Vec<&str> = seen["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    assert_eq!(files.iter().filter(|file| file.starts_with("socket:")).count(), 1, "{files:?}");
    assert!(files.iter().filter(|file| file.starts_with('/')).all(|file| *file == "/dev/null"), "{files:?}");
    // Cargo gives this test dozens of variables.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    assert!(seen.as_object().unwrap().keys().all(|name| !name.starts_with("CARGO")), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_raises_is_its_answer() {
    let room = Room::new().await;
    room.python("raise", "def inner():\n    raise ValueError('no such thing')\ndef handler(e, c):\n    inner()\n")
        .await;
    let outcome = room.call("raise", "{}").await;
    assert_eq!(outcome.error.as_deref(), Some("Unhandled"));
    let error = json(&outcome.payload);
    assert_eq!((&error["errorType"], &error["errorMessage"]), (&value!("ValueError"), &value!("no such thing")));
    assert_eq!(error["requestId"], value!(outcome.request_id));
    let trace = error["stackTrace"].as_array().unwrap();
    assert_eq!(trace.len(), 2, "{trace:?}");
    assert!(trace[1].as_str().unwrap().contains("app.py\", line 2, in inner\n"), "{trace:?}");
    assert!(
        outcome.log_tail.unwrap().contains("[ERROR] ValueError: no such thing\nTraceback (most recent call last):\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_json_or_a_marshal_error() {
    let room = Room::new().await;
    let source = "import decimal\ndef handler(e, c):\n    return decimal.Decimal('3') if e['ok'] else {'x': {1, 2}}\n";
    room.python("json", source).await;
    assert_eq!(room.call("json", r#"{"ok": true}"#).await.payload, "3");
    let error = json(&room.call("json", r#"{"ok": false}"#).await.payload);
    assert_eq!(error["errorType"], "Runtime.MarshalError");
    assert_eq!(error["errorMessage"], "Unable to marshal response: Object of type set is not JSON serializable");
    let error = json(&room.call("json", "{not json").await.payload);
    assert_eq!(error["errorType"], "Runtime.UnmarshalError");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_not_there_is_named() {
    let room = Room::new().await;
    for (name, handler, source, kind, message) in [
        (
            "a",
            "gone.handler",
            "",
            "Runtime.ImportModuleError",
            "Unable to import module 'gone': No module named 'gone'",
        ),
        ("b", "app.gone", "", "Runtime.HandlerNotFound", "Handler 'gone' missing on module 'app'"),
        (
            "c",
            "app",
            "",
            "Runtime.MalformedHandlerName",
            "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
        ),
        ("d", "app.handler", "def f(:\n", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app': "),
        ("e", "app.handler", "1 / 0\n", "ZeroDivisionError", "division by zero"),
    ] {
        let archive = zip(&[("app.py", source.as_bytes(), 0o644)]);
        room.create(name, "python3.11", handler, archive, |_| {}).await.unwrap();
        // Twice: an environment that could not start is no reason to be in a worse state.
        for _ in 0..2 {
            let outcome = room.call(name, "{}").await;
            assert_eq!(outcome.error.as_deref(), Some("Unhandled"));
            let error = json(&outcome.payload);
            assert_eq!(error["errorType"], kind);
            assert!(error["errorMessage"].as_str().unwrap().starts_with(message), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_in_folders_and_beside_each_other_are_found() {
    let room = Room::new().await;
    let archive = zip(&[
        ("src/app.py", b"import helper, base64\ndef handler(e, c):\n    return helper.VALUE\n", 0o644),
        ("helper.py", b"VALUE = 7\n", 0o644),
        // It must not stand in for the bootstrap, which is started before.
        ("bootstrap.py", b"raise SystemExit(9)\n", 0o644),
    ]);
    room.create("nested", "python3.9", "src/app.handler", archive, |_| {}).await.unwrap();
    assert_eq!(room.call("nested", "{}").await.payload, "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_function_or_version_is_not_found() {
    let room = Room::new().await;
    let error = room.try_call("nobody", "{}").await.unwrap_err();
    assert_eq!(error.kind, base::ErrorKind::NotFound);
    assert!(error.message.ends_with("function:nobody"), "{}", error.message);
    room.python("f", "def handler(e, c): pass\n").await;
    assert!(room.functions.check(&arn("f")).await.is_ok());
    assert_eq!(room.functions.check(&arn("f:7")).await.unwrap_err().kind, base::ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_interpreter_is_said_with_its_setting() {
    let room = Room::with(|c| c.python_interpreter = Some("/nowhere/python3".into())).await;
    let archive = zip(&[("app.py", b"", 0o644)]);
    let error = room.create("f", "python3.12", "app.handler", archive, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/python3") && error.contains("TIDEGATE_RUNTIMES_PYTHON_INTERPRETER"), "{error}");
}
