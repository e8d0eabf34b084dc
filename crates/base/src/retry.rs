//! When to try again: one policy for every deliverer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Rng;

/// Exponential back-off with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog), bounded by
/// attempts and by age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// The delay before the second attempt, before jitter.
    pub first_delay: Duration,
    /// No delay is longer.
    pub max_delay: Duration,
    /// Attempts in all, the first included; `None` means until `max_age`.
    pub max_attempts: Option<u32>,
    /// Time since the first attempt after which no other is made; `None` means until `max_attempts`.
    pub max_age: Option<Duration>,
}

impl RetryPolicy {
    /// The delay before the next attempt, or `None` when it should be given up. `attempts` counts those made, `age`
    /// is the time since the first.
    pub fn next_delay(&self, attempts: u32, age: Duration, rng: &dyn Rng) -> Option<Duration> {
        if self.max_attempts.is_some_and(|max| attempts >= max) || self.max_age.is_some_and(|max| age >= max) {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(30);
        let ceiling = self.first_delay.saturating_mul(1 << doublings).min(self.max_delay);
        let ceiling_us = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
        // Half fixed, half random: never at once, never in step with the others.
        Some(Duration::from_micros(ceiling_us / 2 + rng.below(ceiling_us / 2 + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRng;

    #[test]
    fn delays_grow_to_their_ceiling_and_end() {
        let policy = RetryPolicy {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(1),
            max_attempts: Some(6),
            max_age: Some(Duration::from_secs(60)),
        };
        let rng = SeededRng::new(1);
        let delay = |n| policy.next_delay(n, Duration::ZERO, &rng);
        assert!(delay(1).unwrap() >= Duration::from_millis(50) && delay(1).unwrap() <= Duration::from_millis(100));
        assert!(delay(5).unwrap() >= Duration::from_millis(500) && delay(5).unwrap() <= Duration::from_secs(1));
        assert_eq!(delay(6), None);
        assert_eq!(policy.next_delay(1, Duration::from_secs(60), &rng), None);
    }
}
