//! Recovery of a journal of which one file holds anything.
//!
//! The bytes are read so: which file (a byte, 0 for a folder that holds nothing but this segment), how it is changed (a
//! byte), where (two bytes, as a part of the file's length), and with what (the rest).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::fs::sim::SimFs;
use base::{Env, Fs, HashKey, MasterKey, OpenMode, Position, Scope, SeededRng, ShardId, TestClock, Timestamp};
use log::{
    Append, Log, LogConfig, LogError, NewRecord, Placed, ReadLimit, Record, Reshard, ShardRef, StreamKey, StreamKind,
    StreamSpec,
};

const DIR: &str = "/data/journal";
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const ALL: ReadLimit = ReadLimit { records: 10_000, bytes: 10 << 20 };
/// Waiting for work in the background is no loop without end.
const TRIES: usize = 10_000;

/// A journal with one file changed: it opens, no record is invented, none is missing in silence, no position is given
/// twice.
pub fn segments(data: &[u8]) {
    let [which, how, high, low, with @ ..] = data else { return };
    let place = u16::from_be_bytes([*high, *low]);
    let image = Image::get();
    live(async {
        if *which == 0 {
            return alone(with).await;
        }
        let chosen = usize::from(which - 1) % image.files.len();
        let env = machine();
        for (i, (name, bytes)) in image.files.iter().enumerate() {
            let mut bytes = bytes.clone();
            if i == chosen {
                change(&mut bytes, *how, place, with);
            }
            write(&*env.fs, name, &bytes);
        }
        image.check(&env, &image.files[chosen].0).await;
    });
}

/// A segment in a folder of its own, which may not be one at all.
async fn alone(bytes: &[u8]) {
    let env = machine();
    write(&*env.fs, &format!("{:020}.seg", 1), bytes);
    if let Ok(log) = Log::open(&env, DIR.as_ref(), config()).await {
        let stream = log.ensure_stream(&key("new"), StreamSpec { shards: 1, retention: DAY }).await.expect("a stream");
        put(&log, stream.shards[0].slot, "new").await;
    }
}

fn change(bytes: &mut Vec<u8>, how: u8, place: u16, with: &[u8]) {
    let place = bytes.len() * usize::from(place) / usize::from(u16::MAX);
    let end = (place + with.len()).min(bytes.len());
    match how % 5 {
        0 => bytes[place..end].copy_from_slice(&with[..end - place]),
        1 => bytes.truncate(place),
        2 => drop(bytes.splice(place..place, with.iter().copied())),
        3 => drop(bytes.drain(place..end)),
        _ => drop(bytes.splice(place.., with.iter().copied())),
    }
}

fn live<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(run)
}

fn machine() -> Env {
    let fs = Arc::new(SimFs::new(1));
    fs.create_dir_all(DIR.as_ref()).expect("a folder");
    Env { clock: Arc::new(TestClock::at(START)), rng: Arc::new(SeededRng::new(1)), fs }
}

fn write(fs: &dyn Fs, name: &str, bytes: &[u8]) {
    let file = fs.open(format!("{DIR}/{name}").as_ref(), OpenMode::CreateNew).expect("a new file");
    file.write_all_at(bytes, 0).expect("room");
}

/// Segments of 2 KB, so that a few records fill one.
fn config() -> LogConfig {
    let master_key = Some(MasterKey::new([7; 32]));
    LogConfig { segment_bytes: 2_048, retention_period: DAY * 10_000, master_key, ..LogConfig::default() }
}

fn key(name: &str) -> StreamKey {
    let scope = Scope { account: "000000000000".parse().unwrap(), region: "eu-central-1".parse().unwrap() };
    StreamKey { kind: StreamKind::Kinesis, scope, name: name.into() }
}

async fn put(log: &Log, shard: ShardRef, data: &str) -> Placed {
    let partition_key = "key".parse().unwrap();
    let record = NewRecord { shard, partition_key, explicit_hash_key: None, data: data.to_owned().into() };
    log.append(Append { producer: None, records: vec![record] }).await.expect("an acknowledgement")[0]
}

/// A journal after a clean stop.
struct Image {
    files: Vec<(String, Vec<u8>)>,
    slots: Vec<ShardRef>,
    records: Vec<Vec<Record>>,
}

