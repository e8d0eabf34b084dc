//! A flipped or cut byte anywhere: always detected, and the other shards keep serving.

use std::path::Path;

use base::{Fs, OpenMode, Position};
use tidegate_log::{Append, Log, LogError, Record, ShardRef};

use crate::world::*;

struct Written {
    world: World,
    slots: Vec<ShardRef>,
    records: Vec<Vec<Record>>,
}

/// Three shards, three segments (the last one active), a clean stop.
async fn written(seed: u64) -> Written {
    let world = World::new(seed);
    let log = world.open_small().await;
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
    log.close().await.unwrap();
    let mut records = Vec::new();
    let log = world.open_small().await;
    for slot in &slots {
        records.push(read_all(&log, *slot).await);
    }
    settled(&world).await;
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

/// Opens, and checks that each shard gives all its records or says which it cannot give.
async fn check(written: &Written, what: &str) -> usize {
    let log = match Log::open(&written.world.env, &written.world.dir, small()).await {
        Ok(log) => log,
        Err(error) => panic!("{what}: {error}"),
    };
    let mut concerned = 0;
    for (slot, expected) in written.slots.iter().zip(&written.records) {
        let (records, corrupt) = read_through(&log, *slot).await;
        assert!(records.iter().all(|r| expected.contains(r)), "{what}: a record that never was");
        assert!(corrupt > 0 || records.len() == expected.len(), "{what}: records of {slot} are missing in silence");
        concerned += usize::from(corrupt > 0);
    }
    let (placed, last) = (put(&log, written.slots[2], "goes on").await, &written.records[1]);
    assert!(placed.position > last[last.len() - 1].position, "{what}: a position is given twice");
    concerned
}

#[tokio::test(start_paused = true)]
async fn a_flipped_byte_anywhere_is_detected_and_other_shards_keep_serving() {
    let names = written(1).await.world.names("");
    for name in names {
        let len = {
            let w = written(1).await;
            w.world.fs.read(&w.world.dir.join(&name)).unwrap().len()
        };
        for place in (0..len).step_by(3) {
            let written = written(1).await;
            let path = written.world.dir.join(&name);
            let file = written.world.fs.open(&path, OpenMode::ReadWrite).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, place as u64).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], place as u64).unwrap();
            let concerned = check(&written, &format!("{name} at {place}")).await;
            // A damaged header takes its whole batch, which is of two shards at most.
            assert!(concerned <= 2, "{name} at {place}: {concerned} shards are concerned");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_cut_anywhere_is_detected() {
    let names = written(2).await.world.names("");
    for name in names {
        let len = {
            let w = written(2).await;
            w.world.fs.read(&w.world.dir.join(&name)).unwrap().len()
        };
        for place in (0..len).step_by(7) {
            let written = written(2).await;
            let path = written.world.dir.join(&name);
            written.world.fs.open(&path, OpenMode::ReadWrite).unwrap().set_len(place as u64).unwrap();
            check(&written, &format!("{name} cut at {place}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_index_is_built_again() {
    let written = written(3).await;
    for name in written.world.names(".idx") {
        written.world.fs.remove_file(&written.world.dir.join(name)).unwrap();
    }
    assert_eq!(check(&written, "without indexes").await, 0);
    eventually(&written.world, async || (!written.world.names(".idx").is_empty()).then_some(())).await;
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
    let log = written.world.open_small().await;
    let mut corrupt = 0;
    for slot in &written.slots {
        corrupt += read_through(&log, *slot).await.1;
    }
    assert_eq!(corrupt, concerned, "after another start it is still known");
    assert!(fs.exists(Path::new(&path)).unwrap(), "what is damaged is kept");
}
