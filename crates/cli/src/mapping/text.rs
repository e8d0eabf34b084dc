//! What the server tells of mappings, as a person reads it.
//!
//! Must not know how it is asked for.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::figures;

/// The answer about all mappings.
#[derive(Deserialize)]
pub struct All {
    pub mappings: Vec<One>,
}

/// A mapping.
#[derive(Deserialize)]
pub struct One {
    pub id: String,
    pub source: String,
    pub function: String,
    pub on_failure: Option<String>,
    pub state: String,
    pub last_result: String,
    /// What its function's role lacks for reading.
    #[serde(default)]
    pub denied: Option<String>,
    pub age_s: Option<f64>,
    pub stuck: Vec<Stuck>,
    pub quarantine: Quarantine,
}

/// A batch that fails and fails.
#[derive(Deserialize)]
pub struct Stuck {
    shard: String,
    first: Option<String>,
    last: Option<String>,
    #[serde(default)]
    window: Option<Window>,
    records: usize,
    since: String,
    failures: u32,
    postponed: u32,
    error: String,
    #[serde(default)]
    held: Option<String>,
    log: Option<String>,
    expires: Option<String>,
}

/// A window that cannot be closed.
#[derive(Deserialize)]
pub struct Window {
    start: String,
    end: String,
}

/// What was given up and kept.
#[derive(Deserialize)]
pub struct Quarantine {
    records: usize,
    bytes: usize,
    #[serde(default)]
    pub error: Option<String>,
    oldest: Option<String>,
    first: Vec<Kept>,
}

/// A record in quarantine.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    shard: String,
    sequence: String,
    arrived: String,
    at: String,
    why: String,
    reason: String,
    attempts: u32,
    bytes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What came of a redrive, or a part of it.
#[derive(Default, Deserialize)]
pub struct Part {
    pub succeeded: usize,
    pub failed: Vec<Kept>,
    pub next: Option<u64>,
    /// Why it ended before all was tried.
    #[serde(default)]
    pub interrupted: Option<String>,
}

/// What others wrote must not steer the terminal.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn records(count: usize) -> String {
    format!("{count} record{}", if count == 1 { "" } else { "s" })
}

fn age(seconds: Option<f64>) -> String {
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        None => "-".to_owned(),
        Some(age) if age.is_zero() => "0 s".to_owned(),
        Some(age) => figures::duration(age),
    }
}

/// A line for each mapping.
pub fn table(mappings: &[One]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |cells: [&str; 6]| {
        let [id, state, age, stuck, kept, what] = cells;
        _ = writeln!(out, "{id:36}  {state:8}  {age:>12}  {stuck:>5}  {kept:>10}  {what}");
    };
    line(["MAPPING", "STATE", "AGE", "STUCK", "QUARANTINE", "FROM -> TO: LAST RESULT"]);
    for mapping in mappings {
        let name = |arn: &str| plain(arn.splitn(6, ':').nth(5).unwrap_or(arn));
        let what = format!("{} -> {}: {}", name(&mapping.source), name(&mapping.function), plain(&mapping.last_result));
        let (stuck, kept) = (mapping.stuck.len().to_string(), mapping.quarantine.count());
        line([&mapping.id, &mapping.state, &age(mapping.age_s), &stuck, &kept, &what]);
    }
    out
}

impl One {
    /// All that is known of it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let mut line = |indent: usize, text: String| _ = writeln!(out, "{:indent$}{}", "", plain(&text));
        line(0, format!("mapping {} is {}", self.id, self.state));
        line(2, format!("from         {}", self.source));
        line(2, format!("to           {}", self.function));
        line(2, format!("on failure   {}", self.on_failure.as_deref().unwrap_or("quarantine")));
        line(2, format!("last result  {}", self.last_result));
        line(2, format!("age          {}", age(self.age_s)));
        if let Some(denied) = &self.denied {
            line(2, format!("reads nothing for want of a permission: {denied}"));
        }
        for stuck in &self.stuck {
            let (on, from, to) = match &stuck.window {
                Some(window) => ("the close of a window".to_owned(), Some(&window.start), Some(&window.end)),
                None => (records(stuck.records), stuck.first.as_ref(), stuck.last.as_ref()),
            };
            line(2, format!("{} is stuck on {on} since {}", stuck.shard, stuck.since));
            line(4, format!("from     {}", from.map_or("-", String::as_str)));
            line(4, format!("to       {}", to.map_or("-", String::as_str)));
            line(4, format!("failed   {} times, and could not be called {} times", stuck.failures, stuck.postponed));
            line(4, format!("error    {}", stuck.error));
            if let Some(held) = &stuck.held {
                line(4, format!("held     what is given up of it cannot be put away: {held}"));
            }
            for logged in stuck.log.iter().flat_map(|log| log.lines()) {
                line(4, format!("log      {logged}"));
            }
            if let Some(expires) = &stuck.expires {
                line(4, format!("expires  {expires}"));
            }
        }
        let Quarantine { records: count, bytes, error, oldest, first } = &self.quarantine;
        if let Some(error) = error {
            line(2, format!("quarantine cannot be read: {error}"));
        }
        if let Some(oldest) = oldest {
            line(2, format!("quarantine has {} of {bytes} bytes since {oldest}", records(*count)));
        }
        first.iter().for_each(|kept| line(4, kept.text()));
        if *count > first.len() {
            line(4, format!("and {} more", count - first.len()));
        }
        out
    }
}

