//! Rules, schedules, delivery streams and asynchronous calls act with their owners' roles: what these do not permit does
//! not happen, is seen, and happens when it is permitted again.

use std::time::Duration;

use base::{Arn, BusName, ErrorKind, Kinded};
use flow::bus::{RuleState, RuleTarget};
use flow::delivery::{DeliverySpec, Source};
use flow::invocations::InvokeConfigChange;
use flow::queue::{QueueAttributes, Received, queue_arn};
use flow::scheduler::ScheduleTarget;
use flow::topic::{Protocol, Subscribing, SubscriptionChange, topic_arn};
use serde_json::{Value, json};

use crate::delivery::destination;
use crate::fakes::{Reply, denial};
use crate::queue::name;
use crate::scheduler::{spec, to};
use crate::topic::{create, topic};
use crate::world::{House, World, call, event, function_arn, role, scope, stream_arn, target, until};

const ALL: &str = r#"{"account":["000000000000"]}"#;
const HOUR: Duration = Duration::from_secs(3_600);

fn queue(text: &str) -> Arn {
    queue_arn(&scope(), &name(text))
}

fn who(session: &str) -> String {
    format!("arn:aws:sts::000000000000:assumed-role/r/{session}")
}

fn said<'a>(letter: &'a Received, attribute: &str) -> &'a str {
    letter.message.head.attributes.get(attribute).map_or("", |attribute| &attribute.value)
}

/// What came of an event at the rule's only target, and why.
async fn way(house: &House, id: &str) -> (&'static str, String) {
    let way = house.flow.buses.trace(&scope(), id).await.unwrap();
    let target = &way.buses[0].rules[0].targets[0];
    (target.outcome, target.failures.last().unwrap().error.clone())
}

