//! The service's quotas, for those who rehearse for AWS: leaky buckets, and what each may hold.
//!
//! Owns the figures ("Quotas and limits", Kinesis Data Streams Developer Guide, and the operations' own pages in the
//! API Reference) and the pure steps over an instant that is handed in. Must not know whether quotas are on.

use std::time::Duration;

/// How much of something passes: so much a second, and as much at once when nothing came for a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quota(pub f64);

/// Records a second into a shard.
pub(crate) const RECORDS_IN: Quota = Quota(1_000.0);
/// Bytes a second into a shard, partition keys included: 1 MiB.
pub(crate) const BYTES_IN: Quota = Quota(1_048_576.0);
/// Calls of GetRecords a second on a shard.
pub(crate) const READS: Quota = Quota(5.0);
/// Bytes a second out of a shard: 2 MiB, shared by all who call GetRecords; and again as much for each subscription.
pub(crate) const BYTES_OUT: Quota = Quota(2_097_152.0);
/// Calls of GetShardIterator a second on a shard.
pub(crate) const ITERATORS: Quota = Quota(5.0);

/// What a call of the control plane is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Per {
    Account,
    Stream,
}

/// The quota of an operation of the control plane, named as its method is; none when the service documents none.
pub(crate) fn calls(operation: &str) -> Option<(Per, Quota)> {
    let (per, calls) = match operation {
        "add_tags_to_stream" | "remove_tags_from_stream" | "list_tags_for_stream" => (Per::Account, 5.0),
        "create_stream" | "delete_stream" | "list_streams" => (Per::Account, 5.0),
        "split_shard" | "merge_shards" | "register_stream_consumer" => (Per::Account, 5.0),
        "describe_account_settings" | "update_account_settings" | "update_stream_warm_throughput" => {
            (Per::Account, 5.0)
        }
        "describe_limits" => (Per::Account, 1.0),
        "describe_stream" | "update_shard_count" => (Per::Account, 10.0),
        "describe_stream_summary" => (Per::Account, 20.0),
        "list_shards" => (Per::Stream, 1_000.0),
        "describe_stream_consumer" => (Per::Stream, 20.0),
        "deregister_stream_consumer" | "list_stream_consumers" => (Per::Stream, 5.0),
        _ => return None,
    };
    Some((per, Quota(calls)))
}

/// A leaky bucket: what is poured in runs out at its quota's rate. It starts empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    level: f64,
    at: Duration,
    /// It overflowed, and takes nothing until it is empty.
    over: bool,
}

impl Bucket {
    /// Whether there is room for `amount`. More than a second's worth finds room in an empty bucket.
    pub fn has_room(&mut self, now: Duration, quota: Quota, amount: f64) -> bool {
        self.run(now, quota);
        !self.over && (self.level + amount <= quota.0 || self.level == 0.0)
    }

    /// Pours in, whether there is room or not: for what is known only afterwards. A bucket that overflows must run
    /// empty, as the service says of reads: after 10 MB none is made for 5 seconds.
    pub fn pour(&mut self, now: Duration, quota: Quota, amount: f64) {
        self.run(now, quota);
        self.level += amount;
        self.over |= self.level > quota.0;
    }

    /// Pours in when there is room.
    pub fn take(&mut self, now: Duration, quota: Quota, amount: f64) -> bool {
        let room = self.has_room(now, quota, amount);
        if room {
            self.level += amount;
        }
        room
    }

    /// How long until it is empty.
    pub fn empties_in(&mut self, now: Duration, quota: Quota) -> Duration {
        self.run(now, quota);
        Duration::try_from_secs_f64(self.level / quota.0).unwrap_or_default()
    }

    fn run(&mut self, now: Duration, quota: Quota) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level - passed * quota.0).max(0.0);
        // A rest that only rounding left is none.
        if self.level < 1e-6 {
            (self.level, self.over) = (0.0, false);
        }
    }
}

/// The pace of one subscription, which the service slows down rather than refuses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    bucket: Bucket,
    limited: bool,
}

impl Pace {
    /// Of a subscription that begins; it never pauses unless `limited`.
    pub fn new(limited: bool) -> Self {
        Self { bucket: Bucket::default(), limited }
    }

    /// Counts what was pushed.
    pub fn pushed(&mut self, now: Duration, bytes: u64) {
        self.bucket.pour(now, BYTES_OUT, bytes as f64);
    }

