//! Encryption at rest through the whole log.

use base::{ErrorKind, Fs, HashKey, Kinded, MasterKey, OpenMode, Position};
use tidegate_log::{Append, Log, LogConfig, LogError, NewRecord, Reshard, ShardRef, StreamSpec};

use crate::world::*;

const SECRET: &str = "the secret of the data";
const NAME: &str = "the secret of the key";
const HASH: HashKey = HashKey(0x7465_7263_6573_2065_6874_7265_6365_7274);

fn with_key(byte: u8) -> LogConfig {
    LogConfig { master_key: Some(MasterKey::new([byte; 32])), ..small() }
}

fn secret(slot: ShardRef, n: usize) -> NewRecord {
    NewRecord {
        shard: slot,
        partition_key: NAME.parse().unwrap(),
        explicit_hash_key: Some(HASH),
        data: format!("{SECRET} {n:0100}").into(),
    }
}

async fn put_secret(log: &Log, slot: ShardRef, n: usize) {
    log.append(Append { producer: None, records: vec![secret(slot, n)] }).await.unwrap();
}

async fn encrypted(log: &Log, name: &str, shards: u32) -> Vec<ShardRef> {
    let slots = slots(&stream(log, name, shards).await);
    assert!(log.set_encryption(&key(name), true).await.unwrap().encrypted);
    slots
}

