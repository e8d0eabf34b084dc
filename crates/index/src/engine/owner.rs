//! The one task through which every change of an index goes.
//!
//! It opens the index when first asked, takes what is waiting as one group, commits once, answers all. After a failure
//! it lets go of everything open, so that the next request finds what is on the disk. Idle, it closes.

use std::sync::Arc;
use std::time::Duration;

use base::Env;
use serde_json::Value;
use tantivy::{IndexWriter, TantivyDocument};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::group::Group;
use super::open::OpenIndex;
use super::operation::{Operation, Outcome};
use super::registry::{Entry, Shared};
use crate::error::EngineError;
use crate::metrics;

/// Requests waiting for an index's owner; further ones wait to be taken in.
pub const QUEUE: usize = 256;
/// Changes in one commit, when more are waiting.
const GROUP_OPERATIONS: usize = 20_000;
/// An index whose owner had nothing to do for this long is closed; the next request opens it again.
const IDLE: Duration = Duration::from_secs(300);

type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// A request to an index's owner.
pub enum Command {
    /// Open the index for reading.
    Open(Reply<Arc<OpenIndex>>),
    /// Change documents; outcomes in the order of the operations.
    Write(Vec<Operation>, Reply<Vec<Outcome>>),
    /// Add fields to the mapping; the inner error is the caller's.
    PutMapping(Value, Reply<Result<(), String>>),
    /// Close for good: the index is about to be removed.
    Close(oneshot::Sender<()>),
}

/// A request that changes something, waiting for the commit.
enum Change {
    Write(Vec<Operation>, Reply<Vec<Outcome>>),
    PutMapping(Value, Reply<Result<(), String>>),
}

impl Change {
    fn operations(&self) -> usize {
        match self {
            Self::Write(operations, _) => operations.len(),
            Self::PutMapping(..) => 1,
        }
    }

    fn fail(self, error: &EngineError) {
        // A caller that has gone away needs no answer; so everywhere below.
        match self {
            Self::Write(_, reply) => drop(reply.send(Err(error.clone()))),
            Self::PutMapping(_, reply) => drop(reply.send(Err(error.clone()))),
        }
    }
}

/// An answer that is sent once the commit is durable.
enum Answer {
    Write(Vec<Outcome>, Reply<Vec<Outcome>>),
    PutMapping(Result<(), String>, Reply<Result<(), String>>),
}

impl Answer {
    fn send(self, committed: &Result<(), EngineError>) {
        match self {
            Self::Write(outcomes, reply) => drop(reply.send(committed.clone().map(|()| outcomes))),
            Self::PutMapping(result, reply) => drop(reply.send(committed.clone().map(|()| result))),
        }
    }
}

type Writer = IndexWriter<TantivyDocument>;

/// A writer that stays open between groups, which only so many may.
pub struct Kept {
    writer: Writer,
    permit: OwnedSemaphorePermit,
}

/// The owner's state.
pub struct Owner {
    pub env: Env,
    pub shared: Arc<Shared>,
    pub entry: std::sync::Weak<Entry>,
    pub dir: std::path::PathBuf,
    pub open: Option<Arc<OpenIndex>>,
    pub writer: Option<Kept>,
}

