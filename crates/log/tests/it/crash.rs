//! Power cuts at every call that changes the disk, in a put/change/rotate/recover script, and what must hold then:
//! nothing acknowledged is lost, nothing is there twice, order is kept, and nothing is there that was not sent.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base::fs::sim::{Call, Fault, SimFs};
use base::{Position, ProducerId};
use tidegate_log::{Append, Log, LogConfig, LogError, ShardRef};

use crate::lifecycle::Lifecycle;
use crate::world::*;

/// A script that is run again and again on one disk, and what it was promised meanwhile.
pub trait Story: Default {
    /// How the log is opened.
    fn config() -> LogConfig;
    /// Makes a world the one in which the story goes on.
    fn enter(&self, _world: &World) {}
    /// Runs until the end or the first error, which is answered. `Err` means that nothing is known of what was under
    /// way.
    async fn run(&mut self, world: &World) -> Result<(), LogError>;
    /// Everything that was promised, on an open log. An error means that the disk did not let it be read.
    async fn check(&self, log: &Log) -> Result<(), LogError>;
    /// What must not stand on the disk.
    fn check_disk(&self, _world: &World) {}
}

/// One life in which the script is run.
pub fn run<S: Story>(fs: &SimFs, seed: u64, story: &mut S) -> Result<(), LogError> {
    life(fs, seed, async |world| {
        story.enter(&world);
        story.run(&world).await
    })
}

/// One life in which everything is looked at.
pub fn look<S: Story>(fs: &SimFs, seed: u64, story: &S) {
    life(fs, seed, async |world| {
        story.enter(&world);
        let log = world.open_with(S::config()).await;
        story.check(&log).await.unwrap();
        story.check_disk(&world);
    });
}

/// What was asked of the log, and what it promised.
#[derive(Default)]
pub struct Model {
    /// Per shard of the stream "kept": every text sent, in order.
    sent: [Vec<String>; 3],
    acknowledged: BTreeSet<String>,
    /// The last source position that was acknowledged.
    produced: u64,
    /// The stream "gone" was deleted for certain.
    deleted: bool,
    count: u64,
}

const PRODUCER: ProducerId = ProducerId(42);

impl Model {
    fn text(&mut self, shard: usize) -> String {
        self.count += 1;
        let text = format!("{:05}/{shard}/{}", self.count, "x".repeat(self.count as usize * 37 % 200));
        self.sent[shard].push(text.clone());
        text
    }
}

impl Story for Model {
    fn config() -> LogConfig {
        small()
    }

    async fn check(&self, log: &Log) -> Result<(), LogError> {
        let Ok(stream) = log.stream(&key("kept")) else {
            assert!(self.acknowledged.is_empty(), "the stream is lost");
            return Ok(());
        };
        for (shard, slot) in slots(&stream).into_iter().enumerate() {
            let records = try_read_all(log, slot).await?;
            assert!(records.windows(2).all(|w| w[0].position < w[1].position), "positions of a shard grow");
            let found = texts(&records);
            let mut sent = self.sent[shard].iter();
            assert!(found.iter().all(|text| sent.any(|s| s == text)), "order is kept, nothing twice, nothing unsent");
            let found: BTreeSet<_> = found.iter().collect();
            for text in self.sent[shard].iter().filter(|t| self.acknowledged.contains(*t)) {
                assert!(found.contains(text), "an acknowledged record is lost: {text}");
            }
        }
        let produced = log.producer_position(PRODUCER).map_or(0, Position::get);
        assert!(produced >= self.produced, "a producer's position is lost");
        assert!(!self.deleted || log.stream(&key("gone")).is_err(), "a deleted stream is back");
        Ok(())
    }

    async fn run(&mut self, world: &World) -> Result<(), LogError> {
        let log = Log::open(&world.env, &world.dir, Self::config()).await?;
        self.check(&log).await?;
        let spec = |shards| tidegate_log::StreamSpec { shards, retention: DAY };
        let kept = log.ensure_stream(&key("kept"), spec(3)).await?;
        let slots = slots(&kept);
        self.deleted = false;
        log.ensure_stream(&key("gone"), spec(1)).await?;
        for round in 0..3 {
            for (shard, slot) in slots.iter().enumerate() {
                let text = self.text(shard);
                try_put(&log, *slot, &text).await?;
                self.acknowledged.insert(text);
            }
            many(&log, self, &slots).await?;
            produce(&log, self, slots[round]).await?;
        }
        log.delete_stream(&key("gone")).await?;
        self.deleted = true;
        log.close().await?;
        Ok(())
    }
}

/// Several batches at once, over all shards, so that groups have more than one.
async fn many(log: &Log, model: &mut Model, slots: &[ShardRef]) -> Result<(), LogError> {
    let batches: Vec<Vec<String>> = (0..4).map(|_| (0..3).map(|shard| model.text(shard)).collect()).collect();
    let appends = batches.iter().map(|texts| {
        let records = texts.iter().zip(slots).map(|(text, slot)| record(*slot, text.clone())).collect();
        log.append(Append { producer: None, records })
    });
    let results = futures::future::join_all(appends).await;
    for (texts, result) in batches.iter().zip(&results) {
        if result.is_ok() {
            model.acknowledged.extend(texts.iter().cloned());
        }
    }
    results.into_iter().try_for_each(|r| r.map(drop))
}

