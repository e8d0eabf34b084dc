//! What a reader must know to judge a figure: the machine, its disk, who else uses it, the versions.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use base::{Clock, Fs, OpenMode, RealFs, SystemClock};

use crate::quantiles::Quantiles;

/// The conditions, a line each.
pub fn describe(folder: &Path, server: &Path) -> anyhow::Result<String> {
    let mut out = String::new();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| {
        RealFs.open(Path::new(path), OpenMode::Read).and_then(|file| {
            // Files of /proc have no length to ask for.
            let mut text = vec![0; 64 * 1024];
            let n = file.read_at(&mut text, 0)?;
            text.truncate(n);
            Ok(String::from_utf8_lossy(&text).into_owned())
        })
    };
    let cpu = read("/proc/cpuinfo")?;
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name").and_then(|l| l.split(": ").nth(1))).unwrap_or("unknown");
    writeln!(out, "conditions")?;
    writeln!(out, "  cores {cores} ({model}); the load generator runs beside the server on them")?;
    writeln!(out, "  load average before the run {}", read("/proc/loadavg")?.trim())?;
    writeln!(out, "  kernel {}", read("/proc/sys/kernel/osrelease")?.trim())?;
    for bytes in [4 * 1024, 100 * 1024] {
        writeln!(out, "  fdatasync of {bytes} B appended: {}", sync_latency(folder, bytes)?)?;
    }
    let version = Command::new(server).arg("--version").output().with_context(|| {
        format!("{} does not start; build it with cargo build --release -p tidegate", server.display())
    })?;
    write!(out, "  {}", String::from_utf8_lossy(&version.stdout).trim())?;
    Ok(out)
}

fn sync_latency(folder: &Path, bytes: usize) -> anyhow::Result<Quantiles> {
    let (path, clock) = (folder.join("bench-fdatasync"), SystemClock::new());
    let file = RealFs.open(&path, OpenMode::Create).with_context(|| format!("cannot write in {}", folder.display()))?;
    let (data, mut samples) = (vec![7; bytes], Quantiles::default());
    for n in 0..500 {
        file.write_all_at(&data, n * bytes as u64)?;
        let start = clock.instant();
        file.sync_data()?;
        samples.add(clock.instant().saturating_sub(start));
    }
    RealFs.remove_file(&path)?;
    Ok(samples)
}
