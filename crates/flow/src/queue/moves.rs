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

use base::{Arn, Batch, Position, Scope, Table, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::change::Change;
use super::config::queue_of;
use super::live::{Draft, Live};
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

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MoveStatus {
    /// It moves messages.
    Running,
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
}

impl Moves {
    fn running(&self) -> MutexGuard<'_, HashMap<Arn, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(task: &MoveTask) -> Option<Vec<u8>> {
    let (scope, name) = queue_of(&task.source)?;
    Some(stored::key(&scope, &[name.as_str(), &format!("{:016}", task.started.millis()), &task.id]))
}

/// Goes on with the tasks that a stop interrupted.
pub(super) fn resume(room: &Arc<Room>) -> Result<(), FlowError> {
    for (_, task) in stored::list_scoped::<MoveTask>(&*room.shared.state, TABLE)? {
        if task.status == MoveStatus::Running
            && let Some(source) = room.registry.of_arn(&task.source)
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
        let ended = match moved {
            // The server stops, or the queue is deleted: the row says that it runs, and so it will.
            Ok(_) if source.stopping.is_cancelled() => return,
            Ok(status) => (status, None),
            Err(failure) => (MoveStatus::Failed, Some(failure)),
        };
        {
            let mut task = running.task();
            (task.status, task.failure) = ended;
        }
        note(&room, &running).await;
        room.moves.running().remove(&arn);
    });
}

/// Writes a task's row. One that cannot be written is shown as it was.
async fn note(room: &Room, running: &Running) {
    let task = running.task().clone();
    let Some(key) = key(&task) else { return };
    let written = match stored::encode("move task", &task) {
        Ok(row) => room.shared.state.commit(Batch::new().put(TABLE, key, row)).await.map_err(FlowError::from),
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        tracing::warn!(source = %task.source, %error, "where a move task stands is not written down");
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
        let Some(moved) = step(room, source, destination.as_ref(), batch).await? else { continue };
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

/// Moves some messages; how many. None when the queue was read again from the log meanwhile, and nothing was moved.
async fn step(
    room: &Room,
    source: &Arc<Live>,
    destination: Option<&Arn>,
    batch: usize,
) -> Result<Option<usize>, String> {
    let failed = |error: FlowError| error.to_string();
    source.ready().await.map_err(failed)?;
    let mut taking = {
        let mut inner = source.lock();
        inner.shelf.wake(source.shared.now());
        let generation = inner.generation;
        Taking::new(source, generation, inner.shelf.take(batch))
    };
    let bodies = read(source, taking.messages(), taking.generation()).await.map_err(failed)?;
    let (mut draft, mut gone) = (Draft::default(), Vec::new());
    for (position, message) in bodies {
        let to = destination.or(message.head.source.as_ref()).ok_or("CouldNotDetermineMessageSource")?;
        let to = room.registry.of_arn(to).ok_or("AWS.SimpleQueueService.NonExistentQueue")?;
        draft.elsewhere(&to, &anew(room, message)).map_err(failed)?;
        gone.push(position);
    }
    if gone.is_empty() {
        return Ok(Some(0));
    }
    let deleted = |message: &Position| Change::Deleted { message: *message };
    draft.changes(source, gone.iter().map(deleted).collect()).map_err(failed)?;
    let underway = {
        let mut inner = source.lock();
        if !inner.open || inner.generation != taking.generation() {
            return Ok(None);
        }
        let underway = source.begin(&inner, draft).map_err(failed)?;
        taking.keep();
        gone.iter().for_each(|message| inner.shelf.leave(*message));
        underway
    };
    drop(taking);
    underway.done().await.map_err(failed)?;
    Ok(Some(gone.len()))
}

fn anew(room: &Room, mut message: Message) -> Message {
    let head = &mut message.head;
    head.id = room.shared.env.rng.uuid();
    (head.sent, head.source, head.receives, head.first_received) = (None, None, 0, None);
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
        let _turn = room.turn.acquire().await;
        let live = room.registry.of_arn(source).ok_or_else(|| missing(source))?;
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
        let counts = self.counts(&live.scope, &live.info().name).await?;
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
        };
        if room.moves.running().contains_key(&task.source) {
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
        let task = running.task().clone();
        Ok(task)
    }

    /// The tasks of a queue, the latest first.
    pub fn moves(&self, source: &Arn) -> Result<Vec<MoveTask>, FlowError> {
        let room = self.room();
        let none = || FlowError::NotFound(format!("queue {source} does not exist"));
        let (scope, name): (Scope, _) = queue_of(source).ok_or_else(none)?;
        room.registry.get(&scope, &name).ok_or_else(none)?;
        let prefix = stored::key(&scope, &[name.as_str()]);
        let mut tasks: Vec<MoveTask> = stored::list(&*room.shared.state, TABLE, &prefix)?;
        if let Some(running) = room.moves.running().get(source)
            && let Some(row) = tasks.iter_mut().find(|task| task.id == running.task().id)
        {
            *row = running.task().clone();
        }
        tasks.reverse();
        Ok(tasks)
    }
}