/// An internal producer goes on from where the log says it is, and replays once.
async fn produce(log: &Log, model: &mut Model, slot: ShardRef) -> Result<(), LogError> {
    let at = log.producer_position(PRODUCER).map_or(0, Position::get) + 1;
    let shard = log.stream(&key("kept"))?.shards.iter().position(|s| s.slot == slot).unwrap_or_default();
    let text = model.text(shard);
    let records = vec![record(slot, text.clone())];
    let append = Append { producer: Some((PRODUCER, Position::new(at))), records };
    let placed = log.append(append.clone()).await?;
    assert_eq!(placed.len(), 1);
    model.acknowledged.insert(text);
    model.produced = at;
    assert_eq!(log.append(append).await?, [], "a replay adds nothing");
    Ok(())
}

/// Cuts the power at the `nth` change of the disk in the script's second life; whether it got that far.
fn cut_at<S: Story>(seed: u64, nth: u64, lying: bool) -> bool {
    let (fs, mut story) = (SimFs::new(seed), S::default());
    run(&fs, seed, &mut story).unwrap();
    fs.set_lying_sync(lying);
    fs.fail(Call::CHANGES, nth, Fault::Crash);
    let _ = run(&fs, seed ^ 1, &mut story);
    let struck = fs.is_off();
    fs.power_cut();
    fs.set_lying_sync(false);
    // Recovery itself is cut short too, at a place that differs from run to run.
    fs.fail(Call::CHANGES, 1 + nth % 7, Fault::Crash);
    let _ = life(&fs, seed ^ 2, async |world| {
        story.enter(&world);
        Log::open(&world.env, &world.dir, S::config()).await.map(drop)
    });
    fs.power_cut();
    look(&fs, seed ^ 3, &story);
    run(&fs, seed ^ 4, &mut story).unwrap();
    struck
}

fn cut_everywhere<S: Story>() {
    let mut nth = 1;
    while cut_at::<S>(1_000 + nth, nth, false) {
        nth += 1;
    }
    assert!(nth > 60, "only {nth} places were tried");
}

#[test]
fn a_power_cut_at_any_change_loses_nothing_acknowledged() {
    cut_everywhere::<Model>();
}

#[test]
fn a_power_cut_at_any_change_of_a_streams_life_loses_nothing_acknowledged() {
    cut_everywhere::<Lifecycle>();
}

#[test]
fn a_power_cut_in_the_first_life_leaves_a_journal_that_opens() {
    for nth in 1..40 {
        first_life::<Model>(nth);
        first_life::<Lifecycle>(nth);
    }
}

fn first_life<S: Story>(nth: u64) {
    let (fs, mut story) = (SimFs::new(nth), S::default());
    fs.fail(Call::CHANGES, nth, Fault::Crash);
    let _ = run(&fs, nth, &mut story);
    fs.power_cut();
    run(&fs, nth ^ 1, &mut story).unwrap();
}

#[test]
fn many_seeds_of_power_cuts() {
    let seeds: u64 = std::env::var("TIDEGATE_SOAK_SEEDS").ok().and_then(|v| v.parse().ok()).unwrap_or(100);
    for seed in 0..seeds {
        cut_at::<Model>(seed * 7_919 + 13, 1 + seed * 31 % 90, false);
        cut_at::<Lifecycle>(seed * 7_919 + 13, 1 + seed * 31 % 135, false);
    }
}

#[test]
fn an_acknowledgement_before_the_sync_is_found_out() {
    found_out::<Model>();
    found_out::<Lifecycle>();
}

fn found_out<S: Story>() {
    let found = (1..=60).filter(|nth| catch_unwind(AssertUnwindSafe(|| cut_at::<S>(5_000 + nth, *nth, true))).is_err());
    assert!(found.count() > 10, "a disk whose sync does nothing must be noticed by this very check");
}

#[test]
fn kill_without_a_power_cut_keeps_everything_written() {
    for nth in (1..90).step_by(4) {
        let (fs, mut model) = (SimFs::new(nth), Model::default());
        fs.fail(Call::CHANGES, nth, Fault::Crash);
        let _ = run(&fs, nth, &mut model);
        fs.kill();
        // What the second life serves must survive the power cut that follows, though the first one never synced it.
        let served = life(&fs, nth ^ 1, async |world| {
            let log = world.open_small().await;
            model.check(&log).await.unwrap();
            match log.stream(&key("kept")) {
                Ok(stream) => read_all(&log, stream.shards[0].slot).await,
                Err(_) => Vec::new(),
            }
        });
        fs.power_cut();
        life(&fs, nth ^ 2, async |world| {
            let log = world.open_small().await;
            if let Ok(stream) = log.stream(&key("kept")) {
                assert_eq!(read_all(&log, stream.shards[0].slot).await, served);
            }
        });
    }
}
