//! Makes, checks and compacts the file.
//!
//! The table `_format` holds under `version` the number of the format, four bytes, big-endian. A file is made under
//! another name and renamed when whole, so that a file of the right name always has a format.

use std::path::{Path, PathBuf};

use base::{Fs, OpenMode};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::OpenError;
use crate::backend::FileBackend;

/// The format that this version writes, and the latest that it reads.
const FORMAT: u32 = 1;
const FORMAT_TABLE: TableDefinition<'static, &str, u32> = TableDefinition::new("_format");
const FORMAT_KEY: &str = "version";
/// redb's page cache. State is small; what does not fit is read again.
const CACHE_BYTES: usize = 64 << 20;
/// Below this length a file is not worth compacting.
const COMPACT_FROM_BYTES: u64 = 16 << 20;

/// Opens the file at `path`, making it when absent; repairs it after a crash and verifies every checksum.
pub(crate) fn open(fs: &dyn Fs, path: &Path) -> Result<Database, OpenError> {
    let failed = |error| failure(path, error);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs.create_dir_durable(folder).map_err(|e| failed(e.into()))?;
    if !fs.exists(path).map_err(|e| failed(e.into()))? {
        make(fs, path).map_err(failed)?;
    }
    // Also when the file was there: who made it may have been stopped before the name was durable.
    fs.sync_dir(folder).map_err(|e| failed(e.into()))?;
    let mut database = connect(fs, path, OpenMode::ReadWrite).map_err(failed)?;
    check_format(&database, path)?;
    let length = length(fs, path).map_err(failed)?;
    if length >= COMPACT_FROM_BYTES && used(&database).map_err(failed)? < length / 2 {
        database.compact().map_err(|e| failed(e.into()))?;
        tracing::info!(path = %path.display(), before = length, "compacted the state file");
    }
    crate::metrics::file_length(self::length(fs, path).map_err(failed)?);
    Ok(database)
}

fn make(fs: &dyn Fs, path: &Path) -> Result<(), redb::Error> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    if fs.exists(&unfinished)? {
        fs.remove_file(&unfinished)?;
    }
    let database = connect(fs, &unfinished, OpenMode::CreateNew)?;
    let transaction = database.begin_write()?;
    transaction.open_table(FORMAT_TABLE)?.insert(FORMAT_KEY, FORMAT)?;
    transaction.commit()?;
    database.close()?;
    Ok(fs.rename(&unfinished, path)?)
}

fn connect(fs: &dyn Fs, path: &Path, mode: OpenMode) -> Result<Database, redb::Error> {
    let backend = FileBackend::new(fs.open(path, mode)?);
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    // A file that was altered behind redb's back is refused here; without the check it may panic at any read.
    builder.set_check_integrity_on_open(mode == OpenMode::ReadWrite);
    Ok(builder.create_with_backend(backend)?)
}

fn check_format(database: &Database, path: &Path) -> Result<(), OpenError> {
    let found = (|| -> Result<_, redb::Error> {
        let table = database.begin_read()?.open_table(FORMAT_TABLE)?;
        Ok(table.get(FORMAT_KEY)?.map(|version| version.value()))
    })();
    let path_text = path.display().to_string();
    match found {
        Ok(Some(found)) if found > FORMAT => Err(OpenError::Newer { path: path_text, found, known: FORMAT }),
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(OpenError::Corrupt { path: path_text, message: "it does not say its format".to_owned() }),
        Err(error) => Err(failure(path, error)),
    }
}

/// Bytes of pages in use.
fn used(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let stats = transaction.stats()?;
    transaction.abort()?;
    Ok(stats.allocated_pages() * stats.page_size() as u64)
}

fn length(fs: &dyn Fs, path: &Path) -> Result<u64, redb::Error> {
    Ok(fs.open(path, OpenMode::Read)?.len()?)
}

fn failure(path: &Path, error: redb::Error) -> OpenError {
    let path = path.display().to_string();
    match error {
        // redb says so of a file that is none of its own, or too short to be one.
        redb::Error::Io(e)
            if matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
        {
            OpenError::Corrupt { path, message: e.to_string() }
        }
        redb::Error::Io(source) => OpenError::Io { path, source },
        other => OpenError::Corrupt { path, message: other.to_string() },
    }
}
