//! Records that are put on delivery streams: by calls, rules, topics and schedules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Arn, StateStore};
use flow::bus::RuleState;
use flow::delivery::{DeliverySpec, Destination, MAX_RECORD_BYTES, Source, delivery_arn};
use flow::queue::{QueueAttributes, queue_arn};
use flow::scheduler::ScheduleTarget;
use flow::topic::{Attribute, Message, Protocol, Subscribing, Subscription, SubscriptionChange, topic_arn};
use serde_json::{Value, json};

use crate::delivery::destination;
use crate::queue::{body, name};
use crate::scheduler::{spec, to};
use crate::topic::{create, message, publish, topic};
use crate::world::{House, Outside, World, event, role, scope, stream_arn, target, until};

const ALL: &str = r#"{"source":["aws.ec2"]}"#;
const CHANGES: [Call; 8] =
    [Call::Write, Call::SetLen, Call::SyncData, Call::SyncDir, Call::Rename, Call::Remove, Call::CreateDir, Call::Open];

fn arn() -> Arn {
    delivery_arn(&scope(), &"d".parse().unwrap())
}

async fn direct(house: &House, destination: Destination) {
    let spec = DeliverySpec { name: "d".parse().unwrap(), source: Source::Direct(None), destination };
    house.flow.deliveries.create(&scope(), spec).await.unwrap();
}

async fn put(house: &House, texts: &[&str]) -> Result<Vec<String>, flow::FlowError> {
    let records = texts.iter().map(|text| text.to_string().into()).collect();
    let numbers = house.flow.deliveries.put(&scope(), &"d".parse().unwrap(), records).await?;
    Ok(numbers.iter().map(ToString::to_string).collect())
}

fn subscribing(change: &SubscriptionChange) -> SubscriptionChange {
    SubscriptionChange { role: Some(role().to_string()), ..change.clone() }
}

async fn subscribe(house: &House, change: &SubscriptionChange) -> Result<Subscription, flow::FlowError> {
    let endpoint = arn().to_string();
    let asked = Subscribing { protocol: Protocol::Firehose, endpoint: &endpoint, change };
    house.flow.topics.subscribe(&scope(), &topic(), asked).await
}

fn documents(world: &World) -> Vec<Value> {
    world.search.documents.lock().unwrap().values().cloned().collect()
}

fn logs(house: &House) -> usize {
    house.log.all_streams(log::StreamKind::Delivery).len()
}

