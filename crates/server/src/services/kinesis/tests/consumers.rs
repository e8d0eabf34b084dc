//! Consumers: registration, names and ARNs, their limit, and a stream that has some.

use super::*;

const STREAM: &str = "arn:aws:kinesis:eu-central-1:000000000000:stream/s";

impl World {
    pub(super) async fn register(&self, name: &str) -> Result<Consumer, ServiceError> {
        let input =
            RegisterStreamConsumerInput { stream_arn: STREAM.into(), consumer_name: name.into(), ..Default::default() };
        Ok(self.service.register_stream_consumer(&self.call(), input).await?.consumer)
    }

    pub(super) async fn deregister(&self, arn: &str) -> Result<(), ServiceError> {
        let input = DeregisterStreamConsumerInput { consumer_arn: Some(arn.into()), ..Default::default() };
        self.service.deregister_stream_consumer(&self.call(), input).await.map(drop)
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_found_by_its_arn_and_by_its_name() {
    let world = World::new().await;
    world.create("s", 1).await;
    let consumer = world.register("c").await.unwrap();
    assert_eq!(consumer.consumer_arn, format!("{STREAM}/consumer/c:1700000000"));
    assert_eq!((consumer.consumer_status.as_str(), consumer.consumer_creation_timestamp), ("ACTIVE", NOW));
    let error = world.register("c").await.unwrap_err();
    assert_eq!(error.code, "ResourceInUseException");
    assert_eq!(error.message, "Consumer c under stream s already exists for account 000000000000.");
    let describe = async |arn: Option<&str>, stream: Option<&str>, name: Option<&str>| {
        let input = DescribeStreamConsumerInput {
            consumer_arn: arn.map(str::to_owned),
            stream_arn: stream.map(str::to_owned),
            consumer_name: name.map(str::to_owned),
            ..Default::default()
        };
        world.service.describe_stream_consumer(&world.call(), input).await.map(|output| output.consumer_description)
    };
    let arn = Some(consumer.consumer_arn.as_str());
    let by_arn = describe(arn, None, None).await.unwrap();
    assert_eq!(by_arn.stream_arn, STREAM);
    assert_eq!(describe(None, Some(STREAM), Some("c")).await.unwrap(), by_arn);
    assert_eq!(describe(arn, Some(STREAM), Some("c")).await.unwrap(), by_arn);
    for (arn, stream, name, code) in [
        (arn, Some(STREAM), Some("d"), "InvalidArgumentException"),
        (None, Some(STREAM), None, "InvalidArgumentException"),
        (None, None, Some("c"), "InvalidArgumentException"),
        (arn, None, Some("c"), "InvalidArgumentException"),
        (None, None, None, "InvalidArgumentException"),
        (None, Some(STREAM), Some("d"), "ResourceNotFoundException"),
    ] {
        assert_eq!(describe(arn, stream, name).await.unwrap_err().code, code, "{arn:?} {stream:?} {name:?}");
    }
    world.deregister(&consumer.consumer_arn).await.unwrap();
    assert_eq!(world.deregister(&consumer.consumer_arn).await.unwrap_err().code, "ResourceNotFoundException");
    // In the same second, and yet another ARN.
    let again = world.register("c").await.unwrap();
    assert_ne!(again.consumer_arn, consumer.consumer_arn);
    assert_eq!(describe(arn, None, None).await.unwrap_err().code, "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_twenty_consumers_which_are_listed_by_pages() {
    let world = World::new().await;
    world.create("s", 1).await;
    for n in 0..20 {
        world.register(&format!("c{n:02}")).await.unwrap();
    }
    assert_eq!(world.register("one-more").await.unwrap_err().code, "LimitExceededException");
    let list = async |next_token| {
        let input = ListStreamConsumersInput {
            stream_arn: STREAM.into(),
            max_results: Some(7),
            next_token,
            ..Default::default()
        };
        world.service.list_stream_consumers(&world.call(), input).await
    };
    let (mut names, mut next) = (Vec::new(), None);
    loop {
        let page = list(next).await.unwrap();
        names.extend(page.consumers.unwrap().into_iter().map(|consumer| consumer.consumer_name));
        next = page.next_token;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(names, (0..20).map(|n| format!("c{n:02}")).collect::<Vec<_>>());
    assert_eq!(list(Some("made up".into())).await.unwrap_err().code, "InvalidArgumentException");
    let token = list(None).await.unwrap().next_token;
    world.clock.shift_wall(301_000);
    assert_eq!(list(token).await.unwrap_err().code, "ExpiredNextTokenException");
    let describe = DescribeStreamSummaryInput { stream_name: Some("s".into()), ..Default::default() };
    let summary = world.service.describe_stream_summary(&world.call(), describe).await.unwrap();
    assert_eq!(summary.stream_description_summary.consumer_count, Some(20));
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_consumers_is_deleted_only_when_that_is_enforced() {
    let world = World::new().await;
    world.create("s", 1).await;
    let consumer = world.register("c").await.unwrap();
    let delete = async |enforce_consumer_deletion| {
        let input =
            DeleteStreamInput { stream_name: Some("s".into()), enforce_consumer_deletion, ..Default::default() };
        world.service.delete_stream(&world.call(), input).await
    };
    for refused in [None, Some(false)] {
        let error = delete(refused).await.unwrap_err();
        assert_eq!(error.code, "ResourceInUseException");
        assert!(error.message.contains("there are consumers associated"), "{}", error.message);
    }
    delete(Some(true)).await.unwrap();
    world.create("s", 1).await;
    assert_eq!(world.deregister(&consumer.consumer_arn).await.unwrap_err().code, "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn of_a_registration_and_a_deletion_at_once_one_is_refused() {
    let world = World::new().await;
    world.create("s", 1).await;
    let (call, delete) = (world.call(), DeleteStreamInput { stream_name: Some("s".into()), ..Default::default() });
    let (registered, deleted) = tokio::join!(world.register("c"), world.service.delete_stream(&call, delete.clone()));
    let consumer = registered.unwrap();
    assert_eq!(deleted.unwrap_err().code, "ResourceInUseException");
    world.deregister(&consumer.consumer_arn).await.unwrap();
    // A deletion that has begun, and that no thread can end before the registration looks.
    let deleting = world.service.endings.delete(&world.service.stream(&call, Some("s"), None).unwrap(), false);
    let error = world.register("c").await.unwrap_err();
    assert_eq!(error.code, "ResourceInUseException");
    assert_eq!(error.message, "Stream s under account 000000000000 not ACTIVE, instead in state DELETING");
    drop(deleting);
    world.service.delete_stream(&call, delete).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_set_on_a_stream_that_is_gone_is_not_set() {
    let world = World::new().await;
    world.create("s", 1).await;
    let stream = world.service.stream(&world.call(), Some("s"), None).unwrap();
    let input = DeleteStreamInput {
        stream_name: Some("s".into()),
        enforce_consumer_deletion: Some(true),
        ..Default::default()
    };
    world.service.delete_stream(&world.call(), input).await.unwrap();
    world.create("s", 1).await;
    let set = world.service.set(&stream, |settings| {
        settings.last_epoch = 7;
        Ok(())
    });
    assert_eq!(set.await.unwrap_err().code, "ResourceNotFoundException");
}
