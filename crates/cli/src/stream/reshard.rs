//! `tidegate stream split` and `merge`: one shard becomes two, two become one.

use std::time::Duration;

use anyhow::{anyhow, bail};
use base::{Clock, HashKey, ShardId, SystemClock};
use clap::{Arg, ArgMatches, Command};
use serde::de::IgnoredAny;
use serde_json::json;

use super::api::{Kinesis, Shard, StreamAddress};
use super::shards::{are_adjacent, divides, listed, middle, open_shard, shard_arg};
use super::{Calls, Outcome, as_json, json_arg, print, stream_arg, stream_of};

const SPLIT: &str = "\
Split a shard in two

The shard is closed and two new ones take over its hash keys. Records stay where they are; consumers read the closed shard to
its end before the new ones.

Examples:
  tidegate stream split events 0
  tidegate stream split events shardId-000000000000 --at 170141183460469231731687303715884105728";

const MERGE: &str = "\
Merge two neighbouring shards into one

Both are closed and one new shard takes over their hash keys. Records stay where they are; consumers read the closed shards
to their ends before the new one.

Examples:
  tidegate stream merge events 2 3";

/// How long a stream may take to become active again.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// How `split` is called.
pub fn split_command(command: Command) -> Command {
    let at = Arg::new("at")
        .long("at")
        .value_name("HASHKEY")
        .value_parser(clap::value_parser!(HashKey))
        .help("Where the second of the new shards begins [default: in the middle]");
    let shard = shard_arg("shard").required(true).help("The shard to split");
    let command = command.about(SPLIT.lines().next().unwrap_or_default()).long_about(SPLIT);
    command.arg(stream_arg()).arg(shard).arg(at).arg(json_arg())
}

/// How `merge` is called.
pub fn merge_command(command: Command) -> Command {
    let shard = shard_arg("shard").required(true).help("One of the two");
    let other = shard_arg("other").required(true).help("Its neighbour");
    let command = command.about(MERGE.lines().next().unwrap_or_default()).long_about(MERGE);
    command.arg(stream_arg()).arg(shard).arg(other).arg(json_arg())
}

fn shard_of(args: &ArgMatches, id: &str) -> anyhow::Result<ShardId> {
    args.get_one(id).copied().ok_or_else(|| anyhow!("a shard is needed"))
}

/// Splits.
pub fn split(calls: &Calls, args: &ArgMatches) -> anyhow::Result<Outcome> {
    let (stream, id, kinesis) = (stream_of(args)?, shard_of(args, "shard")?, &calls.kinesis);
    let at = args.get_one::<HashKey>("at").copied();
    let opened = calls.runtime.block_on(async {
        let shards = kinesis.shards(stream).await?;
        let at = split_at(open_shard(&shards, stream, id)?, at)?;
        let more = json!({ "ShardToSplit": id, "NewStartingHashKey": at.to_string() });
        let _: IgnoredAny = kinesis.of_stream("SplitShard", stream, more).await?;
        children(kinesis, stream, &[id]).await
    })?;
    told(stream, &[id], &opened, as_json(args))
}

/// Merges.
pub fn merge(calls: &Calls, args: &ArgMatches) -> anyhow::Result<Outcome> {
    let (stream, kinesis) = (stream_of(args)?, &calls.kinesis);
    let ids = [shard_of(args, "shard")?, shard_of(args, "other")?];
    let opened = calls.runtime.block_on(async {
        let shards = kinesis.shards(stream).await?;
        check_merge(&shards, stream, ids)?;
        let more = json!({ "ShardToMerge": ids[0], "AdjacentShardToMerge": ids[1] });
        let _: IgnoredAny = kinesis.of_stream("MergeShards", stream, more).await?;
        children(kinesis, stream, &ids).await
    })?;
    told(stream, &ids, &opened, as_json(args))
}

