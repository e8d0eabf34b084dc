//! Latencies, exact: every sample is kept and sorted.

use std::fmt;
use std::time::Duration;

/// Samples of one latency.
#[derive(Default, Clone)]
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

    /// These quantiles in milliseconds, zero without samples.
    pub fn millis<const N: usize>(&self, per_mille: [usize; N]) -> [f64; N] {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        per_mille.map(|q| {
            let rank = (sorted.len() * q / 1000).min(sorted.len().saturating_sub(1));
            sorted.get(rank).map_or(0.0, |d| d.as_secs_f64() * 1e3)
        })
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, max] = self.millis([500, 990, 999, 1000]);
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact() {
        let mut all = Quantiles::default();
        (1..=1_000).rev().for_each(|ms| all.add(Duration::from_millis(ms)));
        assert_eq!(all.millis([500, 990, 1000]), [501.0, 991.0, 1000.0]);
        assert_eq!(Quantiles::default().millis([500]), [0.0]);
    }
}
