//! Journals written by released formats stay readable.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Fs, HashKey, MasterKey, OpenMode, Position, ProducerId, RealFs, ShardId};
use tidegate_log::{Append, Log, LogConfig, NewRecord, Reshard, Shard};

use crate::world::*;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A machine whose journal is this fixture's.
fn load(name: &str) -> World {
    let world = World::new(1);
    world.fs.create_dir_all(&world.dir).unwrap();
    for entry in RealFs.read_dir(&folder(name)).unwrap() {
        let bytes = RealFs.read(&folder(name).join(&entry.name)).unwrap();
        let file = world.fs.open(&world.dir.join(&entry.name), OpenMode::CreateNew).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }
    assert!(world.names(".seg").len() > 1 && !world.names(".idx").is_empty());
    world
}

fn save(world: &World, name: &str) {
    RealFs.create_dir_all(&folder(name)).unwrap();
    for entry in world.fs.read_dir(&world.dir).unwrap() {
        let bytes = world.fs.read(&world.dir.join(&entry.name)).unwrap();
        RealFs.write_atomic(&folder(name).join(&entry.name), &bytes, 0o644).unwrap();
    }
}

/// What version 1's fixture holds.
async fn write(log: &Log, world: &World) {
    let slots = slots(&stream(log, "orders", 2).await);
    stream(log, "deleted", 1).await;
    for n in 0..20_u64 {
        let records = vec![
            record(slots[0], format!("a{n} {}", "x".repeat(60))),
            NewRecord {
                shard: slots[1],
                partition_key: "schlüssel".parse().unwrap(),
                explicit_hash_key: Some(HashKey(u128::MAX - u128::from(n))),
                data: format!("b{n}").into(),
            },
        ];
        log.append(Append { producer: Some((ProducerId(7), Position::new(n + 1))), records }).await.unwrap();
        world.env.clock.sleep(Duration::from_millis(10)).await;
    }
    log.delete_stream(&key("deleted")).await.unwrap();
}

async fn check(log: &Log) {
    let slots = slots(&log.stream(&key("orders")).unwrap());
    let (a, b) = (read_all(log, slots[0]).await, read_all(log, slots[1]).await);
    assert_eq!((a.len(), b.len()), (20, 20));
    for (n, (a, b)) in a.iter().zip(&b).enumerate() {
        assert_eq!(a.data, format!("a{n} {}", "x".repeat(60)));
        assert_eq!((&b.data[..], b.partition_key.as_str()), (format!("b{n}").as_bytes(), "schlüssel"));
        assert_eq!(b.explicit_hash_key, Some(HashKey(u128::MAX - n as u128)));
        assert_eq!(a.arrival, START + Duration::from_millis(10 * n as u64));
        assert_eq!(b.position, a.position.next());
    }
    assert_eq!(log.producer_position(ProducerId(7)), Some(Position::new(20)));
    assert!(log.stream(&key("deleted")).is_err());
}

#[tokio::test(start_paused = true)]
async fn version_1_is_read() {
    let world = load("v1");
    let log = world.open_small().await;
    check(&log).await;
    let slot = log.stream(&key("orders")).unwrap().shards[0].slot;
    put(&log, slot, "and goes on").await;
}

fn sealing() -> LogConfig {
    LogConfig { master_key: Some(MasterKey::new([7; 32])), ..small() }
}

/// What the fixture of sealed records and divided shards holds, which version 1 got later.
async fn write_sealed(log: &Log, world: &World) {
    let both = slots(&stream(log, "orders", 2).await);
    for n in 0..30_u64 {
        if n == 10 {
            log.set_encryption(&key("orders"), true).await.unwrap();
        }
        let records = vec![NewRecord {
            shard: both[n as usize % 2],
            partition_key: "schlüssel".parse().unwrap(),
            explicit_hash_key: (n % 3 == 0).then_some(HashKey(u128::MAX - u128::from(n))),
            data: format!("r{n} {}", "y".repeat(50)).into(),
        }];
        log.append(Append { producer: None, records }).await.unwrap();
        world.env.clock.sleep(Duration::from_millis(10)).await;
    }
    let steps = vec![
        Reshard::Split { shard: ShardId::new(0), at: HashKey(1 << 100) },
        Reshard::Merge { shard: ShardId::new(3), adjacent: ShardId::new(1) },
    ];
    let now = log.reshard(&key("orders"), steps).await.unwrap();
    log.set_retention(&key("orders"), DAY * 7).await.unwrap();
    put(log, now.shards[4].slot, "sealed in a child").await;
    log.set_encryption(&key("orders"), false).await.unwrap();
    put(log, now.shards[2].slot, "plain in a child").await;
    stream(log, "passing", 1).await;
    log.reshard(&key("passing"), vec![Reshard::Split { shard: ShardId::new(0), at: HashKey(5) }]).await.unwrap();
    world.env.clock.sleep(DAY * 2).await;
    log.enforce_retention().await.unwrap();
}

