//! Whether a pipeline keeps up: how much its shards and its function handle, how far behind it will be, and what would
//! let it catch up.
//!
//! Owns the arithmetic: each shard works on as many batches at a time as its parallelization says, one attempt after the
//! other, so that *shards × parallelization × batch ÷ time of a batch* records have their final outcome in a second.
//! Pure. Must not know where its figures come from.

use std::time::Duration;

/// Records of a batch, batches of a shard at a time: the most that a mapping takes ("CreateEventSourceMapping", Lambda
/// API Reference).
const MAX_BATCH: u32 = 10_000;
const MAX_PARALLELIZATION: u32 = 10;

/// A stream and the function that handles its records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pipeline {
    /// Open shards, one at least.
    pub shards: u32,
    /// Batches of a shard that are handled at the same time, 1 to 10.
    pub parallelization: u32,
    /// Records of a batch, 1 to 10,000.
    pub batch: u32,
    /// How long the function takes for such a batch.
    pub attempt: Duration,
    /// How often a batch is tried again, on average.
    pub retries: f64,
    /// How long the pipeline waits before it does so, on average.
    pub pause: Duration,
}

/// What comes in, and what waits already.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Records in a second.
    pub incoming: f64,
    /// Records without a final outcome.
    pub behind: f64,
}

/// How it will go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outlook {
    /// Nothing waits, and nothing will.
    KeepsUp,
    /// What waits is handled after this time.
    CatchesUp(Duration),
    /// What waits becomes more by so many records in a second, or stays as it is.
    FallsBehind(f64),
}

/// How far behind a pipeline is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// Records without a final outcome.
    pub records: f64,
    /// How long ago the oldest of them came; unknown when nothing comes in any more.
    pub age: Option<Duration>,
}

/// What would let a pipeline catch up in time: each by itself, everything else as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Remedies {
    /// So many shards.
    pub shards: u32,
    /// So many batches of a shard at a time, if ten are enough.
    pub parallelization: Option<u32>,
    /// So many records in a batch, if 10,000 are enough and the function takes no longer for them.
    pub batch: Option<u32>,
    /// The function taking no longer than this.
    pub attempt: Duration,
}

impl Pipeline {
    /// From a batch's first attempt to its final outcome, in seconds.
    fn batch_seconds(&self) -> f64 {
        self.attempt.as_secs_f64() * (1.0 + self.retries) + self.pause.as_secs_f64() * self.retries
    }

    /// Records that have their final outcome in a second, when there are enough to fill the batches.
    pub fn capacity(&self) -> f64 {
        self.records_at_a_time() / self.batch_seconds()
    }

    fn records_at_a_time(&self) -> f64 {
        f64::from(self.shards) * f64::from(self.parallelization) * f64::from(self.batch)
    }

    /// What becomes of a load.
    pub fn outlook(&self, load: Load) -> Outlook {
        let spare = self.capacity() - load.incoming;
        match (load.behind > 0.0, spare > 0.0) {
            (true, true) => Outlook::CatchesUp(seconds(load.behind / spare)),
            (false, _) if spare >= 0.0 => Outlook::KeepsUp,
            _ => Outlook::FallsBehind(-spare),
        }
    }

    /// How far behind it is after a time.
    pub fn lag_after(&self, load: Load, time: Duration) -> Lag {
        let more = (load.incoming - self.capacity()) * time.as_secs_f64();
        let records = (load.behind + more).max(0.0);
        let age = (load.incoming > 0.0).then(|| seconds(records / load.incoming));
        Lag { records, age: if records == 0.0 { Some(Duration::ZERO) } else { age } }
    }

    /// What would let it catch up within a time.
    pub fn remedies(&self, load: Load, within: Duration) -> Remedies {
        let needed = load.incoming + load.behind / within.as_secs_f64();
        let times = needed / self.capacity();
        let more = |now: u32| whole(f64::from(now) * times);
        let at_most = |number: u32, most: u32| (number <= most).then_some(number);
        let per_attempt = self.records_at_a_time() / needed - self.pause.as_secs_f64() * self.retries;
        Remedies {
            shards: more(self.shards),
            parallelization: at_most(more(self.parallelization), MAX_PARALLELIZATION),
            batch: at_most(more(self.batch), MAX_BATCH),
            attempt: seconds(per_attempt / (1.0 + self.retries)),
        }
    }
}

