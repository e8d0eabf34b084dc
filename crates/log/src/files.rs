//! The journal's folder: names, open handles, and the files that stand beside a segment.
//!
//! Owns every path. Promises that a file described here as written is durable with its name. Must not know what the
//! bytes mean.
//!
//! ```text
//! NNNNNNNNNNNNNNNNNNNN.seg    records from position N on
//! NNNNNNNNNNNNNNNNNNNN.snap   the state before position N (the last two are kept)
//! NNNNNNNNNNNNNNNNNNNN.idx    where each shard's records lie in N.seg, once it is sealed
//! NNNNNNNNNNNNNNNNNNNN.gone   empty: retention deleted N.seg, and an older segment is still there
//! stopped                     the mark of a clean stop
//! clock                       the times that were believed last
//! ```

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::{File, Fs, OpenMode, Position};

use crate::LogError;

/// Handles of sealed segments kept open.
const OPEN_HANDLES: usize = 256;
const MODE: u32 = 0o600;
const STOPPED: &str = "stopped";
const CLOCK: &str = "clock";

/// What a numbered file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Segment,
    Snapshot,
    Index,
    Gone,
}

impl Kind {
    const fn extension(self) -> &'static str {
        match self {
            Self::Segment => "seg",
            Self::Snapshot => "snap",
            Self::Index => "idx",
            Self::Gone => "gone",
        }
    }
}

/// The numbers of the files found, by what they hold.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub segments: BTreeSet<Position>,
    pub snapshots: BTreeSet<Position>,
    pub indexes: BTreeSet<Position>,
    pub gone: BTreeSet<Position>,
}

/// The journal's folder.
pub(crate) struct Files {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    handles: Mutex<HashMap<Position, Arc<dyn File>>>,
}

/// A numbered file's name.
pub(crate) fn name(number: Position, kind: Kind) -> String {
    format!("{:020}.{}", number.get(), kind.extension())
}

impl Files {
    pub fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self { fs, dir: dir.to_owned(), handles: Mutex::default() }
    }

    fn path(&self, number: Position, kind: Kind) -> PathBuf {
        self.dir.join(name(number, kind))
    }

    /// Makes the folder, and those above it that had to be created, durable.
    pub fn create_dir(&self) -> Result<(), LogError> {
        let create = || {
            let mut unsynced = vec![parent(&self.dir)];
            for above in self.dir.ancestors().skip(1).take_while(|a| !a.as_os_str().is_empty()) {
                if self.fs.exists(above)? {
                    break;
                }
                unsynced.push(parent(above));
            }
            self.fs.create_dir_all(&self.dir)?;
            unsynced.into_iter().try_for_each(|above| self.fs.sync_dir(above))
        };
        create().map_err(LogError::io(format!("creating the journal's folder {}", self.dir.display())))
    }

    /// The numbered files. What was left half written is removed, so nothing may be writing.
    pub fn list_and_clean(&self) -> Result<Listing, LogError> {
        for entry in self.entries()? {
            if entry.ends_with(".tmp") {
                let path = self.dir.join(entry);
                self.fs.remove_file(&path).map_err(LogError::io(format!("removing {}", path.display())))?;
            }
        }
        self.list()
    }

    /// The numbered files.
    pub fn list(&self) -> Result<Listing, LogError> {
        let mut listing = Listing::default();
        for entry in self.entries()? {
            let (stem, extension) = entry.rsplit_once('.').unwrap_or((&entry, ""));
            let Ok(number) = stem.parse().map(Position::new) else { continue };
            let set = match extension {
                "seg" => &mut listing.segments,
                "snap" => &mut listing.snapshots,
                "idx" => &mut listing.indexes,
                "gone" => &mut listing.gone,
                _ => continue,
            };
            set.insert(number);
        }
        Ok(listing)
    }

    fn entries(&self) -> Result<Vec<String>, LogError> {
        let entries = self.fs.read_dir(&self.dir).map_err(LogError::io("listing the journal's folder"))?;
        Ok(entries.into_iter().filter(|e| !e.is_dir).map(|e| e.name).collect())
    }

    /// The content of a small file; none when it is not there.
    pub fn read(&self, number: Position, kind: Kind) -> Result<Option<Vec<u8>>, LogError> {
        self.read_path(&self.path(number, kind))
    }

    fn read_path(&self, path: &Path) -> Result<Option<Vec<u8>>, LogError> {
        match self.fs.read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(LogError::io(format!("reading {}", path.display()))(e)),
        }
    }

    /// Writes a small file whole.
    pub fn write(&self, number: Position, kind: Kind, content: &[u8]) -> io::Result<()> {
        self.fs.write_atomic(&self.path(number, kind), content, MODE)
    }

    /// The mark of a clean stop, if there is one.
    pub fn read_stopped(&self) -> Result<Option<Vec<u8>>, LogError> {
        self.read_path(&self.dir.join(STOPPED))
    }

    /// Leaves the mark of a clean stop.
    pub fn write_stopped(&self, content: &[u8]) -> io::Result<()> {
        self.fs.write_atomic(&self.dir.join(STOPPED), content, MODE)
    }

    /// The time that was written down last, if any was.
    pub fn read_clock(&self) -> Result<Option<Vec<u8>>, LogError> {
        self.read_path(&self.dir.join(CLOCK))
    }

    /// Writes down the time.
    pub fn write_clock(&self, content: &[u8]) -> io::Result<()> {
        self.fs.write_atomic(&self.dir.join(CLOCK), content, MODE)
    }

    /// Creates a segment that holds nothing but its header. One of this number that is there already holds nothing
    /// durable and is replaced by a new file: after a failed sync the old one's pages cannot be trusted.
    pub fn create_segment(&self, first: Position, header: &[u8]) -> io::Result<Arc<dyn File>> {
        let path = self.path(first, Kind::Segment);
        self.forget(first);
        if self.fs.exists(&path)? {
            self.fs.remove_file(&path)?;
        }
        let file = self.fs.open(&path, OpenMode::CreateNew)?;
        file.write_all_at(header, 0)?;
        file.sync_data()?;
        self.fs.sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Opens the active segment for writing.
    pub fn open_active(&self, first: Position) -> Result<Arc<dyn File>, LogError> {
        let path = self.path(first, Kind::Segment);
        self.fs.open(&path, OpenMode::ReadWrite).map_err(LogError::io(format!("opening {}", path.display())))
    }

    /// A sealed segment for reading.
    pub fn open_segment(&self, first: Position) -> io::Result<Arc<dyn File>> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = handles.get(&first) {
            return Ok(Arc::clone(file));
        }
        let file = self.fs.open(&self.path(first, Kind::Segment), OpenMode::Read)?;
        if handles.len() >= OPEN_HANDLES {
            handles.clear();
        }
        handles.insert(first, Arc::clone(&file));
        Ok(file)
    }

    /// Closes a segment's handle once its readers are done.
    pub fn forget(&self, first: Position) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).remove(&first);
    }

    /// Removes a file; absent is fine. Its absence is durable after [`Files::sync_names`].
    pub fn remove(&self, number: Position, kind: Kind) -> Result<(), LogError> {
        let path = self.path(number, kind);
        match self.fs.remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(LogError::io(format!("removing {}", path.display()))(e))
            }
            _ => Ok(()),
        }
    }

    /// Makes removals durable.
    pub fn sync_names(&self) -> Result<(), LogError> {
        self.fs.sync_dir(&self.dir).map_err(LogError::io("syncing the journal's folder"))
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("."))
}
