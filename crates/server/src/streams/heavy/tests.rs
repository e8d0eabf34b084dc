use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Exact weights, halved like the sketch's.
#[derive(Default)]
struct Exact {
    weights: HashMap<u32, u64>,
    total: u64,
    age: u64,
}

impl Exact {
    fn add(&mut self, now: u64, key: u32, weight: u64) {
        let age = now / 60;
        for _ in self.age..age {
            self.weights.values_mut().for_each(|w| *w /= 2);
            self.total /= 2;
        }
        self.age = age;
        *self.weights.entry(key).or_default() += weight;
        self.total += weight;
    }
}

fn text(key: u32) -> String {
    format!("key-{key}")
}

/// Different keys may have the same hash, as they may in the world, only far more often here.
fn hash(key: u32, collide: bool) -> u32 {
    let hash = key.wrapping_mul(0x9e37_79b1);
    if collide { hash % 64 } else { hash }
}

/// Keys of a few heavy ones and many light ones.
fn key() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..4, 0_u32..30, any::<u32>()]
}

proptest! {
    #[test]
    fn no_estimate_is_below_the_truth_or_further_above_it_than_it_says(
        steps in proptest::collection::vec((0_u64..9, key(), 1_u64..2_000), 1..600),
    ) {
        let (mut heavy, mut exact, mut now) = (Heavy::default(), Exact::default(), 0);
        for (passed, key, weight) in steps {
            now += passed / 8 * 30;
            heavy.add(Duration::from_secs(now), &text(key), hash(key, false), weight);
            exact.add(now, key, weight);
        }
        prop_assert_eq!(heavy.total, exact.total);
        let watched: HashMap<u32, usize> = (0..heavy.used).map(|at| (heavy.prints[at], at)).collect();
        for (key, weight) in &exact.weights {
            match watched.get(&hash(*key, false)) {
                Some(&at) => {
                    prop_assert!(heavy.weights[at] >= *weight);
                    prop_assert!(heavy.weights[at] - heavy.errors[at].min(heavy.weights[at]) <= *weight);
                }
                None => prop_assert!(*weight <= exact.total / KEYS as u64, "{key} has {weight} and is not watched"),
            }
        }
        // A halved error is rounded up, by less than one.
        prop_assert!(heavy.errors.iter().all(|error| *error <= exact.total / KEYS as u64 + 1));
    }

    #[test]
    fn keys_that_share_a_hash_are_told_apart_once_named(
        steps in proptest::collection::vec((key(), 1_u64..50), 1..300),
    ) {
        let mut heavy = Heavy::default();
        for (key, weight) in steps {
            heavy.add(Duration::ZERO, &text(key), hash(key, true), weight);
            let named: Vec<_> = heavy.texts.iter().flatten().collect();
            let distinct: std::collections::HashSet<_> = named.iter().collect();
            prop_assert_eq!(named.len(), distinct.len());
        }
    }
}

#[test]
fn a_hot_key_is_named_with_its_share_among_many_others() {
    let mut heavy = Heavy::default();
    for n in 0..100_000_u32 {
        let key = if n % 3 == 0 { 7 } else { 1_000 + n };
        heavy.add(Duration::from_millis(u64::from(n)), &text(key), hash(key, false), 200);
    }
    let keys = heavy.keys(Duration::from_secs(100));
    assert_eq!(keys[0].key, "key-7");
    assert!((keys[0].share - 1.0 / 3.0).abs() < 0.01, "{:?}", keys[0]);
    assert!(keys[0].error < 0.001, "{:?}", keys[0]);
    assert!(heavy.texts.iter().flatten().count() < KEYS, "keys that came once are not kept");
    // Later others come: it fades.
    for n in 0..10_000_u32 {
        let key = 500_000 + n % 40;
        heavy.add(Duration::from_secs(400 + u64::from(n) / 100), &text(key), hash(key, false), 200);
    }
    let keys = heavy.keys(Duration::from_secs(500));
    assert!(keys.iter().all(|key| key.key != "key-7"), "{keys:?}");
}

#[test]
fn an_idle_shard_has_no_heavy_keys() {
    let mut heavy = Heavy::default();
    assert!(heavy.keys(Duration::ZERO).is_empty());
    for _ in 0..2 {
        heavy.add(Duration::ZERO, "a", 1, 1_000);
    }
    assert_eq!(heavy.keys(Duration::ZERO).len(), 1);
    assert!(heavy.keys(Duration::from_secs(3_600)).is_empty());
}
