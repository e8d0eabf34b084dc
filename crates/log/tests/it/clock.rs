//! A wall clock that is set forward, back, stands still or is wrong at a start: order and retention stay sane.

use std::time::Duration;

use base::{Position, Rng, SeededRng};
use tidegate_log::{Log, LogConfig};

use crate::world::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const YEAR_MS: i64 = 365 * 86_400_000;

/// A log whose wall clock is wrong now and then, and what was put when by a clock that is right.
struct Wrong {
    world: World,
    rng: SeededRng,
    log: Log,
    put: Vec<(String, Duration)>,
    last: Position,
    /// What the wall shows beside the truth.
    skew: i64,
}

impl Wrong {
    async fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let log = world.open_with(Self::config()).await;
        stream(&log, "s", 1).await;
        let (rng, put) = (SeededRng::new(seed), Vec::new());
        Self { world, rng, log, put, last: Position::ZERO, skew: 0 }
    }

    fn config() -> LogConfig {
        LogConfig { segment_bytes: 1_024, ..small() }
    }

    fn set(&mut self, skew: i64) {
        self.world.clock.shift_wall(skew - self.skew);
        self.skew = skew;
    }

    /// Time passes, and on a server's period it is written down: a kill forgets what passed since.
    async fn pass(&self, minutes: u64) {
        for minute in 1..=minutes {
            self.world.env.clock.sleep(MINUTE).await;
            if minute % 5 == 0 {
                self.log.enforce_retention().await.unwrap();
            }
        }
    }

    async fn put(&mut self) {
        let shard = self.log.stream(&key("s")).unwrap().shards[0].slot;
        let text = format!("{:04}/{}", self.put.len(), "x".repeat(self.rng.below(200) as usize));
        let placed = put(&self.log, shard, &text).await;
        assert!(placed.position > self.last, "positions grow whatever the clock does");
        self.last = placed.position;
        self.put.push((text, self.world.env.clock.instant()));
    }

    async fn reopen(&mut self) {
        if self.rng.below(2) == 0 {
            self.log.close().await.unwrap();
        }
        self.world.fs.kill();
        self.log = self.world.open_with(Self::config()).await;
    }

    /// Something that happens at any time.
    async fn anything(&mut self) {
        match self.rng.below(6) {
            0 => self.log.enforce_retention().await.unwrap(),
            1 if self.rng.below(2) == 0 => self.reopen().await,
            _ => self.put().await,
        }
    }

    /// The clock is right: what is younger than the retention is there, all else of what is there was put, in order.
    async fn check(&self, seed: u64) {
        assert_eq!(self.skew, 0);
        let shard = self.log.stream(&key("s")).unwrap().shards[0].slot;
        let found = texts(&read_all(&self.log, shard).await);
        let mut put = self.put.iter();
        assert!(found.iter().all(|text| put.any(|(p, _)| p == text)), "seed {seed}: order is kept");
        let now = self.world.env.clock.instant();
        for (text, at) in &self.put {
            let young = now - *at < DAY - HOUR;
            assert!(!young || found.contains(text), "seed {seed}: lost before its time: {text} at {at:?}, now {now:?}");
        }
    }
}

/// Days of a clock that is wrong for up to fifty minutes at a time.
async fn days(seed: u64) {
    let mut wrong = Wrong::new(seed).await;
    for _ in 0..12 {
        for _ in 0..4 {
            wrong.anything().await;
            wrong.pass(wrong.rng.below(120)).await;
        }
        let far = [60_000, 3_600_000, 30 * 86_400_000, YEAR_MS, 2 * YEAR_MS][wrong.rng.below(5) as usize];
        let skew = far * [1, 1, -1][wrong.rng.below(3) as usize];
        wrong.set(skew);
        for _ in 0..5 {
            wrong.anything().await;
            wrong.pass(wrong.rng.below(10)).await;
            wrong.anything().await;
        }
        wrong.set(0);
        wrong.log.enforce_retention().await.unwrap();
        wrong.check(seed).await;
        wrong.anything().await;
        wrong.check(seed).await;
    }
}

