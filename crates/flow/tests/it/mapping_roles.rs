//! Mappings read, delete and tell with their function's role: without a permission just that waits, says so, and heals.

use std::time::Duration;

use base::{Arn, ErrorKind, Kinded};
use flow::mapping::{MappingChange, MappingSpec, MappingView, StartingPosition, StreamConsumer};
use flow::queue::{QueueAttributes, queue_arn};

use crate::fakes::{Reply, denial};
use crate::mapping::{map, until_time};
use crate::mapping_give_up::poisoned;
use crate::queue::{message, name};
use crate::world::{House, World, function_arn, role, scope, stream_arn, until};

/// So soon a mapping goes on that may again.
const HEALS: Duration = Duration::from_secs(61);
const LAMBDA: &str = "lambda.amazonaws.com";

/// Who a mapping acts as.
fn who(view: &MappingView) -> String {
    format!("arn:aws:sts::000000000000:assumed-role/r/awslambda_{}", view.mapping.id)
}

fn last_result(house: &House, view: &MappingView) -> String {
    house.flow.mappings.get(&scope(), &view.mapping.id).unwrap().last_result
}

fn spec(source: Arn, start: Option<StartingPosition>, settings: MappingChange) -> MappingSpec {
    MappingSpec { function: function_arn("f"), role: role(), source, start, settings }
}

