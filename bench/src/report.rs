//! Figures as they are reported: tables for people, JSON lines for programs, ratios to Tidegate in both.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::contenders::Contender;
use crate::disk::SyncTime;
use crate::load::Driven;
use crate::process::Usage;
use crate::quantiles::Quantiles;

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// A rate.
    More,
    /// A time or a size.
    Less,
}

/// One figure of one contender.
pub struct Row {
    /// What was measured, with its parameters.
    pub scenario: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Which way it is better.
    pub better: Better,
    /// Latency of a call.
    pub latency: Option<Quantiles>,
    /// Processor time for a record in microseconds: the server's and the load generator's.
    pub cpu_us: Option<(f64, f64)>,
    /// The server's memory at the end.
    pub memory: Option<Usage>,
    /// What else a reader should know.
    pub note: String,
}

impl Row {
    /// A figure without particulars.
    pub fn new(scenario: impl Into<String>, value: f64, unit: &'static str, better: Better) -> Self {
        let (latency, cpu_us, memory) = (None, None, None);
        Self { scenario: scenario.into(), value, unit, better, latency, cpu_us, memory, note: String::new() }
    }

    /// The rate of a load with its latency and cost.
    pub fn driven(scenario: impl Into<String>, driven: Driven, memory: Usage) -> Self {
        let mut row = Self::new(scenario, driven.rate(), "records/s", Better::More);
        row.cpu_us = Some((driven.server_us(), driven.loader_us()));
        row.latency = Some(driven.latency);
        row.memory = Some(memory);
        row
    }

    /// The same with a note.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// What came of one figure of one contender.
struct Entry {
    scenario: String,
    contender: &'static Contender,
    row: Result<Row, String>,
    /// The disk right before and right after.
    disk: Option<(SyncTime, SyncTime)>,
    load_average: String,
}

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    entries: Vec<Entry>,
    /// Entries that were told already.
    told: usize,
}

impl Report {
    /// Adds the rows of one figure of one contender.
    pub fn add(
        &mut self,
        contender: &'static Contender,
        rows: Vec<Row>,
        disk: (SyncTime, SyncTime),
        load_average: &str,
    ) {
        self.entries.extend(rows.into_iter().map(|row| Entry {
            scenario: row.scenario.clone(),
            contender,
            row: Ok(row),
            disk: Some(disk),
            load_average: load_average.to_owned(),
        }));
    }

    /// Adds why there is no figure.
    pub fn missing(&mut self, scenario: &str, contender: &'static Contender, why: String) {
        let (scenario, load_average) = (scenario.to_owned(), String::new());
        self.entries.push(Entry { scenario, contender, row: Err(why), disk: None, load_average });
    }

