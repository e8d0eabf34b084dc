//! All indices by scope and name: finding, making and removing them.
//!
//! An index exists when its folder has a `meta.json`. Making writes that file last, removing takes it first; a folder
//! without it is what a crash left of either, and is removed when the service opens.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use base::{Env, IndexName, Scope, TaskGroup};
use serde_json::Value;
use tantivy::Searcher;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::meta::IndexMeta;
use super::open::OpenIndex;
use super::operation::{Operation, Outcome};
use super::owner::{Command, Owner, QUEUE, blocking};
use crate::config::IndexConfig;
use crate::error::EngineError;
use crate::mapping::{Mapping, Settings};
use crate::storage::META;

/// What all owners share.
pub struct Shared {
    /// The operator's settings.
    pub config: IndexConfig,
    /// Groups that are written at once.
    pub writes: Semaphore,
    /// Writers that stay open between groups.
    pub kept_writers: Arc<Semaphore>,
}

/// One index.
pub struct Entry {
    /// Account and region.
    pub scope: Scope,
    /// Its name.
    pub name: IndexName,
    inbox: mpsc::Sender<Command>,
    stopping: CancellationToken,
    open: RwLock<Option<Arc<OpenIndex>>>,
}

impl Entry {
    /// The index, opened when it is not.
    pub async fn open(&self) -> Result<Arc<OpenIndex>, EngineError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner).clone();
        match open {
            Some(open) => Ok(open),
            None => self.ask(Command::Open).await,
        }
    }

    /// Searcher and mapping as of the last commit.
    pub async fn reading(&self) -> Result<(Arc<OpenIndex>, Searcher), EngineError> {
        let open = self.open().await?;
        let searcher = open.searcher();
        Ok((open, searcher))
    }

    /// Makes changes; answered when they are durable and visible, in the order of the operations.
    pub async fn write(&self, operations: Vec<Operation>) -> Result<Vec<Outcome>, EngineError> {
        self.ask(|reply| Command::Write(operations, reply)).await
    }

    /// Adds fields to the mapping; the inner error is the caller's.
    pub async fn put_mapping(&self, value: Value) -> Result<Result<(), String>, EngineError> {
        self.ask(|reply| Command::PutMapping(value, reply)).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, EngineError>>) -> Command,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(command(reply)).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| EngineError::Lost)?
    }

    /// Why the owner takes nothing any more.
    fn gone(&self) -> EngineError {
        if self.stopping.is_cancelled() { EngineError::Stopping } else { EngineError::Gone(self.name.to_string()) }
    }

    pub(super) fn set_open(&self, open: Option<Arc<OpenIndex>>) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = open;
    }
}

/// How an index is to be made.
#[derive(Debug, Default)]
pub struct CreateRequest {
    /// Its settings.
    pub settings: Settings,
    /// Its declared fields.
    pub mapping: Mapping,
}

/// Why an index was not made or removed.
pub enum CreateError {
    /// One of that name is there.
    Exists,
    /// There are as many as there may be.
    TooMany(usize),
    /// The engine failed.
    Engine(EngineError),
}

type Entries = BTreeMap<(Scope, IndexName), Arc<Entry>>;

/// All indices. Clones are handles to the same ones.
#[derive(Clone)]
pub struct Registry {
    env: Env,
    root: PathBuf,
    shared: Arc<Shared>,
    tasks: TaskGroup,
    entries: Arc<RwLock<Entries>>,
    /// Held while a folder is made or removed.
    folders: Arc<Mutex<()>>,
}

impl Registry {
    /// Finds the indices in the folder `root` and clears away what crashes left of others.
    pub fn open(env: &Env, root: &Path, config: IndexConfig, tasks: TaskGroup) -> io::Result<Self> {
        env.fs.create_dir_all(root)?;
        env.fs.sync_dir(root.parent().unwrap_or(root))?;
        let shared = Shared {
            writes: Semaphore::new(config.write_threads.max(1)),
            kept_writers: Arc::new(Semaphore::new(config.kept_writers)),
            config,
        };
        let registry = Self {
            env: env.clone(),
            root: root.to_owned(),
            shared: Arc::new(shared),
            tasks,
            entries: Arc::default(),
            folders: Arc::default(),
        };
        let mut entries = Entries::new();
        for (scope, name, dir) in registry.folders_on_disk()? {
            if env.fs.exists(&dir.join(META))? {
                entries.insert((scope.clone(), name.clone()), registry.start(scope, name));
            } else {
                env.fs.remove_dir_all(&dir)?;
            }
        }
        *registry.entries.write().unwrap_or_else(PoisonError::into_inner) = entries;
        Ok(registry)
    }