fn one_by_one() -> MappingChange {
    MappingChange { batch_size: Some(2), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn without_any_one_permission_to_read_a_stream_nothing_is_read_and_with_it_nothing_was_lost() {
    let (world, stream) = (World::new(901), stream_arn("s"));
    let house = world.open().await;
    house.stream("s", 1).await;
    let view = map(&house, StartingPosition::TrimHorizon, one_by_one()).await;
    let mut expected: Vec<Vec<String>> = Vec::new();
    // Shards are found in either of two ways.
    world.judge.take("kinesis:DescribeStream", &stream);
    for (turn, action) in ["kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"].iter().enumerate() {
        world.judge.take(action, &stream);
        let problem = format!("PROBLEM: {}", denial(&who(&view), action, &stream.to_string()));
        assert_eq!(last_result(&house, &view), problem, "before anything comes");
        let texts = [format!("{turn}a"), format!("{turn}b"), format!("{turn}c")];
        house.put("s", "k", &[&texts[0], &texts[1], &texts[2]]).await;
        world.pass(Duration::from_secs(3_600)).await;
        assert_eq!(world.functions.batches(), expected, "{action}");
        assert_eq!(last_result(&house, &view), problem);
        let status = house.status(&view).await;
        assert_eq!(status.view.denied.as_deref(), problem.strip_prefix("PROBLEM: "));
        assert_eq!((status.stuck[0].records, status.stuck[0].error.as_str()), (2, &problem["PROBLEM: ".len()..]));
        assert!(status.age.unwrap() >= Duration::from_secs(3_600));
        world.judge.give_back(action, &stream);
        expected.extend([vec![texts[0].clone(), texts[1].clone()], vec![texts[2].clone()]]);
        world.pass(HEALS).await;
        assert_eq!(world.functions.batches(), expected, "it heals by itself: every record, in order, once");
        assert_eq!(last_result(&house, &view), "OK");
        assert_eq!((house.status(&view).await.stuck, house.status(&view).await.view.denied), (vec![], None));
    }
    assert!(world.judge.permitted(&stream).iter().all(|(session, _)| *session == who(&view)));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn either_way_of_finding_shards_is_enough() {
    let (world, stream) = (World::new(902), stream_arn("s"));
    let house = world.open().await;
    house.stream("s", 1).await;
    // What templates of before ListShards grant, and what those since then do.
    for missing in [&["kinesis:ListShards", "kinesis:DescribeStreamSummary"][..], &["kinesis:DescribeStream"]] {
        missing.iter().for_each(|action| world.judge.take(action, &stream));
        let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
        assert_eq!(view.last_result, "No records processed");
        house.flow.mappings.delete(&scope(), &view.mapping.id).await.unwrap();
        missing.iter().for_each(|action| world.judge.give_back(action, &stream));
    }
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_role_that_lambda_may_not_assume_any_more_holds_a_mapping_within_a_minute() {
    let world = World::new(903);
    let house = world.open().await;
    house.stream("s", 1).await;
    let view = map(&house, StartingPosition::TrimHorizon, one_by_one()).await;
    world.judge.trust(LAMBDA, false);
    world.pass(HEALS).await;
    house.put("s", "k", &["a"]).await;
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.functions.calls().len(), 0);
    let why = format!("{LAMBDA} cannot assume the role {}: its trust policy does not name the service", role());
    assert_eq!(last_result(&house, &view), format!("PROBLEM: {why}"));
    world.judge.trust(LAMBDA, true);
    world.pass(HEALS).await;
    assert_eq!(world.functions.batches(), [["a"]]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_read_with_its_own_permissions() {
    let (world, stream) = (World::new(904), stream_arn("s"));
    let house = world.open().await;
    let made = house.stream("s", 1).await;
    world.consumers.register(StreamConsumer { stream: made.key.clone(), name: "c".into(), epoch: 1 });
    let consumer = Arn::new("kinesis", &scope(), "stream/s/consumer/c:1");
    // A consumer's reader needs nothing of those who share the stream.
    world.judge.take("kinesis:GetRecords", &stream);
    world.judge.take("kinesis:SubscribeToShard", &consumer);
    let asked = || spec(consumer.clone(), Some(StartingPosition::TrimHorizon), MappingChange::default());
    let refused = house.flow.mappings.create(&scope(), asked()).await.unwrap_err().to_string();
    assert!(refused.starts_with(&format!("Cannot access stream consumer {consumer}.")), "{refused}");
    world.judge.give_back("kinesis:SubscribeToShard", &consumer);
    let view = house.flow.mappings.create(&scope(), asked()).await.unwrap();
    world.judge.take("kinesis:SubscribeToShard", &consumer);
    house.put("s", "k", &["a"]).await;
    world.pass(Duration::from_secs(600)).await;
    let problem = denial(&who(&view), "kinesis:SubscribeToShard", &consumer.to_string());
    assert_eq!((world.functions.calls().len(), last_result(&house, &view)), (0, format!("PROBLEM: {problem}")));
    world.judge.give_back("kinesis:SubscribeToShard", &consumer);
    world.pass(HEALS).await;
    assert_eq!(world.functions.batches(), [["a"]]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_role_lacks_is_told_when_a_mapping_is_made_or_changed() {
    let (world, stream, queue) = (World::new(905), stream_arn("s"), queue_arn(&scope(), &name("q")));
    let house = world.open().await;
    house.stream("s", 1).await;
    house.queue("q", QueueAttributes::default()).await;
    house.queue("lost", QueueAttributes::default()).await;
    let (mappings, lost) = (&house.flow.mappings, queue_arn(&scope(), &name("lost")));
    let refused = async |spec: MappingSpec| {
        let error = mappings.create(&scope(), spec).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    };
    let of_stream = |settings| spec(stream.clone(), Some(StartingPosition::TrimHorizon), settings);
    world.judge.take("kinesis:GetRecords", &stream);
    assert_eq!(
        refused(of_stream(MappingChange::default())).await,
        format!(
            "Cannot access stream {stream}. Please ensure the role can perform the GetRecords, GetShardIterator, \
             DescribeStream, ListShards, and ListStreams Actions on your stream in IAM."
        )
    );
    world.judge.give_back("kinesis:GetRecords", &stream);
    for call in ["ReceiveMessage", "DeleteMessage", "GetQueueAttributes"] {
        world.judge.take(&format!("sqs:{call}"), &queue);
        assert_eq!(
            refused(spec(queue.clone(), None, MappingChange::default())).await,
            format!("The provided execution role does not have permissions to call {call} on SQS")
        );
        world.judge.give_back(&format!("sqs:{call}"), &queue);
    }
    world.judge.take("sqs:SendMessage", &lost);
    let telling = || MappingChange { on_failure: Some(Some(lost.clone())), ..Default::default() };
    let words = "The provided execution role does not have permissions to call SendMessage on SQS";
    assert_eq!(refused(of_stream(telling())).await, words);
    world.judge.trust(LAMBDA, false);
    let words = "The role defined for the function cannot be assumed by Lambda.";
    assert_eq!(refused(of_stream(MappingChange::default())).await, words);
    world.judge.trust(LAMBDA, true);
    assert_eq!(mappings.list(&scope(), None, None).unwrap().len(), 0);

    let view = mappings.create(&scope(), of_stream(MappingChange::default())).await.unwrap();
    let change = async |change: MappingChange| mappings.update(&scope(), &view.mapping.id, &change).await;
    assert!(change(telling()).await.is_err());
    assert!(change(MappingChange { enabled: Some(false), ..Default::default() }).await.is_ok());
    world.judge.take("kinesis:GetRecords", &stream);
    assert!(change(MappingChange { enabled: Some(true), ..Default::default() }).await.is_err());
    assert!(change(MappingChange { batch_size: Some(7), ..Default::default() }).await.is_ok(), "it reads nothing");
    assert_eq!(mappings.get(&scope(), &view.mapping.id).unwrap().denied, None, "nor is it held");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_permission_on_a_queue_its_messages_stay_where_they_are() {
    let (world, queue) = (World::new(906), queue_arn(&scope(), &name("q")));
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let asked = spec(queue.clone(), None, MappingChange::default());
    let view = house.flow.mappings.create(&scope(), asked).await.unwrap();
    for (turn, call) in ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"].iter().enumerate() {
        // It waits for a first message when the permission goes.
        world.pass(Duration::from_secs(30)).await;
        world.judge.take(call, &queue);
        house.send("q", vec![message(&format!("{turn}"), &format!("{turn}"))]).await;
        world.pass(Duration::from_secs(3_600)).await;
        assert_eq!((world.functions.calls().len(), house.visible("q").await), (turn, 1), "{call}");
        let problem = denial(&who(&view), call, &queue.to_string());
        assert_eq!(last_result(&house, &view), format!("PROBLEM: {problem}"));
        assert_eq!(house.status(&view).await.view.denied, Some(problem));
        world.judge.give_back(call, &queue);
        world.pass(Duration::from_secs(11)).await;
        assert_eq!((world.functions.calls().len(), house.visible("q").await), (turn + 1, 0));
        let event: serde_json::Value = serde_json::from_str(&world.functions.payloads()[turn]).unwrap();
        assert_eq!(event["Records"][0]["attributes"]["ApproximateReceiveCount"], "1", "it was not received meanwhile");
        assert_eq!(last_result(&house, &view), "OK");
    }
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_handled_waits_invisible_until_it_may_be_deleted() {
    let (world, queue) = (World::new(907), queue_arn(&scope(), &name("q")));
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let view = house.flow.mappings.create(&scope(), spec(queue.clone(), None, MappingChange::default())).await.unwrap();
    let (judge, on) = (world.judge.clone(), queue.clone());
    // It goes while the function works.
    world.functions.answer(move |_| {
        judge.take("sqs:DeleteMessage", &on);
        Reply::Ok("{}".into())
    });
    house.send("q", vec![message("1", "a")]).await;
    world.pass(Duration::from_secs(3_600)).await;
    let counts = house.flow.queues.counts(&scope(), &name("q")).await.unwrap();
    assert_eq!((world.functions.calls().len(), counts.visible, counts.in_flight), (1, 0, 1), "it is not handled again");
    let problem = denial(&who(&view), "sqs:DeleteMessage", &queue.to_string());
    assert_eq!(last_result(&house, &view), format!("PROBLEM: {problem}"));
    world.judge.give_back("sqs:DeleteMessage", &queue);
    world.pass(Duration::from_secs(11)).await;
    let counts = house.flow.queues.counts(&scope(), &name("q")).await.unwrap();
    assert_eq!((world.functions.calls().len(), counts.visible, counts.in_flight), (1, 0, 0));
    assert_eq!(last_result(&house, &view), "OK");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_waits_until_its_destination_may_be_told() {
    let (world, lost) = (World::new(908), queue_arn(&scope(), &name("lost")));
    let house = world.open().await;
    house.stream("s", 1).await;
    house.queue("lost", QueueAttributes::default()).await;
    poisoned(&world.functions);
    let settings = MappingChange {
        max_retries: Some(0),
        batch_size: Some(1),
        on_failure: Some(Some(lost.clone())),
        ..Default::default()
    };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    world.judge.take("sqs:SendMessage", &lost);
    house.put("s", "k", &["a", "poison", "b"]).await;
    world.pass(Duration::from_secs(3_600)).await;
    assert_eq!(world.functions.batches(), [["a"], ["poison"]], "just the telling waits, and what is behind it");
    let (status, why) = (house.status(&view).await, denial(&who(&view), "sqs:SendMessage", &lost.to_string()));
    assert_eq!((status.stuck[0].held.as_deref(), house.visible("lost").await), (Some(why.as_str()), 0));
    assert_eq!(last_result(&house, &view), format!("PROBLEM: what is given up cannot be put away: {why}"));
    assert!(status.quarantine.is_empty());
    world.judge.give_back("sqs:SendMessage", &lost);
    world.pass(HEALS).await;
    until("the letter", || world.functions.calls().len() == 3).await;
    assert_eq!((house.visible("lost").await, world.functions.batches()[2].clone()), (1, vec!["b".to_owned()]));
    until_time(&world, || last_result(&house, &view) == "OK").await;
    house.stop().await;
}
