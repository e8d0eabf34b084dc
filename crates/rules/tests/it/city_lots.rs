//! The rule banks of aws/event-ruler's benchmark and the number of matches that each rule must have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base::{Fs, RealFs};
use rules::{Engine, Event, Pattern, Scratch};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Bank {
    /// As written: a number that is read and written again may change in its last digit.
    rules: Vec<Box<RawValue>>,
    matches: Vec<usize>,
}

/// The folder with the benchmark inputs, or `None` with a printed reason.
fn bench_inputs() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var_os("TIDEGATE_TEST_DATA").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let folder = data.join("../bench");
    if RealFs.exists(&folder.join("citylots_rules.json")).unwrap() {
        return Some(folder);
    }
    println!("skipped: no benchmark inputs at {} (set TIDEGATE_TEST_DATA)", folder.display());
    None
}

fn banks(folder: &std::path::Path) -> BTreeMap<String, Bank> {
    serde_json::from_slice(&RealFs.read(&folder.join("citylots_rules.json")).unwrap()).unwrap()
}

#[test]
fn every_bank_is_understood() {
    let Some(folder) = bench_inputs() else { return };
    let banks = banks(&folder);
    assert_eq!(banks.len(), 14);
    for rule in banks.values().flat_map(|bank| &bank.rules) {
        Pattern::parse(rule.get()).unwrap();
    }
}

#[test]
#[ignore = "generates 213,068 records, which takes minutes; the benchmark counts before it tells speed"]
fn every_rule_matches_as_often_as_it_must() {
    let Some(folder) = bench_inputs() else { return };
    let banks = banks(&folder);
    let mut engine = Engine::default();
    for (name, bank) in &banks {
        for (id, rule) in bank.rules.iter().enumerate() {
            engine.insert((name, id), &Pattern::parse(rule.get()).unwrap());
        }
    }
    let records = std::env::temp_dir().join(format!("tidegate-city-lots-{}.gz", std::process::id()));
    let made = Command::new("python3")
        .arg(folder.join("gen_citylots2.py"))
        .arg(&records)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let unpacked = Command::new("gzip").arg("-dc").arg(&records).output().unwrap();
    RealFs.remove_file(&records).unwrap();

    let mut counts = BTreeMap::new();
    let mut scratch = Scratch::default();
    for line in unpacked.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let event = Event::check(line).unwrap();
        engine.matches(event, &mut scratch).for_each(|rule| *counts.entry(*rule).or_insert(0) += 1);
    }
    for (name, bank) in &banks {
        for (id, expected) in bank.matches.iter().enumerate() {
            assert_eq!(counts.get(&(name, id)).copied().unwrap_or(0), *expected, "{name} {}", bank.rules[id]);
        }
    }
}
