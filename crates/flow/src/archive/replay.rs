//! Replays: the archived events of a time range go onto their bus again.
//!
//! Owns what a replay is and the task that does it. Promises that each event of the range is put on the bus once: the
//! events of a minute are one producer of the journal, their places in the archive its positions, and how far the
//! archive went is written down before the first is put. Must not know which rules see them.
//!
//! Order: by the minute of the time in the event, and in a minute as they came ("StartReplay", EventBridge API
//! Reference).

use std::borrow::Cow;
use std::time::Duration;

use base::{ArchiveName, Arn, BusName, Delivery, Kinded, PartitionKey, Position, ReplayName, Scope, Timestamp};
use bytes::Bytes;
use log::{LogError, ReadLimit, Record, ShardRef};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::config::{self, Archive};
use super::minutes::{Minutes, Run, minute_of};
use super::room::Archives;
use crate::producer::producer_id;
use crate::router::append_once;
use crate::{FlowError, metrics, stored};

/// A replay that waits longer for its archive to have what was on the bus before it says so.
const LONG: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The pause after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// How often progress is written down.
const NOTE_PERIOD: Duration = Duration::from_secs(1);
/// Events put on the bus at once.
const AT_ONCE: usize = 500;

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplayState {
    /// It has not begun.
    Starting,
    /// It is under way.
    Running,
    /// It was asked to end.
    Cancelling,
    /// All events are on the bus.
    Completed,
    /// It ended because it was asked to.
    Cancelled,
    /// It cannot go on.
    Failed,
}

impl ReplayState {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Cancelling => "CANCELLING",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether nothing more happens.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

/// What a replay is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplaySpec {
    /// Its name in its account and region.
    pub name: ReplayName,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The archive.
    pub archive: ArchiveName,
    /// The bus: the one that the archive is of.
    pub bus: BusName,
    /// The rules that see its events; all when none is named.
    pub rules: Vec<Arn>,
    /// Events from this time on.
    pub from: Timestamp,
    /// Up to this time.
    pub to: Timestamp,
}

/// A replay as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replay {
    /// What it was started with.
    #[serde(flatten)]
    pub spec: ReplaySpec,
    /// Where it stands.
    pub state: ReplayState,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was started.
    pub started: Timestamp,
    /// When it was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The time of the event that was replayed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// The number of the archive's log.
    pub(super) stream: u32,
    /// The end of the bus's log when it was started: the archive is to have what is before it.
    pub(super) bus_end: Position,
    /// The end of what is replayed, once it is known.
    pub(super) end: Option<Position>,
    /// The minutes before this one are done.
    pub(super) minute: Option<i64>,
}

/// The ARN of a replay.
pub fn replay_arn(scope: &Scope, replay: &ReplayName) -> Arn {
    Arn::new("events", scope, format!("replay/{replay}"))
}

/// A key for an event without id, of which there are none.
pub(super) fn fallback_key(position: Position) -> PartitionKey {
    match position.to_string().parse() {
        Ok(key) => key,
        // Digits are a valid key.
        Err(_) => unreachable!("a number is a valid partition key"),
    }
}

#[derive(Deserialize)]
struct Timed<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// The time in an event; its arrival when it has none that can be read.
fn time_of(record: &Record) -> Timestamp {
    let time = serde_json::from_slice::<Timed<'_>>(&record.data).ok().and_then(|event| event.time.parse().ok());
    time.unwrap_or(record.arrival)
}

