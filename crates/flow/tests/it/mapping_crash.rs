//! Power cuts while batches are halved, given up, skipped and handed over again: nothing is lost, nothing is passed that
//! is neither handled nor put away, and what is repeated was in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Clock, Position, SequenceNumber, ShardId, StateStore, Table};
use flow::checkpoint::Checkpoints;
use flow::mapping::{MappingChange, StartingPosition};
use flow::queue::QueueAttributes;
use log::{Append, Log, LogConfig, NewRecord, ReadLimit, Record, StreamKey, StreamKind};
use serde_json::Value;
use state::Store;

use crate::fakes::{Reply, batch_of};
use crate::mapping::map;
use crate::mapping_give_up::queue_arn;
use crate::world::{House, Outside, World, scope};

const CHANGES: [Call; 4] = [Call::Write, Call::SyncData, Call::SyncDir, Call::Rename];
/// Records of a batch, at most.
const BATCH: usize = 8;

/// What the function saw.
#[derive(Default)]
struct Seen {
    /// How often it took each text.
    taken: BTreeMap<String, usize>,
    /// It takes what is poison, too.
    cured: bool,
    /// What was skipped and is handed over by nobody's word.
    set_aside: BTreeSet<String>,
    /// What of that it got all the same.
    undone: Vec<String>,
}

/// What is done while the mapping runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    Nothing,
    Skips,
    Redrives,
}

/// One mapping over several lives of the process.
struct Script {
    outside: Outside,
    seen: Arc<Mutex<Seen>>,
    care: Care,
    id: String,
    /// Texts that are in the stream for sure.
    put: BTreeSet<String>,
    number: usize,
    cuts: usize,
    done: usize,
}

impl Script {
    fn new(seed: u64, care: Care, settings: MappingChange) -> Self {
        let (outside, seen) = (Outside::new(seed), Arc::<Mutex<Seen>>::default());
        let noted = Arc::clone(&seen);
        outside.functions.answer(move |call| {
            let batch = batch_of(std::str::from_utf8(&call.payload).unwrap());
            let mut seen = noted.lock().unwrap();
            let undone: Vec<String> = batch.iter().filter(|text| seen.set_aside.contains(*text)).cloned().collect();
            seen.undone.extend(undone);
            if batch.iter().any(|text| text.starts_with("poison")) && !seen.cured {
                return Reply::Status(500);
            }
            batch.into_iter().for_each(|text| *seen.taken.entry(text).or_default() += 1);
            Reply::Ok("{}".into())
        });
        let id = outside.life(async |world| {
            let house = world.open().await;
            house.stream("s", 1).await;
            house.queue("lost", QueueAttributes::default()).await;
            let settings = MappingChange { batch_size: Some(BATCH as u32), ..settings };
            let id = map(&house, StartingPosition::TrimHorizon, settings).await.mapping.id;
            house.stop().await;
            id
        });
        Self { outside, seen, care, id, put: BTreeSet::new(), number: 0, cuts: 0, done: 0 }
    }

    /// A life that ends with a power cut, in the middle of something if it comes to that.
    fn live(&mut self) {
        let Self { outside, seen, care, id, put, number, done, .. } = self;
        outside.life(async |world| {
            world.fs.fail(&CHANGES, 1 + world.env.rng.below(250), Fault::Crash);
            let Ok(house) = world.try_open().await else { return };
            for _ in 0..25 {
                for _ in 0..world.env.rng.below(6) {
                    *number += 1;
                    let kind = if world.env.rng.below(9) == 0 { "poison" } else { "good" };
                    let text = format!("{kind}{number:05}");
                    if append(&house, &text).await {
                        put.insert(text);
                    }
                }
                *done += match (*care, world.env.rng.below(3)) {
                    (Care::Skips, 0) => skip(&house, id, seen).await,
                    (Care::Redrives, 0) => {
                        house.flow.mappings.redrive(&scope(), id, None).await.map_or(0, |p| p.succeeded)
                    }
                    _ => 0,
                };
                if world.fs.is_off() {
                    return;
                }
                world.pass(Duration::from_millis(world.env.rng.below(700))).await;
            }
        });
        self.cuts += usize::from(self.outside.fs.is_off());
        self.outside.fs.power_cut();
        self.check_place();
    }

