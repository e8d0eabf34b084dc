//! Open segment files: reading by position, writing once from front to back.

use std::fmt;
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use base::File;
use tantivy::HasLen;
use tantivy::directory::{AntiCallToken, FileHandle, OwnedBytes, TerminatingWrite};

use super::directory::Unsynced;

/// Bytes gathered before they are written: segment files come in many small pieces.
const BUFFER: usize = 128 << 10;

/// A finished file. It stays readable after its name is removed.
pub struct ReadHandle {
    file: Arc<dyn File>,
    len: usize,
    path: PathBuf,
}

impl ReadHandle {
    pub fn new(file: Arc<dyn File>, path: PathBuf) -> io::Result<Self> {
        let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(Self { file, len, path })
    }
}

impl fmt::Debug for ReadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadHandle({}, {} bytes)", self.path.display(), self.len)
    }
}

impl HasLen for ReadHandle {
    fn len(&self) -> usize {
        self.len
    }
}

impl FileHandle for ReadHandle {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        if range.start > range.end || range.end > self.len {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{self:?} has no bytes {range:?}")));
        }
        let mut bytes = vec![0; range.len()];
        self.file.read_exact_at(&mut bytes, range.start as u64)?;
        Ok(OwnedBytes::new(bytes))
    }
}

/// A file being written. Its bytes are handed to the operating system when it is finished, and synced by the next
/// sync of the folder: a segment that no commit ever names is never waited for.
pub struct WriteHandle {
    file: Arc<dyn File>,
    path: PathBuf,
    offset: u64,
    buffer: Vec<u8>,
    unsynced: Arc<Unsynced>,
}

impl WriteHandle {
    pub fn new(file: Arc<dyn File>, path: PathBuf, unsynced: Arc<Unsynced>) -> Self {
        Self { file, path, offset: 0, buffer: Vec::new(), unsynced }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.unsynced.check()?;
        let written = self.file.write_all_at(&self.buffer, self.offset);
        self.unsynced.poison_on_error(written)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Write for WriteHandle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.write_out()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // tantivy flushes before it finishes a file; readers come only after that.
        Ok(())
    }
}

impl TerminatingWrite for WriteHandle {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        self.write_out()?;
        self.unsynced.add(self.path.clone(), Arc::clone(&self.file));
        Ok(())
    }
}
