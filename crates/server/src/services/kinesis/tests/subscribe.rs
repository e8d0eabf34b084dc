//! SubscribeToShard: what is pushed, how long, and to whom.

use flow::mapping::{StreamConsumer, StreamConsumers};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::*;

type Pushed = BoxStream<'static, Result<SubscribeToShardEventStream, ServiceError>>;

impl World {
    async fn subscribe(&self, arn: &str, shard: &str, start: StartingPosition) -> Result<Pushed, ServiceError> {
        let input = SubscribeToShardInput {
            consumer_arn: arn.into(),
            shard_id: shard.into(),
            starting_position: start,
            ..Default::default()
        };
        Ok(self.service.subscribe_to_shard(&self.call(), input).await?.events)
    }

    /// A stream of one shard and a consumer of it.
    async fn with_consumer() -> (Self, String) {
        let world = Self::new().await;
        world.create("s", 1).await;
        let arn = world.register("c").await.unwrap().consumer_arn;
        (world, arn)
    }
}

const SHARD: &str = "shardId-000000000000";

fn from(kind: &str, number: Option<&str>) -> StartingPosition {
    StartingPosition { r#type: kind.into(), sequence_number: number.map(str::to_owned), ..Default::default() }
}

async fn event(events: &mut Pushed) -> SubscribeToShardEvent {
    match events.next().await {
        Some(Ok(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => event,
        Some(Err(error)) => panic!("{error}"),
        None => panic!("the subscription ended"),
    }
}

fn data(event: &SubscribeToShardEvent) -> Vec<String> {
    event.records.iter().map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn records_are_pushed_as_soon_as_they_are_there() {
    let (world, arn) = World::with_consumer().await;
    world.put("s", "old").await;
    let mut events = world.subscribe(&arn, SHARD, from("LATEST", None)).await.unwrap();
    let before = world.env.clock.instant();
    let (event, put) = tokio::join!(event(&mut events), world.put("s", "new"));
    assert_eq!(data(&event), ["new"]);
    assert_eq!(world.env.clock.instant(), before, "no time passes between a put and its push");
    assert_eq!(event.continuation_sequence_number.as_ref(), Some(&put.sequence_number));
    assert_eq!((event.millis_behind_latest, event.child_shards), (0, None));
}

#[tokio::test(start_paused = true)]
async fn reading_goes_on_after_the_number_of_the_last_event() {
    let (world, arn) = World::with_consumer().await;
    let start = from("TRIM_HORIZON", None);
    let mut events = world.subscribe(&arn, SHARD, start).await.unwrap();
    // Nothing was ever put: the number is of the shard's opening.
    let mut number = event(&mut events).await.continuation_sequence_number.unwrap();
    for round in 0..3 {
        world.put("s", &round.to_string()).await;
        world.env.clock.sleep(Duration::from_secs(6)).await;
        drop(events);
        events = world.subscribe(&arn, SHARD, from("AFTER_SEQUENCE_NUMBER", Some(&number))).await.unwrap();
        let event = event(&mut events).await;
        assert_eq!(data(&event), [round.to_string()]);
        number = event.continuation_sequence_number.unwrap();
    }
    // Records past their retention are passed, and the number is still one that can be gone on from.
    world.env.clock.sleep(Duration::from_secs(25 * 3_600)).await;
    let mut events = world.subscribe(&arn, SHARD, from("TRIM_HORIZON", None)).await.unwrap();
    let empty = event(&mut events).await;
    assert!(empty.records.is_empty());
    world.env.clock.sleep(Duration::from_secs(6)).await;
    let number = empty.continuation_sequence_number.unwrap();
    assert!(world.subscribe(&arn, SHARD, from("AFTER_SEQUENCE_NUMBER", Some(&number))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_lives_five_minutes_and_its_heart_beats() {
    let (world, arn) = World::with_consumer().await;
    let mut events = world.subscribe(&arn, SHARD, from("LATEST", None)).await.unwrap();
    let start = world.env.clock.instant();
    let mut beats = 0;
    while let Some(event) = events.next().await {
        let Ok(SubscribeToShardEventStream::SubscribeToShardEvent(event)) = event else { panic!("it failed") };
        assert!(event.records.is_empty() && event.continuation_sequence_number.is_some());
        beats += 1;
    }
    assert_eq!(world.env.clock.instant() - start, Duration::from_secs(300));
    assert_eq!(beats, 59);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_shard_its_children_are_named_and_the_subscription_ends() {
    let (world, arn) = World::with_consumer().await;
    world.put("s", "last").await;
    let mut events = world.subscribe(&arn, SHARD, from("TRIM_HORIZON", None)).await.unwrap();
    assert_eq!(data(&event(&mut events).await), ["last"]);
    let (end, split) = tokio::join!(event(&mut events), world.split("s", SHARD, "500"));
    split.unwrap();
    assert!(end.records.is_empty());
    assert_eq!(end.continuation_sequence_number, None, "by which clients know a shard's end");
    let children: Vec<_> = end.child_shards.unwrap().into_iter().map(|child| child.shard_id).collect();
    assert_eq!(children, ["shardId-000000000001", "shardId-000000000002"]);
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_second_call_is_refused_at_first_and_takes_over_later() {
    let (world, arn) = World::with_consumer().await;
    let mut first = world.subscribe(&arn, SHARD, from("LATEST", None)).await.unwrap();
    world.env.clock.sleep(Duration::from_millis(4_900)).await;
    let Err(refused) = world.subscribe(&arn, SHARD, from("LATEST", None)).await else { panic!("not refused") };
    assert_eq!(refused.code, "ResourceInUseException");
    assert!(refused.message.starts_with("Another active subscription exists for this consumer"), "{refused}");
    let other = world.register("other").await.unwrap().consumer_arn;
    assert!(world.subscribe(&other, SHARD, from("LATEST", None)).await.is_ok());
    event(&mut first).await;
    world.env.clock.sleep(Duration::from_secs(1)).await;
    let mut second = world.subscribe(&arn, SHARD, from("LATEST", None)).await.unwrap();
    let Some(Err(error)) = first.next().await else { panic!("the first goes on") };
    assert_eq!(error.code, "ResourceInUseException");
    assert!(first.next().await.is_none());
    let (event, _) = tokio::join!(event(&mut second), world.put("s", "x"));
    assert_eq!(data(&event), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_its_consumer_and_with_its_stream() {
    let (world, arn) = World::with_consumer().await;
    let other = world.register("other").await.unwrap().consumer_arn;
    let mut one = world.subscribe(&arn, SHARD, from("LATEST", None)).await.unwrap();
    let mut two = world.subscribe(&other, SHARD, from("LATEST", None)).await.unwrap();
    world.deregister(&arn).await.unwrap();
    let mut ended = None;
    while let Some(event) = one.next().await {
        ended = event.err().map(|error| error.code);
    }
    assert_eq!(ended.as_deref(), Some("ResourceNotFoundException"));
    let delete = DeleteStreamInput {
        stream_name: Some("s".into()),
        enforce_consumer_deletion: Some(true),
        ..Default::default()
    };
    let call = world.call();
    let (event, deleted) = tokio::join!(two.next(), world.service.delete_stream(&call, delete));
    deleted.unwrap();
    let Some(Err(error)) = event else { panic!("it goes on") };
    assert_eq!(error.code, "ResourceNotFoundException");
    assert!(two.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_idle_subscription_ends_when_its_consumer_does_and_no_later() {
    let (world, arn) = World::with_consumer().await;
    let other = world.register("other").await.unwrap().consumer_arn;
    let mut one = world.subscribe(&arn, SHARD, from("LATEST", None)).await.unwrap();
    let mut two = world.subscribe(&other, SHARD, from("LATEST", None)).await.unwrap();
    let before = world.env.clock.instant();
    let (event, deregistered) = tokio::join!(one.next(), world.deregister(&arn));
    deregistered.unwrap();
    let Some(Err(error)) = event else { panic!("it goes on") };
    assert_eq!(error.code, "ResourceNotFoundException");
    assert_eq!(world.env.clock.instant(), before, "no time passes");
    assert!(one.next().await.is_none());
    // Another consumer's goes on.
    let (pushed, _) = tokio::join!(self::event(&mut two), world.put("s", "x"));
    assert_eq!(data(&pushed), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_subscribed_to_is_refused() {
    let (world, arn) = World::with_consumer().await;
    let missing = format!("{arn}1");
    let number = world.put("s", "x").await.sequence_number;
    for (arn, shard, start, code) in [
        (missing.as_str(), SHARD, from("LATEST", None), "ResourceNotFoundException"),
        (&arn, "shardId-000000000009", from("LATEST", None), "ResourceNotFoundException"),
        (&arn, SHARD, from("LATEST", Some(&number)), "InvalidArgumentException"),
        (&arn, SHARD, from("AT_SEQUENCE_NUMBER", None), "InvalidArgumentException"),
        (&arn, SHARD, from("AT_SEQUENCE_NUMBER", Some("7")), "InvalidArgumentException"),
        (&arn, SHARD, from("AT_TIMESTAMP", None), "InvalidArgumentException"),
        ("arn:aws:kinesis:eu-central-1:000000000000:stream/s", SHARD, from("LATEST", None), "InvalidArgumentException"),
    ] {
        let Err(error) = world.subscribe(arn, shard, start).await else { panic!("not refused: {arn} {shard}") };
        assert_eq!(error.code, code);
    }
    // A call that was refused takes no place.
    assert!(world.subscribe(&arn, SHARD, from("AT_SEQUENCE_NUMBER", Some(&number))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_mapping_takes_the_consumer_and_nobody_else_subscribes_meanwhile() {
    let (world, arn) = World::with_consumer().await;
    let fanout = &world.service.streams.fanout;
    let key = key(&world.call().scope, "s");
    let epoch = arn.rsplit(':').next().unwrap().parse().unwrap();
    let reads_as = StreamConsumer { stream: key, name: "c".into(), epoch };
    assert!(fanout.is_registered(&reads_as));
    let mut events = world.subscribe(&arn, SHARD, from("LATEST", None)).await.unwrap();
    let (pushed, ()) = tokio::join!(events.next(), async { fanout.take(&reads_as) });
    let Some(Err(ended)) = pushed else { panic!("the subscription goes on: {pushed:?}") };
    assert_eq!(ended.code, "ResourceInUseException");
    assert!(events.next().await.is_none());

    world.env.clock.sleep(Duration::from_secs(6)).await;
    let refused = world.subscribe(&arn, SHARD, from("LATEST", None)).await.err().unwrap();
    assert_eq!((refused.code, refused.message), (ended.code, ended.message));
    fanout.give_back(&reads_as);
    let mut events = world.subscribe(&arn, SHARD, from("LATEST", None)).await.unwrap();
    assert_eq!(data(&event(&mut events).await), [""; 0]);

    let input = DeregisterStreamConsumerInput { consumer_arn: Some(arn), ..Default::default() };
    world.service.deregister_stream_consumer(&world.call(), input).await.unwrap();
    assert!(!fanout.is_registered(&reads_as));
}