    /// What the place that is on the disk has passed was handled, or is put away on the disk.
    fn check_place(&self) {
        let (records, passed, away) = self.outside.life(async |world| {
            let disk = Disk::open(world).await;
            let stream = disk.log.stream(&House::key("s")).unwrap();
            let consumer = format!("mapping:{}", self.id);
            let passed = Checkpoints::durable(&*disk.state, &consumer, stream.id, stream.shards[0].id).unwrap();
            let found = (disk.records(&House::key("s")).await, passed, disk.put_away(&self.id).await);
            disk.close().await;
            found
        });
        let seen = self.seen.lock().unwrap();
        for record in records.iter().filter(|record| passed.is_some_and(|passed| record.position < passed)) {
            let is_done = seen.taken.contains_key(&text(record)) || away.iter().any(|range| range.has(record));
            assert!(is_done, "{} was passed, and is neither handled nor put away", text(record));
        }
    }

    /// Everything that was put has arrived or is put away; what is repeated was in flight when the power went. The
    /// texts that are put away.
    fn finish(&self) -> BTreeSet<String> {
        let (records, away) = self.outside.life(async |world| {
            let house = world.open().await;
            world.pass(Duration::from_secs(1_200)).await;
            let age = house.flow.lag.of(&format!("mapping:{}", self.id), world.clock.now());
            assert_eq!(age, Some(Duration::ZERO), "nothing is left to do");
            house.stop().await;
            let disk = Disk::open(world).await;
            let found = (disk.records(&House::key("s")).await, disk.put_away(&self.id).await);
            disk.close().await;
            found
        });
        let seen = self.seen.lock().unwrap();
        let all: BTreeSet<String> = records.iter().map(text).collect();
        assert!(self.put.is_subset(&all));
        let aside: BTreeSet<String> =
            records.iter().filter(|record| away.iter().any(|range| range.has(record))).map(text).collect();
        let lost: Vec<&String> =
            all.iter().filter(|text| !seen.taken.contains_key(*text) && !aside.contains(*text)).collect();
        assert!(lost.is_empty(), "{lost:?} are lost");
        let repeated: usize = seen.taken.values().map(|times| times - 1).sum();
        assert!(repeated <= self.cuts * 2 * BATCH, "{repeated} repeated by {} cuts", self.cuts);
        assert_eq!(seen.undone, Vec::<String>::new(), "what was skipped stays skipped");
        aside
    }
}

/// What lies on the disk while nothing runs.
struct Disk {
    log: Log,
    state: Arc<Store>,
}

impl Disk {
    async fn open(world: &World) -> Self {
        let config = LogConfig { segment_bytes: 1 << 20, ..LogConfig::default() };
        let log = Log::open(&world.env, Path::new("/data/journal"), config).await.unwrap();
        Self { log, state: Arc::new(Store::open(&world.env, Path::new("/data/state.redb")).await.unwrap()) }
    }

    async fn close(self) {
        self.log.close().await.unwrap();
        assert!(self.state.close().await);
    }

    async fn records(&self, key: &StreamKey) -> Vec<Record> {
        let Ok(stream) = self.log.stream(key) else { return Vec::new() };
        let (mut all, mut from) = (Vec::new(), Position::ZERO);
        loop {
            let limit = ReadLimit { records: 1_000, bytes: 1 << 20 };
            let slice = self.log.read(stream.shards[0].slot, from, limit).await.unwrap();
            if slice.records.is_empty() {
                return all;
            }
            from = slice.next;
            all.extend(slice.records);
        }
    }

    /// What is in the destination and in quarantine.
    async fn put_away(&self, id: &str) -> Vec<Away> {
        let key = |kind, name: &str| StreamKey { kind, scope: scope(), name: name.to_owned() };
        let mut away = Vec::new();
        for letter in self.records(&key(StreamKind::Queue, "lost")).await {
            away.extend(told(&String::from_utf8_lossy(&letter.data)));
        }
        let rows = self.state.scan(Table("flow.quarantines"), b"", None, 10).unwrap();
        let gone: Value = rows.first().map_or(Value::Null, |(_, row)| serde_json::from_slice(row).unwrap());
        let floor = gone["floor"].as_u64().unwrap_or_default();
        let removed = |place: u64| gone["removed"].as_array().is_some_and(|all| all.contains(&place.into()));
        for kept in self.records(&key(StreamKind::Quarantine, id)).await {
            let place = kept.position.get();
            if place >= floor && !removed(place) {
                let line = kept.data.split(|byte| *byte == b'\n').next().unwrap();
                let header: Value = serde_json::from_slice(line).unwrap();
                let position = Position::new(header["position"].as_u64().unwrap());
                away.push(Away(position, position));
            }
        }
        away
    }
}

/// Positions of records that are told of or kept, from one to another.
struct Away(Position, Position);

impl Away {
    fn has(&self, record: &Record) -> bool {
        (self.0..=self.1).contains(&record.position)
    }
}

