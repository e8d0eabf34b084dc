//! This program as a function: a bootstrap that speaks the Runtime API and does nothing but note when it is entered.
//!
//! Must not know what is measured. Time is the machine's monotonic clock, which all its processes share.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anyhow::{Context, ensure};
use rustix::time::{ClockId, clock_gettime};

/// Where the Runtime API is; functions have this variable, nobody else.
pub const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";
/// An event that asks for the times noted since the last one.
pub const REPORT: &[u8] = br#"{"report":true}"#;

const INVOCATION: &str = "/2018-06-01/runtime/invocation";

/// The same function in Python.
pub const PYTHON: &str = "\
import time
entered = []
def handler(event, context):
    now = time.monotonic_ns()
    if 'report' in event:
        told = entered[:]
        entered.clear()
        return told
    entered.append(now)
";

/// Nanoseconds of the monotonic clock.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Serves invocations until the Runtime API goes away.
pub fn run(api: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(api)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut entered: Vec<u64> = Vec::new();
    loop {
        stream.write_all(format!("GET {INVOCATION}/next HTTP/1.1\r\nHost: {api}\r\n\r\n").as_bytes())?;
        let (id, event) = answer(&mut answers)?;
        let now = now_ns();
        let id = id.context("an invocation without an id")?;
        let said = if event == REPORT {
            serde_json::to_string(&std::mem::take(&mut entered))?
        } else {
            entered.push(now);
            "null".to_owned()
        };
        let head = format!(
            "POST {INVOCATION}/{id}/response HTTP/1.1\r\nHost: {api}\r\nContent-Length: {}\r\n\r\n",
            said.len()
        );
        stream.write_all((head + &said).as_bytes())?;
        answer(&mut answers)?;
    }
}

/// The next answer: the request id that it names, and its body.
fn answer(from: &mut impl BufRead) -> anyhow::Result<(Option<String>, Vec<u8>)> {
    let (mut line, mut id, mut length) = (String::new(), None, 0);
    loop {
        line.clear();
        ensure!(from.read_line(&mut line)? > 0, "the Runtime API went away");
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "lambda-runtime-aws-request-id" => id = Some(value.to_owned()),
            "content-length" => length = value.parse()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((id, body))
}
