use std::time::Duration;

use super::super::heavy::Heavy;
use super::super::rates::{Amount, BucketNumber, Minute};
use super::super::spread::Spread;
use super::*;

const MB: f64 = 1e6;
const POLICY: Policy = Policy { split: MB, merge: MB / 4.0, calm: Duration::from_secs(900) };

/// A partition key and what it sends.
#[derive(Clone)]
struct Source {
    key: String,
    hash: u128,
    bytes_per_second: f64,
}

struct Shard {
    id: ShardId,
    range: RangeInclusive<u128>,
    minute: Minute,
    heavy: Heavy,
    spread: Spread,
}

/// A stream in simulated time: its traffic is counted as in the server, and what the step says is done.
struct World {
    now: Duration,
    calm: Calm,
    shards: Vec<Shard>,
    next: u32,
    room: usize,
    splits: usize,
    merges: usize,
}

fn hash(n: u64) -> u128 {
    let mix = |n: u64| {
        let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ n >> 31
    };
    u128::from(mix(n.wrapping_add(0x9e37_79b9_7f4a_7c15))) << 64 | u128::from(mix(n))
}

/// So many keys that share a rate evenly.
fn even(keys: u64, bytes_per_second: f64) -> Vec<Source> {
    let source =
        |n| Source { key: format!("key-{n}"), hash: hash(n), bytes_per_second: bytes_per_second / keys as f64 };
    (0..keys).map(source).collect()
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            calm: Calm::default(),
            shards: Vec::new(),
            next: 0,
            room: 1_000,
            splits: 0,
            merges: 0,
        };
        let part = u128::MAX / 4 + 1;
        for n in 0..4_u128 {
            world.open(part * n..=(part * n).wrapping_add(part - 1));
        }
        world
    }

    fn open(&mut self, range: RangeInclusive<u128>) {
        let id = ShardId::new(self.next);
        self.next += 1;
        self.shards.push(Shard {
            id,
            range,
            minute: Minute::default(),
            heavy: Heavy::default(),
            spread: Spread::default(),
        });
    }

    fn close(&mut self, id: ShardId) -> RangeInclusive<u128> {
        let at = self.shards.iter().position(|shard| shard.id == id).expect("an open shard");
        self.shards.swap_remove(at).range
    }

    fn run(&mut self, seconds: u64, sources: &[Source]) {
        for _ in 0..seconds {
            for (n, source) in sources.iter().enumerate() {
                let bytes = source.bytes_per_second as u64;
                let shard = self.shards.iter_mut().find(|shard| shard.range.contains(&source.hash)).expect("a tiling");
                let _ = shard.minute.put(BucketNumber::of(self.now), Amount { records: 1, bytes });
                shard.heavy.add(self.now, &source.key, n as u32, bytes);
                shard.spread.add(self.now, &shard.range, source.hash, bytes);
            }
            self.now += Duration::from_secs(1);
            if self.now.as_secs().is_multiple_of(10) {
                self.act();
            }
        }
    }

    fn act(&mut self) {
        let observed = self.shards.iter().map(|shard| Observed {
            shard: shard.id,
            range: shard.range.clone(),
            rate: shard.minute.sum(self.now).0.bytes as f64 / 60.0,
            one_key: shard.heavy.keys(self.now).first().map_or(0.0, |key| key.share - key.error),
            border: shard.spread.border(&shard.range),
        });
        let bounds = Bounds { least: LEAST, room: self.room };
        for change in step(&mut self.calm, self.now, &POLICY, bounds, observed.collect()) {
            match change {
                Reshard::Split { shard, at } => {
                    let range = self.close(shard);
                    assert!(*range.start() < at.0 && at.0 <= *range.end(), "neither child is empty");
                    self.open(*range.start()..=at.0 - 1);
                    self.open(at.0..=*range.end());
                    self.room -= 1;
                    self.splits += 1;
                }
                Reshard::Merge { shard, adjacent } => {
                    let (low, high) = (self.close(shard), self.close(adjacent));
                    assert_eq!(low.end() + 1, *high.start());
                    self.open(*low.start()..=*high.end());
                    self.room += 1;
                    self.merges += 1;
                }
            }
        }
    }

    fn hottest(&self) -> f64 {
        let rate = |shard: &Shard| shard.minute.sum(self.now).0.bytes as f64 / 60.0;
        self.shards.iter().map(rate).fold(0.0, f64::max)
    }
}