async fn check_sealed(log: &Log) {
    let orders = log.stream(&key("orders")).unwrap();
    let ids = |shards: &[Shard]| shards.iter().map(|s| (s.id.number(), s.closed.is_some())).collect::<Vec<_>>();
    assert_eq!(ids(&orders.shards), [(0, true), (1, true), (2, false), (3, true), (4, false)]);
    assert_eq!((orders.retention, orders.encrypted), (DAY * 7, false));
    assert_eq!(ids(&log.stream(&key("passing")).unwrap().shards), [(1, false), (2, false)], "one is forgotten");
    for (of, shard) in orders.shards[..2].iter().enumerate() {
        let records = read_all(log, shard.slot).await;
        assert_eq!(records.len(), 15);
        for (n, record) in records.iter().enumerate().map(|(n, record)| (2 * n + of, record)) {
            assert_eq!(record.data, format!("r{n} {}", "y".repeat(50)));
            assert_eq!(record.partition_key.as_str(), "schlüssel");
            assert_eq!(record.explicit_hash_key, (n % 3 == 0).then_some(HashKey(u128::MAX - n as u128)));
        }
    }
    assert_eq!(texts(&read_all(log, orders.shards[4].slot).await), ["sealed in a child"]);
    assert_eq!(texts(&read_all(log, orders.shards[2].slot).await), ["plain in a child"]);
}

#[tokio::test(start_paused = true)]
async fn sealed_records_and_divided_shards_of_version_1_are_read() {
    let world = load("v1-sealed");
    let log = world.open_with(sealing()).await;
    check_sealed(&log).await;
    log.set_encryption(&key("orders"), true).await.unwrap();
    let placed = put(&log, log.stream(&key("orders")).unwrap().shards[2].slot, "and goes on").await;
    assert_eq!(placed.arrival, START + DAY * 2 + Duration::from_millis(300), "as written down, without arrivals' own");
}

/// How far the clock was behind when the fixture of it was written, long after the last record.
const BEHIND: Duration = Duration::from_secs(30 * 86_400);
const IDLE: Duration = Duration::from_secs(12 * 3_600);

#[tokio::test(start_paused = true)]
async fn the_times_of_version_1_are_read() {
    let world = load("v1-clock");
    world.clock.shift_wall(-(BEHIND.as_millis() as i64));
    world.env.clock.sleep(IDLE * 3).await;
    let log = world.open_small().await;
    check(&log).await;
    let slot = log.stream(&key("orders")).unwrap().shards[0].slot;
    assert_eq!(put(&log, slot, "and goes on").await.arrival, START + IDLE * 3);
}

/// Writes the fixtures anew: only for a new version, into new folders.
#[tokio::test(start_paused = true)]
#[ignore = "writes the fixture"]
async fn write_fixture() {
    let world = World::new(1);
    let log = world.open_small().await;
    write(&log, &world).await;
    check(&log).await;
    log.close().await.unwrap();
    world.open_small().await.close().await.unwrap();
    save(&world, "v1");
}

#[tokio::test(start_paused = true)]
#[ignore = "writes the fixture"]
async fn write_clock_fixture() {
    let world = World::new(1);
    let log = world.open_small().await;
    write(&log, &world).await;
    check(&log).await;
    world.env.clock.sleep(IDLE - Duration::from_millis(200)).await;
    world.clock.shift_wall(-(BEHIND.as_millis() as i64));
    log.close().await.unwrap();
    save(&world, "v1-clock");
}

#[tokio::test(start_paused = true)]
#[ignore = "writes the fixture"]
async fn write_sealed_fixture() {
    let world = World::new(1);
    let log = world.open_with(sealing()).await;
    write_sealed(&log, &world).await;
    check_sealed(&log).await;
    log.close().await.unwrap();
    let log = world.open_with(sealing()).await;
    check_sealed(&log).await;
    let indexed = || world.names(".idx").len() + 1 == world.names(".seg").len() && world.names(".snap").len() == 2;
    eventually(&world, async || indexed().then_some(())).await;
    log.close().await.unwrap();
    save(&world, "v1-sealed");
}
