//! What a stream can be set to: mode, sizes, retention, encryption, monitoring; and the account's settings.

use base::MasterKey;

use super::*;

const STREAM: &str = "arn:aws:kinesis:eu-central-1:000000000000:stream/s";

impl World {
    async fn summary(&self, name: &str) -> StreamDescriptionSummary {
        let input = DescribeStreamSummaryInput { stream_name: Some(name.into()), ..Default::default() };
        self.service.describe_stream_summary(&self.call(), input).await.unwrap().stream_description_summary
    }

    /// What an iterator gives up to the tip, call by call.
    async fn read_all(&self, iterator: &str) -> Vec<String> {
        let (mut iterator, mut read) = (iterator.to_owned(), Vec::new());
        loop {
            let answer = self.get(&iterator).await.unwrap();
            read.extend(texts(&answer));
            match answer.next_shard_iterator {
                Some(next) if answer.millis_behind_latest != Some(0) || !answer.records.is_empty() => iterator = next,
                _ => return read,
            }
        }
    }

    pub(super) async fn mode(&self, mode: &str) -> Result<(), ServiceError> {
        let input = UpdateStreamModeInput {
            stream_arn: STREAM.into(),
            stream_mode_details: StreamModeDetails { stream_mode: mode.into(), ..Default::default() },
            ..Default::default()
        };
        self.service.update_stream_mode(&self.call(), input).await.map(drop)
    }

    pub(super) async fn encrypt(&self, name: &str, on: bool) -> Result<(), ServiceError> {
        let (stream_name, key_id) = (Some(name.to_owned()), "alias/aws/kinesis".to_owned());
        let encryption_type = "KMS".to_owned();
        if on {
            let input = StartStreamEncryptionInput { stream_name, encryption_type, key_id, ..Default::default() };
            return self.service.start_stream_encryption(&self.call(), input).await.map(drop);
        }
        let input = StopStreamEncryptionInput { stream_name, encryption_type, key_id, ..Default::default() };
        self.service.stop_stream_encryption(&self.call(), input).await.map(drop)
    }

    async fn warm(&self, mibps: i32) -> Result<UpdateStreamWarmThroughputOutput, ServiceError> {
        let input = UpdateStreamWarmThroughputInput {
            stream_name: Some("s".into()),
            warm_throughput_mibps: mibps,
            ..Default::default()
        };
        self.service.update_stream_warm_throughput(&self.call(), input).await
    }

