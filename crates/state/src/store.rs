//! What the other rooms hold: the store, opened and closed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{Batch, Entry, Env, StateError, StateStore, Table, TaskGroup};
use tokio::sync::{RwLock, mpsc, oneshot};

use crate::OpenError;
use crate::committer::{self, GROUP_LIMIT, Pending};
use crate::engine::Engine;
use crate::open;

/// How long a close waits for what was already sent.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// A durable [`StateStore`] in one file. One process and one `Store` may have the file open.
pub struct Store {
    engine: Arc<Engine>,
    queue: RwLock<Option<mpsc::Sender<Pending>>>,
    tasks: TaskGroup,
}

impl Store {
    /// Opens the file at `path`, making it and its folder when absent. After a crash this repairs; it always verifies
    /// the whole file, which takes as long as reading it. Must be called in a tokio runtime.
    pub async fn open(env: &Env, path: &Path) -> Result<Self, OpenError> {
        let (fs, file): (_, PathBuf) = (Arc::clone(&env.fs), path.to_owned());
        let opened = tokio::task::spawn_blocking(move || open::open(&*fs, &file)).await;
        let database = opened.unwrap_or_else(|error| {
            // redb panics where it finds in the file what it never writes.
            Err(OpenError::Corrupt { path: path.display().to_string(), message: error.to_string() })
        })?;
        let engine = Arc::new(Engine::new(database));
        let (queue, waiting) = mpsc::channel(GROUP_LIMIT);
        let tasks = TaskGroup::new(Arc::clone(&env.clock), Arc::clone(&env.rng));
        tasks.spawn_infallible("state committer", committer::run(Arc::clone(&engine), Arc::clone(&env.clock), waiting));
        Ok(Self { engine, queue: RwLock::new(Some(queue)), tasks })
    }

    /// Takes no more batches, answers those already taken and closes the file. Dropping the store does the same in the
    /// background. `false` when the disk took longer than half a minute.
    pub async fn close(&self) -> bool {
        self.queue.write().await.take();
        self.tasks.stop(CLOSE_DEADLINE).await
    }
}

#[async_trait]
impl StateStore for Store {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.engine.get(table, key)
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StateError> {
        self.engine.scan(table, prefix, after, limit)
    }

    async fn commit(&self, batch: Batch) -> Result<(), StateError> {
        let queue = self.queue.read().await.clone().ok_or_else(|| self.engine.unavailable())?;
        let (answer, answered) = oneshot::channel();
        queue.send(Pending { batch, answer }).await.map_err(|_| self.engine.unavailable())?;
        drop(queue);
        answered.await.unwrap_or_else(|_| Err(self.engine.unavailable()))
    }
}
