//! A flipped or cut byte anywhere: always detected, and the other shards keep serving.

use std::path::Path;

use base::{Fs, HashKey, MasterKey, OpenMode, Position, ShardId};
use tidegate_log::{Append, Log, LogConfig, LogError, Record, Reshard, ShardRef};

use crate::world::*;

struct Written {
    world: World,
    slots: Vec<ShardRef>,
    records: Vec<Vec<Record>>,
}

/// Segments of which a journal has several, or one.
const SEVERAL: u64 = 2_048;
const ONE: u64 = 1 << 20;

fn config() -> LogConfig {
    LogConfig { master_key: Some(MasterKey::new([7; 32])), ..small() }
}

/// Three shards, three segments (the last one active), a clean stop.
async fn written(seed: u64) -> Written {
    let world = World::new(seed);
    let log = world.open_with(config()).await;
    let slots = slots(&stream(&log, "s", 3).await);
    while world.names(".seg").len() < 3 {
        for (n, slot) in slots.iter().enumerate() {
            put(&log, *slot, &format!("one record of shard {n}")).await;
        }
        let records = slots[..2].iter().map(|s| record(*s, "many")).collect();
        log.append(Append { producer: None, records }).await.unwrap();
    }
    put(&log, slots[0], "last of 0").await;
    put(&log, slots[1], "last of 1").await;
    told(world, log, slots).await
}

/// A stream that was split, encrypted and merged, beside one that was not; a clean stop.
async fn reshaped(seed: u64, segment_bytes: u64) -> Written {
    let world = World::new(seed);
    let log = world.open_with(LogConfig { segment_bytes, ..config() }).await;
    let other = slots(&stream(&log, "other", 1).await)[0];
    stream(&log, "s", 2).await;
    let round = async |n: usize| {
        let stream = log.stream(&key("s")).unwrap();
        for shard in stream.open_shards() {
            put(&log, shard.slot, &format!("one record of {} in round {n}", shard.id)).await;
        }
        put(&log, other, &format!("another stream's in round {n}")).await;
    };
    let change = async |n: usize| {
        let split = Reshard::Split { shard: ShardId::new(0), at: HashKey(1 << 100) };
        let merge = Reshard::Merge { shard: ShardId::new(2), adjacent: ShardId::new(3) };
        match n {
            2 => drop(log.reshard(&key("s"), vec![split]).await.unwrap()),
            3 => drop(log.set_encryption(&key("s"), true).await.unwrap()),
            5 => drop(log.set_retention(&key("s"), DAY * 7).await.unwrap()),
            8 => drop(log.reshard(&key("s"), vec![merge]).await.unwrap()),
            _ => {}
        }
    };
    for n in 0..12 {
        round(n).await;
        change(n).await;
    }
    let mut slots = slots(&log.stream(&key("s")).unwrap());
    slots.push(other);
    told(world, log, slots).await
}

/// Stops, and says what can be read.
async fn told(world: World, log: Log, slots: Vec<ShardRef>) -> Written {
    log.close().await.unwrap();
    let mut records = Vec::new();
    let log = world.open_with(config()).await;
    for slot in &slots {
        records.push(read_all(&log, *slot).await);
    }
    if world.names(".seg").len() > 1 {
        settled(&world).await;
    }
    log.close().await.unwrap();
    Written { world, slots, records }
}

/// Waits until the upkeep in the background has done all it will, so that the same seed always leaves the same files.
async fn settled(world: &World) {
    let done = || {
        let (segments, indexes) = (world.names(".seg").len(), world.names(".idx").len());
        indexes + 1 == segments && world.names(".snap").len() == 2 && world.names(".tmp").is_empty()
    };
    eventually(world, async || done().then_some(())).await;
}

/// A journal's files, to be put on one disk after the other.
struct Image {
    files: Vec<(String, Vec<u8>)>,
    slots: Vec<ShardRef>,
    records: Vec<Vec<Record>>,
}

impl Image {
    fn of(written: &Written) -> Self {
        let world = &written.world;
        let bytes = |name: String| (name.clone(), world.fs.read(&world.dir.join(name)).unwrap());
        let files = world.names("").into_iter().map(bytes).collect();
        Self { files, slots: written.slots.clone(), records: written.records.clone() }
    }