#[test]
fn a_stream_grows_with_its_traffic_and_shrinks_when_it_is_gone() {
    let mut world = World::new();
    let little = even(400, 0.9 * 4.0 * MB * 0.9);
    world.run(3_600, &little);
    assert_eq!((world.splits, world.merges), (0, 0), "an even load below the rate changes nothing");
    world.run(900, &even(400, 16.0 * MB));
    let grown = world.shards.len();
    assert!((17..=40).contains(&grown), "{grown} shards for 16 MB/s");
    assert!(world.hottest() < MB, "{} B/s", world.hottest());
    let (splits, merges) = (world.splits, world.merges);
    world.run(4 * 3_600, &even(400, 16.0 * MB));
    assert_eq!((world.splits, world.merges), (splits, merges), "a steady load changes nothing more");
    world.run(900, &[]);
    assert_eq!(world.shards.len(), grown, "a pause shorter than the calm time changes nothing");
    world.run(4 * 3_600, &[]);
    assert_eq!(world.shards.len(), LEAST);
}

#[test]
fn a_load_that_comes_and_goes_does_not_make_shards_come_and_go() {
    let mut world = World::new();
    world.run(1_200, &even(400, 8.0 * MB));
    let changes = (world.splits, world.merges);
    for _ in 0..20 {
        world.run(300, &even(400, 0.5 * MB));
        world.run(300, &even(400, 8.0 * MB));
    }
    assert_eq!((world.splits, world.merges), changes);
}

#[test]
fn a_shard_is_divided_where_its_bytes_fall() {
    let mut world = World::new();
    // All traffic in a hundredth of the space: halving in the middle would take seven splits to divide it once.
    let width = u128::MAX / 100;
    let narrow = even(200, 3.0 * MB).into_iter().map(|source| Source { hash: source.hash % width, ..source });
    world.run(900, &narrow.collect::<Vec<_>>());
    assert!(world.hottest() < MB, "{} B/s in {} shards", world.hottest(), world.shards.len());
    assert!(world.splits <= 12, "{} splits", world.splits);
}

#[test]
fn one_hot_key_is_not_split_for_ever() {
    let mut world = World::new();
    let hot = Source { key: "hot".into(), hash: hash(12_345), bytes_per_second: 5.0 * MB };
    let mut sources = even(400, 2.0 * MB);
    sources.push(hot.clone());
    world.run(24 * 3_600, &sources);
    assert!(world.splits <= 8, "{} splits", world.splits);
    // Many keys under one explicit hash key are as indivisible as one.
    let mut world = World::new();
    let explicit = even(400, 5.0 * MB).into_iter().map(|source| Source { hash: hot.hash, ..source });
    world.run(24 * 3_600, &explicit.collect::<Vec<_>>());
    assert_eq!(world.splits, 0);
    let range = world.shards[0].range.clone();
    let stuck = Observed { shard: ShardId::new(9), range, rate: 2.0 * MB, one_key: 0.9, border: None };
    assert!(stuck.is_stuck(&POLICY));
}

#[test]
fn there_are_never_more_shards_than_there_is_room_for() {
    let mut world = World::new();
    world.room = 3;
    world.run(3_600, &even(400, 64.0 * MB));
    assert_eq!(world.shards.len(), 7);
    world.run(4 * 3_600, &even(400, MB / 10.0));
    assert_eq!((world.shards.len(), world.room), (LEAST, 3));
}