    /// How many times better Tidegate was at the same.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let own = self.entries.iter().filter(|entry| entry.contender.peer.is_none());
        let own = own.filter_map(|entry| entry.row.as_ref().ok()).find(|own| own.scenario == row.scenario)?;
        let ratio = if row.better == Better::More { own.value / row.value } else { row.value / own.value };
        ratio.is_finite().then_some(ratio)
    }

    /// What was added since the last time: a JSON line for each figure.
    pub fn new_lines(&mut self) -> String {
        let from = std::mem::replace(&mut self.told, self.entries.len());
        self.entries[from..].iter().map(|entry| format!("{}\n", self.entry_json(entry))).collect()
    }

    /// What was added since the last time: a table for each scenario, in the order in which they were first seen.
    pub fn new_tables(&mut self) -> String {
        let from = std::mem::replace(&mut self.told, self.entries.len());
        let mut scenarios: Vec<&str> = Vec::new();
        for entry in &self.entries[from..] {
            if !scenarios.contains(&entry.scenario.as_str()) {
                scenarios.push(&entry.scenario);
            }
        }
        let mut out = String::new();
        scenarios.into_iter().for_each(|scenario| self.table(scenario, &mut out));
        out
    }

    /// Whether a figure of Tidegate is missing.
    pub fn incomplete(&self) -> bool {
        self.entries.iter().any(|entry| entry.contender.peer.is_none() && entry.row.is_err())
    }

    fn entry_json(&self, entry: &Entry) -> Value {
        let contender = entry.contender;
        let mut line = json!({
            "scenario": entry.scenario, "contender": contender.name, "durability": contender.durability,
            "callers": contender.callers,
        });
        match &entry.row {
            Err(why) => line["missing"] = json!(why),
            Ok(row) => {
                line["value"] = json!(row.value);
                line["unit"] = json!(row.unit);
                line["tidegate_is_times_better"] = json!(self.ratio(row));
                line["note"] = json!(row.note);
                line["load_average"] = json!(entry.load_average);
                if let Some(latency) = &row.latency {
                    let [p50, p99, p999, max] = latency.millis([500, 990, 999, 1000]);
                    line["latency_ms"] =
                        json!({"p50": p50, "p99": p99, "p99.9": p999, "max": max, "calls": latency.count()});
                }
                if let Some((server, loader)) = row.cpu_us {
                    line["cpu_us_per_record"] = json!({"server": server, "load_generator": loader});
                }
                if let Some(memory) = row.memory {
                    line["memory_bytes"] = json!({"end": memory.rss, "peak": memory.peak});
                }
            }
        }
        if let Some((before, after)) = entry.disk {
            line["fdatasync_ms"] = json!({
                "append_before": before.append, "append_after": after.append, "within_before": before.within,
                "within_after": after.within,
            });
        }
        line
    }

    // Writing to a String cannot fail.
    fn table(&self, scenario: &str, out: &mut String) {
        let entries: Vec<_> = self.entries.iter().filter(|entry| entry.scenario == scenario).collect();
        let unit = entries.iter().find_map(|entry| entry.row.as_ref().ok()).map_or("", |row| row.unit);
        let _ = writeln!(out, "\n{scenario}");
        let _ = writeln!(
            out,
            "  {:<21}{unit:>12} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9}  {:<13} durability; callers",
            "", "p50 ms", "p99 ms", "CPU us", "loader", "MiB", "Tidegate", "fdatasync ms"
        );
        for entry in entries {
            let name = entry.contender.name;
            let promises = format!("{}; {}", entry.contender.durability, entry.contender.callers);
            let row = match &entry.row {
                Ok(row) => row,
                Err(why) => {
                    let _ = writeln!(out, "  {name:<21}{why}");
                    continue;
                }
            };
            let [p50, p99] = row.latency.as_ref().map_or(["-".to_owned(), "-".to_owned()], |latency| {
                latency.millis([500, 990]).map(|ms| if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.1}") })
            });
            let (server, loader) =
                row.cpu_us.map_or(("-".into(), "-".into()), |(s, l)| (format!("{s:.2}"), format!("{l:.2}")));
            let memory = row.memory.map_or("-".to_owned(), |m| grouped((m.rss >> 20) as f64));
            let ratio = match self.ratio(row) {
                Some(ratio) if entry.contender.peer.is_some() => format!("{} x", short(ratio)),
                _ => "-".to_owned(),
            };
            let disk = entry.disk.map_or(String::new(), |(a, b)| format!("{:.2} … {:.2}", a.append[0], b.append[0]));
            let _ = writeln!(
                out,
                "  {name:<21}{:>12} {p50:>9} {p99:>9} {server:>8} {loader:>8} {memory:>8} {ratio:>9}  {disk:<13} {promises}",
                short(row.value)
            );
            if !row.note.is_empty() {
                let _ = writeln!(out, "  {:<21}  {}", "", row.note);
            }
        }
    }
}

/// A number as a person reads it: three digits at least, thousands apart.
fn short(value: f64) -> String {
    match value.abs() {
        v if v < 1.0 => format!("{value:.3}"),
        v if v < 100.0 => format!("{value:.2}"),
        _ => grouped(value),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::{ALL, named};

    fn disk() -> (SyncTime, SyncTime) {
        let time = SyncTime { append: [0.2, 0.5], within: [0.1, 0.3] };
        (time, time)
    }

    #[test]
    fn a_ratio_says_how_many_times_better_tidegate_is() {
        let mut report = Report::default();
        let moto = named("moto").unwrap();
        report.add(&ALL[0], vec![Row::new("rate", 600.0, "records/s", Better::More)], disk(), "");
        report.add(moto, vec![Row::new("rate", 200.0, "records/s", Better::More)], disk(), "");
        report.add(&ALL[0], vec![Row::new("time", 2.0, "s", Better::Less)], disk(), "");
        report.add(moto, vec![Row::new("time", 8.0, "s", Better::Less)], disk(), "");
        let lines = report.new_lines();
        let parsed = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ratios: Vec<_> = parsed.map(|line| line["tidegate_is_times_better"].as_f64()).collect();
        assert_eq!(ratios, [Some(1.0), Some(3.0), Some(1.0), Some(4.0)]);
    }

    #[test]
    fn an_absent_contender_is_named() {
        let mut report = Report::default();
        report.missing("put", named("kafka").unwrap(), "not installed (run scripts/peers kafka)".into());
        assert!(report.new_tables().contains("kafka                not installed (run scripts/peers kafka)"));
        assert_eq!(report.new_tables(), "");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([grouped(999.0), grouped(1_000.4), grouped(1_234_567.0)], ["999", "1,000", "1,234,567"]);
        assert_eq!([short(0.1234), short(12.345), short(1_234.5)], ["0.123", "12.35", "1,234"]);
    }
}
