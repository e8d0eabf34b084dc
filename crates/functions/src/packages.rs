//! Where packages are kept: the archive as it came and the folder that runs.
//!
//! Layout below the functions folder, and below that of the layers, with the archive's SHA-256 in hexadecimal as name:
//! `ACCOUNT/REGION/NAME/SHA.zip` and `ACCOUNT/REGION/NAME/SHA/`. The folder appears by a rename, so it is whole
//! or not there; the archive is durable before it. Anything else in there is a leftover.
//! Promises that a folder in use is never removed. Must not know settings or environments.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{AccountId, Env, Scope};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::package::{self, MAX_ARCHIVE_BYTES, MAX_UNPACKED_BYTES};
use crate::{Code, FunctionError, PackageError};

/// The packages of all functions, or of all layers.
#[derive(Clone)]
pub(crate) struct Packages {
    env: Env,
    dir: PathBuf,
    in_use: InUse,
}

/// Folders with how many hold them.
#[derive(Clone, Default)]
pub(crate) struct InUse(Arc<Mutex<HashMap<PathBuf, usize>>>);

impl InUse {
    pub fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A package folder that stays while this is held.
pub(crate) struct PackageFolder {
    path: PathBuf,
    in_use: InUse,
}

impl PackageFolder {
    pub fn hold(path: PathBuf, in_use: &InUse) -> Self {
        *in_use.lock().entry(path.clone()).or_default() += 1;
        Self { path, in_use: in_use.clone() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PackageFolder {
    fn drop(&mut self) {
        let mut in_use = self.in_use.lock();
        if let Some(count) = in_use.get_mut(&self.path) {
            *count -= 1;
            if *count == 0 {
                in_use.remove(&self.path);
            }
        }
    }
}

/// The code that an archive is.
pub(crate) fn code_of(archive: &[u8]) -> Result<Code, PackageError> {
    if archive.len() > MAX_ARCHIVE_BYTES {
        return Err(PackageError::ArchiveTooLarge(archive.len()));
    }
    Ok(Code { sha256: STANDARD.encode(Sha256::digest(archive)), size: archive.len() as u64 })
}

fn folder_name(code: &Code) -> String {
    hexadecimal(&STANDARD.decode(&code.sha256).unwrap_or_default())
}

pub(crate) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Packages {
    pub fn new(env: &Env, dir: &Path) -> Self {
        Self { env: env.clone(), dir: dir.to_owned(), in_use: InUse::default() }
    }

    fn home(&self, scope: &Scope, name: &str) -> PathBuf {
        self.dir.join(scope.account.as_str()).join(scope.region.as_str()).join(name)
    }

    fn hold(&self, path: PathBuf) -> PackageFolder {
        PackageFolder::hold(path, &self.in_use)
    }

    /// Keeps stored code, archive and folder, for as long as the answer is held.
    pub fn keep(&self, scope: &Scope, name: &str, code: &Code) -> PackageFolder {
        self.hold(self.home(scope, name).join(folder_name(code)))
    }

    /// Where the archive of stored code is.
    pub fn archive(&self, scope: &Scope, name: &str, code: &Code) -> PathBuf {
        self.home(scope, name).join(folder_name(code)).with_extension("zip")
    }

    /// Unpacks an archive for a function or a layer; durable when it returns.
    pub async fn store(
        &self,
        scope: &Scope,
        name: &str,
        code: &Code,
        archive: Bytes,
    ) -> Result<PackageFolder, FunctionError> {
        let home = self.home(scope, name);
        let folder = self.hold(home.join(folder_name(code)));
        let (env, to) = (self.env.clone(), folder.path.clone());
        blocking(move || {
            let fs = &*env.fs;
            fs.create_dir_all(&home).map_err(FunctionError::io(&home))?;
            let kept = to.with_extension("zip");
            if !fs.exists(&kept).map_err(FunctionError::io(&kept))? {
                // Under a name of its own: the same archive may come twice at once.
                let temporary = to.with_extension(format!("storing-{:016x}", env.rng.u64()));
                fs.write_atomic(&temporary, &archive, 0o600).map_err(FunctionError::io(&temporary))?;
                fs.rename(&temporary, &kept).map_err(FunctionError::io(&kept))?;
                fs.sync_dir(&home).map_err(FunctionError::io(&home))?;
            }
            unpack_once(&env, &archive, &to)
        })
        .await?;
        Ok(folder)
    }

    /// The folder of a stored package. Should it have gone, the kept archive is unpacked again.
    pub async fn folder(&self, scope: &Scope, name: &str, code: &Code) -> Result<PackageFolder, FunctionError> {
        let folder = self.hold(self.home(scope, name).join(folder_name(code)));
        let (env, to) = (self.env.clone(), folder.path.clone());
        blocking(move || {
            if env.fs.exists(&to).map_err(FunctionError::io(&to))? {
                return Ok(());
            }
            let kept = to.with_extension("zip");
            let archive = env.fs.read(&kept).map_err(FunctionError::io(&kept))?;
            unpack_once(&env, &archive, &to)
        })
        .await?;
        Ok(folder)
    }

    /// Whatever has something on disk, by name, whether it exists or not.
    pub async fn homes(&self) -> Result<Vec<(Scope, String)>, FunctionError> {
        let (env, dir) = (self.env.clone(), self.dir.clone());
        blocking(move || {
            if !env.fs.exists(&dir).map_err(FunctionError::io(&dir))? {
                return Ok(Vec::new());
            }
            let folders = |path: &Path| -> Result<Vec<String>, FunctionError> {
                let entries = env.fs.read_dir(path).map_err(FunctionError::io(path))?;
                Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect())
            };
            let mut homes = Vec::new();
            // What is not named as we name folders is not ours to look into.
            for account in folders(&dir)? {
                let Ok(account_id) = account.parse::<AccountId>() else { continue };
                for region in folders(&dir.join(&account))? {
                    let Ok(region_id) = region.parse() else { continue };
                    let scope = Scope { account: account_id.clone(), region: region_id };
                    let names = folders(&dir.join(&account).join(&region))?;
                    homes.extend(names.into_iter().map(|name| (scope.clone(), name)));
                }
            }
            Ok(homes)
        })
        .await
    }

    /// Whether there is something on disk beside this code. What cannot be looked into has nothing to find.
    pub async fn has_more(&self, scope: &Scope, name: &str, than: Vec<Code>) -> bool {
        let (env, home) = (self.env.clone(), self.home(scope, name));
        let looked = blocking(move || {
            let known: HashSet<String> = than.iter().map(folder_name).collect();
            let entries = env.fs.read_dir(&home).map_err(FunctionError::io(&home))?;
            Ok(entries.iter().any(|entry| !known.contains(entry.name.strip_suffix(".zip").unwrap_or(&entry.name))))
        });
        looked.await.unwrap_or(false)
    }

    /// Removes what neither the versions need that `needed` names (none: the function is deleted) nor anything in use.
    /// It is asked again before something is removed, when nobody holds that: who held it has said by then whether it is
    /// needed.
    pub async fn sweep(
        &self,
        scope: &Scope,
        name: &str,
        needed: impl Fn() -> Vec<Code> + Send + 'static,
    ) -> Result<(), FunctionError> {
        let (env, home, in_use) = (self.env.clone(), self.home(scope, name), self.in_use.clone());
        blocking(move || {
            let fs = &*env.fs;
            if !fs.exists(&home).map_err(FunctionError::io(&home))? {
                return Ok(());
            }
            let entries = fs.read_dir(&home).map_err(FunctionError::io(&home))?;
            let names = || needed().iter().map(folder_name).collect::<HashSet<String>>();
            let surely = names();
            for entry in entries {
                let (path, stem) = (home.join(&entry.name), entry.name.split('.').next().unwrap_or_default());
                if surely.contains(stem) {
                    continue;
                }
                // Held for the removal: a package that is being stored again under the same name waits for it.
                let in_use = in_use.lock();
                if in_use.contains_key(&home.join(stem)) || names().contains(stem) {
                    continue;
                }
                let removed = if entry.is_dir { fs.remove_dir_all(&path) } else { fs.remove_file(&path) };
                removed.map_err(FunctionError::io(&path))?;
            }
            Ok(())
        })
        .await
    }
}

fn unpack_once(env: &Env, archive: &[u8], to: &Path) -> Result<(), FunctionError> {
    let fs = &*env.fs;
    if fs.exists(to).map_err(FunctionError::io(to))? {
        return Ok(());
    }
    let temporary = to.with_extension(format!("unpacking-{:016x}", env.rng.u64()));
    fs.create_dir_all(&temporary).map_err(FunctionError::io(&temporary))?;
    let unpacked = package::unpack(fs, archive, &temporary, package::Over::Nothing, MAX_UNPACKED_BYTES)
        .map_err(FunctionError::from)
        .and_then(|_| {
            match fs.rename(&temporary, to) {
                // Another call unpacked the same archive at the same time.
                Err(_) if fs.exists(to).unwrap_or(false) => fs.remove_dir_all(&temporary),
                renamed => renamed,
            }
            .map_err(FunctionError::io(to))?;
            let home = to.parent().unwrap_or(to);
            fs.sync_dir(home).map_err(FunctionError::io(home))
        });
    if unpacked.is_err()
        && let Err(error) = fs.remove_dir_all(&temporary)
    {
        tracing::warn!(folder = %temporary.display(), %error, "a half unpacked package could not be removed");
    }
    unpacked
}

/// Runs disk work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FunctionError> + Send + 'static,
) -> Result<T, FunctionError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(FunctionError::Unavailable(format!("disk work for functions ended early: {error}"))),
    }
}

#[cfg(test)]
mod tests;
