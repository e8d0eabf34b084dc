use super::*;
use crate::services::testing::{ACCOUNT, House};

struct World {
    house: House,
    service: Arc<DeliveryService>,
}

impl World {
    async fn new() -> Self {
        let house = House::new().await;
        Self { service: DeliveryService::new(house.flow.deliveries.clone()), house }
    }

    fn call(&self) -> Call {
        self.house.call()
    }

    async fn create(&self, input: CreateDeliveryStreamInput) -> Result<String, ServiceError> {
        Ok(self.service.create_delivery_stream(&self.call(), input).await?.delivery_stream_arn.unwrap())
    }

    async fn names(&self, after: Option<&str>, limit: i32) -> (Vec<String>, bool) {
        let exclusive_start_delivery_stream_name = after.map(str::to_owned);
        let input =
            ListDeliveryStreamsInput { exclusive_start_delivery_stream_name, limit: Some(limit), ..Default::default() };
        let page = self.service.list_delivery_streams(&self.call(), input).await.unwrap();
        (page.delivery_stream_names, page.has_more_delivery_streams)
    }
}

fn role_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/r")
}

fn destination() -> AmazonopensearchserviceDestinationConfiguration {
    AmazonopensearchserviceDestinationConfiguration {
        role_arn: role_arn(),
        domain_arn: Some(format!("arn:aws:es:eu-central-1:{ACCOUNT}:domain/own")),
        index_name: "events".into(),
        s3_configuration: S3DestinationConfiguration {
            role_arn: role_arn(),
            bucket_arn: "arn:aws:s3:::backup".into(),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn input(name: &str, stream: &str) -> CreateDeliveryStreamInput {
    CreateDeliveryStreamInput {
        delivery_stream_name: name.into(),
        delivery_stream_type: Some(FROM_STREAM.into()),
        kinesis_stream_source_configuration: Some(KinesisStreamSourceConfiguration {
            kinesis_stream_arn: stream.into(),
            role_arn: role_arn(),
            ..Default::default()
        }),
        amazonopensearchservice_destination_configuration: Some(destination()),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_stream_is_created_with_the_service_s_defaults_shown_listed_and_deleted() {
    let world = World::new().await;
    let stream = world.house.stream("s").await;
    let arn = world.create(input("a", &stream)).await.unwrap();
    assert_eq!(arn, format!("arn:aws:firehose:eu-central-1:{ACCOUNT}:deliverystream/a"));
    let error = world.create(input("a", &stream)).await.unwrap_err();
    assert_eq!(error.code, "ResourceInUseException");
    world.create(input("b", &stream)).await.unwrap();
    assert_eq!(world.names(None, 1).await, (vec!["a".to_owned()], true));
    assert_eq!(world.names(Some("a"), 1).await, (vec!["b".to_owned()], false));
    let describe = DescribeDeliveryStreamInput { delivery_stream_name: "a".into(), ..Default::default() };
    let shown = world.service.describe_delivery_stream(&world.call(), describe.clone()).await.unwrap();
    let shown = shown.delivery_stream_description;
    assert_eq!((&*shown.delivery_stream_status, &*shown.delivery_stream_type), ("ACTIVE", FROM_STREAM));
    let to = shown.destinations[0].amazonopensearchservice_destination_description.clone().unwrap();
    let hints = to.buffering_hints.unwrap();
    assert_eq!((hints.interval_in_seconds, hints.size_in_mbs), (Some(300), Some(5)));
    assert_eq!(to.retry_options.unwrap().duration_in_seconds, Some(300));
    assert_eq!(to.s3_backup_mode.as_deref(), Some("FailedDocumentsOnly"));
    assert_eq!(to.index_rotation_period.as_deref(), Some("OneDay"));
    let delete = DeleteDeliveryStreamInput { delivery_stream_name: "a".into(), ..Default::default() };
    world.service.delete_delivery_stream(&world.call(), delete.clone()).await.unwrap();
    for code in [
        world.service.delete_delivery_stream(&world.call(), delete).await.unwrap_err().code,
        world.service.describe_delivery_stream(&world.call(), describe).await.unwrap_err().code,
    ] {
        assert_eq!(code, "ResourceNotFoundException");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_executed_is_refused() {
    let world = World::new().await;
    let stream = world.house.stream("s").await;
    let to = |to| CreateDeliveryStreamInput {
        amazonopensearchservice_destination_configuration: Some(to),
        ..input("a", &stream)
    };
    let own = destination();
    let backup =
        |config| to(AmazonopensearchserviceDestinationConfiguration { s3_configuration: config, ..destination() });
    let processing = ProcessingConfiguration { enabled: Some(true), ..Default::default() };
    for bad in [
        CreateDeliveryStreamInput { delivery_stream_type: None, ..input("a", &stream) },
        CreateDeliveryStreamInput { delivery_stream_type: Some("MSKAsSource".into()), ..input("a", &stream) },
        CreateDeliveryStreamInput { kinesis_stream_source_configuration: None, ..input("a", &stream) },
        CreateDeliveryStreamInput {
            direct_put_source_configuration: Some(DirectPutSourceConfiguration {
                throughput_hint_in_mbs: 1,
                ..Default::default()
            }),
            ..input("a", &stream)
        },
        CreateDeliveryStreamInput { amazonopensearchservice_destination_configuration: None, ..input("a", &stream) },
        CreateDeliveryStreamInput { tags: Some(vec![Tag::default()]), ..input("a", &stream) },
        input("a", &format!("{stream}-missing")),
        input("a", &stream.replace("eu-central-1", "us-east-1")),
        to(AmazonopensearchserviceDestinationConfiguration { domain_arn: None, ..own.clone() }),
        to(AmazonopensearchserviceDestinationConfiguration {
            domain_arn: Some(format!("arn:aws:es:eu-central-1:{ACCOUNT}:domain/other")),
            ..own.clone()
        }),
        to(AmazonopensearchserviceDestinationConfiguration { type_name: Some("doc".into()), ..own.clone() }),
        to(AmazonopensearchserviceDestinationConfiguration {
            processing_configuration: Some(processing),
            ..own.clone()
        }),
        backup(S3DestinationConfiguration { compression_format: Some("GZIP".into()), ..own.s3_configuration.clone() }),
        backup(S3DestinationConfiguration { bucket_arn: role_arn(), ..own.s3_configuration.clone() }),
        backup(S3DestinationConfiguration { prefix: Some("../".into()), ..own.s3_configuration.clone() }),
    ] {
        let error = world.create(bad).await.unwrap_err();
        let codes = ["InvalidArgumentException", "NotImplemented"];
        assert!(codes.contains(&&*error.code), "{}: {}", error.code, error.message);
    }
    assert_eq!(world.names(None, 10).await, (vec![], false));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_put_on_a_stream_that_has_a_source() {
    let world = World::new().await;
    let stream = world.house.stream("s").await;
    let put = async || {
        let input = PutRecordInput { delivery_stream_name: "a".into(), ..Default::default() };
        world.service.put_record(&world.call(), input).await.unwrap_err()
    };
    assert_eq!(put().await.code, "ResourceNotFoundException");
    world.create(input("a", &stream)).await.unwrap();
    let error = put().await;
    assert_eq!(error.code, "InvalidArgumentException");
    assert!(error.message.starts_with("This operation is not permitted on KinesisStreamAsSource"), "{}", error.message);
}

fn direct(name: &str) -> CreateDeliveryStreamInput {
    CreateDeliveryStreamInput {
        delivery_stream_type: None,
        kinesis_stream_source_configuration: None,
        direct_put_source_configuration: Some(DirectPutSourceConfiguration {
            throughput_hint_in_mbs: 7,
            ..Default::default()
        }),
        ..input(name, "")
    }
}

#[tokio::test(start_paused = true)]
async fn a_delivery_stream_that_records_are_put_on_is_shown_and_listed_as_one() {
    let world = World::new().await;
    let stream = world.house.stream("s").await;
    world.create(direct("a")).await.unwrap();
    world.create(input("b", &stream)).await.unwrap();
    let list = async |kind: &str| {
        let input = ListDeliveryStreamsInput { delivery_stream_type: Some(kind.into()), ..Default::default() };
        world.service.list_delivery_streams(&world.call(), input).await.unwrap().delivery_stream_names
    };
    assert_eq!((list(DIRECT).await, list(FROM_STREAM).await), (vec!["a".to_owned()], vec!["b".to_owned()]));
    let describe = DescribeDeliveryStreamInput { delivery_stream_name: "a".into(), ..Default::default() };
    let shown = world.service.describe_delivery_stream(&world.call(), describe).await.unwrap();
    let shown = shown.delivery_stream_description;
    let hint = shown.source.unwrap().direct_put_source_description.unwrap().throughput_hint_in_mbs;
    assert_eq!((&*shown.delivery_stream_type, hint), (DIRECT, Some(7)));
}

#[tokio::test(start_paused = true)]
async fn records_are_put_one_by_one_and_in_batches_within_the_service_s_limits() {
    let world = World::new().await;
    world.create(direct("a")).await.unwrap();
    let record = |bytes: usize| Record { data: vec![b'x'; bytes].into(), ..Default::default() };
    let put = async |stream: &str| {
        let input = PutRecordInput { delivery_stream_name: stream.into(), record: record(1), ..Default::default() };
        world.service.put_record(&world.call(), input).await
    };
    let batch = async |records: Vec<Record>| {
        let input = PutRecordBatchInput { delivery_stream_name: "a".into(), records, ..Default::default() };
        world.service.put_record_batch(&world.call(), input).await
    };
    assert_eq!(put("b").await.unwrap_err().code, "ResourceNotFoundException");
    let first = put("a").await.unwrap();
    assert_eq!((first.record_id.len(), first.encrypted), (56, Some(false)));
    let answer = batch((0..500).map(record).collect()).await.unwrap();
    assert_eq!((answer.failed_put_count, answer.request_responses.len()), (0, 500));
    let ids: Vec<String> = answer.request_responses.into_iter().map(|entry| entry.record_id.unwrap()).collect();
    assert!(first.record_id < ids[0] && ids.is_sorted(), "ids are the order of the records");
    let most = 1_000 << 10;
    batch(vec![record(most), record(most), record(most), record(most), record((4 << 20) - 4 * most)]).await.unwrap();
    let error = batch((0..5).map(|_| record(most)).collect()).await.unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("InvalidArgumentException", "Records size exceeds 4 MB limit"));
    let delete = DeleteDeliveryStreamInput { delivery_stream_name: "a".into(), ..Default::default() };
    world.service.delete_delivery_stream(&world.call(), delete).await.unwrap();
    assert_eq!(put("a").await.unwrap_err().code, "ResourceNotFoundException");
}
