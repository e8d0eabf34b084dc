//! Events through rules to targets.

use std::time::Duration;

use base::Arn;
use flow::bus::{InputSpec, RuleState, RuleTarget};
use flow::queue::{QueueAttributes, Receive, Received};

use crate::world::{House, World, default_bus, event, function_arn, scope, stream_arn, target, until};

const ALL: &str = r#"{"account":["000000000000"]}"#;

#[tokio::test(start_paused = true)]
async fn a_rule_sends_what_matches_to_its_stream_in_order() {
    let world = World::new(1);
    let house = world.open().await;
    house.stream("s", 1).await;
    // Not seen: put before the rule.
    house.put_events(&[event("e0", "aws.ec2", r#"{"n":0}"#)]).await;
    house.rule("r", r#"{"detail":{"n":[{"numeric":[">",1]}]}}"#, RuleState::Enabled, target(stream_arn("s"))).await;
    let events: Vec<_> = (1..=20).map(|n| event(&format!("e{n}"), "my.app", &format!(r#"{{"n":{n}}}"#))).collect();
    house.put_events(&events).await;
    let got = house.wait_for(&House::key("s"), 19).await;
    let ids: Vec<String> = got.iter().map(|e| serde_json::from_str::<base::Event>(e).unwrap().id).collect();
    assert_eq!(ids, (2..=20).map(|n| format!("e{n}")).collect::<Vec<_>>());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn enabled_rules_see_no_read_only_management_events() {
    let world = World::new(2);
    let house = world.open().await;
    for name in ["writes", "all", "none"] {
        house.stream(name, 1).await;
    }
    house.rule("w", ALL, RuleState::Enabled, target(stream_arn("writes"))).await;
    let every = RuleState::EnabledWithAllCloudtrailManagementEvents;
    house.rule("a", ALL, every, target(stream_arn("all"))).await;
    house.rule("n", ALL, RuleState::Disabled, target(stream_arn("none"))).await;
    let read = r#"{"eventName":"DescribeInstances","readOnly":true,"managementEvent":true}"#;
    let write = r#"{"eventName":"TerminateInstances","readOnly":false,"managementEvent":true}"#;
    house.put_events(&[event("r", "aws.ec2", read), event("w", "aws.ec2", write)]).await;
    assert_eq!(house.wait_for(&House::key("all"), 2).await.len(), 2);
    let writes = house.wait_for(&House::key("writes"), 1).await;
    assert_eq!(writes.len(), 1);
    assert!(writes[0].contains("TerminateInstances"));
    assert!(house.records(&House::key("none")).await.is_empty());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disabled_rule_misses_what_is_put_meanwhile() {
    let world = World::new(3);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.rule("r", ALL, RuleState::Enabled, target(stream_arn("s"))).await;
    let (buses, rule) = (&house.flow.buses, "r".parse().unwrap());
    buses.set_rule_state(&scope(), &default_bus(), &rule, false).await.unwrap();
    house.put_events(&[event("missed", "my.app", "{}")]).await;
    buses.set_rule_state(&scope(), &default_bus(), &rule, true).await.unwrap();
    house.put_events(&[event("seen", "my.app", "{}")]).await;
    let got = house.wait_for(&House::key("s"), 1).await;
    assert_eq!(got.len(), 1);
    assert!(got[0].contains("seen"));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn inputs_and_partition_keys_are_made_from_the_event() {
    let world = World::new(4);
    let house = world.open().await;
    house.stream("s", 4).await;
    let shaped = RuleTarget {
        input: InputSpec::Path("$.detail.user".into()),
        partition_key_path: Some("$.detail.user.name".into()),
        ..target(stream_arn("s"))
    };
    house.rule("r", ALL, RuleState::Enabled, shaped).await;
    house.put_events(&[event("e", "my.app", r#"{"user":{"name":"kim"}}"#), event("f", "my.app", "{}")]).await;
    house.wait_for(&House::key("s"), 2).await;
    let mut records = house.records(&House::key("s")).await;
    records.sort_by(|a, b| a.partition_key.cmp(&b.partition_key));
    assert_eq!((records[0].partition_key.as_str(), &records[0].data[..]), ("f", &b"null"[..]));
    assert_eq!((records[1].partition_key.as_str(), &records[1].data[..]), ("kim", &br#"{"name":"kim"}"#[..]));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_target_costs_the_others_nothing() {
    let world = World::new(5);
    let house = world.open().await;
    house.stream("gone", 1).await;
    house.stream("here", 1).await;
    house.rule("a", ALL, RuleState::Enabled, target(stream_arn("gone"))).await;
    house.rule("b", ALL, RuleState::Enabled, target(stream_arn("here"))).await;
    house.put_events(&[event("1", "my.app", "{}")]).await;
    house.wait_for(&House::key("gone"), 1).await;
    house.log.delete_stream(&House::key("gone")).await.unwrap();
    house.put_events(&[event("2", "my.app", "{}")]).await;
    house.wait_for(&House::key("here"), 2).await;
    // Created again, it is another stream: it gets what comes from now on, and is not held for the old one.
    house.stream("gone", 1).await;
    house.put_events(&[event("3", "my.app", "{}")]).await;
    let got = house.wait_for(&House::key("gone"), 1).await;
    assert_eq!(got.len(), 1);
    assert!(got[0].contains(r#""id":"3""#));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_function_and_a_topic_can_be_targets() {
    let world = World::new(6);
    let house = world.open().await;
    let topic = "alerts".parse().unwrap();
    crate::topic::create(&house, &topic).await;
    let topic_arn: Arn = flow::topic::topic_arn(&scope(), &topic);
    house.rule("f", ALL, RuleState::Enabled, target(function_arn("alert"))).await;
    house.rule("t", ALL, RuleState::Enabled, target(topic_arn)).await;
    house.put_events(&[event("1", "my.app", r#"{"a":1}"#)]).await;
    until("the call", || world.functions.calls().len() == 1).await;
    assert!(world.functions.payloads()[0].contains(r#""detail":{"a":1}"#));
    assert_eq!(world.functions.calls()[0].request_id.as_ref().unwrap().len(), 36);
    let key = log::StreamKey { kind: log::StreamKind::Topic, scope: scope(), name: "alerts".into() };
    assert!(house.wait_for(&key, 1).await[0].contains(r#"\"a\":1"#));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_once_when_their_intake_is_repeated() {
    let world = World::new(7);
    let house = world.open().await;
    let put = |house: &House, ids: &[&str]| {
        let events: Vec<_> = ids.iter().map(|id| event(id, "aws.ec2", "{}")).collect();
        let buses = house.flow.buses.clone();
        async move { buses.put_new_events(&scope(), &default_bus(), &events).await.unwrap() }
    };
    assert_eq!(put(&house, &["a", "b", "a"]).await, [true, true, false]);
    assert_eq!(put(&house, &["b", "c"]).await, [false, true]);
    house.stop().await;
    let house = world.open().await;
    assert_eq!(put(&house, &["a", "b", "c", "d"]).await, [false, false, false, true]);
    let bus = log::StreamKey { kind: log::StreamKind::Bus, scope: scope(), name: "default".into() };
    assert_eq!(house.records(&bus).await.len(), 4);
    world.pass(Duration::from_secs(2 * 86_400)).await;
    assert_eq!(put(&house, &["a"]).await, [true]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn targets_that_cannot_be_put_are_named() {
    let world = World::new(8);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.rule("r", ALL, RuleState::Enabled, target(stream_arn("s"))).await;
    let (buses, rule): (_, base::RuleName) = (&house.flow.buses, "r".parse().unwrap());
    let (here, bus) = (scope(), default_bus());
    let put = |t: RuleTarget| buses.put_targets(&here, &bus, &rule, vec![t]);
    assert_eq!(put(target(stream_arn("none"))).await.unwrap()[0].code, "ResourceNotFoundException");
    assert_eq!(put(target(function_arn("missing"))).await.unwrap()[0].code, "ResourceNotFoundException");
    let queue = Arn::new("sqs", &scope(), "queue");
    assert_eq!(put(target(queue)).await.unwrap()[0].code, "ResourceNotFoundException");
    let domain = Arn::new("es", &scope(), "domain/d");
    assert!(put(target(domain)).await.unwrap_err().to_string().contains("cannot be a target"));
    for n in 0..4 {
        put(RuleTarget { id: format!("t{n}"), ..target(stream_arn("s")) }).await.unwrap();
    }
    let sixth = put(RuleTarget { id: "t6".into(), ..target(stream_arn("s")) }).await;
    assert!(sixth.unwrap_err().to_string().contains("The requested resource exceeds the maximum"));
    assert!(buses.delete_rule(&scope(), &default_bus(), &rule).await.is_err(), "it has targets");
    let ids: Vec<String> = ["t", "t0", "t1", "t2", "t3"].map(str::to_owned).into();
    assert!(buses.remove_targets(&scope(), &default_bus(), &rule, &ids).await.unwrap().is_empty());
    buses.delete_rule(&scope(), &default_bus(), &rule).await.unwrap();
    assert!(buses.rules(&scope(), &default_bus()).unwrap().is_empty());
    house.stop().await;
}

/// A standard queue.
async fn queue(house: &House, name: &str) -> Arn {
    let queues = &house.flow.queues;
    queues.create(&scope(), &name.parse().unwrap(), QueueAttributes::default(), [].into()).await.unwrap();
    flow::queue::queue_arn(&scope(), &name.parse().unwrap())
}

/// Takes a message out of a queue, when there is one.
async fn take(house: &House, name: &str) -> Option<Received> {
    let ask = Receive { max: 1, ..Receive::default() };
    house.flow.queues.receive(&scope(), &name.parse().unwrap(), &ask).await.unwrap().pop()
}

#[tokio::test(start_paused = true)]
async fn what_a_target_refuses_for_good_is_a_dead_letter() {
    let world = World::new(9);
    let house = world.open().await;
    let dead = queue(&house, "dead").await;
    house.stream("gone", 1).await;
    let to = RuleTarget {
        input: InputSpec::Constant("1".into()),
        dead_letter: Some(dead.clone()),
        ..target(stream_arn("gone"))
    };
    house.rule("r", ALL, RuleState::Enabled, to.clone()).await;
    house.log.delete_stream(&House::key("gone")).await.unwrap();
    house.put_events(&[event("1", "my.app", r#"{"a":1}"#)]).await;
    let letter = loop {
        match take(&house, "dead").await {
            Some(letter) => break letter,
            None => world.pass(Duration::from_millis(10)).await,
        }
    };
    assert!(
        std::str::from_utf8(&letter.message.body).unwrap().contains(r#""detail":{"a":1}"#),
        "the event as it was put"
    );
    let said = |name: &str| letter.message.head.attributes.get(name).map(|a| a.value.as_str());
    assert_eq!(said("RULE_ARN"), Some("arn:aws:events:us-east-1:000000000000:rule/r"));
    assert_eq!(said("TARGET_ARN"), Some(stream_arn("gone").to_string().as_str()));
    assert_eq!((said("ERROR_CODE"), said("RETRY_ATTEMPTS")), (Some("NO_RESOURCE"), Some("0")));
    assert!(said("ERROR_MESSAGE").unwrap().contains("gone"));
    assert_eq!(said("EXHAUSTED_RETRY_CONDITION"), None, "it was not retried");
    let put = async |queue: Arn| {
        let target = RuleTarget { dead_letter: Some(queue), ..to.clone() };
        house.flow.buses.put_targets(&scope(), &default_bus(), &"r".parse().unwrap(), vec![target]).await.unwrap_err()
    };
    assert!(put(Arn::new("sqs", &scope(), "none")).await.to_string().contains("does not exist"));
    assert!(put(stream_arn("gone")).await.to_string().contains("is not the ARN of a queue"));
    house.stop().await;
}