    /// The same journal on a new disk, but for one file.
    fn with(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Written {
        let world = World::new(1);
        world.fs.create_dir_all(&world.dir).unwrap();
        let mut damage = Some(damage);
        for (of, bytes) in &self.files {
            let mut bytes = bytes.clone();
            if let Some(damage) = damage.take_if(|_| of == name) {
                damage(&mut bytes);
            }
            let file = world.fs.open(&world.dir.join(of), OpenMode::CreateNew).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
        }
        Written { world, slots: self.slots.clone(), records: self.records.clone() }
    }
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

/// Opens, and checks that each shard gives all its records or says which it cannot give. How many cannot.
async fn check(written: &Written, what: &str) -> usize {
    let log = match Log::open(&written.world.env, &written.world.dir, config()).await {
        Ok(log) => log,
        Err(error) => panic!("{what}: {error}"),
    };
    let mut concerned = 0;
    for (slot, expected) in written.slots.iter().zip(&written.records) {
        let (records, corrupt) = read_through(&log, *slot).await;
        assert!(records.iter().all(|r| expected.contains(r)), "{what}: a record that never was");
        assert!(
            records.windows(2).all(|w| w[0].position < w[1].position),
            "{what}: a record out of its order or twice"
        );
        assert!(corrupt > 0 || records.len() == expected.len(), "{what}: records of {slot} are missing in silence");
        concerned += usize::from(corrupt > 0);
    }
    let (placed, last) = (put(&log, *written.slots.last().unwrap(), "goes on").await, &written.records[1]);
    assert!(placed.position > last[last.len() - 1].position, "{what}: a position is given twice");
    concerned
}

async fn flip_everywhere(image: &Image) {
    for (name, bytes) in &image.files {
        // Of the zeroes that are written ahead a few are enough.
        let zeroes = bytes.iter().rev().take_while(|b| **b == 0).count();
        let (data, ahead) = (0..bytes.len() - zeroes, (bytes.len() - zeroes..bytes.len()).step_by(9_973));
        for place in data.chain(ahead) {
            let written = image.with(name, |bytes| bytes[place] ^= 0x10);
            let concerned = check(&written, &format!("{name} at {place}")).await;
            // A damaged header takes its whole batch, which is of two shards at most.
            assert!(concerned <= 2, "{name} at {place}: {concerned} shards are concerned");
        }
    }
}

async fn cut_everywhere(image: &Image) {
    for (name, bytes) in &image.files {
        for place in (0..bytes.len()).step_by(3) {
            let written = image.with(name, |bytes| bytes.truncate(place));
            check(&written, &format!("{name} cut at {place}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_anywhere_is_detected_and_other_shards_keep_serving() {
    flip_everywhere(&Image::of(&written(1).await)).await;
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_anywhere_in_a_reshaped_journal_is_detected_and_other_shards_keep_serving() {
    flip_everywhere(&Image::of(&reshaped(1, SEVERAL).await)).await;
}

/// Here the changes of the catalogue themselves are what is damaged.
#[tokio::test(start_paused = true)]
async fn a_flipped_byte_anywhere_in_a_reshaped_active_segment_is_detected_and_other_shards_keep_serving() {
    flip_everywhere(&Image::of(&reshaped(3, ONE).await)).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_cut_anywhere_is_detected() {
    cut_everywhere(&Image::of(&written(2).await)).await;
}

#[tokio::test(start_paused = true)]
async fn a_reshaped_journals_file_cut_anywhere_is_detected() {
    cut_everywhere(&Image::of(&reshaped(2, SEVERAL).await)).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_index_is_built_again() {
    let written = written(3).await;
    for name in written.world.names(".idx") {
        written.world.fs.remove_file(&written.world.dir.join(name)).unwrap();
    }
    let log = written.world.open_with(config()).await;
    for (slot, expected) in written.slots.iter().zip(&written.records) {
        assert_eq!(&read_all(&log, *slot).await, expected);
    }
    settled(&written.world).await;
    drop(log);
    assert_eq!(check(&written, "with indexes again").await, 0);
}

#[tokio::test(start_paused = true)]
async fn damage_in_the_active_segment_seals_it_and_stays_known() {
    let written = written(4).await;
    let name = written.world.names(".seg").pop().unwrap();
    let path = written.world.dir.join(&name);
    let fs = &written.world.fs;
    // The first batch's header.
    fs.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(&[0xff; 4], 40 + 12).unwrap();
    let concerned = check(&written, "first").await;
    assert!((1..=2).contains(&concerned));
    assert!(written.world.names(".seg").len() > 3, "writing goes on in a new segment");
    let log = written.world.open_with(config()).await;
    let mut corrupt = 0;
    for slot in &written.slots {
        corrupt += read_through(&log, *slot).await.1;
    }
    assert_eq!(corrupt, concerned, "after another start it is still known");
    assert!(fs.exists(Path::new(&path)).unwrap(), "what is damaged is kept");
}
