//! The disk that every figure depends on: how long a sync takes right now, and how much room there is.

use std::path::Path;

use anyhow::Context;
use base::{Clock, File, Fs, OpenMode, RealFs, SystemClock};

use crate::quantiles::Quantiles;

const SAMPLES: u64 = 200;
/// About what sixteen single records of 200 B take in a log.
const BYTES: usize = 4 << 10;

/// How long `fdatasync` takes, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct SyncTime {
    /// Of a write that makes the file longer.
    pub append: [f64; 2],
    /// Of a write within the file's length, which spares the file system its own journal.
    pub within: [f64; 2],
}

impl SyncTime {
    /// Measures p50 and p99 of both in `folder`. Takes a few tens of milliseconds.
    pub fn measure(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("bench-fdatasync");
        let file =
            RealFs.open(&path, OpenMode::Create).with_context(|| format!("cannot write in {}", folder.display()))?;
        let append = samples(file.as_ref())?;
        let within = samples(file.as_ref())?;
        RealFs.remove_file(&path)?;
        Ok(Self { append, within })
    }
}

fn samples(file: &dyn File) -> anyhow::Result<[f64; 2]> {
    let (clock, data, mut samples) = (SystemClock::new(), vec![7; BYTES], Quantiles::default());
    for n in 0..SAMPLES {
        file.write_all_at(&data, n * BYTES as u64)?;
        let start = clock.instant();
        file.sync_data()?;
        samples.add(clock.instant().saturating_sub(start));
    }
    Ok(samples.millis([500, 990]))
}

/// Bytes free for others on the disk of `folder`.
pub fn free_bytes(folder: &Path) -> anyhow::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail * disk.f_frsize)
}

/// The lengths of the files in `folder` together, in bytes.
pub fn bytes_in(folder: &Path) -> anyhow::Result<u64> {
    let files = RealFs.read_dir(folder)?;
    files
        .iter()
        .filter(|entry| !entry.is_dir)
        .try_fold(0, |bytes, entry| Ok(bytes + RealFs.open(&folder.join(&entry.name), OpenMode::Read)?.len()?))
}

/// Lets the page cache forget the files of a folder. They must be clean, so their writer has to have stopped.
pub fn forget(folder: &Path) -> anyhow::Result<()> {
    for entry in RealFs.read_dir(folder)?.iter().filter(|entry| !entry.is_dir) {
        let path = folder.join(&entry.name);
        let file = rustix::fs::open(&path, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
        rustix::fs::fdatasync(&file)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}