fn split_at(shard: &Shard, at: Option<HashKey>) -> anyhow::Result<HashKey> {
    let (id, range) = (shard.shard_id, shard.hash_key_range);
    let (start, end) = (range.starting_hash_key, range.ending_hash_key);
    match at {
        Some(at) if !divides(&range, at) => {
            bail!("{at} does not split {id}: --at must be more than {start} + 1 and less than {end}")
        }
        Some(at) => Ok(at),
        None => middle(shard).ok_or_else(|| anyhow!("{id} has too few hash keys to be split: {start} to {end}")),
    }
}

fn check_merge(shards: &[Shard], stream: &StreamAddress, ids: [ShardId; 2]) -> anyhow::Result<()> {
    let (one, other) = (open_shard(shards, stream, ids[0])?, open_shard(shards, stream, ids[1])?);
    if are_adjacent(one, other) {
        return Ok(());
    }
    let neighbours = shards.iter().filter(|shard| shard.is_open() && are_adjacent(shard, one));
    let neighbours: Vec<String> = neighbours.map(|shard| shard.shard_id.to_string()).collect();
    bail!("{} and {} are no neighbours; next to {} lie: {}", ids[0], ids[1], ids[0], listed(&neighbours))
}

/// The new shards, once the stream is active.
async fn children(kinesis: &Kinesis, stream: &StreamAddress, parents: &[ShardId]) -> anyhow::Result<Vec<ShardId>> {
    let clock = SystemClock::new();
    loop {
        if kinesis.summary(stream).await?.stream_status == "ACTIVE" {
            let shards = kinesis.shards(stream).await?;
            let children: Vec<ShardId> =
                shards.iter().filter(|s| s.parents().any(|p| parents.contains(&p))).map(|s| s.shard_id).collect();
            if !children.is_empty() {
                return Ok(children);
            }
        }
        if clock.instant() > PATIENCE {
            bail!("stream {stream} is still being changed; see `tidegate stream describe {stream}`");
        }
        clock.sleep(PAUSE).await;
    }
}

fn told(stream: &StreamAddress, closed: &[ShardId], opened: &[ShardId], as_json: bool) -> anyhow::Result<Outcome> {
    let words = |ids: &[ShardId]| ids.iter().map(ShardId::to_string).collect::<Vec<_>>().join(" and ");
    print(&if as_json {
        format!("{}\n", json!({ "stream": stream.to_string(), "closed": closed, "opened": opened }))
    } else {
        let verb = if closed.len() == 1 { "is" } else { "are" };
        format!("{} {verb} closed, {} opened\n", words(closed), words(opened))
    })?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::shards::tests::shard;

    #[test]
    fn both_halves_of_a_split_have_hash_keys() {
        let whole = shard(0, 10, 19, &[], true);
        assert_eq!(split_at(&whole, None).unwrap(), HashKey(15));
        assert_eq!(split_at(&whole, Some(HashKey(12))).unwrap(), HashKey(12));
        assert_eq!(split_at(&whole, Some(HashKey(18))).unwrap(), HashKey(18));
        assert!(split_at(&whole, Some(HashKey(19))).is_err());
        let error = split_at(&whole, Some(HashKey(11))).unwrap_err().to_string();
        assert_eq!(error, "11 does not split shardId-000000000000: --at must be more than 10 + 1 and less than 19");
        assert!(split_at(&shard(0, 4, 4, &[], true), None).is_err());
    }

    #[test]
    fn only_neighbours_merge_and_others_are_told_theirs() {
        let stream = "events".parse().unwrap();
        let shards = [shard(0, 0, 9, &[], true), shard(1, 10, 19, &[], true), shard(2, 20, 29, &[], true)];
        let check = |a, b| check_merge(&shards, &stream, [ShardId::new(a), ShardId::new(b)]);
        assert!(check(0, 1).is_ok() && check(2, 1).is_ok());
        let error = check(0, 2).unwrap_err().to_string();
        assert!(error.ends_with("next to shardId-000000000000 lie: shardId-000000000001"), "{error}");
    }
}
