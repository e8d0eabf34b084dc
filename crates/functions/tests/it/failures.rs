//! Handlers that crash, hang, exit and eat memory, and that nothing of them stays.

use serde_json::json as value;

use crate::support::{Room, json, living};

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hangs_is_killed_with_its_children() {
    let room = Room::new().await;
    // A child in the group, one that left it, and a grandchild.
    let source = r#"
import os, subprocess, time
def handler(event, context):
    plain = subprocess.Popen(["sleep", "300"])
    apart = subprocess.Popen(["sleep", "300"], start_new_session=True)
    nested = subprocess.Popen(["sh", "-c", "sleep 300 & echo $!; wait"], stdout=subprocess.PIPE)
    nested.stdout.readline()
    print("stream " + os.environ["AWS_LAMBDA_LOG_STREAM_NAME"])
    time.sleep(300)
"#;
    // Enough for four processes to start on a busy machine.
    room.python_with("hang", source, |s| s.timeout = 5.try_into().unwrap()).await;
    let outcome = room.call("hang", "{}").await;
    assert_eq!(outcome.error.as_deref(), Some("Unhandled"));
    let message = json(&outcome.payload)["errorMessage"].as_str().unwrap().to_owned();
    assert!(message.ends_with(&format!(" {} Task timed out after 5.00 seconds", outcome.request_id)), "{message}");
    let lines = room.lines_with("REPORT").await;
    let stream = lines.iter().find_map(|line| line.strip_prefix("stream ")).unwrap();
    room.until(|| (living(stream) == 0).then_some(())).await;
    let order: Vec<usize> = ["START", "stream", "20", "END", "REPORT"]
        .iter()
        .map(|start| {
            lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {lines:?}"))
        })
        .collect();
    assert!(order.is_sorted(), "{lines:?}");
    assert!(lines[order[4]].ends_with("\tStatus: timeout"), "{lines:?}");
}

