//! Latencies, exact: every sample is kept and sorted.

use std::fmt;
use std::time::Duration;

/// Samples of one latency.
#[derive(Default)]
pub struct Quantiles(Vec<Duration>);

impl Quantiles {
    /// Adds one sample.
    pub fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Takes the samples of another.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many samples there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |per_mille: usize| {
            let rank = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
            sorted.get(rank).map_or(0.0, |d| d.as_secs_f64() * 1e3)
        };
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms", at(500), at(990), at(999), at(1000))
    }
}