#[test]
fn a_clock_that_is_wrong_for_a_while_loses_nothing_before_its_time() {
    let seeds = std::env::var("TIDEGATE_SOAK_SEEDS").ok().and_then(|v| v.parse().ok()).unwrap_or(100);
    for seed in 0..seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(days(seed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_under_a_clock_of_next_year_deletes_nothing() {
    for clean in [false, true] {
        let mut wrong = Wrong::new(1).await;
        for _ in 0..40 {
            wrong.put().await;
        }
        if clean {
            wrong.log.close().await.unwrap();
        }
        wrong.world.fs.kill();
        wrong.set(YEAR_MS);
        wrong.log = wrong.world.open_with(Wrong::config()).await;
        // A record of next year, and another start, which finds it.
        wrong.put().await;
        wrong.reopen().await;
        wrong.log.enforce_retention().await.unwrap();
        wrong.world.env.clock.sleep(MINUTE * 50).await;
        wrong.log.enforce_retention().await.unwrap();
        wrong.set(0);
        wrong.check(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_while_the_clock_is_behind_forgets_no_time() {
    for clean in [false, true] {
        let mut wrong = Wrong::new(4).await;
        wrong.put().await;
        wrong.pass(20 * 60).await;
        wrong.set(-YEAR_MS);
        wrong.log.enforce_retention().await.unwrap();
        if clean {
            wrong.log.close().await.unwrap();
        }
        wrong.world.fs.kill();
        wrong.world.env.clock.sleep(HOUR * 10).await;
        wrong.log = wrong.world.open_with(Wrong::config()).await;
        let shard = wrong.log.stream(&key("s")).unwrap().shards[0].slot;
        let arrival = put(&wrong.log, shard, "after the stop").await.arrival;
        assert_eq!(arrival, START + HOUR * 30, "neither the idle time nor the stop is forgotten");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_is_written_down_by_several_at_once() {
    let wrong = Wrong::new(5).await;
    let enforced = (0..50).map(|_| wrong.log.enforce_retention());
    for result in futures::future::join_all(enforced).await {
        result.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_still_keeps_order_and_everything() {
    let mut wrong = Wrong::new(2).await;
    let mut frozen = 0;
    for _ in 0..60 {
        wrong.put().await;
        wrong.world.env.clock.sleep(MINUTE).await;
        frozen -= MINUTE.as_millis() as i64;
        wrong.set(frozen);
        wrong.log.enforce_retention().await.unwrap();
    }
    wrong.set(0);
    wrong.check(2).await;
    let shard = wrong.log.stream(&key("s")).unwrap().shards[0].slot;
    let arrivals: Vec<_> = read_all(&wrong.log, shard).await.iter().map(|r| r.arrival).collect();
    assert_eq!(arrivals.len(), 60);
    assert!(arrivals.windows(2).all(|w| w[0] <= w[1]), "arrivals do not go back in an hour");
}

#[tokio::test(start_paused = true)]
async fn retention_goes_on_after_a_clock_was_wrong() {
    for far in [YEAR_MS, -YEAR_MS] {
        let mut wrong = Wrong::new(3).await;
        for _ in 0..40 {
            wrong.put().await;
        }
        wrong.set(far);
        wrong.log.enforce_retention().await.unwrap();
        wrong.world.env.clock.sleep(MINUTE * 30).await;
        wrong.set(0);
        for _ in 0..40 {
            wrong.put().await;
        }
        let before = wrong.world.names(".seg").len();
        assert!(before > 10);
        for _ in 0..60 {
            wrong.world.env.clock.sleep(HOUR).await;
            wrong.log.enforce_retention().await.unwrap();
        }
        let after = wrong.world.names(".seg").len();
        assert!(after <= 2, "{before} segments, then {after}");
    }
}
