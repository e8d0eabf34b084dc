//! Code archives: what is accepted, and how one is unpacked.
//!
//! Owns the checks on an uploaded zip. Promises that nothing is written outside the given folder, that sizes are
//! counted while inflating (a header is never believed), and that a refusal names the entry.
//! Must not know functions or where packages are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use base::{ErrorKind, Fs, Kinded, OpenMode};
use zip::ZipArchive;

/// The largest archive that can be uploaded directly ("Lambda quotas": 50 MB).
pub(crate) const MAX_ARCHIVE_BYTES: usize = 50 << 20;
/// The most that an archive may unpack to ("Lambda quotas": 250 MB).
pub(crate) const MAX_UNPACKED_BYTES: u64 = 250 << 20;
/// More entries than any package of that size has; also what a zip without the 64-bit extension can hold. It bounds the
/// files and folders that an archive makes, too: a name of a thousand bytes can ask for five hundred folders.
const MAX_ENTRIES: usize = 65_535;
/// Deflate cannot do better than 1,032 : 1; beyond this much an entry above the floor is a bomb, not code.
const MAX_RATIO: u64 = 500;
const RATIO_FLOOR_BYTES: u64 = 16 << 20;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It is not a zip, or a damaged one.
    #[error("Could not unzip uploaded file. Please check your file, then try to upload again: {0}")]
    Unreadable(String),
    /// An entry is not acceptable.
    #[error(
        "Could not unzip uploaded file. Please check your file, then try to upload again: entry '{entry}' {reason}"
    )]
    Entry {
        /// The entry's name, cut to a printable length.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It unpacks to too much.
    #[error("Unzipped size must be smaller than {MAX_UNPACKED_BYTES} bytes; entry '{entry}' passes it")]
    TooLarge {
        /// The entry at which the limit was passed.
        entry: String,
    },
    /// The archive itself is too large.
    #[error("Request must be smaller than {MAX_ARCHIVE_BYTES} bytes for a code archive; this one has {0}")]
    ArchiveTooLarge(usize),
    /// The disk failed.
    #[error("unpacking to {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
}

impl Kinded for PackageError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        }
    }
}

fn entry_error(entry: &str, reason: &'static str) -> PackageError {
    PackageError::Entry { entry: shown(entry), reason }
}

fn shown(entry: &str) -> String {
    entry.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The path of an entry inside the package, or why it has none.
fn relative(name: &str) -> Result<PathBuf, PackageError> {
    let refuse = |reason| Err(entry_error(name, reason));
    if name.is_empty() || name.len() > 1_024 {
        return refuse("has a name of no or too many bytes");
    }
    if name.starts_with('/') {
        return refuse("has an absolute path");
    }
    if name.contains('\\') || name.chars().any(char::is_control) {
        return refuse("has a backslash or control character in its name");
    }
    let mut path = PathBuf::new();
    for part in name.trim_end_matches('/').split('/') {
        match part {
            ".." => return refuse("leads out of the package by '..'"),
            "" => return refuse("has an empty folder name"),
            "." => {}
            part if part.len() > 255 => return refuse("has a part of more than 255 bytes"),
            part => path.push(part),
        }
    }
    Ok(path)
}

const FILE_KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// A file of the package.
struct Planned {
    index: usize,
    name: String,
    compressed: u64,
    mode: u32,
}

/// What an archive says that it holds, checked before anything touches the disk.
#[derive(Default)]
struct Layout {
    files: BTreeMap<PathBuf, Planned>,
    /// Those above come before those below.
    folders: BTreeSet<PathBuf>,
}

impl Layout {
    fn read(zip: &mut Archive<'_>) -> Result<Self, PackageError> {
        if zip.has_duplicate_names() {
            return Err(PackageError::Unreadable("two entries have the same name".to_owned()));
        }
        if zip.is_empty() {
            return Err(PackageError::Unreadable("it has no entries".to_owned()));
        }
        if zip.len() > MAX_ENTRIES {
            return Err(PackageError::Unreadable(format!("it has {} entries, {MAX_ENTRIES} are allowed", zip.len())));
        }
        let mut layout = Self::default();
        for index in 0..zip.len() {
            layout.entry(zip, index)?;
        }
        Ok(layout)
    }

    fn entry(&mut self, zip: &mut Archive<'_>, index: usize) -> Result<(), PackageError> {
        let entry = zip.by_index_raw(index).map_err(|e| PackageError::Unreadable(e.to_string()))?;
        let name = String::from_utf8(entry.name_raw().to_vec())
            .map_err(|e| entry_error(&String::from_utf8_lossy(e.as_bytes()), "has a name that is not UTF-8"))?;
        let (mode, is_folder) = (entry.unix_mode().unwrap_or(0), name.ends_with('/'));
        match mode & FILE_KIND {
            0 => {}
            REGULAR if !is_folder => {}
            FOLDER if is_folder => {}
            _ => return Err(entry_error(&name, "is not a plain file or folder (links and devices are refused)")),
        }
        let path = relative(&name)?;
        if is_folder {
            return self.folder(&name, &path);
        }
        self.folder(&name, path.parent().unwrap_or_else(|| Path::new("")))?;
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let planned = Planned { index, compressed: entry.compressed_size(), mode, name: name.clone() };
        if self.folders.contains(&path) || self.files.insert(path, planned).is_some() {
            return Err(entry_error(&name, "has the same path as another entry"));
        }
        Ok(())
    }

    fn folder(&mut self, name: &str, path: &Path) -> Result<(), PackageError> {
        for folder in path.ancestors() {
            if self.files.contains_key(folder) {
                return Err(entry_error(name, "is below another entry that is a file"));
            }
            if !self.folders.insert(folder.to_owned()) {
                break;
            }
        }
        if self.folders.len() + self.files.len() > MAX_ENTRIES {
            return Err(entry_error(name, "brings the package beyond 65,535 files and folders"));
        }
        Ok(())
    }
}

/// With more than this, one sync of everything is quicker than one a file.
const MANY_FILES: usize = 32;

/// What an archive is unpacked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// An empty folder.
    Nothing,
    /// Other layers, whose files it replaces.
    Layers,
}

