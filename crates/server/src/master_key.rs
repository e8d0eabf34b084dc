//! The master key: read from where the settings say, else kept in the data folder, else made there once.
//!
//! Promises that a folder never changes its key unnoticed: beside the key it keeps the key's mark, which says nothing of
//! the key but whether another one is the same. Must not know what is encrypted.

use std::io;
use std::path::{Path, PathBuf};

use base::{Env, ErrorKind, Kinded, MasterKey};
use zeroize::Zeroizing;

use crate::config;

const KEY: &str = "master.key";
const MARK: &str = "master.id";
const KEY_BYTES: usize = 32;
/// From which the mark is derived.
const PURPOSE: &str = "server: mark of the master key";

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file that the settings name is not there, or the one that was kept.
    #[error(
        "the master key {path} is not there; without it, what was encrypted cannot be read. Put it back, or name its place with TIDEGATE_MASTER_KEY_FILE. Only if nothing (a stream, a queue, a connection, a webhook's key, signing.key) was ever encrypted here: remove {mark}, and a new key is made"
    )]
    Lost {
        /// Where it should be.
        path: PathBuf,
        /// The mark of the key that was.
        mark: PathBuf,
    },
    /// The settings name a file that is not there.
    #[error("the master key file {path} is not there; make one: (umask 077; openssl rand -hex 32 > {path})")]
    Absent {
        /// As configured.
        path: PathBuf,
    },
    /// It is not that with which the folder was begun.
    #[error(
        "{path} holds another master key than the one this data folder was begun with, under which nothing that was encrypted could be read; put the right one there"
    )]
    Other {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{path} is not a master key: expected 64 hexadecimal digits, as `openssl rand -hex 32` prints them")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// Everybody can read it.
    #[error("every user of this machine can read or change the master key {path}; close it: chmod o-rwx {path}")]
    Open {
        /// The file.
        path: PathBuf,
    },
}

impl Kinded for MasterKeyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Lost { .. } | Self::Absent { .. } => ErrorKind::NotFound,
            Self::Other { .. } => ErrorKind::Conflict,
            Self::Format { .. } | Self::Open { .. } => ErrorKind::Invalid,
        }
    }
}

/// The key of the data folder `dir`, made when there never was one and the settings name none.
pub(crate) fn find_or_make(config: &config::Master, env: &Env, dir: &Path) -> Result<MasterKey, MasterKeyError> {
    let (path, mark_path) = (config.key_file.clone().unwrap_or_else(|| dir.join(KEY)), dir.join(MARK));
    let known_mark = read(env, &mark_path)?;
    let key = match (read(env, &path)?, &known_mark) {
        (Some(text), _) => parse(&text).ok_or_else(|| MasterKeyError::Format { path: path.clone() })?,
        (None, _) if config.key_file.is_some() => return Err(MasterKeyError::Absent { path }),
        (None, Some(_)) => return Err(MasterKeyError::Lost { path, mark: mark_path }),
        (None, None) => make(env, &path)?,
    };
    check_mode(env, &path)?;
    let mark = hex(&*key.derive(PURPOSE));
    match known_mark {
        Some(known) if known.trim_ascii() == mark.as_bytes() => {}
        Some(_) => return Err(MasterKeyError::Other { path }),
        None => {
            let io = |source| MasterKeyError::Io { path: mark_path.clone(), source };
            env.fs.write_atomic(&mark_path, format!("{}\n", *mark).as_bytes(), 0o600).map_err(io)?;
        }
    }
    Ok(key)
}

fn read(env: &Env, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, MasterKeyError> {
    match env.fs.read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(MasterKeyError::Io { path: path.to_owned(), source }),
    }
}

fn check_mode(env: &Env, path: &Path) -> Result<(), MasterKeyError> {
    let mode = env.fs.mode(path).map_err(|source| MasterKeyError::Io { path: path.to_owned(), source })?;
    if mode & 0o007 != 0 {
        return Err(MasterKeyError::Open { path: path.to_owned() });
    }
    if mode & 0o070 != 0 {
        tracing::warn!(path = %path.display(), "a group of users can read the master key; close it: chmod g-rwx");
    }
    Ok(())
}

