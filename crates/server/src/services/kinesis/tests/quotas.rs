//! The service's quotas as a client meets them, when they are on.

use std::time::Duration;

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
