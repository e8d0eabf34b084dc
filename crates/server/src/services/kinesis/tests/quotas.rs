//! The service's quotas as a client meets them, when they are on.

use base::Clock;

use super::*;

const MIB: usize = 1 << 20;

/// Records of so many bytes to the explicit hash key that leads to the first or the last shard.
fn records(count: usize, bytes: usize, last: bool) -> Vec<PutRecordsRequestEntry> {
    let hash = if last { u128::MAX } else { 0 };
    let record =
        || PutRecordsRequestEntry { explicit_hash_key: Some(hash.to_string()), ..entry("k", vec![0; bytes - 1]) };
    std::iter::repeat_with(record).take(count).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_over_a_shard_s_quota_is_refused_record_by_record() {
    let world = World::limited().await;
    world.create("s", 2).await;
    let both = [records(12, MIB / 8, false), records(1, 100, true)].concat();
    let answer = world.service.put_records(&world.call(), puts("s", both)).await.unwrap();
    assert_eq!(answer.failed_record_count, Some(4));
    for (n, record) in answer.records.iter().enumerate() {
        let refused = (8..12).contains(&n);
        assert_eq!(record.sequence_number.is_none(), refused, "record {n}");
        assert_eq!(record.error_code.as_deref(), refused.then_some("ProvisionedThroughputExceededException"));
    }
    let message = answer.records[8].error_message.as_deref();
    let expected = "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000.";
    assert_eq!(message, Some(expected));
    // The order of what was written is that of the call: the records after the refused ones have their own numbers.
    assert_eq!(answer.records[12].shard_id.as_deref(), Some("shardId-000000000001"));
    let one = PutRecordInput {
        stream_name: Some("s".into()),
        partition_key: Some("k".into()),
        explicit_hash_key: Some("0".into()),
        data: Bytes::from_static(b"x"),
        ..Default::default()
    };
    let error = world.service.put_record(&world.call(), one.clone()).await.unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("ProvisionedThroughputExceededException", expected));
    world.clock.sleep(Duration::from_secs(1)).await;
    world.service.put_record(&world.call(), one).await.unwrap();
    let read = world.get(&world.iterate("s", "TRIM_HORIZON", None).await.unwrap()).await.unwrap();
    assert_eq!(read.records.len(), 9, "what was refused was not written");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_small_records_a_second_pass() {
    let world = World::limited().await;
    world.create("s", 1).await;
    let mut refused = 0;
    for _ in 0..3 {
        let answer = world.service.put_records(&world.call(), puts("s", records(500, 10, false))).await.unwrap();
        refused += answer.failed_record_count.unwrap();
    }
    assert_eq!(refused, 500);
}

#[tokio::test(start_paused = true)]
async fn what_a_merge_leads_to_another_shard_is_counted_there() {
    let world = World::limited().await;
    world.create("s", 2).await;
    // Each shard admits its half; the shard that took over from both while they were on their way does not admit all.
    let both = [records(6, MIB / 8, false), records(6, MIB / 8, true)].concat();
    let call = world.call();
    let (merged, answer) = tokio::join!(
        world.merge("s", "shardId-000000000000", "shardId-000000000001"),
        world.service.put_records(&call, puts("s", both))
    );
    merged.unwrap();
    let answer = answer.unwrap();
    assert_eq!(answer.failed_record_count, Some(4));
    for (n, record) in answer.records.iter().enumerate() {
        assert_eq!(record.sequence_number.is_none(), n >= 8, "record {n}");
        let message = record.error_message.as_deref();
        assert!(message.is_none_or(|text| text.contains("shardId-000000000002")), "{message:?}");
    }
    let input = GetShardIteratorInput {
        stream_name: Some("s".into()),
        shard_id: "shardId-000000000002".into(),
        shard_iterator_type: "TRIM_HORIZON".into(),
        ..Default::default()
    };
    let iterator = world.service.get_shard_iterator(&world.call(), input).await.unwrap().shard_iterator.unwrap();
    let read = world.get(&iterator).await.unwrap();
    let numbers: Vec<_> = answer.records.into_iter().filter_map(|record| record.sequence_number).collect();
    assert_eq!(read.records.into_iter().map(|record| record.sequence_number).collect::<Vec<_>>(), numbers);
}

#[tokio::test(start_paused = true)]
async fn some_changes_can_be_made_only_so_often_in_a_day() {
    let of = |config: &mut config::Streams| config.aws_limits = true;
    let key = LogConfig { master_key: Some(base::MasterKey::new([7; 32])), ..LogConfig::default() };
    let world = World::of(key, of).await;
    world.create("s", 2).await;
    // What is refused for another reason does not count.
    assert_eq!(world.scale("s", 9).await.unwrap_err().code, "InvalidArgumentException");
    for target in [4, 2, 4, 2, 4, 2, 4, 2, 4, 2] {
        world.scale("s", target).await.unwrap();
        world.clock.sleep(Duration::from_secs(60)).await;
    }
    let error = world.scale("s", 4).await.unwrap_err();
    assert_eq!(error.code, "LimitExceededException");
    let expected = "UpdateShardCount can be called at most 10 times in a rolling 24-hour period for stream s under \
                    account 000000000000.";
    assert_eq!(error.message, expected);
    world.create("t", 2).await;
    world.scale("t", 4).await.unwrap();
    for n in 0..26 {
        let (started, stopped) = (world.encrypt("s", true).await, world.encrypt("s", false).await);
        for answer in [started, stopped] {
            let refused = (n == 25).then_some("LimitExceededException".into());
            assert_eq!(answer.err().map(|error| error.code), refused, "round {n}");
        }
    }
    world.mode("PROVISIONED").await.unwrap();
    for mode in ["ON_DEMAND", "PROVISIONED", "PROVISIONED"] {
        world.mode(mode).await.unwrap();
    }
    assert_eq!(world.mode("ON_DEMAND").await.unwrap_err().code, "LimitExceededException");
    world.clock.sleep(Duration::from_secs(86_400 - 600)).await;
    world.scale("s", 4).await.unwrap();
    assert_eq!(world.scale("s", 2).await.unwrap_err().code, "LimitExceededException", "the second is not a day ago");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_fails_does_not_count() {
    let world = World::of(LogConfig::default(), |config| (config.aws_limits, config.max_shards) = (true, 3)).await;
    world.create("s", 2).await;
    for _ in 0..30 {
        assert!(world.scale("s", 4).await.unwrap_err().message.contains("shard limit"));
        assert_eq!(world.encrypt("s", true).await.unwrap_err().code, "KMSInvalidStateException");
        world.clock.sleep(Duration::from_secs(1)).await;
    }
    world.scale("s", 3).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_are_counted_and_a_large_answer_rests_the_shard() {
    let world = World::limited().await;
    world.create("s", 1).await;
    for _ in 0..10 {
        world.service.put_records(&world.call(), puts("s", records(8, MIB / 8, false))).await.unwrap();
        world.clock.sleep(Duration::from_secs(1)).await;
    }
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    let read = world.get(&iterator).await.unwrap();
    let bytes: usize = read.records.iter().map(|record| record.data.len()).sum();
    assert!(bytes > 9 * MIB, "{bytes}");
    world.clock.sleep(Duration::from_millis(4_500)).await;
    let next = read.next_shard_iterator.unwrap();
    let error = world.get(&next).await.unwrap_err();
    assert_eq!(error.code, "ProvisionedThroughputExceededException");
    world.clock.sleep(Duration::from_millis(500)).await;
    for _ in 0..5 {
        world.get(&next).await.unwrap();
    }
    assert_eq!(world.get(&next).await.unwrap_err().code, "ProvisionedThroughputExceededException");
    world.clock.sleep(Duration::from_secs(1)).await;
    for _ in 0..5 {
        world.iterate("s", "LATEST", None).await.unwrap();
    }
    assert_eq!(world.iterate("s", "LATEST", None).await.unwrap_err().code, "ProvisionedThroughputExceededException");
}

#[tokio::test(start_paused = true)]
async fn the_control_plane_has_its_rates() {
    let world = World::limited().await;
    world.create("s", 1).await;
    let summary = || DescribeStreamSummaryInput { stream_name: Some("s".into()), ..Default::default() };
    for _ in 0..20 {
        world.service.describe_stream_summary(&world.call(), summary()).await.unwrap();
    }
    let error = world.service.describe_stream_summary(&world.call(), summary()).await.unwrap_err();
    let expected = ("LimitExceededException", "Rate exceeded for account 000000000000.");
    assert_eq!((&*error.code, &*error.message), expected);
    let list = || ListShardsInput { stream_name: Some("s".into()), ..Default::default() };
    for _ in 0..1_000 {
        world.service.list_shards(&world.call(), list()).await.unwrap();
    }
    let error = world.service.list_shards(&world.call(), list()).await.unwrap_err();
    let expected = ("LimitExceededException", "Rate exceeded for stream s under account 000000000000.");
    assert_eq!((&*error.code, &*error.message), expected);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_this_holds_by_default() {
    let world = World::new().await;
    world.create("s", 1).await;
    for _ in 0..5 {
        let answer = world.service.put_records(&world.call(), puts("s", records(500, 100, false))).await.unwrap();
        assert_eq!(answer.failed_record_count, Some(0));
    }
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    for _ in 0..50 {
        world.get(&iterator).await.unwrap();
    }
}
