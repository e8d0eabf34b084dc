//! aws/event-ruler in a Java process of its own, bank after bank in turn with the others.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};
use base::{Fs, RealFs};

use super::Options;

/// The process, which waits for the name of a bank.
pub struct Ruler {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Ruler {
    /// Starts it, or says that it is absent.
    #[allow(clippy::print_stdout, reason = "the report is this program's purpose")]
    pub fn start(options: &Options, events: &Path, banks: &Path) -> anyhow::Result<Option<Self>> {
        let libraries = options.peers.join("event-ruler/libs");
        if !RealFs.exists(&libraries)? {
            println!("event-ruler is absent: scripts/peers event-ruler brings it");
            return Ok(None);
        }
        let program = options.folder.join("Ruler.java");
        RealFs.write_atomic(&program, include_bytes!("Ruler.java"), 0o644)?;
        let mut process = Command::new("java")
            .arg("-Xmx2g")
            .arg("-cp")
            .arg(libraries.join("*"))
            .args([&program, events, banks])
            .arg(options.seconds.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("java")?;
        let ask = process.stdin.take().context("its input")?;
        let answers = BufReader::new(process.stdout.take().context("its output")?);
        Ok(Some(Self { process, ask, answers }))
    }

    /// Events per second in a bank, in which it must match as often as it must.
    pub fn measure(&mut self, bank: &str, matches: &[u64]) -> anyhow::Result<f64> {
        writeln!(self.ask, "{bank}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let figures = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let (speed, counts) = figures.split_first().context("event-ruler stopped")?;
        ensure!(counts == matches, "event-ruler counts {counts:?} in {bank}");
        Ok(*speed as f64)
    }
}

impl Drop for Ruler {
    fn drop(&mut self) {
        // It ends by itself when its input does; this only makes it quick.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
