//! Dead letters are written together and once, also when their queue takes some of them only, or the power goes.

use std::collections::BTreeSet;
use std::time::Duration;

use flow::bus::{RuleState, RuleTarget};
use flow::queue::{QueueAttributes, Received, queue_arn};
use flow::topic::{Protocol, Subscribing, SubscriptionChange};

use crate::queue::{message, name};
use crate::topic::{create, publish, topic};
use crate::world::{Deadline, House, Outside, World, event, scope, target};

const ALL: &str = r#"{"account":["000000000000"]}"#;
const EVENTS: usize = 20;

/// Fills the memory of all queues but for some messages, each of which takes about as much as a letter.
async fn fill_but(house: &House, messages: usize) {
    house.queue("full", QueueAttributes::default()).await;
    let queue = name("full");
    let send = async |count: usize| {
        let some = (0..count).map(|n| message(&n.to_string(), "x")).collect();
        house.flow.queues.send(&scope(), &queue, some).await.is_ok()
    };
    while send(10).await {}
    // It took more than there was room for.
    let received = [house.receive("full").await, house.receive("full").await, house.receive("full").await].concat();
    let mut received = received.iter();
    while !send(1).await {
        house.delete("full", received.next().unwrap()).await;
    }
    for one in received.take(messages) {
        house.delete("full", one).await;
    }
}

async fn letters(house: &House) -> Vec<Received> {
    let mut all = Vec::new();
    loop {
        let some = house.receive("dead").await;
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

/// Every event has one letter.
async fn check(house: &House) {
    let letters = letters(house).await;
    let bodies: BTreeSet<_> = letters.iter().map(|letter| &letter.message.body).collect();
    let ids: BTreeSet<_> = letters.iter().map(|letter| &letter.message.head.id).collect();
    assert_eq!((letters.len(), bodies.len(), ids.len()), (EVENTS, EVENTS, EVENTS));
}

/// A rule whose target is gone, and that has a dead-letter queue.
async fn rule_of_a_queue_that_is_gone(house: &House) {
    house.queue("dead", QueueAttributes::default()).await;
    house.queue("gone", QueueAttributes::default()).await;
    let dead_letter = Some(queue_arn(&scope(), &name("dead")));
    let to = RuleTarget { dead_letter, ..target(queue_arn(&scope(), &name("gone"))) };
    house.rule("r", ALL, RuleState::Enabled, to).await;
    house.flow.queues.delete(&scope(), &name("gone")).await.unwrap();
}

async fn put(house: &House) {
    let events: Vec<_> = (0..EVENTS).map(|n| event(&format!("e{n}"), "my.app", "{}")).collect();
    house.put_events(&events).await;
}

#[tokio::test(start_paused = true)]
async fn the_letters_of_a_rule_are_written_once_though_their_queue_takes_a_part() {
    let world = World::new(91);
    let house = world.open().await;
    rule_of_a_queue_that_is_gone(&house).await;
    fill_but(&house, 7).await;
    put(&house).await;
    world.pass(Duration::from_secs(30)).await;
    house.flow.queues.purge(&scope(), &name("full")).await.unwrap();
    world.pass(Duration::from_secs(600)).await;
    check(&house).await;
    house.stop().await;
}

#[test]
fn the_letters_of_a_rule_are_written_once_though_the_power_goes() {
    let outside = Outside::new(92);
    outside.life(async |world| {
        let house = world.open().await;
        rule_of_a_queue_that_is_gone(&house).await;
        // The place after this is written; the one after the events is not yet.
        world.pass(Duration::from_secs(1)).await;
        put(&house).await;
        let deadline = Deadline::new();
        while house.visible("dead").await < EVENTS {
            deadline.check("the letters");
            tokio::task::yield_now().await;
        }
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        let house = world.open().await;
        world.pass(Duration::from_secs(10)).await;
        check(&house).await;
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn the_letters_of_a_subscription_are_written_once_though_their_queue_takes_a_part() {
    let world = World::new(93);
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    house.queue("gone", QueueAttributes::default()).await;
    create(&house, &topic()).await;
    let redrive = format!(r#"{{"deadLetterTargetArn":"{}"}}"#, queue_arn(&scope(), &name("dead")));
    let change = SubscriptionChange { redrive_policy: Some(redrive), ..Default::default() };
    let endpoint = queue_arn(&scope(), &name("gone")).to_string();
    let asked = Subscribing { protocol: Protocol::Sqs, endpoint: &endpoint, change: &change };
    house.flow.topics.subscribe(&scope(), &topic(), asked).await.unwrap();
    house.flow.queues.delete(&scope(), &name("gone")).await.unwrap();
    fill_but(&house, 7).await;
    let texts: Vec<String> = (0..EVENTS).map(|n| n.to_string()).collect();
    publish(&house, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    world.pass(Duration::from_secs(30)).await;
    house.flow.queues.purge(&scope(), &name("full")).await.unwrap();
    world.pass(Duration::from_secs(600)).await;
    check(&house).await;
    house.stop().await;
}
