//! What lands in a function's log, and in which order.

use crate::support::{Room, json};

#[tokio::test(flavor = "multi_thread")]
async fn lines_stand_between_start_and_report_of_their_invocation() {
    let room = Room::new().await;
    let source = r#"
import logging, os, subprocess, sys
print("init")
def handler(event, context):
    print("one")
    print("two", file=sys.stderr)
    logging.warning("careful")
    logging.info("not shown")
    os.write(1, b"raw\n")
    subprocess.run(["echo", "child"])
    print("last without end", end="")
"#;
    room.python("log", source).await;
    let (first, second) = (room.call("log", "{}").await, room.call("log", "{}").await);
    let lines = room.lines_with(&format!("REPORT RequestId: {}", second.request_id)).await;
    let (a, b) = (&first.request_id, &second.request_id);
    let plain: Vec<String> = lines.iter().map(|line| line.split("\tDuration").next().unwrap().to_owned()).collect();
    let mut expected = vec!["init".to_owned()];
    for id in [a, b] {
        expected.extend([
            format!("START RequestId: {id} Version: $LATEST"),
            "one".to_owned(),
            "two".to_owned(),
            "[WARNING]".to_owned(),
            "raw".to_owned(),
            "child".to_owned(),
            "last without end".to_owned(),
            format!("END RequestId: {id}"),
            format!("REPORT RequestId: {id}"),
        ]);
    }
    let shortened: Vec<String> =
        plain.iter().map(|l| if l.starts_with("[WARNING]") { "[WARNING]".to_owned() } else { l.clone() }).collect();
    assert_eq!(shortened, expected);
    let warning = lines.iter().find(|line| line.starts_with("[WARNING]")).unwrap();
    let fields: Vec<&str> = warning.split('\t').collect();
    assert_eq!((fields[2], fields[3]), (a.as_str(), "careful"));
    assert!(fields[1].parse::<base::Timestamp>().is_ok(), "{warning}");
    let reports: Vec<&String> = lines.iter().filter(|line| line.starts_with("REPORT")).collect();
    assert!(reports[0].contains("\tMemory Size: 256 MB\tMax Memory Used: ") && reports[0].contains("Init Duration: "));
    assert!(!reports[1].contains("Init Duration"), "{}", reports[1]);
    let used: u32 = reports[1].split("Max Memory Used: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((5..200).contains(&used), "{used}");
    // The tail is the same text.
    let tail = second.log_tail.unwrap();
    assert!(
        tail.starts_with(&format!("START RequestId: {b}")) && tail.trim_end().ends_with(reports[1].trim_end()),
        "{tail}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_of_output_arrive_whole() {
    let room = Room::new().await;
    let source =
        "def handler(e, c):\n    for n in range(10240):\n        print('%06d ' % n + 'x' * 1016)\n    return 'done'\n";
    room.python_with("loud", source, |s| s.timeout = 20.try_into().unwrap()).await;
    let outcome = room.call("loud", "{}").await;
    assert_eq!(outcome.payload, "\"done\"");
    assert!(outcome.log_tail.unwrap().len() <= 4_096);
    let lines = room.lines_with("REPORT").await;
    let loud: Vec<&String> = lines.iter().filter(|line| line.ends_with('x')).collect();
    assert_eq!(loud.len(), 10_240);
    assert!(loud.iter().enumerate().all(|(n, line)| line.starts_with(&format!("{n:06} "))));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_of_ten_megabytes_is_split() {
    let room = Room::new().await;
    room.python_with("long", "def handler(e, c):\n    print('x' * (10 << 20))\n", |s| {
        s.timeout = 20.try_into().unwrap()
    })
    .await;
    assert_eq!(room.call("long", "{}").await.error, None);
    let lines = room.lines_with("REPORT").await;
    let pieces: Vec<usize> = lines.iter().filter(|line| line.starts_with('x')).map(String::len).collect();
    assert_eq!(pieces.iter().sum::<usize>(), 10 << 20);
    assert!(pieces.iter().all(|len| *len <= 256 << 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_takes_nothing_stops_a_loud_function_by_its_timeout_and_no_quiet_one() {
    let room = Room::with_stuck_log().await;
    room.python("quiet", "def handler(e, c):\n    return 1\n").await;
    assert_eq!(room.call("quiet", "{}").await.payload, "1");
    room.python_with("loud", "def handler(e, c):\n    print('x\\n' * (10 << 20))\n", |s| {
        s.timeout = 1.try_into().unwrap()
    })
    .await;
    let outcome = room.call("loud", "{}").await;
    assert!(json(&outcome.payload)["errorMessage"].as_str().unwrap().ends_with("Task timed out after 1.00 seconds"));
}
