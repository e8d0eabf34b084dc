//! How much went through over the last minute: a ring of five-second buckets.
//!
//! Owns the sums of one shard, in a fixed 440 bytes of which a record that is written touches the first 24. Promises that [`Minute::sum`] lies between what came in the last
//! 55 and the last 65 seconds, and is what came in the last 60 when it came evenly within five seconds.
//! Must not know shards, locks or clocks: the instant is handed in.

use std::time::Duration;

use log::Record;

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Records.
    pub records: u64,
    /// Bytes of data and partition keys.
    pub bytes: u64,
}

impl Amount {
    /// What these records come to.
    pub fn of(records: &[Record]) -> Self {
        let bytes = records.iter().map(|record| record.data.len() + record.partition_key.as_str().len());
        Self { records: records.len() as u64, bytes: bytes.sum::<usize>() as u64 }
    }

    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// A bucket's time.
pub(crate) const BUCKET: Duration = Duration::from_secs(5);
/// What a rate is the mean of.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
const BUCKET_MS: u64 = BUCKET.as_millis() as u64;
/// Those of the window and the one that is being filled.
const BUCKETS: usize = (WINDOW.as_millis() / BUCKET.as_millis()) as usize + 1;

/// The number of a bucket, counted from the clock's start. Taken once for all records of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BucketNumber(u64);

impl BucketNumber {
    /// The bucket of an instant.
    pub fn of(now: Duration) -> Self {
        Self(place(now).0)
    }
}

/// Sums in and out over a sliding minute. What is counted for every record stands at the front, in this order.
#[derive(Debug, Clone, Default)]
#[repr(C)]
pub(crate) struct Minute {
    /// The bucket that is being filled.
    current: u64,
    /// What was written in it so far; it goes into the ring when it is full.
    filling: Amount,
    into: [Amount; BUCKETS],
    out: [Amount; BUCKETS],
}

impl Minute {
    /// Counts what was written; answers what was since the bucket began.
    pub fn put(&mut self, now: BucketNumber, amount: Amount) -> Amount {
        self.turn(now);
        self.filling.add(amount);
        self.filling
    }

    /// Counts what was read.
    pub fn read(&mut self, now: Duration, amount: Amount) {
        self.turn(BucketNumber::of(now));
        self.out[index(self.current)].add(amount);
    }

    /// What was written and what was read in the last minute.
    pub fn sum(&self, now: Duration) -> (Amount, Amount) {
        let (bucket, into) = place(now);
        // The bucket that the window has partly left counts for the part that it has not.
        let share = (BUCKET_MS - into) as f64 / BUCKET_MS as f64;
        let mut written = self.into;
        written[index(self.current)] = self.filling;
        (self.sum_of(&written, bucket, share), self.sum_of(&self.out, bucket, share))
    }

    fn sum_of(&self, ring: &[Amount; BUCKETS], bucket: u64, share: f64) -> Amount {
        let mut sum = Amount::default();
        let oldest = bucket.saturating_sub(BUCKETS as u64 - 1);
        for number in oldest..=bucket.min(self.current) {
            // The ring holds the buckets up to `current` only as far back as it is long.
            if self.current >= number + BUCKETS as u64 {
                continue;
            }
            let amount = ring[index(number)];
            if number + BUCKETS as u64 == bucket + 1 {
                sum.records += (amount.records as f64 * share).round() as u64;
                sum.bytes += (amount.bytes as f64 * share).round() as u64;
            } else {
                sum.add(amount);
            }
        }
        sum
    }

    /// Begins the current bucket, and empties those that passed since.
    fn turn(&mut self, now: BucketNumber) {
        // A caller who took the time a moment earlier than another counts with the later one.
        if now.0 <= self.current {
            return;
        }
        self.into[index(self.current)] = self.filling;
        self.filling = Amount::default();
        for number in (self.current + 1..=now.0).rev().take(BUCKETS) {
            (self.into[index(number)], self.out[index(number)]) = (Amount::default(), Amount::default());
        }
        self.current = now.0;
    }
}

/// Where a bucket has its place in the rings.
const fn index(bucket: u64) -> usize {
    (bucket % BUCKETS as u64) as usize
}

/// The bucket of an instant and the milliseconds into it.
fn place(now: Duration) -> (u64, u64) {
    let ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    (ms / BUCKET_MS, ms % BUCKET_MS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_even_stream_has_its_exact_rate_at_every_moment_and_none_a_minute_later() {
        let mut minute = Minute::default();
        for ms in (0..180_000).step_by(100) {
            minute.put(BucketNumber::of(Duration::from_millis(ms)), Amount { records: 1, bytes: 100 });
            let sum = minute.sum(Duration::from_millis(ms)).0;
            let expected = (ms / 100 + 1).min(600);
            assert!(sum.records.abs_diff(expected) <= 1, "{} at {ms}, not {expected}", sum.records);
        }
        assert_eq!(minute.sum(Duration::from_millis(180_000 + 65_000)), Default::default());
    }

    proptest! {
        #[test]
        fn a_sum_is_that_of_the_last_minute_to_within_a_bucket(
            steps in proptest::collection::vec((0_u64..20_000, 0_u64..1_000, any::<bool>()), 1..200),
            ahead in 0_u64..90_000,
        ) {
            let (mut minute, mut now, mut log) = (Minute::default(), 0, Vec::new());
            for (passed, bytes, out) in steps {
                now += passed;
                let amount = Amount { records: 1, bytes };
                let at = Duration::from_millis(now);
                if out { minute.read(at, amount) } else { _ = minute.put(BucketNumber::of(at), amount) }
                log.push((now, bytes, out));
            }
            let now = now + ahead;
            let (into, out) = minute.sum(Duration::from_millis(now));
            for (sum, is_out) in [(into, false), (out, true)] {
                let exact = |span: u64| {
                    let within = log.iter().filter(|(at, _, o)| *o == is_out && at + span > now);
                    within.fold((0, 0), |(n, b), (_, bytes, _)| (n + 1, b + bytes))
                };
                let (least, most) = (exact(55_000), exact(65_000));
                prop_assert!(least.0 <= sum.records && sum.records <= most.0, "{sum:?} {least:?} {most:?}");
                prop_assert!(least.1 <= sum.bytes && sum.bytes <= most.1, "{sum:?} {least:?} {most:?}");
            }
        }
    }
}