#[tokio::test(start_paused = true)]
async fn what_is_put_is_buffered_and_becomes_documents_that_its_answer_names() {
    let world = World::new(1);
    let house = world.open().await;
    direct(&house, Destination { buffer_secs: 60, ..destination() }).await;
    let ids = put(&house, &[r#"{"n":1}"#, "{\n\"n\": 2}\n"]).await.unwrap();
    world.pass(Duration::from_secs(50)).await;
    assert_eq!(*world.search.requests.lock().unwrap(), 0);
    world.pass(Duration::from_secs(15)).await;
    until("the documents", || world.search.documents.lock().unwrap().len() == 2).await;
    let documents = world.search.documents.lock().unwrap().clone();
    let found: Vec<(String, String)> =
        documents.iter().map(|((_, id), document)| (id.clone(), document.to_string())).collect();
    assert_eq!(found[0], (format!("shardId-000000000000.{}", ids[0]), r#"{"n":1}"#.to_owned()));
    assert_eq!(found[1], (format!("shardId-000000000000.{}", ids[1]), r#"{"n":2}"#.to_owned()));
    put(&house, &[r#"{"bad":1}"#]).await.unwrap();
    world.pass(Duration::from_secs(65)).await;
    until("the backup", || world.objects_below("backup").len() == 1).await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_stream_with_a_source_takes_nothing_and_a_deleted_one_leaves_nothing() {
    let world = World::new(2);
    let house = world.open().await;
    house.stream("s", 1).await;
    let (deliveries, name) = (&house.flow.deliveries, "d".parse().unwrap());
    let spec = |source| DeliverySpec { name: "d".parse().unwrap(), source, destination: destination() };
    assert!(put(&house, &["{}"]).await.unwrap_err().to_string().contains("not found"));
    deliveries.create(&scope(), spec(Source::Stream(stream_arn("s"), role()))).await.unwrap();
    let refused = put(&house, &["{}"]).await.unwrap_err().to_string();
    assert!(refused.starts_with("This operation is not permitted on KinesisStreamAsSource"), "{refused}");
    let (buses, bus, rule) = (&house.flow.buses, "default".parse().unwrap(), "r".parse().unwrap());
    buses.put_rule(&scope(), &bus, rule_spec()).await.unwrap();
    let failed = buses.put_targets(&scope(), &bus, &rule, vec![target(arn())]).await;
    assert!(failed.unwrap_err().to_string().contains("not permitted"), "no target either");
    deliveries.delete(&scope(), &name).await.unwrap();
    assert_eq!(logs(&house), 0);

    direct(&house, Destination { buffer_secs: 900, ..destination() }).await;
    let again = deliveries.create(&scope(), spec(Source::Direct(Some(3)))).await.unwrap_err();
    assert!(again.to_string().contains("already exists"), "{again}");
    assert_eq!(logs(&house), 1);
    put(&house, &[r#"{"n":"old"}"#]).await.unwrap();
    deliveries.delete(&scope(), &name).await.unwrap();
    assert_eq!(logs(&house), 0);
    assert!(put(&house, &["{}"]).await.is_err());
    direct(&house, destination()).await;
    put(&house, &[r#"{"n":"new"}"#]).await.unwrap();
    until("the new one", || documents(&world) == [json!({"n": "new"})]).await;
    let rows = house.state.scan(base::Table("flow.checkpoints"), b"delivery:", None, 10).unwrap();
    assert!(rows.len() <= 1, "one consumer's place");
    house.stop().await;
}

fn rule_spec() -> flow::bus::RuleSpec {
    flow::bus::RuleSpec {
        name: "r".parse().unwrap(),
        pattern: Some(ALL.into()),
        schedule: None,
        state: RuleState::Enabled,
        description: None,
        role: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_puts_its_events_and_one_that_does_not_fit_holds_up_no_other() {
    let world = World::new(3);
    let house = world.open().await;
    direct(&house, destination()).await;
    house.rule("r", ALL, RuleState::Enabled, target(arn())).await;
    let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(MAX_RECORD_BYTES));
    house
        .put_events(&[
            event("1", "aws.ec2", r#"{"n":1}"#),
            event("2", "aws.ec2", &long),
            event("3", "aws.ec2", r#"{"n":3}"#),
        ])
        .await;
    until("the two that fit", || documents(&world).len() == 2).await;
    let found: BTreeSet<String> = documents(&world).iter().map(|d| d["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, ["1".to_owned(), "3".to_owned()].into());
    assert_eq!(documents(&world)[0]["detail-type"], "AWS API Call via CloudTrail");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_puts_notifications_or_the_messages_themselves() {
    let world = World::new(4);
    let house = world.open().await;
    create(&house, &topic()).await;
    let plain = SubscriptionChange::default();
    let error = subscribe(&house, &subscribing(&plain)).await.unwrap_err().to_string();
    assert!(error.starts_with("Invalid parameter: Firehose endpoint ARN"), "it is not there: {error}");
    direct(&house, destination()).await;
    let error = subscribe(&house, &plain).await.unwrap_err().to_string();
    assert!(error.contains("SubscriptionRoleArn is needed"), "{error}");
    let wrong = SubscriptionChange { role: Some(arn().to_string()), ..plain.clone() };
    assert!(subscribe(&house, &wrong).await.unwrap_err().to_string().contains("the ARN of a role was expected"));
    let subscription = subscribe(&house, &subscribing(&plain)).await.unwrap();
    assert!(subscription.confirmed);
    let attribute = Attribute { data_type: "String".into(), value: "v".into() };
    let said = Message {
        subject: Some("s".into()),
        texts: [("firehose".to_owned(), "for archives".to_owned())].into(),
        attributes: [("a".to_owned(), attribute)].into(),
        ..message("for others")
    };
    house.flow.topics.publish(&scope(), &topic(), vec![said]).await.unwrap();
    until("the notification", || documents(&world).len() == 1).await;
    let found = documents(&world).remove(0);
    let members: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
    let documented =
        ["Message", "MessageAttributes", "MessageId", "Subject", "Timestamp", "TopicArn", "Type", "UnsubscribeURL"];
    assert_eq!(members, documented);
    assert_eq!((&found["Type"], &found["Message"]), (&"Notification".into(), &"for archives".into()));
    assert_eq!(found["MessageAttributes"], json!({"a": {"Type": "String", "Value": "v"}}));

    let raw = SubscriptionChange { raw: Some(true), ..plain };
    let of = subscription.arn(&topic_arn(&scope(), &topic()));
    house.flow.topics.change_subscription(&of, &raw).await.unwrap();
    publish(&house, &[r#"{"n":1}"#]).await;
    until("the message itself", || documents(&world).contains(&json!({"n": 1}))).await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_has_five_delivery_streams_and_gives_up_on_one_that_is_gone() {
    let world = World::new(5);
    let house = world.open().await;
    create(&house, &topic()).await;
    house.queue("dead", QueueAttributes::default()).await;
    let redrive = format!(r#"{{"deadLetterTargetArn":"{}"}}"#, queue_arn(&scope(), &name("dead")));
    let change = subscribing(&SubscriptionChange { redrive_policy: Some(redrive), ..Default::default() });
    for n in 0..6 {
        let spec = DeliverySpec {
            name: format!("d{n}").parse().unwrap(),
            source: Source::Direct(None),
            destination: destination(),
        };
        let endpoint = house.flow.deliveries.create(&scope(), spec).await.unwrap().to_string();
        let asked = Subscribing { protocol: Protocol::Firehose, endpoint: &endpoint, change: &change };
        let subscribed = house.flow.topics.subscribe(&scope(), &topic(), asked).await;
        assert_eq!(subscribed.is_ok(), n < 5, "{n}");
    }
    for n in 1..5 {
        let one = house.flow.topics.subscriptions(&scope(), &topic()).unwrap();
        let one = one.iter().find(|s| s.endpoint.ends_with(&format!("d{n}"))).unwrap();
        let of = one.arn(&topic_arn(&scope(), &topic()));
        house.flow.topics.unsubscribe(&of, flow::topic::By::Owner).await.unwrap();
    }
    house.flow.deliveries.delete(&scope(), &"d0".parse().unwrap()).await.unwrap();
    publish(&house, &["lost"]).await;
    let deadline = crate::world::Deadline::new();
    loop {
        if let Some(letter) = house.receive("dead").await.first() {
            let letter: Value = serde_json::from_str(&body(letter)).unwrap();
            assert_eq!(letter["Message"], "lost");
            break;
        }
        deadline.check("the dead letter");
        tokio::task::yield_now().await;
    }
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_keeps_what_is_not_delivered_and_nothing_else() {
    let world = World::new(6);
    let house = world.open().await;
    direct(&house, Destination { retry_secs: 7_200, ..destination() }).await;
    *world.search.status.lock().unwrap() = Some(503);
    let text = |n: usize| format!(r#"{{"n":{n},"x":"{}"}}"#, "y".repeat(200_000));
    for n in 0..20 {
        put(&house, &[&text(n)]).await.unwrap();
    }
    world.pass(Duration::from_secs(6_000)).await;
    let held = world.segments();
    assert!(held >= 4, "all of it is there: {held}");
    *world.search.status.lock().unwrap() = None;
    world.pass(Duration::from_secs(120)).await;
    until("the documents", || documents(&world).len() == 20).await;
    world.pass(Duration::from_secs(700)).await;
    let left = world.segments();
    assert!(left <= 3, "what is delivered goes: {left} of {held}");
    house.stop().await;
}

/// What was answered well, by what it says.
type Acknowledged = BTreeSet<String>;

async fn send_until_the_end(world: &World, life: u32, acknowledged: &mut Acknowledged) {
    let Ok(house) = world.try_open().await else { return };
    for n in 0..15 {
        let said = |kind: &str| json!({"n": format!("{kind}-{life}-{n}")}).to_string();
        if put(&house, &[&said("put")]).await.is_ok() {
            acknowledged.insert(said("put"));
        }
        let event = event(&format!("id-{life}-{n}"), "aws.ec2", &said("event"));
        let bus = "default".parse().unwrap();
        if house.flow.buses.put_events(&scope(), &bus, &[event]).await.is_ok() {
            acknowledged.insert(said("event"));
        }
        let message = Message { id: format!("id-{life}-{n}"), text: said("message"), ..Message::default() };
        if house.flow.topics.publish(&scope(), &topic(), vec![message]).await.is_ok() {
            acknowledged.insert(said("message"));
        }
        if world.fs.is_off() {
            return;
        }
        world.pass(Duration::from_millis(world.env.rng.below(2_000))).await;
    }
}

#[test]
fn whatever_way_a_record_comes_it_is_in_the_index_once_through_power_cuts() {
    let (mut sent, mut cuts) = (0, 0);
    for seed in 300..312 {
        let outside = Outside::new(seed);
        outside.life(async |world| {
            let house = world.open().await;
            direct(&house, Destination { buffer_secs: 1, ..destination() }).await;
            house.rule("r", ALL, RuleState::Enabled, target(arn())).await;
            create(&house, &topic()).await;
            let raw = SubscriptionChange { raw: Some(true), ..Default::default() };
            subscribe(&house, &subscribing(&raw)).await.unwrap();
            house.stop().await;
        });
        let mut acknowledged = Acknowledged::new();
        for life in 0..5 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(300), Fault::Crash);
                send_until_the_end(world, life, &mut acknowledged).await;
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        sent += acknowledged.len();
        outside.life(async |world| {
            let house = world.open().await;
            world.pass(Duration::from_secs(600)).await;
            let mut found: BTreeMap<String, usize> = BTreeMap::new();
            for document in documents(world) {
                let said = document.get("detail").unwrap_or(&document).to_string();
                *found.entry(said).or_default() += 1;
            }
            assert!(found.values().all(|count| *count == 1), "seed {seed}: something is there twice");
            let missing: Vec<_> = acknowledged.iter().filter(|said| !found.contains_key(*said)).collect();
            assert!(missing.is_empty(), "seed {seed}: {missing:?} are not there");
            assert!(world.objects_below("backup").is_empty());
            house.stop().await;
        });
    }
    assert!(sent > 500 && cuts > 20, "the script does something: {sent} sent, {cuts} cuts");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_puts_its_input() {
    let world = World::new(7);
    let house = world.open().await;
    direct(&house, destination()).await;
    let to = ScheduleTarget { input: Some(r#"{"n":"scheduled"}"#.into()), ..to(arn()) };
    house.schedule("s", spec("at(2026-11-23T04:01:00)", to)).await;
    world.pass(Duration::from_secs(90)).await;
    until("the document", || documents(&world) == [json!({"n": "scheduled"})]).await;
    house.stop().await;
}
