//! How long topics keep what their subscribers have not had.

use std::time::Duration;

use flow::queue::{QueueAttributes, queue_arn};
use flow::topic::{Protocol, Subscribing, SubscriptionChange};
use serde_json::Value;

use crate::queue::{body, name};
use crate::topic::{create, publish, topic};
use crate::world::{DAY, House, Outside, World, function_arn, scope, until};

async fn subscribe_function(house: &House, redrive: Option<&str>) {
    let policy = redrive.map(|q| format!(r#"{{"deadLetterTargetArn":"{}"}}"#, queue_arn(&scope(), &name(q))));
    let change = SubscriptionChange { redrive_policy: policy, ..Default::default() };
    let endpoint = function_arn("f").to_string();
    let asked = Subscribing { protocol: Protocol::Lambda, endpoint: &endpoint, change: &change };
    house.flow.topics.subscribe(&scope(), &topic(), asked).await.unwrap();
}

fn called(world: &World) -> Vec<String> {
    let message = |payload: &String| {
        let event: Value = serde_json::from_str(payload).unwrap();
        event["Records"][0]["Sns"]["Message"].as_str().unwrap().to_owned()
    };
    world.functions.payloads().iter().map(message).collect()
}

#[test]
fn what_a_function_that_is_away_for_ten_days_has_not_had_is_kept_through_restarts_and_then_goes() {
    let outside = Outside::new(61);
    outside.life(async |world| {
        let house = world.open().await;
        create(&house, &topic()).await;
        subscribe_function(&house, None).await;
        world.functions.available(|_| false);
        publish(&house, &["a", "b"]).await;
        house.fill_segments().await;
        for _ in 0..5 {
            world.pass(DAY).await;
        }
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        let house = world.open().await;
        for _ in 0..5 {
            world.pass(DAY).await;
        }
        assert!(called(world).is_empty());
        world.functions.available(|_| true);
        world.pass(Duration::from_secs(60)).await;
        until("both calls", || called(world).len() == 2).await;
        assert_eq!(called(world), ["a", "b"]);
        house.fill_segments().await;
        world.pass(2 * DAY).await;
        let left = world.segments();
        assert!(left <= 3, "nothing of it is kept any more: {left} segments");
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_handed_on_for_23_days_is_a_dead_letter() {
    let world = World::new(62);
    let house = world.open().await;
    create(&house, &topic()).await;
    house.queue("dead", QueueAttributes::default()).await;
    subscribe_function(&house, Some("dead")).await;
    world.functions.available(|_| false);
    publish(&house, &["late"]).await;
    world.pass(22 * DAY).await;
    assert!(house.receive("dead").await.is_empty());
    publish(&house, &["later"]).await;
    world.pass(DAY + Duration::from_secs(3_600)).await;
    let letters: Vec<String> = house.receive("dead").await.iter().map(body).collect();
    let texts: Vec<Value> = letters.iter().map(|letter| serde_json::from_str(letter).unwrap()).collect();
    assert_eq!(texts.iter().map(|text| &text["Message"]).collect::<Vec<_>>(), ["late"]);
    world.functions.available(|_| true);
    world.pass(Duration::from_secs(60)).await;
    until("the other's call", || called(&world) == ["later"]).await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_subscribers_keeps_nothing() {
    let world = World::new(63);
    let house = world.open().await;
    create(&house, &topic()).await;
    let long = "x".repeat(200_000);
    for _ in 0..20 {
        publish(&house, &[&long]).await;
    }
    world.pass(Duration::from_secs(900)).await;
    let left = world.segments();
    assert!(left <= 3, "{left} segments");
    house.stop().await;
}