impl Owner {
    /// Serves until the index is closed for good or the service stops.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Command>, stopping: CancellationToken) {
        loop {
            let command = tokio::select! {
                biased;
                command = inbox.recv() => command,
                () = self.idle() => {
                    self.close().await;
                    continue;
                }
                () = stopping.cancelled() => {
                    inbox.close();
                    inbox.recv().await
                }
            };
            match command {
                None => break,
                Some(Command::Close(reply)) => {
                    inbox.close();
                    self.close().await;
                    let _ = reply.send(());
                    while let Some(command) = inbox.recv().await {
                        refuse(command);
                    }
                    return;
                }
                Some(Command::Open(reply)) => {
                    let opened = self.open().await;
                    let _ = reply.send(opened);
                }
                Some(Command::Write(operations, reply)) => {
                    self.group(Change::Write(operations, reply), &mut inbox).await;
                }
                Some(Command::PutMapping(value, reply)) => {
                    self.group(Change::PutMapping(value, reply), &mut inbox).await;
                }
            }
        }
        self.close().await;
    }

    /// Completes when the index has not been used for a while; never when it is closed.
    async fn idle(&self) {
        if self.open.is_none() {
            return std::future::pending().await;
        }
        self.env.clock.sleep(IDLE).await;
    }

    async fn open(&mut self) -> Result<Arc<OpenIndex>, EngineError> {
        if let Some(open) = &self.open {
            return Ok(Arc::clone(open));
        }
        let (env, dir) = (self.env.clone(), self.dir.clone());
        let open = blocking(move || OpenIndex::open(&env, &dir)).await??;
        let open = Arc::new(open);
        self.open = Some(Arc::clone(&open));
        if let Some(entry) = self.entry.upgrade() {
            entry.set_open(Some(Arc::clone(&open)));
        }
        Ok(open)
    }

    /// Commits `first` together with what is waiting behind it.
    async fn group(&mut self, first: Change, inbox: &mut mpsc::Receiver<Command>) {
        let mut size = first.operations();
        let mut changes = vec![first];
        let mut opens = Vec::new();
        let mut closing = None;
        while size < GROUP_OPERATIONS {
            match inbox.try_recv() {
                Ok(Command::Write(operations, reply)) => {
                    size += operations.len();
                    changes.push(Change::Write(operations, reply));
                }
                Ok(Command::PutMapping(value, reply)) => changes.push(Change::PutMapping(value, reply)),
                Ok(Command::Open(reply)) => opens.push(reply),
                Ok(Command::Close(reply)) => {
                    closing = Some(reply);
                    inbox.close();
                    break;
                }
                Err(_) => break,
            }
        }
        self.write(changes, size).await;
        for reply in opens {
            let opened = self.open().await;
            let _ = reply.send(opened);
        }
        if let Some(reply) = closing {
            self.close().await;
            let _ = reply.send(());
        }
    }

    async fn write(&mut self, changes: Vec<Change>, size: usize) {
        let open = match self.open().await {
            Ok(open) => open,
            Err(error) => return changes.into_iter().for_each(|change| change.fail(&error)),
        };
        let shared = Arc::clone(&self.shared);
        let Ok(_permit) = shared.writes.acquire().await else {
            return changes.into_iter().for_each(|change| change.fail(&EngineError::Stopping));
        };
        let (writer, permit) = self.writer.take().map(|kept| (kept.writer, kept.permit)).unzip();
        let memory = self.shared.config.writer_bytes;
        let started = self.env.clock.instant();
        let done = blocking(move || write_group(&open, writer, memory, changes)).await;
        metrics::commit(self.env.clock.instant().saturating_sub(started), size);
        match done.and_then(|written| written) {
            Ok(writer) => match permit.or_else(|| Arc::clone(&self.shared.kept_writers).try_acquire_owned().ok()) {
                Some(permit) => self.writer = Some(Kept { writer, permit }),
                None => drop(blocking(move || drop(writer)).await),
            },
            Err(error) => {
                metrics::commit_failed();
                tracing::error!(dir = %self.dir.display(), %error, "a commit failed; the index is opened anew");
                self.close().await;
            }
        }
    }

    /// Closes writer and reader. A merge under way is given up and has no effect: the next writer does it again.
    async fn close(&mut self) {
        if let Some(entry) = self.entry.upgrade() {
            entry.set_open(None);
        }
        let (open, writer) = (self.open.take(), self.writer.take());
        if let Some(open) = &open {
            open.retire();
        }
        // Dropping a writer waits for its threads.
        drop(blocking(move || drop((writer, open))).await);
    }
}

/// Applies and commits; sends the answers itself, so that a reply never waits for anything after the commit.
fn write_group(
    open: &OpenIndex,
    writer: Option<Writer>,
    memory: usize,
    changes: Vec<Change>,
) -> Result<Writer, EngineError> {
    let mut writer = match writer.map_or_else(|| open.writer(memory), Ok) {
        Ok(writer) => writer,
        Err(error) => {
            changes.into_iter().for_each(|change| change.fail(&error));
            return Err(error);
        }
    };
    let mut group = Group::new(open, &mut writer);
    let mut answers = Vec::with_capacity(changes.len());
    let mut failed = None;
    for change in changes {
        if let Some(error) = &failed {
            change.fail(error);
            continue;
        }
        match change {
            Change::Write(operations, reply) => {
                let outcomes: Result<Vec<_>, _> = operations.into_iter().map(|op| group.apply(op)).collect();
                match outcomes {
                    Ok(outcomes) => answers.push(Answer::Write(outcomes, reply)),
                    Err(error) => {
                        let _ = reply.send(Err(error.clone()));
                        failed = Some(error);
                    }
                }
            }
            Change::PutMapping(value, reply) => {
                let result = group.put_mapping(&value);
                answers.push(Answer::PutMapping(result, reply));
            }
        }
    }
    let committed = failed.map_or_else(|| group.commit(), Err);
    for answer in answers {
        answer.send(&committed);
    }
    committed.map(|()| writer)
}

fn refuse(command: Command) {
    match command {
        Command::Open(reply) => drop(reply.send(Err(EngineError::Stopping))),
        Command::Write(_, reply) => drop(reply.send(Err(EngineError::Stopping))),
        Command::PutMapping(_, reply) => drop(reply.send(Err(EngineError::Stopping))),
        Command::Close(reply) => drop(reply.send(())),
    }
}

/// Runs blocking work on the pool for it.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, EngineError> {
    spawn_blocking(work).await.map_err(|_| EngineError::Lost)
}
