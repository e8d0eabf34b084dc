//! redb's storage on the file system that is handed in.
//!
//! Promises that after the first failed write or sync no other reaches the file: what the failure left behind is for
//! the next open to judge, and a sync that follows a failed one must not pass for a success.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::File;

pub(crate) struct FileBackend {
    file: Arc<dyn File>,
    failed: AtomicBool,
}

impl FileBackend {
    pub(crate) fn new(file: Arc<dyn File>) -> Self {
        Self { file, failed: AtomicBool::new(false) }
    }

    fn change(&self, op: impl FnOnce(&dyn File) -> io::Result<()>) -> io::Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            return Err(io::Error::other("the file failed before and must be opened anew"));
        }
        op(&*self.file).inspect_err(|_| self.failed.store(true, Ordering::SeqCst))
    }
}

impl fmt::Debug for FileBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBackend").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl redb::StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|file| file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(|file| file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|file| file.write_all_at(data, offset))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base::fs::sim::{Call, Fault, SimFs};
    use base::{Fs, OpenMode};
    use redb::StorageBackend;

    use super::*;

    #[test]
    fn after_a_failed_sync_nothing_is_written_or_synced() {
        let fs = SimFs::new(1);
        let backend = FileBackend::new(fs.open(Path::new("/f"), OpenMode::Create).unwrap());
        backend.write(0, b"before").unwrap();
        fs.fail(&[Call::SyncData], 1, Fault::Eio);
        backend.sync_data().unwrap_err();
        let calls = fs.calls(Call::CHANGES);
        assert!(backend.sync_data().is_err() && backend.write(0, b"after").is_err() && backend.set_len(0).is_err());
        assert_eq!(fs.calls(Call::CHANGES), calls, "the file was reached");
        let mut read = [0; 6];
        backend.read(0, &mut read).unwrap();
        assert_eq!(&read, b"before");
    }
}
