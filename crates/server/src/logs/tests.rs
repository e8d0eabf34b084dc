use base::{RealFs, Scope, SystemClock, SystemRng};
use http::StatusCode;
use log::LogConfig;

use super::*;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn env() -> Env {
    Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) }
}

fn scope() -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() }
}

fn function(name: &str) -> Arn {
    Arn::new("lambda", &scope(), format!("function:{name}"))
}

fn lines(texts: &[&str]) -> Vec<(Timestamp, String)> {
    texts.iter().enumerate().map(|(n, text)| (Timestamp::from_millis(n as i64), (*text).to_owned())).collect()
}

struct Answer {
    texts: Vec<String>,
    next: String,
}

async fn read(logs: &FunctionLogs, name: &str, query: &str) -> Answer {
    let response = logs.answer(&scope(), name, query, true).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let next = response.headers()["x-tidegate-next"].to_str().unwrap().to_owned();
    let text = std::str::from_utf8(response.body()).unwrap();
    let line =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_str().unwrap().to_owned();
    Answer { texts: text.lines().map(line).collect(), next }
}

#[tokio::test]
async fn lines_are_kept_in_order_apart_and_over_a_restart() {
    let (env, dir) = (env(), tempfile::tempdir().unwrap());
    let log = Log::open(&env, dir.path(), LogConfig::default()).await.unwrap();
    let logs = FunctionLogs::start(&env, &log, WEEK);
    logs.write(&function("a"), "s1", lines(&["one", "two"])).await;
    logs.write(&function("b"), "s1", lines(&["other"])).await;
    logs.write(&function("a:$LATEST"), "s2", lines(&["three"])).await;
    // A stop writes what was taken, without waiting for more.
    assert!(logs.stop(Duration::from_secs(10)).await);
    log.close().await.unwrap();

    let log = Log::open(&env, dir.path(), LogConfig::default()).await.unwrap();
    let logs = FunctionLogs::start(&env, &log, WEEK);
    let first = read(&logs, "a", "").await;
    assert_eq!(first.texts, ["one", "two", "three"]);
    assert_eq!(read(&logs, "a", &format!("after={}", first.next)).await.texts, [""; 0]);
    let later = env.clock.now().millis() + 60_000;
    assert_eq!(read(&logs, "a", &format!("since={later}")).await.texts, [""; 0]);
    assert_eq!(read(&logs, "a", "since=0").await.texts.len(), 3);
    assert_eq!(read(&logs, "b", "").await.texts, ["other"]);
}

#[tokio::test]
async fn a_reader_waits_for_the_next_line_even_of_a_log_that_does_not_exist_yet() {
    let (env, dir) = (env(), tempfile::tempdir().unwrap());
    let log = Log::open(&env, dir.path(), LogConfig::default()).await.unwrap();
    let logs = FunctionLogs::start(&env, &log, WEEK);
    let reader = logs.clone();
    let waiting = tokio::spawn(async move { read(&reader, "a", "wait=5").await });
    logs.write(&function("a"), "s", lines(&["first"])).await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.texts, ["first"]);
    let reader = logs.clone();
    let place = format!("after={}&wait=5", answer.next);
    let waiting = tokio::spawn(async move { read(&reader, "a", &place).await.texts });
    logs.write(&function("a"), "s", lines(&["second"])).await;
    assert_eq!(waiting.await.unwrap(), ["second"]);
}

#[tokio::test]
async fn nothing_is_known_of_a_function_that_never_was() {
    let (env, dir) = (env(), tempfile::tempdir().unwrap());
    let log = Log::open(&env, dir.path(), LogConfig::default()).await.unwrap();
    let logs = FunctionLogs::start(&env, &log, WEEK);
    assert!(logs.answer(&scope(), "nobody", "", false).await.is_err());
    assert_eq!(read(&logs, "silent", "").await.texts, [""; 0]);
    let bad = logs.answer(&scope(), "silent", "after=x", true).await.unwrap();
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_search_finds_lines_however_many_lie_between() {
    let (env, dir) = (env(), tempfile::tempdir().unwrap());
    let log = Log::open(&env, dir.path(), LogConfig::default()).await.unwrap();
    let logs = FunctionLogs::start(&env, &log, WEEK);
    let filler = "x".repeat(200 << 10);
    logs.write(&function("a"), "s1", lines(&["an early needle"])).await;
    for _ in 0..200 {
        logs.write(&function("a"), "s1", lines(&[&filler])).await;
    }
    logs.write(&function("a"), "s2", lines(&["a late needle", "hay"])).await;
    assert!(logs.stop(Duration::from_secs(60)).await);
    let (found, went_on) = search(&logs, "match=needle").await;
    assert_eq!(found, ["an early needle", "a late needle"]);
    assert!(went_on > 0, "the search lets its caller say whether to go on");
    assert_eq!(search(&logs, "match=needle&match=late&stream=s2").await.0, ["a late needle"]);
    assert_eq!(search(&logs, "match=needle&stream=s3").await.0, [""; 0]);
}

/// All that a search finds, and how often it was asked to go on without having found anything.
async fn search(logs: &FunctionLogs, query: &str) -> (Vec<String>, usize) {
    let (mut place, mut found, mut went_on) = (String::new(), Vec::new(), 0);
    loop {
        let response = logs.answer(&scope(), "a", &format!("{query}{place}"), true).await.unwrap();
        let more = response.headers().contains_key("x-tidegate-more");
        place = format!("&after={}", response.headers()["x-tidegate-next"].to_str().unwrap());
        let text = String::from_utf8(response.body().to_vec()).unwrap();
        if text.is_empty() && !more {
            return (found, went_on);
        }
        went_on += usize::from(more);
        found.extend(
            text.lines().map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_str().unwrap().to_owned()
            }),
        );
    }
}

#[tokio::test]
async fn the_retention_of_the_settings_is_that_of_logs_which_are_there_already() {
    let (env, dir) = (env(), tempfile::tempdir().unwrap());
    let log = Log::open(&env, dir.path(), LogConfig::default()).await.unwrap();
    let logs = FunctionLogs::start(&env, &log, WEEK);
    logs.write(&function("a"), "s", lines(&["one"])).await;
    assert!(logs.stop(Duration::from_secs(10)).await);
    let kept = || log.all_streams(StreamKind::FunctionLog)[0].retention;
    assert_eq!(kept(), WEEK);
    FunctionLogs::start(&env, &log, 4 * WEEK).retain().await.unwrap();
    assert_eq!(kept(), 4 * WEEK);
}