/// Whether any file of the journal holds these bytes.
fn on_disk(world: &World, what: &[u8]) -> bool {
    let files = loop {
        let files = world.names("").into_iter().map(|name| world.fs.read(&world.dir.join(name)));
        // The upkeep may have renamed one meanwhile.
        if let Ok(files) = files.collect::<Result<Vec<_>, _>>() {
            break files;
        }
    };
    files.iter().any(|bytes| bytes.windows(what.len()).any(|w| w == what))
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_record_stands_on_disk_and_all_of_it_is_read() {
    let world = World::new(1);
    let log = world.open_with(with_key(1)).await;
    let slots = encrypted(&log, "s", 2).await;
    for n in 0..40 {
        put_secret(&log, slots[n % 2], n).await;
    }
    let check = async |log: &Log| {
        for (of, slot) in slots.iter().enumerate() {
            let records = read_all(log, *slot).await;
            assert_eq!(records.len(), 20);
            for (n, record) in records.iter().enumerate() {
                let expected = secret(*slot, 2 * n + of);
                assert_eq!((&record.data, &record.partition_key), (&expected.data, &expected.partition_key));
                assert_eq!(record.explicit_hash_key, Some(HASH));
            }
        }
    };
    check(&log).await;
    log.close().await.unwrap();
    assert!(world.names(".seg").len() > 3);
    let log = world.open_with(LogConfig { tail_cache_bytes: 0, ..with_key(1) }).await;
    check(&log).await;
    assert!(!on_disk(&world, b"secret") && !on_disk(&world, &HASH.0.to_le_bytes()));
    let plain = stream(&log, "plain", 1).await.shards[0].slot;
    put_secret(&log, plain, 0).await;
    assert!(
        on_disk(&world, SECRET.as_bytes())
            && on_disk(&world, NAME.as_bytes())
            && on_disk(&world, &HASH.0.to_le_bytes())
    );
}

#[tokio::test(start_paused = true)]
async fn sealed_and_plain_records_follow_each_other_in_one_shard() {
    let world = World::new(2);
    let log = world.open_with(with_key(1)).await;
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for n in 0..30 {
        log.set_encryption(&key("s"), n % 3 == 1).await.unwrap();
        put(&log, slot, &format!("{} {n:050}", if n % 3 == 1 { "sealed" } else { "plain" })).await;
    }
    assert!(on_disk(&world, b"plain") && !on_disk(&world, b"sealed"));
    let before = read_all(&log, slot).await;
    assert_eq!(before.len(), 30);
    assert!(before.iter().all(|record| record.sealed == record.data.starts_with(b"sealed")), "each says for itself");
    drop(log);
    world.fs.power_cut();
    let log = world.open_with(with_key(1)).await;
    assert_eq!(read_all(&log, slot).await, before);
    assert!(!log.stream(&key("s")).unwrap().encrypted);
}

#[tokio::test(start_paused = true)]
async fn children_of_an_encrypted_streams_shards_are_encrypted() {
    let world = World::new(3);
    let log = world.open_with(with_key(1)).await;
    encrypted(&log, "s", 1).await;
    let steps = vec![Reshard::Split { shard: base::ShardId::new(0), at: HashKey(9) }];
    let child = log.reshard(&key("s"), steps).await.unwrap().shards[2].slot;
    put_secret(&log, child, 0).await;
    log.set_retention(&key("s"), DAY * 2).await.unwrap();
    put_secret(&log, child, 1).await;
    assert!(!on_disk(&world, b"secret"));
    assert_eq!(read_all(&log, child).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_master_key_nothing_is_encrypted_and_nothing_is_opened() {
    let world = World::new(4);
    let log = world.open_small().await;
    stream(&log, "s", 1).await;
    let error = log.set_encryption(&key("s"), true).await.unwrap_err();
    assert!(matches!(error, LogError::NoMasterKey(_)) && error.kind() == ErrorKind::Unavailable);
    assert!(!log.set_encryption(&key("s"), false).await.unwrap().encrypted);
    log.close().await.unwrap();
    let log = world.open_with(with_key(1)).await;
    let slot = encrypted(&log, "s", 1).await[0];
    put_secret(&log, slot, 0).await;
    log.set_encryption(&key("s"), false).await.unwrap();
    log.close().await.unwrap();
    let open = async |config| Log::open(&world.env, &world.dir, config).await;
    assert!(matches!(open(small()).await.err(), Some(LogError::NoMasterKey(k)) if k == key("s")));
    assert!(matches!(open(with_key(2)).await.err(), Some(LogError::WrongMasterKey(k)) if k == key("s")));
    let log = open(with_key(1)).await.unwrap();
    assert_eq!(read_all(&log, slot).await.len(), 1);
    log.delete_stream(&key("s")).await.unwrap();
    log.close().await.unwrap();
    open(small()).await.expect("with the last encrypted stream goes the need for the key");
}

#[tokio::test(start_paused = true)]
async fn every_stream_has_a_key_of_its_own_and_a_name_given_again_another() {
    let world = World::new(5);
    let log = world.open_with(with_key(1)).await;
    let first = encrypted(&log, "s", 1).await[0];
    put_secret(&log, first, 0).await;
    log.delete_stream(&key("s")).await.unwrap();
    let again = encrypted(&log, "s", 1).await[0];
    put_secret(&log, again, 1).await;
    let other = encrypted(&log, "t", 1).await[0];
    put_secret(&log, other, 2).await;
    for (slot, n) in [(again, 1), (other, 2)] {
        assert_eq!(read_all(&log, slot).await[0].data, secret(slot, n).data);
    }
}

/// Changes a byte of a sealed record and both checksums over it, as one would who knows the format.
fn tamper(world: &World, name: &str, offset: u64) {
    let path = world.dir.join(name);
    let bytes = world.fs.read(&path).unwrap();
    let at = offset as usize;
    let len = 15 + u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    let mut record = bytes[at..at + len].to_vec();
    record[60] ^= 1;
    let crc = crc32c::crc32c(&record[4..]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
    world.fs.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(&record, offset).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tampered_record_is_corrupt_by_name_and_place_and_others_keep_serving() {
    let world = World::new(6);
    let log = world.open_with(with_key(1)).await;
    let spec = StreamSpec { shards: 2, retention: DAY };
    log.create_stream(&key("s"), spec).await.unwrap();
    let slots = encrypted(&log, "s", 2).await;
    for n in 0..3 {
        log.append(Append { producer: None, records: slots.iter().map(|s| secret(*s, n)).collect() }).await.unwrap();
    }
    let records = read_all(&log, slots[0]).await;
    log.close().await.unwrap();
    let name = world.names(".seg").pop().unwrap();
    // The first batch: segment header, batch header, a table of two shards; then the first shard's record.
    let offset = 40 + 80 + 24;
    tamper(&world, &name, offset);
    let log = world.open_with(with_key(1)).await;
    match log.read(slots[0], Position::ZERO, ALL).await {
        Err(LogError::Corrupt { file, offset: at, first, last, .. }) => {
            assert_eq!((file, at), (name, offset));
            assert_eq!((first, last), (records[0].position, records[0].position));
        }
        other => panic!("{other:?}"),
    }
    let rest = log.read(slots[0], records[1].position, ALL).await.unwrap();
    assert_eq!(rest.records, records[1..]);
    assert_eq!(read_all(&log, slots[1]).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_streams_key_outlives_damage_of_the_record_that_brought_it() {
    let world = World::new(7);
    let log = world.open_with(LogConfig { segment_bytes: 1 << 20, ..with_key(1) }).await;
    let slot = encrypted(&log, "s", 1).await[0];
    for n in 0..3 {
        put_secret(&log, slot, n).await;
    }
    log.close().await.unwrap();
    let segments = world.names(".seg");
    assert_eq!(segments.len(), 2, "the next segment's snapshot has the key");
    let path = world.dir.join(&segments[0]);
    let bytes = world.fs.read(&path).unwrap();
    let at = bytes.windows(7).position(|w| w == b"encrypt").unwrap();
    world.fs.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(b"?", at as u64).unwrap();
    let log = world.open_with(with_key(1)).await;
    assert_eq!(read_all(&log, slot).await.len(), 3);
}
