//! The heaviest partition keys of a shard: a Space-Saving sketch of sixteen counters that forgets by half each minute.
//!
//! Owns the counters ("Efficient Computation of Frequent and Top-k Elements in Data Streams", Metwally, Agrawal,
//! El Abbadi, 2005). A key weighs its records' bytes; at the start of each minute all weights are halved, so the last
//! minutes count most.
//!
//! Promises, for every key: what the sketch says is at most [`Heavy::error`] above the true (halved) weight and never
//! below it, where a counter's error is at most a sixteenth of everything; and every key with more than a sixteenth of
//! everything is in it. Keys are told apart by 32 bits of a hash and, once a key was seen twice, by their text, which
//! is kept only then: keys that come once cost no memory.
//! Must not know shards, locks or clocks.

use std::time::Duration;

/// How many keys are watched.
pub(crate) const KEYS: usize = 16;
/// After this time weights are halved.
pub(crate) const HALF_LIFE: Duration = Duration::from_secs(60);

/// A watched key, as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeavyKey {
    /// The partition key.
    pub key: String,
    /// Its part of the shard's bytes, at most.
    pub share: f64,
    /// The true part may be smaller by up to this.
    pub error: f64,
}

/// The sketch of one shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heavy {
    prints: [u32; KEYS],
    weights: [u64; KEYS],
    errors: [u64; KEYS],
    texts: [Option<Box<str>>; KEYS],
    used: usize,
    /// Of all keys.
    total: u64,
    /// How many half-lives had passed.
    age: u64,
}

impl Heavy {
    /// Counts a record of this key; `hash` is any hash of the key's text.
    pub fn add(&mut self, now: Duration, key: &str, hash: u32, weight: u64) {
        self.fade(now);
        self.total += weight;
        if let Some(at) = self.find(key, hash) {
            self.weights[at] += weight;
            if self.texts[at].is_none() {
                self.texts[at] = Some(key.into());
            }
            return;
        }
        let (at, least) = if self.used < KEYS {
            self.used += 1;
            (self.used - 1, 0)
        } else {
            self.lightest()
        };
        self.prints[at] = hash;
        self.weights[at] = least + weight;
        self.errors[at] = least;
        self.texts[at] = None;
    }

    /// The watched keys that came more than once, the heaviest first.
    pub fn keys(&self, now: Duration) -> Vec<HeavyKey> {
        let mut this = self.clone();
        this.fade(now);
        if this.total == 0 {
            return Vec::new();
        }
        let share = |weight: u64| weight as f64 / this.total as f64;
        let named = (0..this.used).filter_map(|at| this.texts[at].as_deref().map(|key| (at, key)));
        let mut keys: Vec<HeavyKey> = named
            .filter(|(at, _)| this.weights[*at] > 0)
            .map(|(at, key)| HeavyKey {
                key: key.to_owned(),
                share: share(this.weights[at]),
                error: share(this.errors[at]),
            })
            .collect();
        keys.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.key.cmp(&b.key)));
        keys
    }

    fn find(&self, key: &str, hash: u32) -> Option<usize> {
        // All sixteen are compared: without a branch the loop becomes a few vector instructions.
        let mut found = 0_u32;
        for (at, print) in self.prints.iter().enumerate() {
            found |= u32::from(*print == hash) << at;
        }
        let mut unnamed = None;
        while found != 0 {
            let at = found.trailing_zeros() as usize;
            match self.texts[at].as_deref() {
                Some(text) if text == key => return Some(at),
                None if at < self.used => unnamed = Some(at),
                _ => {}
            }
            found &= found - 1;
        }
        unnamed
    }

    fn lightest(&self) -> (usize, u64) {
        let mut least = (0, self.weights[0]);
        for (at, weight) in self.weights.iter().enumerate().skip(1) {
            least = if *weight < least.1 { (at, *weight) } else { least };
        }
        least
    }

    fn fade(&mut self, now: Duration) {
        let age = now.as_secs() / HALF_LIFE.as_secs();
        let halvings = u32::try_from(age.saturating_sub(self.age)).unwrap_or(u32::MAX);
        if halvings == 0 {
            return;
        }
        self.age = age;
        let halved = |weight: u64| weight.checked_shr(halvings).unwrap_or(0);
        self.total = halved(self.total);
        self.weights = self.weights.map(halved);
        // Rounded up, so that the bound stays one.
        self.errors = self.errors.map(|error| if error == 0 { 0 } else { halved(error - 1) + 1 });
    }
}

#[cfg(test)]
mod tests;
