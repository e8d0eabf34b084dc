//! Splits, merges and scaling as a client meets them: lineage, iterators at a closed shard's end, and shard filters.

use super::*;

const HALF: &str = "170141183460469231731687303715884105728";

impl World {
    pub(super) async fn split(&self, name: &str, shard: &str, at: &str) -> Result<(), ServiceError> {
        let input = SplitShardInput {
            stream_name: Some(name.into()),
            shard_to_split: shard.into(),
            new_starting_hash_key: at.into(),
            ..Default::default()
        };
        self.service.split_shard(&self.call(), input).await.map(drop)
    }

    pub(super) async fn merge(&self, name: &str, one: &str, other: &str) -> Result<(), ServiceError> {
        let input = MergeShardsInput {
            stream_name: Some(name.into()),
            shard_to_merge: one.into(),
            adjacent_shard_to_merge: other.into(),
            ..Default::default()
        };
        self.service.merge_shards(&self.call(), input).await.map(drop)
    }

    pub(super) async fn scale(&self, name: &str, target: i32) -> Result<UpdateShardCountOutput, ServiceError> {
        let input = UpdateShardCountInput {
            stream_name: Some(name.into()),
            target_shard_count: target,
            scaling_type: "UNIFORM_SCALING".into(),
            ..Default::default()
        };
        self.service.update_shard_count(&self.call(), input).await
    }

    async fn list(&self, name: &str, filter: Option<ShardFilter>) -> Result<Vec<Shard>, ServiceError> {
        let input = ListShardsInput { stream_name: Some(name.into()), shard_filter: filter, ..Default::default() };
        Ok(self.service.list_shards(&self.call(), input).await?.shards.unwrap())
    }

