//! The rule banks of event-ruler's benchmark on an equivalent of its city-lots events.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::ensure;
use base::{Fs, RealFs};
use rules::Event;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::contender::Contender;
use super::ruler::Ruler;
use super::{Options, best_rate, rate};

const BANKS: &str = "citylots_rules.json";

#[derive(Deserialize)]
struct Bank {
    rules: Vec<Box<RawValue>>,
    matches: Vec<u64>,
}

/// Measures all banks, the contenders of each in turn.
#[allow(clippy::print_stdout, reason = "the report is this program's purpose")]
pub fn run(options: &Options) -> anyhow::Result<()> {
    let file = events_file(options)?;
    let text = RealFs.read(&file)?;
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let events = lines.iter().map(|line| Event::check(line)).collect::<Result<Vec<_>, _>>()?;
    let checked = best_rate(options.seconds, lines.len(), || {
        lines.iter().for_each(|line| _ = std::hint::black_box(Event::check(line)));
    });
    println!("{} events of {} B on average; checked at {}/s", events.len(), text.len() / events.len(), rate(checked));
    let mut ruler = Ruler::start(options, &file, &options.inputs.join(BANKS))?;
    println!("{:<28}{:>10}{:>10}{:>12}{:>8}{:>8}", "bank", "tidegate", "quamina", "event-ruler", "x qua", "x ruler");
    let mut banks = banks(&options.inputs.join(BANKS))?;
    banks.retain(|name, _| options.banks.is_empty() || options.banks.contains(name));
    for (name, bank) in banks {
        let rules: Vec<String> = bank.rules.iter().map(|rule| rule.get().to_owned()).collect();
        let mut own = Contender::tidegate(&rules)?;
        let counts = own.count(&events, rules.len());
        ensure!(counts == bank.matches, "{name} matches {counts:?}, not {:?}", bank.matches);
        let speed = own.rate(&events, options.seconds);
        let (peer, note) = match Contender::quamina(&rules) {
            Err(error) => (None, format!("quamina refuses: {error:.80}")),
            Ok(mut peer) => {
                let right = peer.count(&events, rules.len()) == bank.matches;
                let note = if right { "" } else { "quamina counts differently" };
                (Some(peer.rate(&events, options.seconds)), note.to_owned())
            }
        };
        let again = own.rate(&events, options.seconds);
        let speed = speed.max(again);
        let ruler = ruler.as_mut().map(|ruler| ruler.measure(&name, &bank.matches)).transpose()?;
        let shown = |peer: Option<f64>| peer.map_or_else(|| "-".to_owned(), rate);
        let times = |peer: Option<f64>| peer.map_or_else(|| "-".to_owned(), |peer| format!("{:.1}", speed / peer));
        println!(
            "{name:<28}{:>10}{:>10}{:>12}{:>8}{:>8}  {note}",
            rate(speed),
            shown(peer),
            shown(ruler),
            times(peer),
            times(ruler)
        );
    }
    Ok(())
}

/// The banks, their rules as they are written: a number that is read and written again may change in its last digit.
fn banks(file: &Path) -> anyhow::Result<BTreeMap<String, Bank>> {
    Ok(serde_json::from_slice(&RealFs.read(file)?)?)
}

/// The events, generated when they are not there from an earlier run.
fn events_file(options: &Options) -> anyhow::Result<PathBuf> {
    let file = options.folder.join("bench-citylots.json");
    if RealFs.exists(&file)? {
        return Ok(file);
    }
    let packed = options.folder.join("bench-citylots.json.gz");
    let generator = options.inputs.join("gen_citylots2.py");
    let made = Command::new("python3").arg(&generator).arg(&packed).stdout(Stdio::null()).status()?;
    ensure!(made.success(), "{} failed", generator.display());
    let unpacked = Command::new("gzip").arg("-df").arg(&packed).status()?;
    ensure!(unpacked.success(), "gzip failed");
    Ok(file)
}
