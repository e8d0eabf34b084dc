//! Journals written by released formats stay readable.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Fs, HashKey, OpenMode, Position, ProducerId, RealFs};
use tidegate_log::{Append, Log, NewRecord};

use crate::world::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
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
    let world = World::new(1);
    world.fs.create_dir_all(&world.dir).unwrap();
    for entry in RealFs.read_dir(&folder()).unwrap() {
        let bytes = RealFs.read(&folder().join(&entry.name)).unwrap();
        let file = world.fs.open(&world.dir.join(&entry.name), OpenMode::CreateNew).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }
    assert!(world.names(".seg").len() > 1 && !world.names(".idx").is_empty());
    let log = world.open_small().await;
    check(&log).await;
    let slot = log.stream(&key("orders")).unwrap().shards[0].slot;
    put(&log, slot, "and goes on").await;
}

/// Writes the fixture anew: only for a new version, into a new folder.
#[tokio::test(start_paused = true)]
#[ignore = "writes the fixture"]
async fn write_fixture() {
    let world = World::new(1);
    let log = world.open_small().await;
    write(&log, &world).await;
    check(&log).await;
    log.close().await.unwrap();
    world.open_small().await.close().await.unwrap();
    RealFs.create_dir_all(&folder()).unwrap();
    for entry in world.fs.read_dir(&world.dir).unwrap() {
        let bytes = world.fs.read(&world.dir.join(&entry.name)).unwrap();
        RealFs.write_atomic(&folder().join(&entry.name), &bytes, 0o644).unwrap();
    }
}