    async fn ids(&self, name: &str, kind: &str, time: Option<Timestamp>) -> Vec<u32> {
        let filter = ShardFilter { r#type: kind.into(), timestamp: time, ..Default::default() };
        let listed = self.list(name, Some(filter)).await.unwrap();
        listed.iter().map(|shard| shard.shard_id.parse::<base::ShardId>().unwrap().number()).collect()
    }
}

fn id(number: u32) -> String {
    base::ShardId::new(number).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_closed_parent_is_read_to_its_end_and_names_its_children() {
    let world = World::new().await;
    world.create("s", 1).await;
    world.put("s", "before").await;
    let first = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    world.split("s", &id(0), HALF).await.unwrap();
    let put = world.put("s", "after").await;
    assert_ne!(put.shard_id, id(0));
    let end = world.get(&first).await.unwrap();
    assert_eq!((texts(&end), &end.next_shard_iterator), (vec!["before".to_owned()], &None));
    let children = end.child_shards.unwrap();
    assert_eq!(children.iter().map(|child| &*child.shard_id).collect::<Vec<_>>(), [id(1), id(2)]);
    assert!(children.iter().all(|child| child.parent_shards == [id(0)]));
    assert_eq!(children[1].hash_key_range.starting_hash_key, HALF);
    // An iterator made at the end of a closed shard is valid, and ends at once.
    let latest = world.iterate("s", "LATEST", None).await.unwrap();
    let end = world.get(&latest).await.unwrap();
    assert_eq!((end.records.len(), end.next_shard_iterator, end.millis_behind_latest), (0, None, Some(0)));
    let shown = world.list("s", None).await.unwrap();
    let last = shown[0].sequence_number_range.ending_sequence_number.clone().unwrap();
    assert!(!last.starts_with('0') && !put.sequence_number.starts_with('0'));
    let after = world.iterate("s", "AFTER_SEQUENCE_NUMBER", Some(&last)).await.unwrap();
    assert_eq!(world.get(&after).await.unwrap().next_shard_iterator, None);
    assert!(put.sequence_number > last, "a child's numbers are greater than its parent's");
}

#[tokio::test(start_paused = true)]
async fn splits_and_merges_that_cannot_be_are_refused_in_the_service_s_words() {
    let world = World::new().await;
    world.create("s", 3).await;
    let account = "under account 000000000000";
    for bad in ["0", "1", "113427455640312821154458202477256070484", HALF] {
        let error = world.split("s", &id(0), bad).await.unwrap_err();
        assert_eq!(error.code, "InvalidArgumentException");
        assert!(error.message.starts_with(&format!("NewStartingHashKey {bad} used in SplitShard() on shard")));
    }
    let missing = world.split("s", &id(7), "5").await.unwrap_err();
    assert_eq!(missing.code, "ResourceNotFoundException");
    assert_eq!(missing.message, format!("Could not find shard {} in stream s {account}.", id(7)));
    let apart = world.merge("s", &id(0), &id(2)).await.unwrap_err();
    assert_eq!(apart.code, "InvalidArgumentException");
    let expected = format!(
        "Shards {} and {} in stream s {account} are not an adjacent pair of shards eligible for merging",
        id(0),
        id(2)
    );
    assert_eq!(apart.message, expected);
    assert!(world.merge("s", &id(0), &id(0)).await.is_err());
    world.merge("s", &id(0), &id(1)).await.unwrap();
    let closed = world.split("s", &id(0), "5").await.unwrap_err();
    assert_eq!(closed.code, "InvalidArgumentException");
    assert!(closed.message.contains("has already been merged or split"), "{}", closed.message);
    let shown = world.list("s", None).await.unwrap();
    let (parent, adjacent) = (shown[3].parent_shard_id.clone(), shown[3].adjacent_parent_shard_id.clone());
    assert_eq!((parent, adjacent), (Some(id(0)), Some(id(1))));
}

#[tokio::test(start_paused = true)]
async fn the_account_s_shards_are_limited_whatever_opens_them() {
    let world = World::of(LogConfig::default(), |config| config.max_shards = 4).await;
    world.create("s", 3).await;
    let input = CreateStreamInput { stream_name: "t".into(), shard_count: Some(2), ..Default::default() };
    let error = world.service.create_stream(&world.call(), input).await.unwrap_err();
    assert_eq!(error.code, "LimitExceededException");
    assert!(error.message.contains("Current shard count for the account: 3. Limit: 4."), "{}", error.message);
    world.split("s", &id(0), "500").await.unwrap();
    let error = world.split("s", &id(1), HALF).await.unwrap_err();
    assert_eq!(error.code, "LimitExceededException");
    assert_eq!(world.scale("s", 8).await.unwrap_err().code, "LimitExceededException");
    world.scale("s", 2).await.unwrap();
    world.create("t", 2).await;
    let limits = world.service.describe_limits(&world.call(), DescribeLimitsInput::default()).await.unwrap();
    assert_eq!((limits.shard_limit, limits.open_shard_count, limits.on_demand_stream_count), (4, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_shard_count_goes_to_the_double_or_the_half_at_most() {
    let world = World::new().await;
    world.create("s", 4).await;
    for (target, text) in [(9, "scale up over double"), (1, "scale down below half")] {
        let error = world.scale("s", target).await.unwrap_err();
        assert_eq!(error.code, "InvalidArgumentException");
        assert!(error.message.contains(text), "{}", error.message);
    }
    let scaled = world.scale("s", 6).await.unwrap();
    assert_eq!((scaled.current_shard_count, scaled.target_shard_count), (Some(4), Some(6)));
    let open: Vec<_> = world.ids("s", "AT_LATEST", None).await;
    assert_eq!(open.len(), 6);
    let describe = DescribeStreamSummaryInput { stream_name: Some("s".into()), ..Default::default() };
    let summary = world.service.describe_stream_summary(&world.call(), describe).await.unwrap();
    assert_eq!(summary.stream_description_summary.open_shard_count, 6);
    assert_eq!(world.scale("s", 6).await.unwrap().current_shard_count, Some(6));
}

#[tokio::test(start_paused = true)]
async fn a_scaling_that_is_overtaken_is_planned_anew() {
    let world = World::new().await;
    world.create("s", 4).await;
    // The split is on its way to the log when the scaling is planned.
    let shard = id(0);
    let (split, scaled) = tokio::join!(world.split("s", &shard, "500"), world.scale("s", 8));
    split.unwrap();
    assert_eq!(scaled.unwrap().target_shard_count, Some(8));
    world.create("new", 8).await;
    let ranges = async |name: &str| {
        let filter = ShardFilter { r#type: "AT_LATEST".into(), ..Default::default() };
        let mut ranges: Vec<_> = world.list(name, Some(filter)).await.unwrap();
        ranges.sort_by_key(|shard| shard.hash_key_range.starting_hash_key.parse::<u128>().unwrap());
        ranges.into_iter().map(|shard| shard.hash_key_range).collect::<Vec<_>>()
    };
    assert_eq!(ranges("s").await, ranges("new").await);
}

#[tokio::test(start_paused = true)]
async fn puts_go_on_through_splits() {
    let world = World::new().await;
    world.create("s", 1).await;
    let puts = async {
        let mut numbers = Vec::new();
        for n in 0..200 {
            let answer =
                world.service.put_records(&world.call(), puts("s", vec![entry("key", vec![n]); 3])).await.unwrap();
            assert_eq!(answer.failed_record_count, Some(0));
            numbers.extend(answer.records.into_iter().map(|record| record.sequence_number.unwrap()));
        }
        numbers
    };
    let scaling = async {
        for target in [2, 4, 3, 5, 3, 2, 1, 2, 4, 8] {
            world.scale("s", target).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (numbers, ()) = tokio::join!(puts, scaling);
    assert!(numbers.is_sorted(), "one key's numbers grow across all splits and merges");
    let mut read = Vec::new();
    for shard in world.list("s", None).await.unwrap() {
        let input = GetShardIteratorInput {
            stream_name: Some("s".into()),
            shard_id: shard.shard_id,
            shard_iterator_type: "TRIM_HORIZON".into(),
            ..Default::default()
        };
        let iterator = world.service.get_shard_iterator(&world.call(), input).await.unwrap().shard_iterator.unwrap();
        read.extend(world.get(&iterator).await.unwrap().records.into_iter().map(|record| record.sequence_number));
    }
    read.sort_unstable();
    assert_eq!(read, numbers);
}

#[tokio::test(start_paused = true)]
async fn filters_list_the_shards_of_their_time() {
    let world = World::new().await;
    world.create("s", 1).await;
    let pass = async |hours: u64| world.env.clock.sleep(Duration::from_secs(hours * 3_600)).await;
    pass(1).await;
    let first = world.env.clock.now();
    pass(1).await;
    world.split("s", &id(0), HALF).await.unwrap();
    pass(1).await;
    let second = world.env.clock.now();
    pass(1).await;
    world.merge("s", &id(1), &id(2)).await.unwrap();
    assert_eq!(world.ids("s", "AT_TIMESTAMP", Some(first)).await, [0]);
    assert_eq!(world.ids("s", "AT_TIMESTAMP", Some(second)).await, [1, 2]);
    assert_eq!(world.ids("s", "FROM_TIMESTAMP", Some(first)).await, [0, 1, 2, 3]);
    assert_eq!(world.ids("s", "FROM_TIMESTAMP", Some(second)).await, [1, 2, 3]);
    assert_eq!(world.ids("s", "AT_LATEST", None).await, [3]);
    assert_eq!(world.ids("s", "AT_TRIM_HORIZON", None).await, [0]);
    assert_eq!(world.ids("s", "FROM_TRIM_HORIZON", None).await, [0, 1, 2, 3]);
    let after = ShardFilter { r#type: "AFTER_SHARD_ID".into(), shard_id: Some(id(1)), ..Default::default() };
    let after: Vec<_> = world.list("s", Some(after)).await.unwrap().into_iter().map(|shard| shard.shard_id).collect();
    assert_eq!(after, [id(2), id(3)]);
    // The parent's records are past their retention: it is expired, and the horizon is at its children.
    pass(23).await;
    assert_eq!(world.ids("s", "FROM_TRIM_HORIZON", None).await, [1, 2, 3]);
    assert_eq!(world.ids("s", "AT_TRIM_HORIZON", None).await, [1, 2]);
    assert_eq!(world.ids("s", "AT_TIMESTAMP", Some(first)).await, [1, 2]);
    for (kind, shard_id, timestamp) in [
        ("AT_LATEST", Some(id(1)), None),
        ("AFTER_SHARD_ID", None, None),
        ("AT_TIMESTAMP", None, None),
        ("AT_TRIM_HORIZON", None, Some(first)),
    ] {
        let filter = ShardFilter { r#type: kind.into(), shard_id, timestamp, ..Default::default() };
        assert_eq!(world.list("s", Some(filter)).await.unwrap_err().code, "InvalidArgumentException", "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_created_again_is_told_from_the_first_by_its_time() {
    let world = World::new().await;
    world.create("s", 1).await;
    let with = |time| ListShardsInput {
        stream_name: Some("s".into()),
        stream_creation_timestamp: Some(time),
        ..Default::default()
    };
    assert!(world.service.list_shards(&world.call(), with(NOW)).await.is_ok());
    let other = with(NOW - Duration::from_secs(60));
    assert_eq!(world.service.list_shards(&world.call(), other).await.unwrap_err().code, "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn starting_positions_that_contradict_themselves_are_refused() {
    let world = World::new().await;
    world.create("s", 1).await;
    let number = world.put("s", "x").await.sequence_number;
    for (kind, number, time) in [
        ("LATEST", Some(number.clone()), None),
        ("TRIM_HORIZON", Some(number.clone()), None),
        ("AT_SEQUENCE_NUMBER", None, None),
        ("AT_TIMESTAMP", None, None),
        ("AT_TIMESTAMP", Some(number), Some(NOW)),
        ("LATEST", None, Some(NOW)),
    ] {
        let input = GetShardIteratorInput {
            stream_name: Some("s".into()),
            shard_id: id(0),
            shard_iterator_type: kind.into(),
            starting_sequence_number: number,
            timestamp: time,
            ..Default::default()
        };
        let error = world.service.get_shard_iterator(&world.call(), input).await.unwrap_err();
        assert_eq!(error.code, "InvalidArgumentException", "{kind}");
    }
    let dry = GetShardIteratorInput {
        stream_name: Some("s".into()),
        shard_id: id(0),
        shard_iterator_type: "LATEST".into(),
        dry_run: Some(true),
        ..Default::default()
    };
    assert_eq!(
        world.service.get_shard_iterator(&world.call(), dry).await.unwrap_err().code,
        "DryRunOperationException"
    );
}