impl Image {
    fn get() -> &'static Self {
        static IMAGE: OnceLock<Image> = OnceLock::new();
        IMAGE.get_or_init(|| live(Self::build()))
    }

    /// Two streams over several segments; one of them is split, then encrypted.
    async fn build() -> Self {
        let env = machine();
        let log = Log::open(&env, DIR.as_ref(), config()).await.expect("an empty journal");
        for (name, shards) in [("a", 2), ("b", 1)] {
            log.ensure_stream(&key(name), StreamSpec { shards, retention: DAY }).await.expect("a stream");
        }
        for round in 0..16 {
            for name in ["a", "b"] {
                let stream = log.stream(&key(name)).expect("it is there");
                for shard in stream.open_shards() {
                    put(&log, shard.slot, &format!("record of {} of {name} in round {round}", shard.id)).await;
                }
            }
            if round == 4 {
                let split = Reshard::Split { shard: ShardId::new(0), at: HashKey(1 << 100) };
                log.reshard(&key("a"), vec![split]).await.expect("a split");
            }
            if round == 8 {
                log.set_encryption(&key("a"), true).await.expect("encryption");
            }
        }
        log.close().await.expect("a clean stop");
        let log = Log::open(&env, DIR.as_ref(), config()).await.expect("it opens again");
        settled(&env).await;
        let mut slots: Vec<ShardRef> = Vec::new();
        for name in ["a", "b"] {
            slots.extend(log.stream(&key(name)).expect("it is there").shards.iter().map(|shard| shard.slot));
        }
        let mut records = Vec::new();
        for slot in &slots {
            let (read, corrupt) = read_through(&log, *slot).await;
            assert_eq!(corrupt, 0);
            records.push(read);
        }
        log.close().await.expect("a clean stop");
        let names = env.fs.read_dir(DIR.as_ref()).expect("a folder").into_iter().map(|entry| entry.name);
        let file = |name: String| (name.clone(), env.fs.read(format!("{DIR}/{name}").as_ref()).expect("a file"));
        Self { files: names.map(file).collect(), slots, records }
    }

    async fn check(&self, env: &Env, what: &str) {
        let log = Log::open(env, DIR.as_ref(), config()).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        for (slot, expected) in self.slots.iter().zip(&self.records) {
            let (records, corrupt) = read_through(&log, *slot).await;
            assert!(records.iter().all(|record| expected.contains(record)), "{what}: a record that never was");
            let grows = |pair: &[Record]| pair[0].position < pair[1].position;
            assert!(records.windows(2).all(grows), "{what}: a record out of its order or twice");
            assert!(corrupt > 0 || records.len() == expected.len(), "{what}: records of {slot} are missing in silence");
        }
        let last = self.records.iter().flatten().map(|record| record.position).max();
        let placed = put(&log, *self.slots.last().expect("a shard"), "goes on").await;
        assert!(Some(placed.position) > last, "{what}: a position is given twice");
    }
}

/// Waits for the upkeep in the background, so that there is an index for every sealed segment.
async fn settled(env: &Env) {
    for _ in 0..TRIES {
        let names = env.fs.read_dir(DIR.as_ref()).expect("a folder");
        let count = |end: &str| names.iter().filter(|entry| entry.name.ends_with(end)).count();
        if count(".idx") + 1 == count(".seg") && count(".tmp") == 0 {
            return;
        }
        env.clock.sleep(Duration::from_millis(10)).await;
    }
    panic!("the upkeep does not come to an end");
}

/// Reads a shard to its end, passing over what is said to be corrupt.
async fn read_through(log: &Log, slot: ShardRef) -> (Vec<Record>, usize) {
    let (mut from, mut records, mut corrupt) = (Position::ZERO, Vec::new(), 0);
    loop {
        match log.read(slot, from, ALL).await {
            Ok(slice) if slice.records.is_empty() => return (records, corrupt),
            Ok(slice) => {
                records.extend(slice.records);
                from = slice.next;
            }
            Err(LogError::Corrupt { last, .. }) => {
                corrupt += 1;
                from = last.next();
            }
            Err(error) => panic!("{error}"),
        }
    }
}