/// The batch that a message in the destination's log tells of.
fn told(message: &str) -> Option<Away> {
    let part = &message[message.find(r#""KinesisBatchInfo":"#)?..];
    let number = |name: &str| {
        let value = part.split(&format!(r#""{name}":""#)).nth(1)?.split('"').next()?;
        value.parse::<SequenceNumber>().ok().map(SequenceNumber::position)
    };
    Some(Away(number("startSequenceNumber")?, number("endSequenceNumber")?))
}

fn text(record: &Record) -> String {
    String::from_utf8(record.data.to_vec()).unwrap()
}

async fn append(house: &House, text: &str) -> bool {
    let stream = house.log.stream(&House::key("s")).unwrap();
    let (shard, partition_key) = (stream.shards[0].slot, "k".parse().unwrap());
    let record = NewRecord { shard, partition_key, explicit_hash_key: None, data: text.to_owned().into() };
    house.log.append(Append { producer: None, records: vec![record] }).await.is_ok()
}

/// Skips the first poison of what the shard is stuck on.
async fn skip(house: &House, id: &str, seen: &Mutex<Seen>) -> usize {
    let Ok(status) = house.flow.mappings.status(&scope(), id).await else { return 0 };
    let Some(first) = status.stuck.first().and_then(|stuck| stuck.first) else { return 0 };
    let slot = house.log.stream(&House::key("s")).unwrap().shards[0].slot;
    let limit = ReadLimit { records: BATCH, bytes: 1 << 20 };
    let Ok(slice) = house.log.read(slot, first.position(), limit).await else { return 0 };
    let Some(poison) = slice.records.iter().find(|record| text(record).starts_with("poison")) else { return 0 };
    let number = SequenceNumber::new(poison.position, ShardId::new(0), poison.arrival);
    match house.flow.mappings.skip(&scope(), id, ShardId::new(0), number).await {
        Ok(()) => usize::from(seen.lock().unwrap().set_aside.insert(text(poison))),
        Err(_) => 0,
    }
}

fn poisons(texts: &BTreeSet<String>) -> BTreeSet<String> {
    texts.iter().filter(|text| text.starts_with("poison")).cloned().collect()
}

/// Runs a script over several seeds. Its cuts, and what was done by hand.
fn over(
    seeds: std::ops::Range<u64>,
    care: Care,
    settings: &MappingChange,
    check: impl Fn(&Script, &BTreeSet<String>),
) -> (usize, usize) {
    let (mut cuts, mut done, mut put) = (0, 0, 0);
    for seed in seeds {
        let mut script = Script::new(seed, care, settings.clone());
        (0..5).for_each(|_| script.live());
        script.seen.lock().unwrap().cured = care == Care::Skips;
        let aside = script.finish();
        check(&script, &aside);
        (cuts, done, put) = (cuts + script.cuts, done + script.done, put + script.put.len());
    }
    assert!(cuts > 25 && put > 500, "the script does something: {cuts} cuts, {put} records");
    (cuts, done)
}

/// Exactly the poison is put away, each at least once.
fn only_poison(script: &Script, aside: &BTreeSet<String>) {
    assert_eq!(*aside, poisons(aside), "halving finds the poison and nothing else");
    assert!(poisons(&script.put).is_subset(aside));
    assert!(poisons(&script.put).len() > 3, "there is some");
}

fn halving() -> MappingChange {
    MappingChange { bisect: Some(true), max_retries: Some(1), ..Default::default() }
}

#[test]
fn halving_through_power_cuts_tells_the_destination_of_every_poison_and_of_nothing_else() {
    let settings = MappingChange { on_failure: Some(Some(queue_arn("lost"))), ..halving() };
    over(900..910, Care::Nothing, &settings, only_poison);
}

#[test]
fn halving_through_power_cuts_quarantines_every_poison_and_nothing_else() {
    over(910..920, Care::Nothing, &halving(), only_poison);
}

#[test]
fn redriving_through_power_cuts_loses_nothing() {
    // Whole batches are given up, so that most of what is in quarantine is taken at last.
    let settings = MappingChange { max_retries: Some(0), ..Default::default() };
    let (_, redriven) = over(920..930, Care::Redrives, &settings, |script, aside| {
        assert!(poisons(&script.put).is_subset(aside));
    });
    assert!(redriven > 30, "the script does something: {redriven} redriven");
}

#[test]
fn what_is_skipped_stays_skipped_and_aside_through_power_cuts() {
    let (_, skipped) = over(930..940, Care::Skips, &MappingChange::default(), |script, aside| {
        let seen = script.seen.lock().unwrap();
        assert!(seen.set_aside.is_subset(aside), "a skip that was answered is durable");
    });
    assert!(skipped > 20, "the script does something: {skipped} skipped");
}