    /// How long nothing more may be pushed.
    pub fn pause(&mut self, now: Duration) -> Duration {
        let over = self.bucket.empties_in(now, BYTES_OUT).saturating_sub(Duration::from_secs(1));
        if self.limited { over } else { Duration::ZERO }
    }
}

/// The buckets of one shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShardBuckets {
    records_in: Bucket,
    bytes_in: Bucket,
    reads: Bucket,
    bytes_out: Bucket,
    iterators: Bucket,
}

impl ShardBuckets {
    /// Whether a record of so many bytes may be written; counted when it may.
    pub fn put(&mut self, now: Duration, bytes: u64) -> bool {
        let room = self.records_in.has_room(now, RECORDS_IN, 1.0) && self.bytes_in.take(now, BYTES_IN, bytes as f64);
        room && self.records_in.take(now, RECORDS_IN, 1.0)
    }

    /// Whether GetRecords may be called; counted when it may.
    pub fn read(&mut self, now: Duration) -> bool {
        self.bytes_out.has_room(now, BYTES_OUT, 1.0) && self.reads.take(now, READS, 1.0)
    }

    /// Counts what a read returned.
    pub fn was_read(&mut self, now: Duration, bytes: u64) {
        self.bytes_out.pour(now, BYTES_OUT, bytes as f64);
    }

    /// Whether GetShardIterator may be called; counted when it may.
    pub fn iterate(&mut self, now: Duration) -> bool {
        self.iterators.take(now, ITERATORS, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_shard_takes_a_mebibyte_or_a_thousand_records_a_second() {
        let mut shard = ShardBuckets::default();
        assert_eq!((0..2_000).filter(|_| shard.put(at(0), 100)).count(), 1_000);
        assert_eq!((0..2_000).filter(|_| shard.put(at(500), 100)).count(), 500);
        let mut shard = ShardBuckets::default();
        assert_eq!((0..20).filter(|_| shard.put(at(0), MIB / 8)).count(), 8);
        assert_eq!((0..20).filter(|_| shard.put(at(1_000), MIB / 8)).count(), 8);
        // What is refused uses up nothing: the small one still fits.
        assert!(shard.put(at(1_250), MIB / 4) && !shard.put(at(1_250), MIB / 8) && !shard.put(at(1_250), 1));
        // A record that is larger than a second's worth passes a rested shard.
        assert!(shard.put(at(10_000), 10 * MIB) && !shard.put(at(19_000), 1) && shard.put(at(20_000), 1));
    }

    #[test]
    fn a_shard_is_read_five_times_a_second_and_rests_after_a_large_answer() {
        let mut shard = ShardBuckets::default();
        assert_eq!((0..9).filter(|_| shard.read(at(0))).count(), 5);
        assert!(!shard.read(at(100)) && shard.read(at(200)));
        let mut shard = ShardBuckets::default();
        assert!(shard.read(at(0)));
        shard.was_read(at(0), 10 * MIB);
        assert!(!shard.read(at(4_900)) && shard.read(at(5_000)), "10 MiB take 5 seconds");
        shard.was_read(at(5_000), MIB);
        assert!(shard.read(at(5_100)), "less than a second's worth hinders nobody");
    }

    #[test]
    fn a_subscription_is_slowed_to_its_rate() {
        let (mut pace, mut now, mut free) = (Pace::new(true), Duration::ZERO, Pace::new(false));
        for _ in 0..20 {
            now += pace.pause(now);
            pace.pushed(now, MIB);
            free.pushed(now, MIB);
            assert_eq!(free.pause(now), Duration::ZERO);
        }
        // The first second's worth goes at once, and one event more.
        assert!((at(8_400)..=at(8_600)).contains(&now), "20 MiB at 2 MiB a second took {now:?}");
    }

    proptest! {
        #[test]
        fn no_more_passes_in_any_span_than_its_rate_and_one_second_more(
            steps in proptest::collection::vec((0_u64..400, 1_u64..200_000), 1..400),
        ) {
            let (mut bucket, mut now, mut passed) = (Bucket::default(), 0, Vec::new());
            for (ms, amount) in steps {
                now += ms;
                if bucket.take(at(now), BYTES_IN, amount as f64) {
                    passed.push((now, amount));
                }
            }
            for (n, (from, _)) in passed.iter().enumerate() {
                let mut sum = 0.0;
                for (until, amount) in &passed[n..] {
                    sum += *amount as f64;
                    prop_assert!(sum <= BYTES_IN.0 * (1.0 + (until - from) as f64 / 1_000.0) + 1.0);
                }
            }
        }
    }
}
