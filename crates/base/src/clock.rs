//! Time, handed in. Outside this file nothing asks the machine what time it is.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::Timestamp;

/// A source of time. Wall time informs, the monotonic instant measures; neither orders records.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. May jump in either direction.
    fn now(&self) -> Timestamp;

    /// Monotonic time since an arbitrary start, for measuring durations.
    fn instant(&self) -> Duration;

    /// Completes after `d`.
    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose instants count from now.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn instant(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }
}

/// A clock for tests. It follows tokio's time, so that in a runtime started paused a schedule of hours runs in
/// microseconds; the wall can be set back or forward on its own. Outside a runtime it stands still until advanced.
#[derive(Debug)]
pub struct TestClock {
    wall_ms: AtomicI64,
    origin: Option<tokio::time::Instant>,
}

impl TestClock {
    /// A clock whose wall shows `start`.
    #[allow(clippy::disallowed_methods, reason = "tokio's instant follows paused time")]
    pub fn at(start: Timestamp) -> Self {
        let origin = tokio::runtime::Handle::try_current().ok().map(|_| tokio::time::Instant::now());
        Self { wall_ms: AtomicI64::new(start.millis()), origin }
    }

    /// Moves the wall, forward or back, without moving the monotonic instant.
    pub fn shift_wall(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

#[allow(clippy::disallowed_methods, reason = "tokio's sleep follows paused time")]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_ms.load(Ordering::SeqCst)) + self.instant()
    }

    fn instant(&self) -> Duration {
        self.origin.map_or(Duration::ZERO, |o| o.elapsed())
    }

    fn sleep(&self, d: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(d))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_test_clock_follows_paused_time() {
        let clock = TestClock::at(Timestamp::from_millis(1_000));
        clock.sleep(Duration::from_secs(3_600)).await;
        assert_eq!(clock.now().millis(), 3_601_000);
        clock.shift_wall(-3_600_000);
        assert_eq!(clock.now().millis(), 1_000);
        assert_eq!(clock.instant(), Duration::from_secs(3_600));
    }
}