    async fn commitment(&self, status: &str) -> MinimumThroughputBillingCommitmentOutput {
        let wanted = MinimumThroughputBillingCommitmentInput { status: status.into(), ..Default::default() };
        let input = UpdateAccountSettingsInput { minimum_throughput_billing_commitment: wanted, ..Default::default() };
        let updated = self.service.update_account_settings(&self.call(), input).await.unwrap();
        let shown = self.service.describe_account_settings(&self.call(), DescribeAccountSettingsInput::default()).await;
        let updated = updated.minimum_throughput_billing_commitment.unwrap();
        assert_eq!(shown.unwrap().minimum_throughput_billing_commitment.as_ref(), Some(&updated));
        updated
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_word_a_stream_is_on_demand_and_refuses_to_be_resharded() {
    let world = World::new().await;
    let input = CreateStreamInput { stream_name: "s".into(), ..Default::default() };
    world.service.create_stream(&world.call(), input).await.unwrap();
    let summary = world.summary("s").await;
    assert_eq!((summary.open_shard_count, summary.stream_mode_details.unwrap().stream_mode), (4, "ON_DEMAND".into()));
    let error = world.split("s", "shardId-000000000000", "5").await.unwrap_err();
    assert_eq!(error.code, "ValidationException");
    assert!(error.message.contains("in On-Demand mode"), "{}", error.message);
    let limits = world.service.describe_limits(&world.call(), DescribeLimitsInput::default()).await.unwrap();
    assert_eq!(limits.on_demand_stream_count, 1);
    world.mode("PROVISIONED").await.unwrap();
    assert_eq!(world.summary("s").await.open_shard_count, 4);
    world.split("s", "shardId-000000000000", "500").await.unwrap();
    world.mode("ON_DEMAND").await.unwrap();
    let listed = world.service.list_streams(&world.call(), ListStreamsInput::default()).await.unwrap();
    let listed = listed.stream_summaries.unwrap().remove(0);
    assert_eq!(listed.stream_mode_details.unwrap().stream_mode, "ON_DEMAND");
}

#[tokio::test(start_paused = true)]
async fn warm_throughput_needs_a_commitment_and_opens_shards() {
    let world = World::new().await;
    let input = CreateStreamInput { stream_name: "s".into(), ..Default::default() };
    world.service.create_stream(&world.call(), input).await.unwrap();
    assert_eq!(world.warm(10).await.unwrap_err().code, "ValidationException");
    let committed = world.commitment("ENABLED").await;
    assert_eq!((committed.status.as_str(), committed.started_at), ("ENABLED", Some(NOW)));
    let warm = world.warm(10).await.unwrap().warm_throughput.unwrap();
    assert_eq!((warm.target_mibps, warm.current_mibps), (Some(10), Some(10)));
    assert_eq!(world.summary("s").await.open_shard_count, 10);
    // Less is only promised less: the shards that are not needed go when the traffic does.
    world.warm(2).await.unwrap();
    let summary = world.summary("s").await;
    assert_eq!((summary.open_shard_count, summary.warm_throughput.unwrap().target_mibps), (10, Some(2)));
    assert_eq!(world.warm(10_241).await.unwrap_err().code, "InvalidArgumentException");
    let ending = world.commitment("DISABLED").await;
    assert_eq!(ending.status, "ENABLED_UNTIL_EARLIEST_ALLOWED_END");
    assert_eq!(ending.earliest_allowed_end_at, Some(NOW + Duration::from_secs(86_400)));
    assert_eq!(world.commitment("ENABLED").await.status, "ENABLED");
    world.mode("PROVISIONED").await.unwrap();
    assert_eq!(world.warm(10).await.unwrap_err().code, "ValidationException");
    assert_eq!(world.summary("s").await.warm_throughput, None);
}

#[tokio::test(start_paused = true)]
async fn a_record_may_be_as_large_as_the_stream_says() {
    let world = World::new().await;
    world.create("s", 1).await;
    let put = async |bytes: usize| {
        world.service.put_records(&world.call(), puts("s", vec![entry("k", vec![0; bytes])])).await.map(|_| ())
    };
    assert_eq!(put(2 << 20).await.unwrap_err().code, "ValidationException");
    let input = UpdateMaxRecordSizeInput {
        stream_arn: Some(STREAM.into()),
        max_record_size_in_kib: 10_240,
        ..Default::default()
    };
    world.service.update_max_record_size(&world.call(), input).await.unwrap();
    assert_eq!(world.summary("s").await.max_record_size_in_kib, Some(10_240));
    put((10 << 20) - 1).await.unwrap();
    assert_eq!(put(10 << 20).await.unwrap_err().code, "ValidationException");
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    assert_eq!(world.get(&iterator).await.unwrap().records[0].data.len(), (10 << 20) - 1);
    let create = CreateStreamInput {
        stream_name: "large".into(),
        shard_count: Some(1),
        max_record_size_in_kib: Some(2_048),
        ..Default::default()
    };
    world.service.create_stream(&world.call(), create).await.unwrap();
    assert_eq!(world.summary("large").await.max_record_size_in_kib, Some(2_048));
}

#[tokio::test(start_paused = true)]
async fn retention_goes_up_and_down_by_its_own_operations() {
    let world = World::new().await;
    world.create("s", 1).await;
    let increase = async |hours| {
        let input = IncreaseStreamRetentionPeriodInput {
            stream_name: Some("s".into()),
            retention_period_hours: hours,
            ..Default::default()
        };
        world.service.increase_stream_retention_period(&world.call(), input).await.map(drop)
    };
    let decrease = async |hours| {
        let input = DecreaseStreamRetentionPeriodInput {
            stream_name: Some("s".into()),
            retention_period_hours: hours,
            ..Default::default()
        };
        world.service.decrease_stream_retention_period(&world.call(), input).await.map(drop)
    };
    increase(8_760).await.unwrap();
    assert_eq!(world.summary("s").await.retention_period_hours, 8_760);
    decrease(48).await.unwrap();
    increase(48).await.unwrap();
    decrease(48).await.unwrap();
    for (refused, expected) in [
        (increase(24).await, "can not be shorter than existing retention period (48 hours)"),
        (decrease(72).await, "can not be longer than existing retention period (48 hours)"),
        (decrease(23).await, "Minimum allowed retention period is 24 hours"),
        (increase(8_761).await, "Maximum allowed retention period is 8760 hours"),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.code, "InvalidArgumentException");
        assert!(error.message.contains(expected), "{}", error.message);
    }
    assert_eq!(world.summary("s").await.retention_period_hours, 48);
}

#[tokio::test(start_paused = true)]
async fn encryption_is_by_the_key_that_kinesis_owns() {
    let config = LogConfig { master_key: Some(MasterKey::new([7; 32])), ..LogConfig::default() };
    let world = World::with(config).await;
    world.create("s", 1).await;
    world.put("s", "plain").await;
    let start = async |key: &str| {
        let input = StartStreamEncryptionInput {
            stream_name: Some("s".into()),
            encryption_type: "KMS".into(),
            key_id: key.into(),
            ..Default::default()
        };
        world.service.start_stream_encryption(&world.call(), input).await.map(drop)
    };
    let error = start("12345678-1234-1234-1234-123456789012").await.unwrap_err();
    assert_eq!(error.code, "KMSNotFoundException");
    assert!(error.message.contains("alias/aws/kinesis"), "{}", error.message);
    let arn = "arn:aws:kms:eu-central-1:000000000000:alias/aws/kinesis";
    for key in ["alias/aws/kinesis", arn] {
        start(key).await.unwrap();
        let summary = world.summary("s").await;
        assert_eq!((summary.encryption_type.as_deref(), summary.key_id.as_deref()), (Some("KMS"), Some(key)));
    }
    assert_eq!(world.put("s", "sealed").await.encryption_type.as_deref(), Some("KMS"));
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    assert_eq!(world.read_all(&iterator).await, ["plain", "sealed"]);
    let stop = StopStreamEncryptionInput {
        stream_arn: Some(STREAM.into()),
        encryption_type: "KMS".into(),
        key_id: arn.into(),
        ..Default::default()
    };
    world.service.stop_stream_encryption(&world.call(), stop).await.unwrap();
    let summary = world.summary("s").await;
    assert_eq!((summary.encryption_type.as_deref(), summary.key_id), (Some("NONE"), None));
    assert_eq!(world.read_all(&iterator).await, ["plain", "sealed"]);
}

#[tokio::test(start_paused = true)]
async fn a_record_says_how_it_was_written_whatever_its_stream_is_set_to() {
    let config = LogConfig { master_key: Some(MasterKey::new([7; 32])), ..LogConfig::default() };
    let world = World::with(config).await;
    world.create("s", 1).await;
    for (n, encrypted) in [false, true, false].into_iter().enumerate() {
        if n > 0 {
            world.encrypt("s", encrypted).await.unwrap();
        }
        world.put("s", &n.to_string()).await;
        let (mut next, mut kinds) = (world.iterate("s", "TRIM_HORIZON", None).await.unwrap(), Vec::new());
        while kinds.len() <= n {
            let read = world.get(&next).await.unwrap();
            kinds.extend(read.records.into_iter().map(|record| record.encryption_type));
            next = read.next_shard_iterator.unwrap();
        }
        let kinds: Vec<_> = kinds.iter().map(Option::as_deref).collect();
        assert_eq!(kinds, [None, Some("KMS"), None][..=n]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_on_demand_stream_distributes_by_partition_key_and_cannot_otherwise() {
    let world = World::new().await;
    world
        .service
        .create_stream(&world.call(), CreateStreamInput { stream_name: "s".into(), ..Default::default() })
        .await
        .unwrap();
    let update = async |strategy: &str| {
        let input = UpdateStreamRecordDistributionStrategyInput {
            stream_arn: STREAM.into(),
            record_distribution_strategy: strategy.into(),
            ..Default::default()
        };
        world.service.update_stream_record_distribution_strategy(&world.call(), input).await.map(drop)
    };
    update("USER_PARTITION_KEY").await.unwrap();
    assert_eq!(world.summary("s").await.record_distribution_strategy.as_deref(), Some("USER_PARTITION_KEY"));
    let error = update("AUTO").await.unwrap_err();
    assert_eq!((&*error.code, error.status), ("NotImplemented", Some(501)));
    assert!(error.message.starts_with("RecordDistributionStrategy AUTO of "), "{}", error.message);
    world.mode("PROVISIONED").await.unwrap();
    assert_eq!(world.summary("s").await.record_distribution_strategy, None);
    assert_eq!(update("AUTO").await.unwrap_err().code, "InvalidArgumentException");
}

#[tokio::test(start_paused = true)]
async fn encryption_without_a_master_key_is_refused() {
    let world = World::new().await;
    world.create("s", 1).await;
    let input = StartStreamEncryptionInput {
        stream_name: Some("s".into()),
        encryption_type: "KMS".into(),
        key_id: "alias/aws/kinesis".into(),
        ..Default::default()
    };
    let error = world.service.start_stream_encryption(&world.call(), input).await.unwrap_err();
    assert_eq!(error.code, "KMSInvalidStateException");
}

#[tokio::test(start_paused = true)]
async fn shard_level_metrics_are_turned_on_and_off() {
    let world = World::new().await;
    world.create("s", 1).await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let enable = EnableEnhancedMonitoringInput {
        stream_name: Some("s".into()),
        shard_level_metrics: names(&["ALL"]),
        ..Default::default()
    };
    let answer = world.service.enable_enhanced_monitoring(&world.call(), enable).await.unwrap();
    assert_eq!(answer.current_shard_level_metrics, Some(Vec::new()));
    assert_eq!(answer.desired_shard_level_metrics.map(|all| all.len()), Some(7));
    let disable = DisableEnhancedMonitoringInput {
        stream_arn: Some(STREAM.into()),
        shard_level_metrics: names(&["IncomingBytes", "IteratorAgeMilliseconds"]),
        ..Default::default()
    };
    let answer = world.service.disable_enhanced_monitoring(&world.call(), disable).await.unwrap();
    assert_eq!(answer.desired_shard_level_metrics.as_ref().map(Vec::len), Some(5));
    let shown = world.summary("s").await.enhanced_monitoring.remove(0).shard_level_metrics;
    assert_eq!(shown, answer.desired_shard_level_metrics);
}