    fn folders_on_disk(&self) -> io::Result<Vec<(Scope, IndexName, PathBuf)>> {
        let mut found = Vec::new();
        let below = |dir: &Path| -> io::Result<Vec<String>> {
            Ok(self.env.fs.read_dir(dir)?.into_iter().filter(|e| e.is_dir).map(|e| e.name).collect())
        };
        for account in below(&self.root)? {
            for region in below(&self.root.join(&account))? {
                let (Ok(account), Ok(region)) = (account.parse(), region.parse()) else { continue };
                let scope = Scope { account, region };
                for name in below(&self.scope_dir(&scope))? {
                    let Ok(name) = name.parse::<IndexName>() else { continue };
                    let dir = self.scope_dir(&scope).join(name.as_str());
                    found.push((scope.clone(), name, dir));
                }
            }
        }
        Ok(found)
    }

    fn scope_dir(&self, scope: &Scope) -> PathBuf {
        self.root.join(scope.account.as_str()).join(scope.region.as_str())
    }

    /// Starts the owner of an index that is on the disk.
    fn start(&self, scope: Scope, name: IndexName) -> Arc<Entry> {
        let dir = self.scope_dir(&scope).join(name.as_str());
        let (sender, inbox) = mpsc::channel(QUEUE);
        let task = format!("index:{scope}/{name}");
        let stopping = self.tasks.stopping();
        let entry = Arc::new(Entry { scope, name, inbox: sender, stopping, open: RwLock::new(None) });
        let owner = Owner {
            env: self.env.clone(),
            shared: Arc::clone(&self.shared),
            entry: Arc::downgrade(&entry),
            dir,
            open: None,
            writer: None,
        };
        self.tasks.spawn_infallible(task, owner.run(inbox, self.tasks.stopping()));
        entry
    }

    /// The index of this name.
    pub fn get(&self, scope: &Scope, name: &IndexName) -> Option<Arc<Entry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&(scope.clone(), name.clone())).cloned()
    }

    /// The indices of a scope, by name.
    pub fn list(&self, scope: &Scope) -> Vec<Arc<Entry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter(|entry| entry.scope == *scope).cloned().collect()
    }

    /// Makes an index, durable when this returns.
    pub async fn create(
        &self,
        scope: &Scope,
        name: &IndexName,
        request: CreateRequest,
    ) -> Result<Arc<Entry>, CreateError> {
        let (registry, scope, name) = (self.clone(), scope.clone(), name.clone());
        let runtime = tokio::runtime::Handle::current();
        blocking(move || {
            let _runtime = runtime.enter();
            registry.create_now(scope, name, request)
        })
        .await
        .map_err(CreateError::Engine)?
    }

    fn create_now(&self, scope: Scope, name: IndexName, request: CreateRequest) -> Result<Arc<Entry>, CreateError> {
        let engine = |e: io::Error| CreateError::Engine(e.into());
        let _folders = self.lock_folders();
        if self.get(&scope, &name).is_some() {
            return Err(CreateError::Exists);
        }
        if self.entries.read().unwrap_or_else(PoisonError::into_inner).len() >= self.shared.config.max_indices {
            return Err(CreateError::TooMany(self.shared.config.max_indices));
        }
        let uuid = self.env.rng.uuid();
        let meta = IndexMeta::new(uuid, self.env.clock.now().millis(), request.settings, request.mapping);
        let parent = self.scope_dir(&scope);
        let dir = parent.join(name.as_str());
        let fs = &self.env.fs;
        if fs.exists(&dir).map_err(engine)? {
            fs.remove_dir_all(&dir).map_err(engine)?;
        }
        // The folders' names are durable before the file that makes the index exist.
        fs.create_dir_all(&dir).map_err(engine)?;
        for dir in [&parent, &self.root.join(scope.account.as_str()), &self.root] {
            fs.sync_dir(dir).map_err(engine)?;
        }
        OpenIndex::create(fs, &dir, &meta).map_err(CreateError::Engine)?;
        let entry = self.start(scope.clone(), name.clone());
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert((scope, name), Arc::clone(&entry));
        Ok(entry)
    }

    /// Removes an index with all its documents.
    pub async fn delete(&self, entry: &Arc<Entry>) -> Result<(), EngineError> {
        let (reply, closed) = oneshot::channel();
        entry.inbox.send(Command::Close(reply)).await.map_err(|_| entry.gone())?;
        closed.await.map_err(|_| entry.gone())?;
        let (registry, entry) = (self.clone(), Arc::clone(entry));
        blocking(move || registry.delete_now(&entry)).await?.map_err(EngineError::from)
    }

    fn delete_now(&self, entry: &Entry) -> io::Result<()> {
        let _folders = self.lock_folders();
        let parent = self.scope_dir(&entry.scope);
        let dir = parent.join(entry.name.as_str());
        self.env.fs.remove_file(&dir.join(META))?;
        self.env.fs.sync_dir(&dir)?;
        self.env.fs.remove_dir_all(&dir)?;
        self.env.fs.sync_dir(&parent)?;
        let key = (entry.scope.clone(), entry.name.clone());
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        Ok(())
    }

    fn lock_folders(&self) -> MutexGuard<'_, ()> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