/// A launcher that is gone a while after everything that it started.
fn slow_to_end(room: &mut functions::Config, seconds: u32) {
    let launcher = room.dir.with_extension("beside").join("launcher");
    let fs = &crate::support::env().fs;
    let script = format!("#!/bin/sh\n'{}' \"$@\"\nstatus=$?\nsleep {seconds}\nexit $status\n", room.launcher.display());
    fs.create_dir_all(launcher.parent().unwrap()).unwrap();
    fs.write_atomic(&launcher, script.as_bytes(), 0o755).unwrap();
    room.launcher = launcher;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_answered_at_its_deadline_however_long_its_environment_takes_to_go() {
    const GONE_AFTER: u32 = 4;
    let settings = |config: &mut functions::Config| {
        slow_to_end(config, GONE_AFTER);
        config.max_environments = 1;
    };
    let room = Room::with(settings).await;
    let source = "import os, time\ndef handler(e, c):\n    print('late', flush=True)\n    \
                  if e == 'hang':\n        time.sleep(60)\n    return os.environ['AWS_LAMBDA_LOG_STREAM_NAME']\n";
    room.python_with("hang", source, |s| s.timeout = 1.try_into().unwrap()).await;
    assert_eq!(room.call("hang", "null").await.error, None);
    let began = room.env.clock.instant();
    let outcome = room.call("hang", "\"hang\"").await;
    let answered = room.env.clock.instant() - began;
    assert!(json(&outcome.payload)["errorMessage"].as_str().unwrap().ends_with("Task timed out after 1.00 seconds"));
    assert!(outcome.log_tail.unwrap().contains("late\n"));
    assert!((1_000..3_000).contains(&answered.as_millis()), "answered after {answered:?}");
    // The only environment that there may be is still going: the next call is not refused, it waits for that.
    assert_eq!(room.call("hang", "null").await.error, None);
    let served = room.env.clock.instant() - began;
    assert!(served.as_secs() >= u64::from(GONE_AFTER), "beside the other one, after {served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_exits_or_crashes_is_answered_and_the_next_call_works() {
    let room = Room::new().await;
    let source = "import os, signal, sys\ndef handler(e, c):\n    if e == 'signal':\n        \
                  os.kill(os.getpid(), signal.SIGSEGV)\n    if e is not None:\n        sys.exit(e)\n    return 'fine'\n";
    room.python("exit", source).await;
    for (event, how) in [
        ("1", "Error: Runtime exited with error: exit status 1"),
        ("0", "Error: Runtime exited without providing a reason"),
        ("\"signal\"", "Error: Runtime exited with error: signal: segmentation fault"),
    ] {
        let outcome = room.call("exit", event).await;
        let error = json(&outcome.payload);
        assert_eq!(error["errorType"], "Runtime.ExitError");
        assert_eq!(error["errorMessage"], value!(format!("RequestId: {} {how}", outcome.request_id)));
        assert!(outcome.log_tail.unwrap().contains(how));
        assert_eq!(room.call("exit", "null").await.payload, "\"fine\"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_takes_too_much_memory_is_killed() {
    let room = Room::new().await;
    let source = "import time\ndef handler(e, c):\n    x = bytearray(200 << 20)\n    time.sleep(60)\n";
    room.python_with("eat", source, |s| {
        s.memory = 128.try_into().unwrap();
        s.timeout = 20.try_into().unwrap();
    })
    .await;
    let outcome = room.call("eat", "{}").await;
    let error = json(&outcome.payload);
    assert_eq!(error["errorType"], "Runtime.OutOfMemory");
    assert!(error["errorMessage"].as_str().unwrap().ends_with("Runtime exited with error: signal: killed"), "{error}");
    assert!(outcome.duration < std::time::Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_refused_and_the_process_stays() {
    let room = Room::new().await;
    let source = "import os\ndef handler(e, c):\n    return 'x' * e or os.environ['AWS_LAMBDA_LOG_STREAM_NAME']\n";
    room.python_with("large", source, |s| s.timeout = 20.try_into().unwrap()).await;
    let stream = room.call("large", "0").await.payload;
    assert_eq!(room.call("large", "6291554").await.error, None);
    for length in [6_291_555, 40 << 20] {
        let outcome = room.call("large", &length.to_string()).await;
        assert_eq!(outcome.error.as_deref(), Some("Unhandled"));
        let error = json(&outcome.payload);
        assert_eq!(error["errorType"], "Function.ResponseSizeTooLarge");
        let expected = format!("Response payload size ({} bytes) exceeded maximum allowed payload size", length + 2);
        assert!(error["errorMessage"].as_str().unwrap().starts_with(&expected), "{error}");
    }
    assert_eq!(room.call("large", "0").await.payload, stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_takes_too_long_is_ended() {
    let room = Room::with(|c| c.init_timeout = std::time::Duration::from_millis(300)).await;
    room.python("init", "import time\ntime.sleep(60)\n").await;
    let error = json(&room.call("init", "{}").await.payload);
    assert_eq!(error["errorType"], "Sandbox.Timedout");
    assert!(error["errorMessage"].as_str().unwrap().contains("init phase timed out after 0."), "{error}");
}

/// The server as a process of its own: this test binary runs itself and is killed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_survives_a_killed_server() {
    const CHILD: &str = "FUNCTIONS_TEST_SERVER";
    let room = Room::new().await;
    let source = "import subprocess, os, time\ndef handler(e, c):\n    subprocess.Popen(['sleep', '300'])\n    \
                  print('stream ' + os.environ['AWS_LAMBDA_LOG_STREAM_NAME'])\n    time.sleep(300)\n";
    if let Some(file) = std::env::var_os(CHILD) {
        room.python_with("stay", source, |s| s.timeout = 900.try_into().unwrap()).await;
        let told = async {
            let lines = room.lines_with("stream ").await;
            let stream = lines.iter().find_map(|line| line.strip_prefix("stream ")).unwrap().to_owned();
            room.env.fs.write_atomic(file.as_ref(), stream.as_bytes(), 0o644).unwrap();
        };
        tokio::join!(room.try_call("stay", "{}"), told).0.unwrap();
        return;
    }
    let file = room.dir.join("stream");
    let mut server = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "failures::nothing_survives_a_killed_server"])
        .env(CHILD, &file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    room.until(|| room.env.fs.exists(&file).unwrap().then_some(())).await;
    let stream = String::from_utf8(room.env.fs.read(&file).unwrap()).unwrap();
    assert_eq!(living(&stream), 2);
    server.kill().unwrap();
    server.wait().unwrap();
    room.until(|| (living(&stream) == 0).then_some(())).await;
}