/// The event with the replay's name, which has no character that JSON would escape.
fn named(event: &Bytes, replay: &ReplayName) -> Bytes {
    let body = event.strip_suffix(b"}").unwrap_or(event);
    [body, format!(r#","replay-name":"{replay}"}}"#).as_bytes()].concat().into()
}

/// One replay at work.
pub(super) struct Player {
    pub room: Archives,
    pub scope: Scope,
    pub replay: Replay,
    pub cancelled: CancellationToken,
    pub stopping: CancellationToken,
}

/// Why playing ended before its end.
enum Stop {
    /// The server stops; it goes on after the next start.
    Server,
    /// It was asked to.
    Cancelled,
    /// It cannot go on.
    Failed(FlowError),
}

impl From<FlowError> for Stop {
    fn from(error: FlowError) -> Self {
        Self::Failed(error)
    }
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Failed(error.into())
    }
}

impl Player {
    /// Plays to an end, trying again after passing failures.
    pub async fn run(mut self) {
        loop {
            let (state, reason) = match self.play().await {
                Ok(()) => (ReplayState::Completed, None),
                Err(Stop::Server) => return,
                Err(Stop::Cancelled) => (ReplayState::Cancelled, None),
                Err(Stop::Failed(error)) if error.kind().is_transient() => {
                    tracing::warn!(replay = %self.replay.spec.name, %error, "a replay is put off");
                    if self.rest(AGAIN).await.is_err() && self.stopping.is_cancelled() {
                        return;
                    }
                    continue;
                }
                Err(Stop::Failed(error)) => (ReplayState::Failed, Some(error.to_string())),
            };
            let now = self.room.clock().now();
            (self.replay.state, self.replay.reason, self.replay.ended) = (state, reason, Some(now));
            match self.room.put_replay(&self.scope, &self.replay).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(replay = %self.replay.spec.name, %error, "a replay's end is not noted yet")
                }
            }
            if self.rest(AGAIN).await.is_err() && self.stopping.is_cancelled() {
                return;
            }
        }
    }

    /// Whether it is to go on.
    fn check(&self) -> Result<(), Stop> {
        match (self.stopping.is_cancelled(), self.cancelled.is_cancelled()) {
            (true, _) => Err(Stop::Server),
            (_, true) => Err(Stop::Cancelled),
            _ => Ok(()),
        }
    }

    async fn rest(&self, time: Duration) -> Result<(), Stop> {
        tokio::select! {
            () = self.room.clock().sleep(time) => {}
            () = self.stopping.cancelled() => {}
            () = self.cancelled.cancelled() => {}
        }
        self.check()
    }

    async fn play(&mut self) -> Result<(), Stop> {
        self.check()?;
        let archive = self.archive()?;
        let stream = self.room.log().stream(&config::stream_key(&self.scope, &archive.name))?;
        let Some(shard) = stream.shards.first().map(|shard| shard.slot) else { return Ok(()) };
        if self.replay.end.is_none() {
            self.wait_for_the_archive(&archive).await?;
            self.replay.end = Some(self.room.log().tail(shard)?.next);
            self.replay.state = ReplayState::Running;
            self.room.put_replay(&self.scope, &self.replay).await?;
        }
        let end = self.replay.end.unwrap_or(Position::ZERO);
        let mut noted = self.room.clock().instant();
        for (minute, runs) in self.find(shard, end).await?.into_iter() {
            for run in runs {
                self.put(shard, minute, run).await?;
                if self.room.clock().instant().saturating_sub(noted) > NOTE_PERIOD {
                    self.room.put_replay(&self.scope, &self.replay).await?;
                    noted = self.room.clock().instant();
                }
            }
            self.replay.minute = Some(minute + 1);
        }
        Ok(())
    }

    /// What was put on the bus before the replay was started belongs to it, however far behind its archive is.
    async fn wait_for_the_archive(&self, archive: &Archive) -> Result<(), Stop> {
        let (mut begun, replay) = (self.room.clock().instant(), &self.replay.spec.name);
        while !self.room.has_seen(&self.scope, archive, self.replay.bus_end)? {
            if self.room.clock().instant().saturating_sub(begun) > LONG {
                tracing::warn!(%replay, archive = %archive.name, "a replay waits for what its archive does not have yet");
                begun = self.room.clock().instant();
            }
            self.rest(LOOK_AGAIN).await?;
            self.archive()?;
        }
        Ok(())
    }

    /// The archive, while it is the one that the replay was started of.
    fn archive(&self) -> Result<Archive, Stop> {
        let archive = config::find(self.room.state(), &self.scope, &self.replay.spec.archive)?;
        if archive.stream != self.replay.stream {
            return Err(Stop::Failed(config::no_archive(&archive.name)));
        }
        Ok(archive)
    }

    /// Where the events of the range lie that are not done.
    async fn find(&self, shard: ShardRef, end: Position) -> Result<Minutes, Stop> {
        let (mut minutes, mut from) = (Minutes::default(), Position::ZERO);
        while from < end {
            self.check()?;
            let slice = self.room.log().read(shard, from, ReadLimit { records: 5_000, bytes: 8 << 20 }).await?;
            if slice.records.is_empty() {
                break;
            }
            for record in slice.records.iter().filter(|record| record.position < end) {
                let time = time_of(record);
                let open = self.replay.minute.is_none_or(|minute| minute_of(time) >= minute);
                if open && self.wants(time) {
                    minutes.add(time, record.position);
                } else {
                    minutes.pass();
                }
            }
            from = slice.next;
        }
        Ok(minutes)
    }

    fn wants(&self, time: Timestamp) -> bool {
        time >= self.replay.spec.from && time <= self.replay.spec.to
    }

    /// Puts the events of a minute on the bus that lie in a run, in which there may be others.
    async fn put(&mut self, shard: ShardRef, minute: i64, (from, to): Run) -> Result<(), Stop> {
        let (name, started) = (self.replay.spec.name.as_str().as_bytes(), self.replay.started.millis().to_be_bytes());
        let scope = self.scope.to_string();
        let parts: [&[u8]; 5] = [b"replay", scope.as_bytes(), name, &started, &minute.to_be_bytes()];
        let producer = producer_id(&parts);
        let mut next = from;
        while next <= to {
            self.check()?;
            // There are no more records than positions.
            let left = usize::try_from(to.get() - next.get()).unwrap_or(usize::MAX).saturating_add(1);
            let limit = ReadLimit { records: AT_ONCE.min(left), bytes: 4 << 20 };
            let slice = self.room.log().read(shard, next, limit).await?;
            if slice.records.is_empty() {
                break;
            }
            next = slice.next;
            let here = slice.records.iter().take_while(|record| record.position <= to);
            let timed = here.map(|record| (time_of(record), record));
            let (times, records): (Vec<Timestamp>, Vec<&Record>) =
                timed.filter(|(time, _)| minute_of(*time) == minute && self.wants(*time)).unzip();
            let deliveries: Vec<Delivery> = records
                .iter()
                .map(|record| Delivery {
                    position: record.position,
                    payload: named(&record.data, &self.replay.spec.name),
                    partition_key: Some(record.partition_key.clone()),
                })
                .collect();
            let bus = self.room.buses().stream(&self.scope, &self.replay.spec.bus).await?;
            append_once(self.room.log(), &bus, producer, &deliveries, |delivery| {
                let key = delivery.partition_key.clone();
                (key.unwrap_or_else(|| fallback_key(delivery.position)), delivery.payload.clone())
            })
            .await?;
            metrics::replayed(self.replay.spec.bus.as_str(), deliveries.len());
            self.replay.last = times.last().copied().or(self.replay.last);
        }
        Ok(())
    }
}

/// Everything a row says but where it stands is decided at its start.
pub(super) fn begin(spec: ReplaySpec, archive: &Archive, bus_end: Position, now: Timestamp) -> Replay {
    Replay {
        spec,
        state: ReplayState::Starting,
        reason: None,
        started: now,
        ended: None,
        last: None,
        stream: archive.stream,
        bus_end,
        end: None,
        minute: None,
    }
}

/// The row of a replay.
pub(super) fn encode(replay: &Replay) -> Result<Vec<u8>, FlowError> {
    stored::encode("replay", replay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_as_it_always_was() {
        let row = r#"{"v":1,"name":"r","archive":"all","bus":"default","rules":[],"from":0,"to":5,"state":"RUNNING","started":7,"stream":3,"bus_end":9,"end":11,"minute":null}"#;
        let Document { v, value }: Document = serde_json::from_str(row).unwrap();
        assert_eq!((v, value.spec.name.as_str(), value.end), (1, "r", Some(Position::new(11))));
        let again: serde_json::Value = serde_json::from_slice(&encode(&value).unwrap()).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(row).unwrap());
    }

    #[derive(Deserialize)]
    struct Document {
        v: u32,
        #[serde(flatten)]
        value: Replay,
    }
}