/// A file cannot take the place of a folder, nor the other way round.
fn make_way(fs: &dyn Fs, name: &str, at: &Path, wants_folder: bool) -> Result<(), PackageError> {
    if !io_at(at, fs.exists(at))? {
        return Ok(());
    }
    match (fs.read_dir(at).is_ok(), wants_folder) {
        (true, true) => Ok(()),
        (false, false) => io_at(at, fs.remove_file(at)),
        _ => Err(entry_error(name, "is a file in one layer and a folder in another")),
    }
}

/// Unpacks `archive` into the existing folder `to` and makes it durable; the answer is how many bytes of `left` it
/// leaves. On an error the folder is left half full for the caller to remove.
pub(crate) fn unpack(fs: &dyn Fs, archive: &[u8], to: &Path, over: Over, mut left: u64) -> Result<u64, PackageError> {
    let mut zip = ZipArchive::new(Cursor::new(archive)).map_err(|e| PackageError::Unreadable(e.to_string()))?;
    let layout = Layout::read(&mut zip)?;
    for folder in &layout.folders {
        let full = to.join(folder);
        if over == Over::Layers {
            make_way(fs, &folder.to_string_lossy(), &full, true)?;
        }
        io_at(&full, fs.create_dir_all(&full))?;
    }
    if over == Over::Layers {
        layout.files.iter().try_for_each(|(path, planned)| make_way(fs, &planned.name, &to.join(path), false))?;
    }
    for (path, planned) in &layout.files {
        left = inflate(fs, &mut zip, planned, &to.join(path), left)?;
    }
    // All at the end: by then most of it is on its way to the disk, and one pass waits less than a sync after each.
    if layout.files.len() > MANY_FILES {
        io_at(to, fs.sync_tree(to))?;
        return Ok(left);
    }
    for path in layout.files.keys() {
        let full = to.join(path);
        io_at(&full, fs.open(&full, OpenMode::Read).and_then(|file| file.sync_data()))?;
    }
    for folder in &layout.folders {
        let full = to.join(folder);
        io_at(&full, fs.sync_dir(&full))?;
    }
    Ok(left)
}

fn io_at<T>(path: &Path, result: io::Result<T>) -> Result<T, PackageError> {
    result.map_err(|source| PackageError::Io { path: path.to_owned(), source })
}

/// Writes one file; the answer is how many bytes of `left` are still free.
fn inflate(
    fs: &dyn Fs,
    zip: &mut Archive<'_>,
    planned: &Planned,
    to: &Path,
    mut left: u64,
) -> Result<u64, PackageError> {
    let name = &planned.name;
    let mut content =
        zip.by_index(planned.index).map_err(|e| PackageError::Unreadable(format!("entry '{}': {e}", shown(name))))?;
    let file = io_at(to, fs.open(to, OpenMode::CreateNew))?;
    let mut buffer = vec![0; 64 << 10];
    let mut written: u64 = 0;
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(entry_error(name, "is damaged")),
        };
        left = left.checked_sub(read as u64).ok_or_else(|| PackageError::TooLarge { entry: shown(name) })?;
        if written > RATIO_FLOOR_BYTES && written / MAX_RATIO > planned.compressed {
            return Err(entry_error(name, "inflates far beyond its size"));
        }
        io_at(to, file.write_all_at(&buffer[..read], written))?;
        written += read as u64;
    }
    io_at(to, fs.set_mode(to, planned.mode))?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn harmless_names_are_kept() {
        assert_eq!(relative("./a/./b.py").unwrap(), Path::new("a/b.py"));
        assert_eq!(relative("folder/").unwrap(), Path::new("folder"));
        assert_eq!(relative("a..b/...").unwrap(), Path::new("a..b/..."));
    }

    proptest! {
        /// Whatever an entry is called, its path stays below the package's folder.
        #[test]
        fn no_name_leads_out(name in "[a./\\\\\\x00\u{e9}-]{0,12}") {
            if let Ok(path) = relative(&name) {
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
            }
        }
    }
}
