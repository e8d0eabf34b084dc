//! How often the control plane is called, counted by account and operation or by stream and operation.
//!
//! Promises that memory stays bounded: what has not been called for a while is forgotten. Must not know the wire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::{Clock, Scope};
use log::{Stream, StreamId};

use super::quotas::{Bucket, Per, Quota, calls};

/// Buckets held before those that are empty are swept out.
const MANY: usize = 4_096;

/// Whose calls.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Caller {
    Account(Scope),
    Stream(StreamId),
}

/// By caller and operation.
type Buckets = HashMap<(Caller, &'static str), (Quota, Bucket)>;

/// Counts calls, when quotas are on.
pub(crate) struct CallQuotas {
    clock: Arc<dyn Clock>,
    on: bool,
    buckets: Mutex<Buckets>,
}

impl CallQuotas {
    /// Counts nothing yet; nothing ever when quotas are off.
    pub fn new(clock: Arc<dyn Clock>, on: bool) -> Self {
        Self { clock, on, buckets: Mutex::default() }
    }

    /// Whether quotas hold.
    pub const fn hold(&self) -> bool {
        self.on
    }

    /// Whether an operation that is counted by account may be called; so may all that are not.
    pub fn account(&self, scope: &Scope, operation: &'static str) -> bool {
        match self.quota(operation) {
            Some((Per::Account, quota)) => self.take(|| Caller::Account(scope.clone()), operation, quota),
            _ => true,
        }
    }

    /// Whether an operation that is counted by stream may be called; so may all that are not.
    pub fn stream(&self, stream: &Stream, operation: &'static str) -> bool {
        match self.quota(operation) {
            Some((Per::Stream, quota)) => self.take(|| Caller::Stream(stream.id), operation, quota),
            _ => true,
        }
    }

    /// An operation's quota. Every call comes by here: nothing is looked up when quotas are off.
    fn quota(&self, operation: &str) -> Option<(Per, Quota)> {
        if self.on { calls(operation) } else { None }
    }

    fn take(&self, caller: impl FnOnce() -> Caller, operation: &'static str, quota: Quota) -> bool {
        let now = self.clock.instant();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY {
            buckets.retain(|_, (quota, bucket)| !bucket.empties_in(now, *quota).is_zero());
        }
        buckets.entry((caller(), operation)).or_insert((quota, Bucket::default())).1.take(now, quota, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::{TestClock, Timestamp};

    use super::*;

    fn scope(region: &str) -> Scope {
        Scope { account: "000000000000".parse().unwrap(), region: region.parse().unwrap() }
    }

    #[tokio::test(start_paused = true)]
    async fn each_operation_has_its_own_quota_in_each_region() {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        let quotas = CallQuotas::new(clock.clone(), true);
        let passed = |operation, region: &str| (0..50).filter(|_| quotas.account(&scope(region), operation)).count();
        assert_eq!((passed("create_stream", "us-east-1"), passed("describe_stream", "us-east-1")), (5, 10));
        assert_eq!((passed("create_stream", "us-east-1"), passed("create_stream", "eu-west-1")), (0, 5));
        assert_eq!(passed("put_records", "us-east-1"), 50, "the data plane is not counted here");
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(passed("create_stream", "us-east-1"), 5);
        assert!((0..50).all(|_| CallQuotas::new(clock.clone(), false).account(&scope("us-east-1"), "create_stream")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_called_any_more_is_forgotten() {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        let quotas = CallQuotas::new(clock.clone(), true);
        for n in 0..20_000 {
            assert!(quotas.account(&scope(&format!("r-{n}")), "create_stream"));
            clock.sleep(Duration::from_millis(1)).await;
        }
        assert!(quotas.buckets.lock().unwrap().len() <= MANY);
    }
}
