//! CloudTrail events of about 1.2 KB against 1,000 rules: such as people write, and such as are hard.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use base::{Fs, RealFs};
use rules::Event;
use serde_json::{Value, json};

use super::contender::Contender;
use super::{Options, best_rate, rate};

const RULES: usize = 1_000;
/// Bytes of an event in its envelope.
const SIZES: std::ops::Range<usize> = 1_000..1_400;
const MOST_EVENTS: usize = 5_000;

/// Measures both sets of rules.
#[allow(clippy::print_stdout, reason = "the report is this program's purpose")]
pub fn run(options: &Options) -> anyhow::Result<()> {
    let records = records(&options.cloudtrail)?;
    let texts: Vec<String> =
        records.iter().map(envelope).filter(|text| SIZES.contains(&text.len())).take(MOST_EVENTS).collect();
    ensure!(!texts.is_empty(), "no events of {SIZES:?} bytes in {}", options.cloudtrail.display());
    let events = texts.iter().map(|text| Event::check(text.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let bytes: usize = texts.iter().map(String::len).sum();
    let checked = best_rate(options.seconds, texts.len(), || {
        texts.iter().for_each(|text| _ = std::hint::black_box(Event::check(text.as_bytes())));
    });
    println!("{} events of {} B on average; checked at {}/s", events.len(), bytes / events.len(), rate(checked));
    let sets = [("usual", usual(&records)), ("hard", hard(&records))];
    for (name, rules) in sets {
        let mut own = Contender::tidegate(&rules)?;
        let counts = own.count(&events, rules.len());
        let speed = own.rate(&events, options.seconds);
        let peer = match Contender::quamina(&rules) {
            Err(error) => format!("quamina refuses: {error:.100}"),
            Ok(mut peer) => {
                let same = peer.count(&events, rules.len()) == counts;
                let note = if same { "" } else { ", which counts differently" };
                format!("quamina {}/s{note}", rate(peer.rate(&events, options.seconds)))
            }
        };
        let matched = counts.iter().sum::<u64>() as f64 / events.len() as f64;
        println!("{name}: {}/s, {matched:.1} of {} rules matched by an event; {peer}", rate(speed), rules.len());
    }
    Ok(())
}

/// The records of all files in a folder.
fn records(folder: &Path) -> anyhow::Result<Vec<Value>> {
    let names = RealFs.read_dir(folder)?.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".gz"));
    let mut files: Vec<_> = names.map(|name| folder.join(name)).collect();
    files.sort();
    let mut records = Vec::new();
    for file in files {
        let unpacked = Command::new("gzip").arg("-dc").arg(&file).output()?;
        ensure!(unpacked.status.success(), "gzip failed on {}", file.display());
        let Value::Array(list) = serde_json::from_slice::<Value>(&unpacked.stdout)?["Records"].take() else { continue };
        records.extend(list);
    }
    Ok(records)
}

/// The event as it is on a bus.
fn envelope(record: &Value) -> String {
    let service = text(record, "eventSource").split('.').next().unwrap_or_default();
    let head = json!({
        "version": "0", "id": record["eventID"], "detail-type": "AWS API Call via CloudTrail",
        "source": format!("aws.{service}"), "account": record["recipientAccountId"], "time": record["eventTime"],
        "region": record["awsRegion"], "resources": [],
    });
    let head = head.to_string();
    format!("{},\"detail\":{record}}}", &head[..head.len() - 1])
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_default()
}

fn users(records: &[Value]) -> Vec<String> {
    let arns = records.iter().filter_map(|r| r["userIdentity"]["arn"].as_str());
    arns.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Rules such as security teams write: a call of a service, who made it, from where, and whether it failed.
fn usual(records: &[Value]) -> Vec<String> {
    let calls: BTreeSet<_> = records.iter().map(|r| (text(r, "eventSource"), text(r, "eventName"))).collect();
    let calls: Vec<_> = calls.into_iter().collect();
    let users = users(records);
    let call = |at: usize| calls.get(at % calls.len().max(1)).copied().unwrap_or_default();
    let service = |at: usize| format!("aws.{}", call(at).0.split('.').next().unwrap_or_default());
    let user = |at: usize| users.get(at % users.len().max(1)).cloned().unwrap_or_default();
    (0..RULES)
        .map(|id| {
            let name = if id % 3 == 0 { call(id).1.to_owned() } else { format!("Operation{id}") };
            let detail = match id % 10 {
                0..=3 => json!({"eventName": [name, format!("Put{id}"), format!("Delete{id}")]}),
                4 => json!({"eventName": [name], "errorCode": ["AccessDenied", "UnauthorizedOperation"]}),
                5 => json!({"eventName": [{"prefix": format!("Del{id}")}], "userIdentity": {"type": ["IAMUser", "Root"]}}),
                6 => json!({"eventName": [name], "sourceIPAddress": [{"cidr": format!("10.{}.0.0/16", id % 256)}]}),
                7 => json!({"userIdentity": {"arn": [{"wildcard": format!("*user/{}*", id % 97)}]}, "eventName": [name]}),
                8 => json!({"eventName": [name], "userIdentity": {"arn": [{"anything-but": user(id)}]}}),
                _ => json!({"eventName": [name], "errorCode": [{"exists": false}]}),
            };
            json!({"source": [service(id)], "detail-type": ["AWS API Call via CloudTrail"], "detail": detail}).to_string()
        })
        .collect()
}

/// Rules that are hard: long strings with wildcards, fields that are absent so that nothing stops early, exclusions,
/// elements of arrays that must go together.
fn hard(records: &[Value]) -> Vec<String> {
    let users = users(records);
    (0..RULES)
        .map(|id| {
            let user = &users[id % users.len().max(1)];
            let tail = user.rsplit('/').next().unwrap_or_default();
            let agent = format!("*aws*{id}*");
            let detail = match id % 5 {
                0 => json!({"userAgent": [{"wildcard": agent}], "absent": {"field": [{"exists": false}]}}),
                1 => json!({"userIdentity": {"arn": [{"wildcard": format!("arn:*{id}*/{tail}")}]}}),
                2 => json!({"userAgent": [{"anything-but": {"wildcard": [agent, "*x*y*z*"]}}], "eventName": [{"prefix": format!("E{id}")}]}),
                3 => json!({"resources": {"ARN": [{"suffix": format!("/{id}")}], "type": [{"exists": true}]}}),
                _ => json!({"sourceIPAddress": [{"anything-but": {"prefix": format!("{}.", id % 256)}}], "errorMessage": [{"wildcard": format!("*not*{id}*authorized*")}]}),
            };
            json!({"detail": detail}).to_string()
        })
        .collect()
}
