//! Which files are meant.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base::{Fs, OpenMode};

/// A file to send.
pub struct Source {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Endings of log files in folders. A file that is named itself is taken whatever its name.
const ENDINGS: [&str; 6] = [".json", ".json.gz", ".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz"];

/// Folders deeper than this are a loop of links.
const MAX_DEPTH: usize = 32;

/// The files of all paths: as given, and inside a folder in the order of their paths, which for CloudTrail's names is the
/// order of their times.
///
/// # Errors
/// A path does not exist, or there is no log file at all.
pub fn find(fs: &dyn Fs, paths: &[PathBuf]) -> anyhow::Result<Vec<Source>> {
    let mut found = Vec::new();
    for path in paths {
        if !fs.exists(path).with_context(|| format!("{} cannot be looked at", path.display()))? {
            bail!("{} does not exist", path.display());
        }
        match fs.read_dir(path) {
            Ok(_) => walk(fs, path, 0, &mut found)?,
            Err(_) => found.push(source(fs, path.clone())),
        }
    }
    if found.is_empty() {
        bail!("no log file there: looked for names that end in {}", ENDINGS.join(", "));
    }
    Ok(found)
}

fn walk(fs: &dyn Fs, folder: &Path, depth: usize, found: &mut Vec<Source>) -> anyhow::Result<()> {
    let entries = fs.read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?;
    for entry in entries {
        let path = folder.join(&entry.name);
        if entry.is_dir && depth < MAX_DEPTH {
            walk(fs, &path, depth + 1, found)?;
        } else if ENDINGS.iter().any(|ending| entry.name.ends_with(ending)) {
            found.push(source(fs, path));
        }
    }
    Ok(())
}

fn source(fs: &dyn Fs, path: PathBuf) -> Source {
    let length = fs.open(&path, OpenMode::Read).and_then(|file| file.len());
    // What cannot be opened is named and skipped when its turn comes.
    Source { bytes: length.unwrap_or(0), path }
}
