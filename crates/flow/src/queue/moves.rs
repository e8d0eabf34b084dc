//! Message move tasks: a dead-letter queue's messages go back where they came from, or elsewhere.
//!
//! Owns the tasks and their rows. Promises that a message moves in one append that takes it from one queue and puts it
//! into the other, that a task which a restart interrupts goes on, and that one queue has one task at a time. Must not
//! know how it is asked for.
//!
//! A moved message is a new one: it has another id, and its age and receives begin anew ("Learn how to configure a
//! dead-letter queue redrive", SQS Developer Guide).
//!
//! | table | key → value |
//! |---|---|
//! | `flow.queue_moves` | account/region/source, started (ms, 16 digits), id → task |

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Arn, Batch, Kinded, Precondition, Scope, StateError, Table, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::change::Change;
use super::config::queue_of;
use super::live::{Draft, Letter, Live};
use super::message::Message;
use super::receive::{Taking, read};
use super::room::{Queues, Room};
use crate::{FlowError, stored};

const TABLE: Table = Table("flow.queue_moves");
/// Tasks of one queue that are remembered.
const REMEMBERED: usize = 10;
/// Messages moved at once, and how often progress is written down.
const BATCH: usize = 10;
const NOTE_PERIOD: Duration = Duration::from_secs(1);
/// After something that passes, such as a disk that is full.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MoveStatus {
    /// It moves messages.
    Running,
    /// It is being stopped. Shown only: its row says that it runs.
    Cancelling,
    /// There was nothing left to move.
    Completed,
    /// It was stopped.
    Cancelled,
    /// It could not go on.
    Failed,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveTask {
    /// A UUID.
    pub id: String,
    /// From where.
    pub source: Arn,
    /// Where to; where each message came from when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Arn>,
    /// At most so many messages a second, 1 to 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// Where it stands.
    pub status: MoveStatus,
    /// Messages that were moved.
    pub moved: u64,
    /// Messages that there were at its start.
    pub to_move: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it was started.
    pub started: Timestamp,
    /// The number of the source's log: a queue of the same name made later has another.
    #[serde(default)]
    pub(super) stream: u32,
}

/// The tasks that run, by source.
#[derive(Default)]
pub(super) struct Moves {
    running: Mutex<HashMap<Arn, Running>>,
}

#[derive(Clone)]
struct Running {
    stop: CancellationToken,
    task: Arc<Mutex<MoveTask>>,
}

impl Running {
    fn task(&self) -> MutexGuard<'_, MoveTask> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task as it is shown.
    fn shown(&self) -> MoveTask {
        let mut task = self.task().clone();
        if task.status == MoveStatus::Running && self.stop.is_cancelled() {
            task.status = MoveStatus::Cancelling;
        }
        task
    }
}

impl Moves {
    fn running(&self) -> MutexGuard<'_, HashMap<Arn, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a task that runs no more, and no later one.
    fn ended(&self, source: &Arn, id: &str) {
        let mut running = self.running();
        if running.get(source).is_some_and(|running| running.task().id == id) {
            running.remove(source);
        }
    }
}

fn key(task: &MoveTask) -> Option<Vec<u8>> {
    let (scope, name) = queue_of(&task.source)?;
    Some(stored::key(&scope, &[name.as_str(), &format!("{:016}", task.started.millis()), &task.id]))
}

/// What removes the rows of all tasks of a queue.
pub(super) fn without_tasks(room: &Room, source: &Live, mut rows: Batch) -> Result<Batch, FlowError> {
    let prefix = stored::key(&source.scope, &[source.info().name.as_str()]);
    for task in stored::list::<MoveTask>(&*room.shared.state, TABLE, &prefix)? {
        rows = key(&task).into_iter().fold(rows, |rows, key| rows.delete(TABLE, key));
    }
    Ok(rows)
}

/// Goes on with the tasks that a stop interrupted, of the queues that are still there.
pub(super) fn resume(room: &Arc<Room>) -> Result<(), FlowError> {
    for (_, task) in stored::list_scoped::<MoveTask>(&*room.shared.state, TABLE)? {
        if task.status == MoveStatus::Running
            && let Some(source) = room.registry.of_arn(&task.source)
            && source.stream.number() == task.stream
        {
            spawn(room, source, task);
        }
    }
    Ok(())
}

fn spawn(room: &Arc<Room>, source: Arc<Live>, task: MoveTask) {
    let (arn, stop) = (task.source.clone(), source.stopping.child_token());
    let running = Running { stop, task: Arc::new(Mutex::new(task)) };
    room.moves.running().insert(arn.clone(), running.clone());
    let (room, group) = (Arc::clone(room), source.group.clone());
    group.spawn_infallible(format!("queue move:{}", arn.resource()), async move {
        let moved = run(&room, &source, &running).await;
        let id = running.task().id.clone();
        // The server stops, and its row says that it runs, and so it will; or the queue is deleted, and so is the row.
        if !source.stopping.is_cancelled() {
            {
                let mut task = running.task();
                (task.status, task.failure) = match moved {
                    Ok(status) => (status, None),
                    Err(failure) => (MoveStatus::Failed, Some(failure)),
                };
            }
            note(&room, &running).await;
        }
        room.moves.ended(&arn, &id);
    });
}