fn make(env: &Env, path: &Path) -> Result<MasterKey, MasterKeyError> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    env.rng.fill(&mut *bytes);
    let text = Zeroizing::new(format!("{}\n", *hex(&*bytes)));
    let io = |source| MasterKeyError::Io { path: path.to_owned(), source };
    env.fs.write_atomic(path, text.as_bytes(), 0o600).map_err(io)?;
    tracing::info!(path = %path.display(), "a master key was made; keep a copy, without it what is encrypted is lost");
    Ok(MasterKey::new(*bytes))
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Zeroizing::new(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect())
}

fn parse(text: &[u8]) -> Option<MasterKey> {
    let digits = text.trim_ascii();
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(MasterKey::new(*bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{Fs, RealFs, SystemClock, SystemRng};

    use super::*;
    use crate::config::Config;

    struct Folder {
        env: Env,
        dir: tempfile::TempDir,
    }

    impl Folder {
        fn new() -> Self {
            let env = Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) };
            Self { env, dir: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn find(&self, key_file: Option<&str>) -> Result<String, MasterKeyError> {
            let vars = key_file.map(|name| ("TIDEGATE_MASTER_KEY_FILE".into(), self.path(name).into()));
            let config = Config::load(&RealFs, None, vars.into_iter().collect(), vec![]).unwrap();
            find_or_make(&config.master, &self.env, self.dir.path()).map(|key| hex(&*key.derive("test")).to_string())
        }
    }

    #[test]
    fn a_key_is_made_once_kept_private_and_found_again() {
        let folder = Folder::new();
        let made = folder.find(None).unwrap();
        assert_eq!(RealFs.mode(&folder.path(KEY)).unwrap(), 0o600);
        assert_eq!(folder.find(None).unwrap(), made);
        // A start that was cut off before the mark was written.
        RealFs.remove_file(&folder.path(MARK)).unwrap();
        assert_eq!(folder.find(None).unwrap(), made);
        RealFs.rename(&folder.path(KEY), &folder.path("moved")).unwrap();
        assert_eq!(folder.find(Some("moved")).unwrap(), made);
        let mark = RealFs.read(&folder.path(MARK)).unwrap();
        assert!(
            !mark.windows(32).any(|part| RealFs.read(&folder.path("moved")).unwrap().windows(32).any(|k| k == part))
        );
    }

    #[test]
    fn a_lost_or_another_key_is_an_error_and_never_replaced() {
        let folder = Folder::new();
        folder.find(None).unwrap();
        RealFs.remove_file(&folder.path(KEY)).unwrap();
        let lost = folder.find(None).unwrap_err();
        assert!(matches!(lost, MasterKeyError::Lost { .. }), "{lost}");
        assert!(!RealFs.exists(&folder.path(KEY)).unwrap());
        assert!(matches!(folder.find(Some("nowhere")), Err(MasterKeyError::Absent { .. })));
        RealFs.write_atomic(&folder.path("other"), "ab".repeat(32).as_bytes(), 0o600).unwrap();
        assert!(matches!(folder.find(Some("other")), Err(MasterKeyError::Other { .. })));
    }

    #[test]
    fn what_is_no_key_or_open_to_all_is_refused_without_showing_it() {
        let folder = Folder::new();
        for content in ["", "hunter2", &"g".repeat(64), &"ab".repeat(31), &"é".repeat(32)] {
            RealFs.write_atomic(&folder.path(KEY), content.as_bytes(), 0o600).unwrap();
            let refused = folder.find(None).unwrap_err();
            assert!(matches!(refused, MasterKeyError::Format { .. }), "{refused}");
            assert!(!refused.to_string().contains("hunter2"));
        }
        RealFs.write_atomic(&folder.path(KEY), "AB".repeat(32).as_bytes(), 0o640).unwrap();
        RealFs.set_mode(&folder.path(KEY), 0o644).unwrap();
        assert!(matches!(folder.find(None), Err(MasterKeyError::Open { .. })));
        assert!(!RealFs.exists(&folder.path(MARK)).unwrap());
        RealFs.set_mode(&folder.path(KEY), 0o640).unwrap();
        folder.find(None).unwrap();
    }
}
