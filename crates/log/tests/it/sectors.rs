//! A sector or a page of the active segment that reads as zeroes: no change of the catalogue is lost for it, and no
//! record in silence.

use std::sync::Arc;

use base::{Fs, HashKey, OpenMode, Position, ShardId};
use tidegate_log::{Log, LogConfig, LogError, Record, Reshard, Stream};

use crate::world::*;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 1 << 20, ..small() }
}

/// A journal in one segment, and what is to be found in it.
struct Told {
    files: Vec<(String, Vec<u8>)>,
    stream: Arc<Stream>,
    records: Vec<Vec<Record>>,
}

impl Told {
    /// Puts and changes of every kind. After a clean stop everything is known to have been there; else the change that
    /// is last stands or falls with its own copies.
    async fn new(clean: bool) -> Self {
        let world = World::new(1);
        let log = world.open_with(config()).await;
        stream(&log, "other", 1).await;
        stream(&log, "s", 2).await;
        let (split, merge) = (
            Reshard::Split { shard: ShardId::new(0), at: HashKey(1 << 100) },
            Reshard::Merge { shard: ShardId::new(2), adjacent: ShardId::new(3) },
        );
        for step in [split, merge] {
            for shard in log.stream(&key("s")).unwrap().open_shards() {
                put(&log, shard.slot, &format!("{:0300}", shard.id.number())).await;
            }
            log.set_retention(&key("s"), log.stream(&key("s")).unwrap().retention + DAY).await.unwrap();
            log.reshard(&key("s"), vec![step]).await.unwrap();
        }
        let (stream, mut records) = (log.stream(&key("s")).unwrap(), Vec::new());
        for shard in &stream.shards {
            records.push(read_all(&log, shard.slot).await);
        }
        match clean {
            true => log.close().await.unwrap(),
            false => drop(log),
        }
        world.fs.power_cut();
        assert_eq!(world.names(".seg").len(), 1);
        let bytes = |name: String| (name.clone(), world.fs.read(&world.dir.join(name)).unwrap());
        Self { files: world.names("").into_iter().map(bytes).collect(), stream, records }
    }

    /// The same journal on a new disk with these bytes of the segment gone.
    fn without(&self, gone: std::ops::Range<usize>) -> World {
        let world = World::new(1);
        world.fs.create_dir_all(&world.dir).unwrap();
        for (name, bytes) in &self.files {
            let mut bytes = bytes.clone();
            if name.ends_with(".seg") {
                let end = gone.end.min(bytes.len());
                bytes[gone.start..end].fill(0);
            }
            world.fs.open(&world.dir.join(name), OpenMode::CreateNew).unwrap().write_all_at(&bytes, 0).unwrap();
        }
        world
    }

    async fn check(&self, log: &Log, what: &str) {
        assert_eq!(log.stream(&key("s")).unwrap(), self.stream, "{what}: a change is lost");
        log.stream(&key("other")).unwrap();
        for (shard, expected) in self.stream.shards.iter().zip(&self.records) {
            let (mut from, mut records, mut corrupt) = (Position::ZERO, Vec::new(), false);
            loop {
                match log.read(shard.slot, from, ALL).await {
                    Ok(slice) if slice.records.is_empty() => break,
                    Ok(slice) => {
                        records.extend(slice.records);
                        from = slice.next;
                    }
                    Err(LogError::Corrupt { last, .. }) => (corrupt, from) = (true, last.next()),
                    Err(error) => panic!("{what}: {error}"),
                }
            }
            assert!(records.iter().all(|r| expected.contains(r)), "{what}: a record that never was");
            assert!(corrupt || records == *expected, "{what}: records of {} are missing in silence", shard.id);
        }
    }
}

async fn zero_everywhere(clean: bool, size: usize) {
    let told = Told::new(clean).await;
    let (_, bytes) = told.files.iter().find(|(name, _)| name.ends_with(".seg")).unwrap();
    let used = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
    assert!(used > 6 * 4_096, "{used} bytes hold the changes");
    for start in (0..used).step_by(size) {
        let what = format!("{size} bytes at {start} of {used}");
        let world = told.without(start..start + size);
        let log = world.open_with(config()).await;
        told.check(&log, &what).await;
        let open = told.stream.open_shards().next().unwrap().slot;
        let placed = put(&log, open, "goes on").await;
        assert!(told.records.iter().flatten().all(|r| r.position < placed.position), "{what}: a position given twice");
        drop(log);
        world.fs.power_cut();
        let log = world.open_with(config()).await;
        assert_eq!(log.stream(&key("s")).unwrap(), told.stream, "{what}: lost at the next start");
        assert_eq!(read_all_after(&log, open, placed.position).await, ["goes on"], "{what}");
    }
}

async fn read_all_after(log: &Log, slot: tidegate_log::ShardRef, from: Position) -> Vec<String> {
    texts(&log.read(slot, from, ALL).await.unwrap().records)
}

#[tokio::test(start_paused = true)]
async fn no_bad_sector_takes_a_change() {
    zero_everywhere(true, 512).await;
    zero_everywhere(false, 512).await;
}

#[tokio::test(start_paused = true)]
async fn no_bad_page_takes_a_change() {
    zero_everywhere(true, 4_096).await;
    zero_everywhere(false, 4_096).await;
}
