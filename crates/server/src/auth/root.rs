//! The root key: configured, or made at first start and kept in the data folder.

use std::io;
use std::path::{Path, PathBuf};

use base::{Env, ErrorKind, Fs, Kinded, Rng};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::config::{self, Secret};

/// The file in the data folder, mode 0600.
const FILE: &str = "credentials";
const FORMAT: u32 = 1;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The owner's key.
#[derive(Debug, Clone)]
pub struct RootKey {
    /// Begins with `AKIA` when made here.
    pub access_key_id: String,
    /// The secret that signs.
    pub secret: Secret,
}

/// Where the root key came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKeyOrigin {
    /// From the file, the environment or a flag.
    Configured,
    /// From the data folder, where an earlier start put it.
    Kept,
    /// Made just now: to be shown once.
    Made,
}

/// Why there is no root key.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// The file cannot be read or written.
    #[error("cannot use the root key in {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file has another format.
    #[error("cannot read the root key in {path}: {reason}; restore the file, or move it away and a new key is made")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the content.
        reason: &'static str,
    },
    /// There is none yet.
    #[error(
        "no root key in {path}: start `tidegate serve` once, or set TIDEGATE_ROOT_ACCESS_KEY_ID and TIDEGATE_ROOT_SECRET_ACCESS_KEY as the server has them"
    )]
    Absent {
        /// Where it would be.
        path: PathBuf,
    },
}

impl Kinded for RootKeyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Unavailable,
            Self::Format { .. } => ErrorKind::Corrupt,
            Self::Absent { .. } => ErrorKind::NotFound,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
}

impl RootKey {
    /// The configured key, else the kept one, else an error that says how to get one.
    pub fn find(config: &config::Root, fs: &dyn Fs, data_dir: &Path) -> Result<(Self, RootKeyOrigin), RootKeyError> {
        if !config.access_key_id.is_empty() {
            let key = Self { access_key_id: config.access_key_id.clone(), secret: config.secret_access_key.clone() };
            return Ok((key, RootKeyOrigin::Configured));
        }
        let path = data_dir.join(FILE);
        let bytes = fs.read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => RootKeyError::Absent { path: path.clone() },
            _ => RootKeyError::Io { path: path.clone(), source },
        })?;
        let format = |reason| RootKeyError::Format { path: path.clone(), reason };
        let text = std::str::from_utf8(&bytes).map_err(|_| format("it is not text"))?;
        // The parser's message would quote the secret.
        let kept: Kept = toml::from_str(text).map_err(|_| format("it is not of the form that the server writes"))?;
        if kept.version != FORMAT {
            return Err(format("it was written by another version of Tidegate"));
        }
        Ok((Self { access_key_id: kept.access_key_id, secret: kept.secret_access_key.into() }, RootKeyOrigin::Kept))
    }

    /// As [`find`](Self::find), but makes and keeps a key when there is none.
    pub fn find_or_make(
        config: &config::Root,
        env: &Env,
        data_dir: &Path,
    ) -> Result<(Self, RootKeyOrigin), RootKeyError> {
        match Self::find(config, &*env.fs, data_dir) {
            Err(RootKeyError::Absent { path }) => {
                let key = Self { access_key_id: access_key_id("AKIA", &*env.rng), secret: secret(&*env.rng).into() };
                let kept = Kept {
                    version: FORMAT,
                    access_key_id: key.access_key_id.clone(),
                    secret_access_key: key.secret.reveal().to_owned(),
                };
                let io = |source| RootKeyError::Io { path: path.clone(), source };
                let text = toml::to_string(&kept).map_err(|e| io(io::Error::other(e)))?;
                env.fs.write_atomic(&path, text.as_bytes(), 0o600).map_err(io)?;
                Ok((key, RootKeyOrigin::Made))
            }
            found => found,
        }
    }
}

/// A new access key id: the prefix and 80 random bits in base 32, as AWS writes them.
pub(crate) fn access_key_id(prefix: &str, rng: &dyn Rng) -> String {
    let mut bits = [0; 16];
    rng.fill(&mut bits);
    prefix.chars().chain(bits.iter().map(|b| char::from(BASE32[usize::from(b & 31)]))).collect()
}

/// A new secret: 240 random bits in 40 characters.
pub(crate) fn secret(rng: &dyn Rng) -> String {
    let mut bits = [0; 30];
    rng.fill(&mut bits);
    STANDARD.encode(bits)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use base::{RealFs, SystemClock, SystemRng};

    use super::*;
    use crate::config::Config;

    fn env() -> Env {
        Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) }
    }

    fn unset() -> config::Root {
        Config::load(&RealFs, None, vec![], vec![]).unwrap().root
    }

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let (dir, env) = (tempfile::tempdir().unwrap(), env());
        assert!(matches!(RootKey::find(&unset(), &RealFs, dir.path()), Err(RootKeyError::Absent { .. })));
        let (made, origin) = RootKey::find_or_make(&unset(), &env, dir.path()).unwrap();
        assert_eq!((origin, made.access_key_id.len(), made.secret.reveal().len()), (RootKeyOrigin::Made, 20, 40));
        assert!(made.access_key_id.starts_with("AKIA"));
        let (again, origin) = RootKey::find_or_make(&unset(), &env, dir.path()).unwrap();
        assert_eq!(origin, RootKeyOrigin::Kept);
        assert_eq!((again.access_key_id, again.secret), (made.access_key_id, made.secret));
        let mode = dir.path().join(FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_refused_without_showing_it() {
        let (dir, env) = (tempfile::tempdir().unwrap(), env());
        env.fs.write_atomic(&dir.path().join(FILE), b"secret_access_key = \"hunter2hunter2", 0o600).unwrap();
        let error = RootKey::find_or_make(&unset(), &env, dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