#[tokio::test(start_paused = true)]
async fn a_rule_gives_its_target_nothing_that_its_role_does_not_permit_and_tries_that_once() {
    let (world, out) = (World::new(911), stream_arn("out"));
    let house = world.open().await;
    house.stream("out", 1).await;
    house.queue("dead", QueueAttributes::default()).await;
    let with_role = RuleTarget { role: Some(role()), dead_letter: Some(queue("dead")), ..target(out.clone()) };
    house.rule("r", ALL, RuleState::Enabled, with_role).await;
    world.judge.take("kinesis:PutRecord", &out);
    house.put_events(&[event("e1", "my.app", "{}"), event("e2", "my.app", "{}")]).await;
    world.pass(HOUR).await;
    assert_eq!(house.records(&House::key("out")).await.len(), 0);
    let (letters, why) = (house.receive("dead").await, denial(&who("r"), "kinesis:PutRecord", &out.to_string()));
    assert_eq!(letters.len(), 2, "each at once, and once");
    for letter in &letters {
        assert_eq!((said(letter, "ERROR_CODE"), said(letter, "ERROR_MESSAGE")), ("NO_PERMISSIONS", why.as_str()));
        assert_eq!((said(letter, "RETRY_ATTEMPTS"), said(letter, "EXHAUSTED_RETRY_CONDITION")), ("0", ""));
    }
    assert_eq!(way(&house, "e1").await, ("dead-lettered", format!("NO_PERMISSIONS: {why}")));
    world.judge.give_back("kinesis:PutRecord", &out);
    house.put_events(&[event("e3", "my.app", "{}")]).await;
    assert_eq!(house.wait_for(&House::key("out"), 1).await.len(), 1, "what comes next arrives");

    // Not even assumed, within a minute.
    world.judge.trust("events.amazonaws.com", false);
    world.pass(Duration::from_secs(61)).await;
    house.put_events(&[event("e4", "my.app", "{}")]).await;
    world.pass(HOUR).await;
    let letters = house.receive("dead").await;
    let last = letters.iter().find(|letter| letter.message.body.windows(2).any(|id| id == b"e4")).unwrap();
    assert_eq!(said(last, "ERROR_CODE"), "FAILED_TO_ASSUME_ROLE");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_target_is_given_with_the_role_of_then() {
    let (world, function) = (World::new(912), function_arn("f"));
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    let with_role = RuleTarget { role: Some(role()), dead_letter: Some(queue("dead")), ..target(function.clone()) };
    house.rule("r", ALL, RuleState::Enabled, with_role).await;
    world.functions.available(|_| false);
    house.put_events(&[event("e1", "my.app", "{}")]).await;
    world.pass(Duration::from_secs(5)).await;
    world.judge.take("lambda:InvokeFunction", &function);
    world.functions.available(|_| true);
    world.pass(HOUR).await;
    let letters = house.receive("dead").await;
    assert_eq!((world.functions.calls().len(), letters.len()), (0, 1));
    assert_eq!(said(&letters[0], "ERROR_CODE"), "NO_PERMISSIONS");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_schedule_invokes_nothing_that_its_role_does_not_permit() {
    let (world, work) = (World::new(913), queue("work"));
    let house = world.open().await;
    house.queue("work", QueueAttributes::default()).await;
    house.queue("dead", QueueAttributes::default()).await;
    let target = ScheduleTarget { dead_letter: Some(queue("dead")), ..to(work.clone()) };
    world.judge.take("sqs:SendMessage", &work);
    house.schedule("tick", spec("at(2026-11-23T04:10:00)", target.clone())).await;
    world.pass(HOUR).await;
    let letters = house.receive("dead").await;
    assert_eq!((house.visible("work").await, letters.len()), (0, 1), "it is tried once");
    let why = denial(&who("tick"), "sqs:SendMessage", &work.to_string());
    assert_eq!(
        (said(&letters[0], "ERROR_CODE"), said(&letters[0], "ERROR_MESSAGE")),
        ("AccessDeniedException", why.as_str())
    );
    world.judge.give_back("sqs:SendMessage", &work);
    house.schedule("tock", spec("at(2026-11-23T05:10:00)", target)).await;
    world.pass(HOUR).await;
    assert_eq!(house.visible("work").await, 1);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_stream_reads_indexes_and_backs_up_with_its_roles() {
    let (world, stream) = (World::new(914), stream_arn("s"));
    let house = world.open().await;
    house.stream("s", 1).await;
    let source = Source::Stream(stream.clone(), role());
    let asked = DeliverySpec { name: "d".parse().unwrap(), source, destination: destination() };
    house.flow.deliveries.create(&scope(), asked).await.unwrap();
    for action in ["kinesis:DescribeStream", "kinesis:GetShardIterator", "kinesis:GetRecords"] {
        world.judge.take(action, &stream);
        let before = world.search.texts().len();
        house.put("s", "k", &[&format!(r#"{{"n":"{action}"}}"#)]).await;
        world.pass(HOUR).await;
        assert_eq!(world.search.texts().len(), before, "{action}");
        world.judge.give_back(action, &stream);
        world.pass(Duration::from_secs(31)).await;
        assert_eq!(world.search.texts().len(), before + 1, "{action}: it heals by itself");
    }
    assert!(world.objects_below("").is_empty());
    // What the domain does not take in its time is in the bucket, as at the service.
    let bulk = Arn::new("es", &scope(), "domain/d/_bulk");
    world.judge.take("es:ESHttpPost", &bulk);
    house.put("s", "k", &[r#"{"n":"denied"}"#]).await;
    world.pass(Duration::from_secs(120)).await;
    let failed: Value = serde_json::from_str(&world.objects_below("backup").pop_first().unwrap().1).unwrap();
    let why = denial(&who("d"), "es:ESHttpPost", &bulk.to_string());
    assert_eq!((&failed["errorCode"], &failed["errorMessage"]), (&json!("ES.AccessDenied"), &json!(why)));
    world.judge.give_back("es:ESHttpPost", &bulk);
    house.put("s", "k", &[r#"{"n":"again"}"#]).await;
    until("the document", || world.search.texts().len() == 4).await;
    house.stop().await;
}

async fn configure(house: &House, change: InvokeConfigChange) -> Result<(), flow::FlowError> {
    let invocations = &house.flow.invocations;
    invocations.configure(&scope(), &"f".parse().unwrap(), None, change, true).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn results_wait_until_the_functions_role_may_tell_them() {
    let world = World::new(915);
    let house = world.open().await;
    for made in ["good", "bad", "dead"] {
        house.queue(made, QueueAttributes::default()).await;
    }
    world.functions.dead_letters(queue("dead"));
    world.functions.answer(|call| match &call.payload[..] {
        b"bad" => Reply::Status(500),
        _ => Reply::Ok("{}".into()),
    });
    let change = InvokeConfigChange {
        max_retries: Some(0),
        on_success: Some(Some(queue("good"))),
        on_failure: Some(Some(queue("bad"))),
        ..Default::default()
    };
    configure(&house, change.clone()).await.unwrap();
    for denied in ["good", "bad", "dead"] {
        world.judge.take("sqs:SendMessage", &queue(denied));
        house.flow.invocations.submit(call("f", "well")).await.unwrap();
        house.flow.invocations.submit(call("f", "bad")).await.unwrap();
        world.pass(HOUR).await;
        for told in ["good", "bad", "dead"] {
            let there = house.receive(told).await;
            assert_eq!(there.len(), usize::from(told != denied), "just {denied} is not told: {told}");
            for one in &there {
                house.delete(told, one).await;
            }
        }
        world.judge.give_back("sqs:SendMessage", &queue(denied));
        world.pass(Duration::from_secs(301)).await;
        let there = house.receive(denied).await;
        assert_eq!(there.len(), 1, "{denied} is told");
        house.delete(denied, &there[0]).await;
    }
    assert_eq!(world.functions.calls().len(), 6, "nothing is called again for that");

    world.judge.take("sqs:SendMessage", &queue("good"));
    let refused = configure(&house, change).await.unwrap_err();
    let words =
        format!("The function's execution role does not have permissions to call SendMessage on {}", queue("good"));
    assert_eq!((refused.kind(), refused.to_string()), (ErrorKind::Invalid, words));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn roles_that_a_service_cannot_assume_are_refused_in_its_words() {
    let world = World::new(916);
    let house = world.open().await;
    house.stream("s", 1).await;
    for service in ["events.amazonaws.com", "scheduler.amazonaws.com", "firehose.amazonaws.com"] {
        world.judge.trust(service, false);
    }
    let (bus, rule): (BusName, base::RuleName) = ("default".parse().unwrap(), "r".parse().unwrap());
    house.rule("r", ALL, RuleState::Enabled, target(stream_arn("s"))).await;
    let with_role = RuleTarget { role: Some(role()), ..target(stream_arn("s")) };
    let words = format!("Provided role '{}' cannot be assumed by principal 'events.amazonaws.com'.", role());
    let refused = house.flow.buses.put_targets(&scope(), &bus, &rule, vec![with_role]).await.unwrap_err();
    assert_eq!(refused.to_string(), words);
    let refused = house
        .flow
        .schedules
        .create(
            &scope(),
            &"default".parse().unwrap(),
            &"n".parse().unwrap(),
            spec("rate(1 hour)", to(queue("q"))),
            None,
        )
        .await;
    let words = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.";
    assert_eq!(refused.unwrap_err().to_string(), words);
    let asked = DeliverySpec { name: "d".parse().unwrap(), source: Source::Direct(None), destination: destination() };
    let refused = house.flow.deliveries.create(&scope(), asked).await.unwrap_err().to_string();
    assert_eq!(refused, format!("Firehose is unable to assume role {}. Please check the role provided.", role()));
    assert_eq!(house.log.all_streams(log::StreamKind::Delivery).len(), 0, "nothing of it is left");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_role_a_bus_and_a_topic_ask_as_themselves_and_say_for_what() {
    let world = World::new(917);
    let house = world.open().await;
    for made in ["work", "dead"] {
        house.queue(made, QueueAttributes::default()).await;
    }
    create(&house, &topic()).await;
    let (work, dead, out) = (queue("work"), queue("dead"), topic_arn(&scope(), &topic()));
    let redrive = format!(r#"{{"deadLetterTargetArn":"{dead}"}}"#);
    let change = SubscriptionChange { redrive_policy: Some(redrive), raw: Some(true), ..Default::default() };
    let endpoint = work.to_string();
    let asked = Subscribing { protocol: Protocol::Sqs, endpoint: &endpoint, change: &change };
    house.flow.topics.subscribe(&scope(), &topic(), asked).await.unwrap();
    let to_topic = RuleTarget { dead_letter: Some(dead.clone()), ..target(out.clone()) };
    house.rule("r", ALL, RuleState::Enabled, to_topic).await;
    let rule = "arn:aws:events:us-east-1:000000000000:rule/r";
    let (bus, topics) =
        (format!("events.amazonaws.com for {rule} 000000000000"), format!("sns.amazonaws.com for {out} 000000000000"));

    house.put_events(&[event("e1", "my.app", "{}")]).await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(house.receive("work").await.len(), 1);
    assert_eq!(world.judge.permitted(&out), [(bus.clone(), "sns:Publish".to_owned())]);
    assert_eq!(world.judge.permitted(&work), [(topics.clone(), "sqs:SendMessage".to_owned())]);

    world.judge.take("sns:Publish", &out);
    house.put_events(&[event("e2", "my.app", "{}")]).await;
    world.pass(HOUR).await;
    let letters = house.receive("dead").await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (said(&letters[0], "ERROR_CODE"), said(&letters[0], "ERROR_MESSAGE")),
        ("NO_PERMISSIONS", denial(&bus, "sns:Publish", &out.to_string()).as_str())
    );
    house.delete("dead", &letters[0]).await;
    world.judge.give_back("sns:Publish", &out);

    world.judge.take("sqs:SendMessage", &work);
    house.put_events(&[event("e3", "my.app", "{}")]).await;
    world.pass(HOUR).await;
    assert_eq!((house.visible("work").await, house.receive("dead").await.len()), (1, 1), "once, in its dead letters");
    world.judge.give_back("sqs:SendMessage", &work);
    house.put_events(&[event("e4", "my.app", "{}")]).await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(house.visible("work").await, 2, "what comes next arrives");
    house.stop().await;
}