/// Writes a task's row, if it is still there. One that cannot be written is shown as it was.
async fn note(room: &Room, running: &Running) {
    let task = running.task().clone();
    let Some(key) = key(&task) else { return };
    let written = match stored::encode("move task", &task) {
        Ok(row) => {
            let rows = Batch::new().require(TABLE, key.clone(), Precondition::Present).put(TABLE, key, row);
            room.shared.state.commit(rows).await.map_err(FlowError::from)
        }
        Err(error) => Err(error),
    };
    match written {
        // Its queue was deleted.
        Ok(()) | Err(FlowError::State(StateError::Conflict { .. })) => {}
        Err(error) => {
            tracing::warn!(source = %task.source, %error, "where a move task stands is not written down");
        }
    }
}

/// Moves until nothing is left; the reason when it cannot go on.
async fn run(room: &Room, source: &Arc<Live>, running: &Running) -> Result<MoveStatus, String> {
    let clock = &room.shared.env.clock;
    let (destination, per_second) = {
        let task = running.task();
        (task.destination.clone(), task.per_second)
    };
    let mut noted = clock.instant();
    loop {
        if running.stop.is_cancelled() {
            return Ok(MoveStatus::Cancelled);
        }
        let began = clock.instant();
        let batch = per_second.map_or(BATCH, |rate| BATCH.min(rate as usize));
        let moved = match step(room, source, destination.as_ref(), batch).await {
            Ok(Some(moved)) => moved,
            Ok(None) => continue,
            Err(Hindrance::Passes(error)) => {
                tracing::warn!(queue = %source.arn, %error, "messages cannot be moved now; it is tried again");
                tokio::select! {
                    () = clock.sleep(PAUSE) => {}
                    () = running.stop.cancelled() => {}
                }
                continue;
            }
            Err(Hindrance::Stays(failure)) => return Err(failure),
        };
        if moved == 0 {
            return Ok(MoveStatus::Completed);
        }
        running.task().moved += moved as u64;
        if clock.instant().saturating_sub(noted) >= NOTE_PERIOD {
            note(room, running).await;
            noted = clock.instant();
        }
        if let Some(rate) = per_second {
            let due = Duration::from_micros(1_000_000 * moved as u64 / u64::from(rate.max(1)));
            let took = clock.instant().saturating_sub(began);
            tokio::select! {
                () = clock.sleep(due.saturating_sub(took)) => {}
                () = running.stop.cancelled() => {}
            }
        }
    }
}

/// Why messages were not moved.
enum Hindrance {
    /// Later they may be.
    Passes(FlowError),
    /// It ends the task.
    Stays(String),
}

impl From<FlowError> for Hindrance {
    fn from(error: FlowError) -> Self {
        if error.kind().is_transient() { Self::Passes(error) } else { Self::Stays(error.to_string()) }
    }
}

impl From<&'static str> for Hindrance {
    fn from(failure: &'static str) -> Self {
        Self::Stays(failure.to_owned())
    }
}

/// Moves some messages; how many. None when nothing was moved though there may be something: the queue was read again
/// from the log, or somebody deleted all that was taken.
async fn step(
    room: &Room,
    source: &Arc<Live>,
    destination: Option<&Arn>,
    batch: usize,
) -> Result<Option<usize>, Hindrance> {
    source.ready().await?;
    let mut taking = {
        let mut inner = source.lock();
        source.pass(&mut inner);
        let generation = inner.generation;
        Taking::new(source, generation, inner.shelf.take(batch))
    };
    if taking.messages().is_empty() {
        return Ok(Some(0));
    }
    let mut bodies = read(source, taking.messages(), taking.generation()).await?;
    let mut letters = Vec::with_capacity(bodies.len());
    for taken in taking.messages() {
        let Some(message) = bodies.remove(&taken.message) else { continue };
        let to = destination.or(message.head.source.as_ref()).ok_or("CouldNotDetermineMessageSource")?;
        let to = room.registry.of_arn(to).ok_or("AWS.SimpleQueueService.NonExistentQueue")?;
        letters.push((*taken, Letter::new(to, anew(room, message))?));
    }
    let (mut draft, mut gone) = (Draft::default(), Vec::new());
    let underway = {
        let mut inner = source.lock();
        if !inner.open || inner.generation != taking.generation() || inner.purging > 0 {
            return Ok(None);
        }
        // What was deleted while its body was read goes nowhere.
        for (taken, letter) in letters.into_iter().filter(|(taken, _)| inner.shelf.is_taken(taken)) {
            draft.elsewhere(letter)?;
            gone.push(taken.message);
        }
        if gone.is_empty() {
            return Ok(None);
        }
        draft.changes(source, gone.iter().map(|message| Change::Deleted { message: *message }).collect())?;
        let underway = source.begin(&inner, draft)?;
        taking.keep();
        gone.iter().for_each(|message| inner.shelf.leave(*message));
        underway
    };
    drop(taking);
    underway.done().await?;
    Ok(Some(gone.len()))
}

