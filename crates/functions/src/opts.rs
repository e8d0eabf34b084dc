//! Layers laid together: one folder for each list of layers that a function has, later ones over earlier ones.
//!
//! Layout below its folder: the SHA-256 of the list of digests, in hexadecimal. Everything in it can be made again from
//! the layers' archives. Promises that a folder in use is never removed, and that one which is there is whole.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use base::{Env, Fs};
use sha2::{Digest, Sha256};

use crate::packages::{InUse, PackageFolder, blocking, hexadecimal};
use crate::{Code, FunctionError, package};

/// The folders of all lists of layers.
#[derive(Clone)]
pub(crate) struct Opts {
    env: Env,
    dir: PathBuf,
    in_use: InUse,
}

fn folder_name(codes: &[Code]) -> String {
    let digests: Vec<&str> = codes.iter().map(|code| code.sha256.as_str()).collect();
    hexadecimal(&Sha256::digest(digests.join("\n")))
}

impl Opts {
    pub fn new(env: &Env, dir: &Path) -> Self {
        Self { env: env.clone(), dir: dir.to_owned(), in_use: InUse::default() }
    }

    /// The folder of a list of layers, made from their archives when it is not there.
    pub async fn layered(&self, codes: &[Code], archives: Vec<PathBuf>) -> Result<PackageFolder, FunctionError> {
        let folder = PackageFolder::hold(self.dir.join(folder_name(codes)), &self.in_use);
        let (env, to) = (self.env.clone(), folder.path().to_owned());
        blocking(move || {
            let fs = &*env.fs;
            if fs.exists(&to).map_err(FunctionError::io(&to))? {
                return Ok(());
            }
            let temporary = to.with_extension(format!("layering-{:016x}", env.rng.u64()));
            fs.create_dir_all(&temporary).map_err(FunctionError::io(&temporary))?;
            let laid = lay(fs, &archives, &temporary).and_then(|()| settle(fs, &temporary, &to));
            if laid.is_err()
                && let Err(error) = fs.remove_dir_all(&temporary)
            {
                tracing::warn!(folder = %temporary.display(), %error, "half laid layers could not be removed");
            }
            laid
        })
        .await?;
        Ok(folder)
    }

    /// Removes what none of the lists that `needed` names nor anything in use needs. It is asked again before something
    /// is removed, when nobody holds that.
    pub async fn sweep(&self, needed: impl Fn() -> Vec<Vec<Code>> + Send + 'static) -> Result<(), FunctionError> {
        let (env, dir, in_use) = (self.env.clone(), self.dir.clone(), self.in_use.clone());
        blocking(move || {
            let fs = &*env.fs;
            if !fs.exists(&dir).map_err(FunctionError::io(&dir))? {
                return Ok(());
            }
            let entries = fs.read_dir(&dir).map_err(FunctionError::io(&dir))?;
            let names = || needed().iter().map(|codes| folder_name(codes)).collect::<HashSet<String>>();
            let surely = names();
            for entry in entries {
                let stem = entry.name.split('.').next().unwrap_or_default();
                if surely.contains(stem) {
                    continue;
                }
                // Held for the removal: one that is being made again under the same name waits for it.
                let in_use = in_use.lock();
                if in_use.contains_key(&dir.join(stem)) || names().contains(stem) {
                    continue;
                }
                let path = dir.join(&entry.name);
                fs.remove_dir_all(&path).map_err(FunctionError::io(&path))?;
            }
            Ok(())
        })
        .await
    }

    /// Bytes of all files below these folders.
    pub async fn size(&self, folders: &[&Path]) -> Result<u64, FunctionError> {
        let (env, mut left) = (self.env.clone(), folders.iter().map(|folder| (*folder).to_owned()).collect::<Vec<_>>());
        blocking(move || {
            let (fs, mut sum) = (&*env.fs, 0);
            while let Some(folder) = left.pop() {
                for entry in fs.read_dir(&folder).map_err(FunctionError::io(&folder))? {
                    let path = folder.join(&entry.name);
                    if entry.is_dir {
                        left.push(path);
                        continue;
                    }
                    let file = fs.open(&path, base::OpenMode::Read).map_err(FunctionError::io(&path))?;
                    sum += file.len().map_err(FunctionError::io(&path))?;
                }
            }
            Ok(sum)
        })
        .await
    }
}

fn lay(fs: &dyn Fs, archives: &[PathBuf], to: &Path) -> Result<(), FunctionError> {
    // All together: they are refused before the disk has more of them than one function may have.
    let mut left = package::MAX_UNPACKED_BYTES;
    for archive in archives {
        let bytes = fs.read(archive).map_err(FunctionError::io(archive))?;
        left = package::unpack(fs, &bytes, to, package::Over::Layers, left)?;
    }
    Ok(())
}

fn settle(fs: &dyn Fs, from: &Path, to: &Path) -> Result<(), FunctionError> {
    match fs.rename(from, to) {
        // Another call laid the same layers at the same time.
        Err(_) if fs.exists(to).unwrap_or(false) => fs.remove_dir_all(from),
        renamed => renamed,
    }
    .map_err(FunctionError::io(to))?;
    let home = to.parent().unwrap_or(to);
    fs.sync_dir(home).map_err(FunctionError::io(home))
}
