//! The shared CloudTrail files: 55 gzipped documents with 2,900 events of one account and day.

use std::collections::HashSet;
use std::path::PathBuf;

use base::{Event, Fs, RealFs};
use serde_json::Value;
use sources::{Piece, Records, cloudtrail};

/// Every event of the shared files in the order of their names, or `None` with a printed reason.
fn events() -> Option<Vec<Event>> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var_os("TIDEGATE_TEST_DATA").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let folder = data.join("cloudtrail");
    if !RealFs.exists(&folder).unwrap() {
        println!("skipped: no CloudTrail files at {} (set TIDEGATE_TEST_DATA)", folder.display());
        return None;
    }
    let mut events = Vec::new();
    for entry in RealFs.read_dir(&folder).unwrap() {
        if !entry.name.ends_with(".json.gz") {
            continue;
        }
        let mut take = |piece| match piece {
            Piece::Record { text, .. } => events.push(cloudtrail::event(&text).unwrap()),
            Piece::Broken { offset, reason } => panic!("{} at {offset}: {reason}", entry.name),
        };
        let mut records = Records::new(u64::MAX);
        records.push(&RealFs.read(&folder.join(&entry.name)).unwrap(), &mut take).unwrap();
        records.finish(&mut take).unwrap();
    }
    Some(events)
}

#[test]
fn every_event_is_read() {
    let Some(events) = events() else { return };
    assert_eq!(events.len(), 2_900);
    assert_eq!(events.iter().map(|e| &e.id).collect::<HashSet<_>>().len(), 2_900);
    let of_type = |kind: &str| events.iter().filter(|e| e.detail_type == kind).count();
    assert_eq!(of_type("AWS API Call via CloudTrail"), 2_855);
    assert_eq!(of_type("AWS Service Event via CloudTrail"), 42);
    assert_eq!(of_type("AWS Console Sign In via CloudTrail"), 3);
    assert_eq!(events.iter().filter(|e| e.source == "aws.signin").count(), 3);

    let mut terminated = 0;
    let mut reads = 0;
    for event in &events {
        let detail: Value = serde_json::from_str(event.detail.get()).unwrap();
        terminated += usize::from(detail["eventName"] == "TerminateInstances");
        let envelope: Value = serde_json::from_slice(&event.to_json()).unwrap();
        reads += usize::from(rules::is_read_only_management(&envelope));
    }
    assert_eq!(terminated, 2);
    assert_eq!(events.len() - reads, 574, "write events");
}