fn anew(room: &Room, mut message: Message) -> Message {
    let head = &mut message.head;
    head.id = room.shared.env.rng.uuid();
    (head.sent, head.source, head.receives, head.first_received) = (None, None, 0, None);
    head.moved = true;
    message
}

impl Queues {
    /// Starts to move the messages of a queue; they go to `destination`, or where each came from.
    pub async fn start_move(
        &self,
        source: &Arn,
        destination: Option<Arn>,
        per_second: Option<u32>,
    ) -> Result<MoveTask, FlowError> {
        let room = self.room();
        let missing = |arn: &Arn| FlowError::NotFound(format!("queue {arn} does not exist"));
        let live = room.registry.of_arn(source).ok_or_else(|| missing(source))?;
        // Before the turn is taken: a queue that is being read would keep all others from being created.
        let counts = self.counts(&live.scope, &live.info().name).await?;
        let _turn = room.turn.acquire().await;
        let live = room.registry.of_arn(source).filter(|now| now.stream == live.stream);
        let live = live.ok_or_else(|| missing(source))?;
        if self.sources(&live.scope, &live.info().name)?.is_empty() {
            return Err(FlowError::Invalid("Source queue must be configured as a Dead Letter Queue.".to_owned()));
        }
        if let Some(destination) = &destination {
            let to = room.registry.of_arn(destination).ok_or_else(|| missing(destination))?;
            if to.stream == live.stream {
                return Err(FlowError::Invalid("Source and destination queue must be different.".to_owned()));
            }
            if to.info().attributes.fifo.is_some() != live.info().attributes.fifo.is_some() {
                return Err(FlowError::Invalid("Source and destination queue must be of the same type.".to_owned()));
            }
        }
        let (env, source) = (&room.shared.env, source.clone());
        let task = MoveTask {
            id: env.rng.uuid(),
            source,
            destination,
            per_second,
            status: MoveStatus::Running,
            moved: 0,
            to_move: counts.visible as u64,
            failure: None,
            started: env.clock.now(),
            stream: live.stream.number(),
        };
        // One that has ended may still be writing that down.
        let runs = |running: &Running| running.task().status == MoveStatus::Running;
        if room.moves.running().get(&task.source).is_some_and(runs) {
            return Err(FlowError::Conflict("There is already a task running. Only one active task is allowed for a source queue arn at a given time.".to_owned()));
        }
        let row = stored::encode("move task", &task)?;
        let key = key(&task).ok_or_else(|| missing(&task.source))?;
        let mut rows = Batch::new().put(TABLE, key, row);
        for old in self.moves(&task.source)?.into_iter().skip(REMEMBERED - 1) {
            rows = self::key(&old).into_iter().fold(rows, |rows, key| rows.delete(TABLE, key));
        }
        room.shared.state.commit(rows).await?;
        spawn(room, live, task.clone());
        Ok(task)
    }

    /// Stops a running task; as far as it came.
    pub async fn cancel_move(&self, id: &str) -> Result<MoveTask, FlowError> {
        let running = self.room().moves.running().values().find(|running| running.task().id == id).cloned();
        let running = running.ok_or_else(|| FlowError::NotFound("Task does not exist.".to_owned()))?;
        running.stop.cancel();
        Ok(running.shown())
    }

    /// The tasks of a queue, the latest first.
    pub fn moves(&self, source: &Arn) -> Result<Vec<MoveTask>, FlowError> {
        let room = self.room();
        let none = || FlowError::NotFound(format!("queue {source} does not exist"));
        let (scope, name): (Scope, _) = queue_of(source).ok_or_else(none)?;
        let live = room.registry.get(&scope, &name).ok_or_else(none)?;
        let prefix = stored::key(&scope, &[name.as_str()]);
        let mut tasks: Vec<MoveTask> = stored::list(&*room.shared.state, TABLE, &prefix)?;
        tasks.retain(|task| task.stream == live.stream.number());
        if let Some(running) = room.moves.running().get(source).map(Running::shown)
            && let Some(row) = tasks.iter_mut().find(|task| task.id == running.id)
        {
            *row = running;
        }
        tasks.reverse();
        Ok(tasks)
    }
}
