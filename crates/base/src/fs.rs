//! The file system, handed in: positioned reads and writes, and every step that durability needs said aloud.
//!
//! Outside this module nothing touches `std::fs`, so every crash can be rehearsed on a simulated disk.

pub mod sim;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A file created when absent, for reading and writing; its content is kept.
    Create,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The entry's name in its folder.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// An open file. Writes are durable only after [`File::sync_data`]; a created, renamed or removed name only after
/// [`Fs::sync_dir`] on its folder. After a failed sync nothing is known of the writes before it.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; fewer at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes up to `buf.len()` bytes at `offset` and says how many.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes content and length durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends with zeroes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Reads exactly `buf.len()` bytes, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes all of `buf`, or fails.
    fn write_all_at(&self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.write_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    buf = &buf[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// A file system. Paths are taken as given; callers keep to their own folder.
pub trait Fs: Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Renames a file or folder, replacing a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder and those above it; existing ones are fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all it holds.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Lists a folder, sorted by name.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes everything below a folder durable, names and contents.
    fn sync_tree(&self, path: &Path) -> io::Result<()> {
        for entry in self.read_dir(path)? {
            let full = path.join(&entry.name);
            match entry.is_dir {
                true => self.sync_tree(&full)?,
                false => self.open(&full, OpenMode::Read)?.sync_data()?,
            }
        }
        self.sync_dir(path)
    }
    /// Whether the path exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Sets the permission bits, such as `0o600`.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// The permission bits.
    fn mode(&self, path: &Path) -> io::Result<u32>;
    /// Takes an exclusive lock on a file for as long as the answer is held; `WouldBlock` when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut buf = vec![0; len];
        file.read_exact_at(&mut buf, 0)?;
        Ok(buf)
    }

    /// Creates a folder and those above it, with their names durable.
    fn create_dir_durable(&self, path: &Path) -> io::Result<()> {
        let missing = path.ancestors().skip(1).take_while(|above| !self.exists(above).unwrap_or(true)).count();
        self.create_dir_all(path)?;
        // The folder's own name is synced even if it was there: who made it may have been stopped before the sync.
        path.ancestors().skip(1).take(missing + 1).try_for_each(|above| self.sync_dir(above))
    }

    /// Replaces a file's content so that after a crash the old or the new is there whole: a temporary name, sync,
    /// rename, sync of the folder. `mode` holds from the first byte.
    fn write_atomic(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        if self.exists(&temporary)? {
            self.remove_file(&temporary)?;
        }
        let file = self.open(&temporary, OpenMode::CreateNew)?;
        self.set_mode(&temporary, mode)?;
        file.write_all_at(content, 0)?;
        file.sync_data()?;
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))
    }
}

/// The machine's file system.
#[derive(Debug, Default)]
pub struct RealFs;

#[allow(clippy::disallowed_methods, reason = "the one place that touches std::fs")]
mod real {
    use std::fs;
    use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};

    use super::*;

    impl File for fs::File {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            FileExt::read_at(self, buf, offset)
        }

        fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
            FileExt::write_at(self, buf, offset)
        }

        fn sync_data(&self) -> io::Result<()> {
            fs::File::sync_data(self)
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.metadata()?.len())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            fs::File::set_len(self, len)
        }
    }

    impl Fs for RealFs {
        fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
            let mut options = fs::OpenOptions::new();
            options.read(true).mode(0o600);
            match mode {
                OpenMode::Read => {}
                OpenMode::ReadWrite => _ = options.write(true),
                OpenMode::Create => _ = options.write(true).create(true),
                OpenMode::CreateNew => _ = options.write(true).create_new(true),
            }
            Ok(Arc::new(options.open(path)?))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            fs::rename(from, to)
        }

        fn remove_file(&self, path: &Path) -> io::Result<()> {
            fs::remove_file(path)
        }

        fn create_dir_all(&self, path: &Path) -> io::Result<()> {
            fs::create_dir_all(path)
        }

        fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
            fs::remove_dir_all(path)
        }

        fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
            let mut entries = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let is_dir = entry.file_type()?.is_dir();
                // A name that is not UTF-8 is none of ours.
                if let Ok(name) = entry.file_name().into_string() {
                    entries.push(DirEntry { name, is_dir });
                }
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            fs::File::open(path)?.sync_all()
        }

        fn sync_tree(&self, path: &Path) -> io::Result<()> {
            // The whole file system at once: for thousands of files it takes as long as a few dozen of single syncs.
            rustix::fs::syncfs(fs::File::open(path)?).map_err(io::Error::from)
        }

        fn exists(&self, path: &Path) -> io::Result<bool> {
            path.try_exists()
        }

        fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        }

        fn mode(&self, path: &Path) -> io::Result<u32> {
            Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
        }

        fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
            let file =
                fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            match file.try_lock() {
                Ok(()) => Ok(Box::new(file)),
                Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
                Err(fs::TryLockError::Error(e)) => Err(e),
            }
        }
    }
}
