//! Shards as people name them, and the one that is meant.

use anyhow::{anyhow, bail};
use base::{HashKey, ShardId};
use clap::Arg;

use super::api::{HashKeyRange, Shard, StreamAddress};

/// An argument that names a shard.
pub fn shard_arg(id: &'static str) -> Arg {
    Arg::new(id).value_name("SHARD").value_parser(shard_id)
}

/// `shardId-000000000003`, or just `3`.
pub fn shard_id(text: &str) -> Result<ShardId, String> {
    let number = text.parse().map(ShardId::new).ok();
    let wrong = || format!("'{text}' is not a shard such as shardId-000000000003, or just 3");
    number.or_else(|| text.parse().ok()).ok_or_else(wrong)
}

/// The shard of this id, which must be open.
///
/// # Errors
/// There is none; the message names those there are, or what became of it.
pub fn open_shard<'a>(shards: &'a [Shard], stream: &StreamAddress, id: ShardId) -> anyhow::Result<&'a Shard> {
    let shard = find(shards, stream, id)?;
    if shard.is_open() {
        return Ok(shard);
    }
    let children: Vec<String> =
        shards.iter().filter(|s| s.parents().any(|p| p == id)).map(|s| s.shard_id.to_string()).collect();
    bail!("{id} of stream {stream} is closed; {} took over from it", listed(&children))
}

/// The shard of this id, open or closed.
///
/// # Errors
/// There is none; the message names those there are.
pub fn find<'a>(shards: &'a [Shard], stream: &StreamAddress, id: ShardId) -> anyhow::Result<&'a Shard> {
    shards.iter().find(|shard| shard.shard_id == id).ok_or_else(|| {
        let open: Vec<String> = shards.iter().filter(|s| s.is_open()).map(|s| s.shard_id.to_string()).collect();
        anyhow!("stream {stream} has no {id}; open are {}", listed(&open))
    })
}

/// The first eight, and how many more.
pub fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".to_owned(),
        many if many > SHOWN => format!("{shown} and {} more", many - SHOWN),
        _ => shown,
    }
}

/// Which part of all hash keys a shard has, in percent.
pub fn share(shard: &Shard) -> f64 {
    let range = &shard.hash_key_range;
    let width = range.ending_hash_key.0.saturating_sub(range.starting_hash_key.0) as f64 + 1.0;
    width / u128::MAX as f64 * 100.0
}

/// The hash key that halves a shard: the first of its second half. A shard of very few cannot be halved.
pub fn middle(shard: &Shard) -> Option<HashKey> {
    let range = &shard.hash_key_range;
    let half = range.ending_hash_key.0.checked_sub(range.starting_hash_key.0)? / 2;
    let middle = HashKey(range.starting_hash_key.0.checked_add(half)?.checked_add(1)?);
    divides(range, middle).then_some(middle)
}

/// Whether the service splits this range there: "greater than one plus the shard's StartingHashKey and less than the shard's
/// EndingHashKey", as its error says.
pub fn divides(range: &HashKeyRange, at: HashKey) -> bool {
    range.starting_hash_key.0.checked_add(1).is_some_and(|first| at.0 > first) && at < range.ending_hash_key
}

/// Whether two shards lie side by side.
pub fn are_adjacent(one: &Shard, other: &Shard) -> bool {
    let follows = |a: &Shard, b: &Shard| {
        a.hash_key_range.ending_hash_key.0.checked_add(1) == Some(b.hash_key_range.starting_hash_key.0)
    };
    follows(one, other) || follows(other, one)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn shard(number: u32, start: u128, end: u128, parents: &[u32], open: bool) -> Shard {
        let id = |number: &u32| ShardId::new(*number).to_string();
        let mut json = serde_json::json!({
            "ShardId": id(&number),
            "HashKeyRange": {"StartingHashKey": start.to_string(), "EndingHashKey": end.to_string()},
            "SequenceNumberRange": {"StartingSequenceNumber": "1"},
        });
        for (name, parent) in ["ParentShardId", "AdjacentParentShardId"].iter().zip(parents) {
            json[name] = id(parent).into();
        }
        if !open {
            json["SequenceNumberRange"]["EndingSequenceNumber"] = "2".into();
        }
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn shards_are_named_by_id_or_number() {
        assert_eq!(shard_id("7"), Ok(ShardId::new(7)));
        assert_eq!(shard_id("shardId-000000000007"), Ok(ShardId::new(7)));
        assert!(shard_id("seven").is_err() && shard_id("-1").is_err());
    }

    #[test]
    fn the_middle_is_where_the_service_splits() {
        let middle = |start, end| middle(&shard(0, start, end, &[], true)).map(|key| key.0);
        assert_eq!(middle(0, u128::MAX), Some(1 << 127));
        assert_eq!([middle(4, 4), middle(4, 6), middle(4, 7), middle(4, 8)], [None, None, Some(6), Some(7)]);
    }

    #[test]
    fn a_shard_that_cannot_be_meant_is_explained() {
        let stream = "events".parse().unwrap();
        let shards = [shard(0, 0, 9, &[], false), shard(1, 0, 4, &[0], true), shard(2, 5, 9, &[0], true)];
        assert_eq!(open_shard(&shards, &stream, ShardId::new(1)).unwrap().shard_id, ShardId::new(1));
        let closed = open_shard(&shards, &stream, ShardId::new(0)).unwrap_err().to_string();
        assert_eq!(
            closed,
            "shardId-000000000000 of stream events is closed; shardId-000000000001, shardId-000000000002 took over from it"
        );
        let absent = open_shard(&shards, &stream, ShardId::new(9)).unwrap_err().to_string();
        assert!(absent.ends_with("open are shardId-000000000001, shardId-000000000002"), "{absent}");
        assert!(are_adjacent(&shards[2], &shards[1]) && !are_adjacent(&shards[0], &shards[1]));
    }
}
