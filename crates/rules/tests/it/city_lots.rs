//! The rule banks of aws/event-ruler's benchmark and the number of matches that each rule must have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base::{Fs, RealFs};
use rules::Pattern;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Bank {
    rules: Vec<Value>,
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
        Pattern::parse(rule.to_string()).unwrap();
    }
}

#[test]
#[ignore = "generates 213,068 records and takes minutes; run by the benchmarks before speed is quoted"]
fn every_rule_matches_as_often_as_it_must() {
    let Some(folder) = bench_inputs() else { return };
    let banks = banks(&folder);
    let patterns: Vec<_> = banks
        .iter()
        .flat_map(|(name, bank)| {
            bank.rules.iter().zip(&bank.matches).map(move |(rule, expected)| (name, rule, expected))
        })
        .map(|(name, rule, expected)| (name, rule, Pattern::parse(rule.to_string()).unwrap(), *expected))
        .collect();
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

    let mut counts = vec![0; patterns.len()];
    for line in unpacked.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_slice(line).unwrap();
        for (count, (_, _, pattern, _)) in counts.iter_mut().zip(&patterns) {
            *count += usize::from(pattern.matches(&event));
        }
    }
    for (count, (name, rule, _, expected)) in counts.iter().zip(&patterns) {
        assert_eq!(count, expected, "{name} {rule}");
    }
}
