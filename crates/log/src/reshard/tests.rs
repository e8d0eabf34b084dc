use std::collections::BTreeMap;
use std::time::Duration;

use base::{HashKey, Position, Scope, ShardId, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::catalogue::{Catalogue, Change, Wish};
use crate::{StreamKey, StreamKind, StreamSpec};

fn key() -> StreamKey {
    let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
    StreamKey { kind: StreamKind::Kinesis, scope, name: "s".into() }
}

fn at(n: u64) -> (Position, Timestamp) {
    (Position::new(n), Timestamp::from_millis(n as i64 * 1_000))
}

/// Plans a wish and applies it as it is read back from its control record.
fn change(catalogue: &mut Catalogue, wish: Wish, n: u64) -> Result<Vec<u8>, LogError> {
    let (position, time) = at(n);
    let control = catalogue.plan(wish, position, time, time)?.unwrap().encode()?;
    catalogue.apply(Change::decode(&control).unwrap());
    Ok(control)
}

fn catalogue(shards: u32) -> Catalogue {
    let mut catalogue = Catalogue::default();
    change(&mut catalogue, Wish::Create(key(), StreamSpec { shards, retention: Duration::from_secs(1) }), 1).unwrap();
    catalogue
}

fn shards(catalogue: &Catalogue) -> Vec<(u32, Vec<u32>, bool)> {
    let stream = catalogue.stream(&key()).unwrap();
    let parents = |s: &Shard| s.parents.iter().map(|p| p.number()).collect();
    stream.shards.iter().map(|s| (s.id.number(), parents(s), s.closed_at.is_some())).collect()
}

fn split(shard: u32, at: u128) -> Reshard {
    Reshard::Split { shard: ShardId::new(shard), at: HashKey(at) }
}

fn merge(shard: u32, adjacent: u32) -> Reshard {
    Reshard::Merge { shard: ShardId::new(shard), adjacent: ShardId::new(adjacent) }
}

/// The open shards' ranges follow each other from zero to the end, and each is where its hash keys are routed.
fn assert_tiles(stream: &Stream) {
    let mut next = Some(0);
    for shard in stream.open_shards() {
        assert_eq!(Some(*shard.hash_range.start()), next, "no gap and no overlap");
        next = shard.hash_range.end().checked_add(1);
        for hash in [*shard.hash_range.start(), *shard.hash_range.end()] {
            assert_eq!(stream.shard_for(&"any".parse().unwrap(), Some(HashKey(hash))).id, shard.id);
        }
    }
    assert_eq!(next, None, "the last one ends the space");
}

/// A shard's range is its parents' or a part of it, it opens where they close, and its id is greater.
fn assert_lineage(stream: &Stream) {
    let by_id: BTreeMap<_, _> = stream.shards.iter().map(|shard| (shard.id, shard)).collect();
    assert_eq!(by_id.len(), stream.shards.len());
    for shard in &stream.shards {
        assert_eq!(shard.closed_at.is_some(), shard.closed.is_some());
        for parent in &shard.parents {
            let parent = by_id[parent];
            assert_eq!(parent.closed_at, Some(shard.opened_at));
            assert_eq!(parent.closed, Some(shard.opened));
            assert!(parent.id < shard.id && parent.slot < shard.slot);
            let within = |a: &Shard, b: &Shard| {
                a.hash_range.start() >= b.hash_range.start() && a.hash_range.end() <= b.hash_range.end()
            };
            assert!(if shard.parents.len() == 1 { within(shard, parent) } else { within(parent, shard) });
        }
    }
}

#[test]
fn a_chain_in_one_change_follows_its_own_children() {
    let mut catalogue = catalogue(1);
    let steps = vec![split(0, 100), split(1, 50), merge(4, 2)];
    change(&mut catalogue, Wish::Reshard(key(), steps), 9).unwrap();
    let expected = [
        (0, vec![], true),
        (1, vec![0], true),
        (2, vec![0], true),
        (3, vec![1], false),
        (4, vec![1], true),
        (5, vec![4, 2], false),
    ];
    assert_eq!(shards(&catalogue), expected);
    let stream = catalogue.stream(&key()).unwrap();
    assert_tiles(stream);
    assert_lineage(stream);
    assert_eq!(stream.shards[4].hash_range, 50..=99);
    assert_eq!((stream.shards[4].opened_at, stream.shards[4].closed_at), (at(9).0, Some(at(9).0)));
    assert_eq!(stream.shards[5].hash_range, 50..=u128::MAX);
}

#[test]
fn a_step_that_breaks_a_rule_is_refused_and_nothing_is_changed() {
    let mut catalogue = catalogue(3);
    change(&mut catalogue, Wish::Reshard(key(), vec![split(0, 7)]), 2).unwrap();
    let before = shards(&catalogue);
    let mut refused = |steps| change(&mut catalogue, Wish::Reshard(key(), steps), 3).unwrap_err();
    assert!(matches!(refused(vec![split(9, 7)]), LogError::NoSuchShard { shard, .. } if shard.number() == 9));
    assert!(matches!(refused(vec![split(0, 5)]), LogError::AlreadyClosed { shard, .. } if shard.number() == 0));
    assert!(matches!(refused(vec![merge(1, 0)]), LogError::AlreadyClosed { .. }));
    assert!(matches!(refused(vec![split(3, 0)]), LogError::SplitOutside { .. }));
    assert!(matches!(refused(vec![split(3, 7)]), LogError::SplitOutside { .. }));
    assert!(matches!(refused(vec![split(4, 7)]), LogError::SplitOutside { at: HashKey(7), .. }));
    assert!(matches!(refused(vec![merge(3, 1)]), LogError::NotAdjacent { .. }));
    assert!(matches!(refused(vec![merge(3, 3)]), LogError::NotAdjacent { .. }));
    assert!(matches!(refused(vec![merge(3, 4), split(3, 2)]), LogError::AlreadyClosed { .. }));
    assert!(matches!(refused(vec![split(4, 8), merge(4, 1)]), LogError::AlreadyClosed { .. }));
    assert!(matches!(refused(vec![split(1, 1 << 127), split(7, 3)]), LogError::NoSuchShard { .. }));
    assert_eq!(shards(&catalogue), before);
    change(&mut catalogue, Wish::Reshard(key(), vec![split(3, 6), split(4, 8), merge(8, 1)]), 3).unwrap();
    assert_tiles(catalogue.stream(&key()).unwrap());
}

#[test]
fn a_stream_has_its_bounds() {
    let mut catalogue = catalogue(1);
    let splits = |from: u128, count: u32| (0..count).map(move |n| split(2 * n, from + u128::from(n) + 1)).collect();
    let steps: Vec<_> = splits(0, MAX_SHARDS);
    let error = change(&mut catalogue, Wish::Reshard(key(), steps), 2).unwrap_err();
    assert!(matches!(error, LogError::TooManyShards { shards: 10_001, limit: 10_000, .. }), "{error}");
    let control = change(&mut catalogue, Wish::Reshard(key(), splits(0, MAX_SHARDS - 1)), 2).unwrap();
    assert!(control.len() < crate::MAX_DATA_BYTES, "the greatest change of the kind fits: {}", control.len());
    let stream = catalogue.stream(&key()).unwrap();
    assert_eq!((stream.open_shards().len(), stream.shards.len()), (10_000, 19_999));
    assert_tiles(stream);
}

/// Steps by place among the open shards and by a part of the range, so that most of them are possible.
fn step(stream: &Stream, (which, part, split): (prop::sample::Index, u128, bool)) -> Option<Reshard> {
    let open: Vec<_> = stream.open_shards().collect();
    let place = which.index(open.len());
    let shard = open[place];
    if split {
        let (start, end) = (*shard.hash_range.start(), *shard.hash_range.end());
        let at = HashKey(start.checked_add(1)? + part % (end - start).max(1));
        return Some(Reshard::Split { shard: shard.id, at });
    }
    let adjacent = if part % 2 == 0 { open.get(place + 1) } else { open.get(place.checked_sub(1)?) };
    Some(Reshard::Merge { shard: shard.id, adjacent: adjacent?.id })
}

proptest! {
    #[test]
    fn any_chain_tiles_and_replays_to_the_same(
        first in 1u32..5,
        steps in prop::collection::vec((any::<prop::sample::Index>(), any::<u128>(), any::<bool>()), 1..40),
        kept in any::<prop::sample::Index>(),
        forgotten in any::<prop::sample::Index>(),
    ) {
        let mut live = catalogue(first);
        let (mut controls, mut snapshots) = (Vec::new(), vec![serde_json::to_vec(&live).unwrap()]);
        for (n, raw) in steps.into_iter().enumerate() {
            let stream = live.stream(&key()).unwrap();
            let Some(step) = step(stream, raw) else { continue };
            controls.push(change(&mut live, Wish::Reshard(key(), vec![step]), n as u64 + 2).unwrap());
            snapshots.push(serde_json::to_vec(&live).unwrap());
            let stream = live.stream(&key()).unwrap();
            assert_tiles(stream);
            assert_lineage(stream);
            prop_assert!(stream.shards.windows(2).all(|w| w[0].id.number() + 1 == w[1].id.number() && w[0].slot < w[1].slot));
        }
        let kept = kept.index(snapshots.len());
        let mut restored: Catalogue = serde_json::from_slice(&snapshots[kept]).unwrap();
        for control in &controls[kept..] {
            restored.apply(Change::decode(control).unwrap());
        }
        prop_assert_eq!(serde_json::to_vec(&restored).unwrap(), serde_json::to_vec(&live).unwrap());
        // Forgetting takes closed shards only, whatever is asked for, and changes no route and no numbering.
        let stream = live.stream(&key()).unwrap();
        let ids: Vec<_> = stream.shards.iter().take(forgotten.index(stream.shards.len() + 1)).map(|s| s.id).collect();
        let (id, open) = (stream.id, stream.open_shards().cloned().collect::<Vec<_>>());
        let next = stream.shards.last().unwrap().id;
        let (position, time) = at(99);
        if let Some(change) = live.plan(Wish::Forget(id, ids), position, time, time).unwrap() {
            live.apply(change);
        }
        let stream = live.stream(&key()).unwrap();
        assert_tiles(stream);
        prop_assert_eq!(stream.open_shards().cloned().collect::<Vec<_>>(), open);
        prop_assert_eq!(stream.shards.last().unwrap().id, next);
    }
}
