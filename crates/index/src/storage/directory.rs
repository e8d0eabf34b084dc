//! One index's folder as tantivy sees it.
//!
//! A segment's files are synced once, together, right before the `meta.json` that names them is replaced. The list of
//! files that tantivy keeps for its garbage collection is the folder itself, read when the directory is opened, so it
//! costs no writes and cannot disagree with what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{File, Fs, OpenMode};
use tantivy::Directory;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{DirectoryLock, FileHandle, Lock, WatchCallback, WatchCallbackList, WatchHandle, WritePtr};

use super::file::{ReadHandle, WriteHandle};
use super::lock::Locks;

/// tantivy's name for its list of files.
const MANAGED: &str = ".managed.json";
/// tantivy's name for the root of an index.
pub const META: &str = "meta.json";

/// Files written since the last sync, and whether the directory has failed.
#[derive(Default)]
pub struct Unsynced {
    files: Mutex<BTreeMap<PathBuf, Arc<dyn File>>>,
    failed: AtomicBool,
}

impl Unsynced {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<dyn File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, path: PathBuf, file: Arc<dyn File>) {
        self.lock().insert(path, file);
    }

    /// Refuses after a failure: what the failed step left behind is unknown.
    pub fn check(&self) -> io::Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(io::Error::other("an earlier write to this index failed; it must be opened anew"));
        }
        Ok(())
    }

    pub fn poison_on_error<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        result
    }
}

/// A tantivy directory on a folder of [`base::Fs`]. Clones share their state.
#[derive(Clone)]
pub struct FsDirectory {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    listed: Arc<BTreeSet<String>>,
    unsynced: Arc<Unsynced>,
    /// Held while names change, so that [`FsDirectory::retire`] has nothing running behind it.
    names: Arc<Mutex<()>>,
    locks: Arc<Locks>,
    watchers: Arc<WatchCallbackList>,
}

impl FsDirectory {
    /// Opens the folder `root`, which exists.
    pub fn open(fs: Arc<dyn Fs>, root: &Path) -> io::Result<Self> {
        let listed = fs.read_dir(root)?.into_iter().filter(|e| !e.is_dir).map(|e| e.name);
        let listed = listed.filter(|name| name != META && !name.starts_with('.')).collect();
        Ok(Self {
            fs,
            root: root.to_owned(),
            listed: Arc::new(listed),
            unsynced: Arc::default(),
            names: Arc::default(),
            locks: Arc::default(),
            watchers: Arc::default(),
        })
    }

    /// Makes this handle and its clones refuse every further change, for one that is about to be replaced: a merge
    /// left running in the background can then disturb nothing.
    pub fn retire(&self) {
        self.unsynced.failed.store(true, Ordering::SeqCst);
        drop(self.names.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn full(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    fn changing_names(&self) -> io::Result<MutexGuard<'_, ()>> {
        let guard = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        self.unsynced.check()?;
        Ok(guard)
    }
}

impl fmt::Debug for FsDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FsDirectory({})", self.root.display())
    }
}

fn read_error(error: io::Error, path: &Path) -> OpenReadError {
    if error.kind() == io::ErrorKind::NotFound {
        OpenReadError::FileDoesNotExist(path.to_owned())
    } else {
        OpenReadError::wrap_io_error(error, path.to_owned())
    }
}

impl Directory for FsDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let file = self.fs.open(&self.full(path), OpenMode::Read).map_err(|e| read_error(e, path))?;
        let handle = ReadHandle::new(file, self.full(path)).map_err(|e| read_error(e, path))?;
        Ok(Arc::new(handle))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        let failed = |e: io::Error| DeleteError::IoError { io_error: Arc::new(e), filepath: path.to_owned() };
        let _names = self.changing_names().map_err(failed)?;
        self.unsynced.lock().remove(path);
        match self.fs.remove_file(&self.full(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(DeleteError::FileDoesNotExist(path.to_owned())),
            other => other.map_err(failed),
        }
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.fs.exists(&self.full(path)).map_err(|e| read_error(e, path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let failed = |e: io::Error| OpenWriteError::wrap_io_error(e, path.to_owned());
        let _names = self.changing_names().map_err(failed)?;
        let file = match self.fs.open(&self.full(path), OpenMode::CreateNew) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(OpenWriteError::FileAlreadyExists(path.to_owned()));
            }
            other => self.unsynced.poison_on_error(other).map_err(failed)?,
        };
        let handle = WriteHandle::new(file, path.to_owned(), Arc::clone(&self.unsynced));
        Ok(BufWriter::new(Box::new(handle)))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        if path == Path::new(MANAGED) {
            return serde_json::to_vec(&*self.listed).map_err(|e| read_error(e.into(), path));
        }
        self.fs.read(&self.full(path)).map_err(|e| read_error(e, path))
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        if path == Path::new(MANAGED) {
            return Ok(());
        }
        {
            let _names = self.changing_names()?;
            let written = self.fs.write_atomic(&self.full(path), data, 0o600);
            self.unsynced.poison_on_error(written)?;
        }
        if path == Path::new(META) {
            drop(self.watchers.broadcast());
        }
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.unsynced.check()?;
        let files = std::mem::take(&mut *self.unsynced.lock());
        for file in files.values() {
            self.unsynced.poison_on_error(file.sync_data())?;
        }
        self.unsynced.poison_on_error(self.fs.sync_dir(&self.root))
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        let guard = self.locks.acquire(&lock.filepath, lock.is_blocking).ok_or(LockError::LockBusy)?;
        Ok(DirectoryLock::from(Box::new(guard)))
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(self.watchers.subscribe(callback))
    }
}