impl Quarantine {
    /// How many there are, as far as that is known.
    fn count(&self) -> String {
        if self.error.is_some() { "unreadable".to_owned() } else { self.records.to_string() }
    }
}

impl Kept {
    fn text(&self) -> String {
        let Self { shard, sequence, at, why, reason, attempts, bytes, .. } = self;
        format!("{at} {shard} {sequence} {why} after {attempts} attempts, {bytes} bytes: {reason}")
    }
}

impl Part {
    /// What came of the next part is added.
    pub fn add(&mut self, part: Self) {
        self.succeeded += part.succeeded;
        self.failed.extend(part.failed);
        (self.next, self.interrupted) = (part.next, part.interrupted);
    }

    /// What came of all of it.
    pub fn text(&self) -> String {
        let mut out = format!("the function took {}\n", records(self.succeeded));
        for kept in &self.failed {
            let error = kept.error.as_deref().unwrap_or_default();
            // Writing to a String cannot fail.
            _ = writeln!(out, "  {} {} stays: {}", kept.shard, kept.sequence, plain(error));
        }
        if let Some(why) = &self.interrupted {
            _ = writeln!(out, "it was interrupted, and the rest stays: {}", plain(why));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stuck_shard_and_a_quarantine_are_told() {
        let mapping: One = serde_json::from_value(json!({
            "id": "14e0db71", "source": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
            "function": "arn:aws:lambda:us-east-1:000000000000:function:f", "on_failure": null, "state": "Enabled",
            "last_result": "PROBLEM: Function call failed", "age_s": 61.0, "denied": "User: r is not authorized",
            "stuck": [{"shard": "shardId-000000000000", "first": "491", "last": "492", "records": 2,
                "since": "2026-11-23T00:00:01.000Z", "failures": 3, "postponed": 0,
                "error": "the function failed: KeyError\u{1b}", "log": "a\nb", "expires": "2026-11-23T23:00:00.000Z"}],
            "quarantine": {"records": 2, "bytes": 9, "oldest": "2026-11-22T00:00:00.000Z", "first": [
                {"shard": "shardId-000000000000", "sequence": "490", "arrived": "2026-11-21T00:00:00.000Z",
                 "at": "2026-11-22T00:00:00.000Z", "why": "skipped", "reason": "no", "attempts": 0, "bytes": 4}]}
        }))
        .unwrap();
        let expected = "\
mapping 14e0db71 is Enabled
  from         arn:aws:kinesis:us-east-1:000000000000:stream/s
  to           arn:aws:lambda:us-east-1:000000000000:function:f
  on failure   quarantine
  last result  PROBLEM: Function call failed
  age          1 min 01 s
  reads nothing for want of a permission: User: r is not authorized
  shardId-000000000000 is stuck on 2 records since 2026-11-23T00:00:01.000Z
    from     491
    to       492
    failed   3 times, and could not be called 0 times
    error    the function failed: KeyError\u{fffd}
    log      a
    log      b
    expires  2026-11-23T23:00:00.000Z
  quarantine has 2 records of 9 bytes since 2026-11-22T00:00:00.000Z
    2026-11-22T00:00:00.000Z shardId-000000000000 490 skipped after 0 attempts, 4 bytes: no
    and 1 more
";
        assert_eq!(mapping.text(), expected);
        let table = table(&[mapping]);
        assert!(
            table.lines().nth(1).unwrap().ends_with("stream/s -> function:f: PROBLEM: Function call failed"),
            "{table}"
        );
    }
}
