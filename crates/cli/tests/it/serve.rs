//! From the first start to the last signal.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::process::{Serve, run};

fn exports(dir: &str) -> String {
    let out = run(&["env", "--data-dir", dir]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn value<'a>(exports: &'a str, name: &str) -> &'a str {
    let line = exports.lines().find_map(|l| l.strip_prefix(&format!("export {name}="))).unwrap();
    line.trim_matches('\'')
}

#[test]
fn the_secret_is_kept_from_logs_and_env_finds_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let path = data.display().to_string();
    let before = run(&["env", "--data-dir", &path]);
    assert!(!before.status.success());
    assert!(String::from_utf8_lossy(&before.stderr).contains("tidegate serve"));

    let mut first = Serve::start(&data);
    let exports = exports(&path);
    let secret = value(&exports, "AWS_SECRET_ACCESS_KEY").to_owned();
    // It is shown on a terminal only.
    assert!(first.greeting.contains(value(&exports, "AWS_ACCESS_KEY_ID")) && !first.greeting.contains(&secret));
    assert!(first.greeting.contains(value(&exports, "AWS_ENDPOINT_URL")));
    assert_eq!(value(&exports, "AWS_REGION"), "us-east-1");
    first.signal("TERM");
    let (code, rest) = first.wait();
    assert_eq!(code, Some(0), "{rest}");

    let mut second = Serve::start(&data);
    assert!(!second.greeting.contains(&secret));
    second.signal("INT");
    let (code, rest) = second.wait();
    assert_eq!(code, Some(0), "{rest}");
    assert!(!rest.contains(&secret));
}

#[test]
fn a_second_signal_does_not_wait_for_a_slow_request() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Serve::start(dir.path());
    let exports = exports(&dir.path().display().to_string());
    let address = value(&exports, "AWS_ENDPOINT_URL").trim_start_matches("http://").to_owned();
    let mut slow = TcpStream::connect(&address).unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n").unwrap();
    // The server asks for the body: the request is running.
    let mut interim = [0; 12];
    slow.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100");
    server.signal("TERM");
    // The listener closes first: from then on the stop is under way.
    let deadline = std::time::Duration::from_secs(10);
    let started = std::iter::repeat_with(|| TcpStream::connect_timeout(&address.parse().unwrap(), deadline));
    assert!(started.take(1_000_000).any(|connected| connected.is_err()), "still accepting");
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(130));
}

#[test]
fn help_names_every_key_and_wrong_settings_are_refused() {
    let help = String::from_utf8(run(&["serve", "--help"]).stdout).unwrap();
    for key in server::config::KEYS {
        assert!(help.contains(&key.env()), "{}", key.id);
    }
    let refused = run(&["serve", "--listen", "0.0.0.0:4566"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("TLS"));
}