/// The next whole number, one at least. What a division lost in its last digits does not make it one more.
fn whole(number: f64) -> u32 {
    let next = (number * (1.0 - 1e-9)).ceil().clamp(1.0, f64::from(u32::MAX));
    // In range by the line before.
    next as u32
}

/// A time that a fraction gave: without end when it is longer than can be told.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(shards: u32, batch: u32, attempt_ms: u64, retries: f64) -> Pipeline {
        let attempt = Duration::from_millis(attempt_ms);
        Pipeline { shards, parallelization: 1, batch, attempt, retries, pause: Duration::ZERO }
    }

    fn load(incoming: f64, behind: f64) -> Load {
        Load { incoming, behind }
    }

    /// The worked examples of "Real-Time Security Event Processing" (GPSTEC313).
    #[test]
    fn the_talk_s_examples_come_out() {
        // Five retries, one second each: a batch has its outcome after 6 s.
        let failing = pipeline(10, 1_000, 1_000, 5.0);
        assert_eq!(failing.batch_seconds(), 6.0);
        assert_eq!(failing.capacity().floor(), 1_666.0);
        assert_eq!(pipeline(10, 1_000, 2_200, 0.0).capacity().floor(), 4_545.0);

        let incoming = load(100_000.0 / 60.0, 0.0);
        let two = pipeline(2, 1_000, 1_700, 0.0);
        assert_eq!(two.capacity().floor(), 1_176.0);
        assert!(matches!(two.outlook(incoming), Outlook::FallsBehind(by) if by.floor() == 490.0));
        let four = pipeline(4, 1_000, 1_700, 0.0);
        assert_eq!(four.capacity().floor(), 2_352.0);
        assert_eq!(four.outlook(incoming), Outlook::KeepsUp);
    }

    #[test]
    fn what_waits_grows_or_is_handled() {
        let pipeline = pipeline(1, 100, 1_000, 0.0);
        assert_eq!(pipeline.outlook(load(80.0, 200.0)), Outlook::CatchesUp(Duration::from_secs(10)));
        assert_eq!(pipeline.outlook(load(100.0, 200.0)), Outlook::FallsBehind(0.0));
        assert_eq!(pipeline.outlook(load(100.0, 0.0)), Outlook::KeepsUp);
        let lag = pipeline.lag_after(load(200.0, 0.0), Duration::from_secs(60));
        assert_eq!(lag, Lag { records: 6_000.0, age: Some(Duration::from_secs(30)) });
        let lag = pipeline.lag_after(load(0.0, 1_000.0), Duration::from_secs(4));
        assert_eq!(lag, Lag { records: 600.0, age: None });
        let lag = pipeline.lag_after(load(0.0, 1_000.0), Duration::from_secs(40));
        assert_eq!(lag, Lag { records: 0.0, age: Some(Duration::ZERO) });
    }

    #[test]
    fn each_remedy_is_just_enough() {
        let mut now = pipeline(2, 1_000, 1_700, 0.5);
        now.pause = Duration::from_millis(200);
        let (load, within) = (load(4_000.0, 1_000_000.0), Duration::from_secs(3_600));
        let found = now.remedies(load, within);
        let catches_up = |pipeline: Pipeline| match pipeline.outlook(load) {
            // A nanosecond is lost in rounding.
            Outlook::CatchesUp(time) => time <= within + Duration::from_millis(1),
            _ => false,
        };
        assert!(!catches_up(now));
        assert!(catches_up(Pipeline { shards: found.shards, ..now }));
        assert!(!catches_up(Pipeline { shards: found.shards - 1, ..now }));
        let parallelization = found.parallelization.unwrap();
        assert!(catches_up(Pipeline { parallelization, ..now }));
        assert!(!catches_up(Pipeline { parallelization: parallelization - 1, ..now }));
        let batch = found.batch.unwrap();
        assert!(catches_up(Pipeline { batch, ..now }) && !catches_up(Pipeline { batch: batch - 1, ..now }));
        assert!(catches_up(Pipeline { attempt: found.attempt, ..now }));
        assert!(!catches_up(Pipeline { attempt: found.attempt + Duration::from_millis(1), ..now }));
        let hopeless = now.remedies(Load { incoming: 100_000.0, ..load }, within);
        assert_eq!((hopeless.parallelization, hopeless.batch), (None, None));
        assert_eq!(pipeline(4, 1_000, 1_000, 0.0).remedies(Load { incoming: 4_000.0, behind: 0.0 }, within).shards, 4);
    }
}
