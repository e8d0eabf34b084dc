//! The data folder: made private, locked by one process, and saying where that process answers.
//!
//! Layout: `lock`, `server.json` (where the server answers), `credentials`, `master.key` and `master.id`, and a folder or file a room. Must not
//! know what the rooms keep.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{ErrorKind, Fs, Kinded};
use serde::{Deserialize, Serialize};

const RUNNING: &str = "server.json";

/// Where the server that holds a data folder answers, as `server.json` keeps it until a clean stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Such as `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// The default region.
    pub region: String,
    /// The process.
    pub pid: u32,
    /// The authority that clients have to trust, when it is not a public one: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl Running {
    /// What the folder's last server wrote; `None` when none ran yet. The next one will most likely answer there too.
    pub fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>, DataDirError> {
        let path = dir.join(RUNNING);
        let failed = |source| DataDirError::Io { path: path.clone(), source };
        match fs.read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }
}

/// A data folder that this process holds.
pub struct DataDir {
    path: PathBuf,
    fs: Arc<dyn Fs>,
    _lock: Box<dyn Send + Sync>,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process holds it.
    #[error("the data folder {path} is in use by {holder}; stop it, or give this one its own --data-dir")]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process and its address, as far as known.
        holder: String,
    },
    /// The system refuses.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Kinded for DataDirError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } => ErrorKind::Conflict,
            Self::Io { .. } => ErrorKind::Unavailable,
        }
    }
}

impl DataDir {
    /// Makes the folder when absent (mode 0700) and takes it for this process.
    pub fn open(fs: Arc<dyn Fs>, path: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io { path: path.to_owned(), source };
        if !fs.exists(path).map_err(failed)? {
            fs.create_dir_all(path).map_err(failed)?;
            fs.set_mode(path, 0o700).map_err(failed)?;
        } else if fs.mode(path).map_err(failed)? & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "other users may look into the data folder; close it: chmod go-rwx");
        }
        let lock = fs.lock(&path.join("lock")).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => DataDirError::InUse { path: path.to_owned(), holder: holder(&*fs, path) },
            _ => failed(e),
        })?;
        Ok(Self { path: path.to_owned(), fs, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says where this process answers.
    pub fn announce(&self, running: &Running) -> Result<(), DataDirError> {
        let path = self.path.join(RUNNING);
        let failed = |source| DataDirError::Io { path: path.clone(), source };
        let text = serde_json::to_vec_pretty(running).map_err(|e| failed(e.into()))?;
        self.fs.write_atomic(&path, &text, 0o600).map_err(failed)
    }
}

impl DataDir {
    /// Says that this process answers no more.
    pub fn withdraw(&self) -> Result<(), DataDirError> {
        let path = self.path.join(RUNNING);
        match self.fs.remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(DataDirError::Io { path, source }),
            _ => Ok(()),
        }
    }
}

fn holder(fs: &dyn Fs, path: &Path) -> String {
    match Running::read(fs, path) {
        Ok(Some(running)) => format!("another server (process {}, {})", running.pid, running.endpoint),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use base::RealFs;

    use super::*;

    #[test]
    fn one_holder_at_a_time_and_the_second_is_told_who() {
        let dir = tempfile::tempdir().unwrap();
        let (path, fs) = (dir.path().join("data"), Arc::new(RealFs));
        let first = DataDir::open(fs.clone(), &path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        first
            .announce(&Running {
                endpoint: "http://127.0.0.1:1".into(),
                region: "us-east-1".into(),
                pid: 42,
                ca_file: None,
            })
            .unwrap();
        let refused = DataDir::open(fs.clone(), &path).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(refused.to_string().contains("process 42, http://127.0.0.1:1"), "{refused}");
        first.withdraw().unwrap();
        assert_eq!(Running::read(&*fs, &path).unwrap().map(|running| running.pid), None);
        drop(first);
        DataDir::open(fs, &path).unwrap();
    }
}
