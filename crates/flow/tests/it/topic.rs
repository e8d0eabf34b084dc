//! Messages to webhooks.

use std::collections::BTreeMap;
use std::time::Duration;

use base::TopicName;
use flow::topic::{
    Attribute, By, FilterScope, Message, Protocol, Subscribing, Subscription, SubscriptionChange, TopicChange,
    topic_arn,
};

use crate::fakes::Reply;
use crate::world::{House, Outside, World, scope, until};

pub fn topic() -> TopicName {
    "alerts".parse().unwrap()
}

pub fn message(text: &str) -> Message {
    Message { id: format!("id-{text}"), text: text.into(), ..Message::default() }
}

pub async fn create(house: &House, topic: &TopicName) {
    let (change, tags) = (TopicChange::default(), BTreeMap::new());
    house.flow.topics.create_topic(&scope(), topic, &change, &tags).await.unwrap();
}

pub fn to<'a>(url: &'a str, change: &'a SubscriptionChange) -> Subscribing<'a> {
    let protocol = if url.starts_with("https") { Protocol::Https } else { Protocol::Http };
    Subscribing { protocol, endpoint: url, change }
}

pub async fn publish(house: &House, texts: &[&str]) {
    let messages: Vec<Message> = texts.iter().map(|text| message(text)).collect();
    house.flow.topics.publish(&scope(), &topic(), messages).await.unwrap();
}

/// A topic with one confirmed subscription.
async fn subscribed(world: &World, house: &House, change: SubscriptionChange) -> Subscription {
    create(house, &topic()).await;
    subscribe(world, house, "http://hook.example/a?x=1", change).await
}

pub async fn subscribe(world: &World, house: &House, url: &str, change: SubscriptionChange) -> Subscription {
    let before = world.web.posts().len();
    let topics = &house.flow.topics;
    let pending = topics.subscribe(&scope(), &topic(), to(url, &change)).await.unwrap();
    assert!(!pending.confirmed);
    until("the confirmation message", || world.web.posts().len() > before).await;
    let token = world.web.posts().last().unwrap().json()["Token"].as_str().unwrap().to_owned();
    topics.confirm(&scope(), &topic(), &token, By::Link, false).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_asked_and_hears_only_what_comes_after_its_answer() {
    let world = World::new(1);
    let house = world.open().await;
    let (topics, scope) = (&house.flow.topics, scope());
    create(&house, &topic()).await;
    let change = SubscriptionChange::default();
    topics.subscribe(&scope, &topic(), to("http://hook.example/", &change)).await.unwrap();
    publish(&house, &["before"]).await;
    until("the confirmation message", || !world.web.posts().is_empty()).await;
    let post = &world.web.posts()[0];
    assert_eq!(post.header("x-amz-sns-message-type"), "SubscriptionConfirmation");
    assert_eq!(post.header("content-type"), "text/plain; charset=UTF-8");
    let body = post.json();
    assert_eq!(
        (&body["Type"], &body["TopicArn"]),
        (&"SubscriptionConfirmation".into(), &topic_arn(&scope, &topic()).to_string().into())
    );
    let token = body["Token"].as_str().unwrap();
    let url = body["SubscribeURL"].as_str().unwrap();
    assert_eq!(
        url,
        format!(
            "http://127.0.0.1:4566/?Action=ConfirmSubscription&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A000000000000%3Aalerts&Token={token}"
        )
    );
    assert!(topics.confirm(&scope, &topic(), "guess", By::Link, false).await.is_err());
    let confirmed = topics.confirm(&scope, &topic(), token, By::Link, false).await.unwrap();
    publish(&house, &["after"]).await;
    until("the notification", || world.web.posts().len() == 2).await;
    let post = &world.web.posts()[1];
    let arn = confirmed.arn(&topic_arn(&scope, &topic())).to_string();
    assert_eq!(post.header("x-amz-sns-message-type"), "Notification");
    assert_eq!(post.header("x-amz-sns-message-id"), "id-after");
    assert_eq!(post.header("x-amz-sns-subscription-arn"), arn);
    let body = post.json();
    assert_eq!((&body["Message"], &body["Type"]), (&"after".into(), &"Notification".into()));
    assert!(body["UnsubscribeURL"].as_str().unwrap().starts_with("http://127.0.0.1:4566/?Action=Unsubscribe&"));
    let signed = format!(
        "1:Message\nafter\nMessageId\nid-after\nTimestamp\n{}\nTopicArn\n{}\nType\nNotification\n",
        body["Timestamp"].as_str().unwrap(),
        topic_arn(&scope, &topic()),
    );
    assert_eq!((&body["Signature"], &body["SignatureVersion"]), (&signed.into(), &"1".into()));
    assert!(body["SigningCertURL"].as_str().unwrap().ends_with(".pem"));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_message_is_sent_again_and_holds_up_no_other() {
    let world = World::new(2);
    let house = world.open().await;
    subscribed(&world, &house, SubscriptionChange::default()).await;
    world.web.answer(|post| if post.body.contains("\"bad\"") { Reply::Status(503) } else { Reply::Ok(String::new()) });
    publish(&house, &["bad", "a", "b"]).await;
    until("the others", || world.web.messages().len() == 3).await;
    publish(&house, &["c"]).await;
    until("a later one", || world.web.messages().len() == 4).await;
    world.pass(Duration::from_secs(600)).await;
    let bad = world.web.messages().iter().filter(|m| *m == "bad").count();
    assert_eq!(bad, 4, "one attempt and the default's three retries");
    assert_eq!(world.web.messages().len(), 7);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_error_is_final_but_for_too_many_requests() {
    let world = World::new(3);
    let house = world.open().await;
    subscribed(&world, &house, SubscriptionChange::default()).await;
    let mut seen = 0;
    world.web.answer(move |post| {
        seen += u32::from(post.body.contains("\"busy\""));
        match post {
            post if post.body.contains("\"gone\"") => Reply::Status(410),
            post if post.body.contains("\"busy\"") && seen == 1 => Reply::Status(429),
            _ => Reply::Ok(String::new()),
        }
    });
    publish(&house, &["gone", "busy"]).await;
    world.pass(Duration::from_secs(600)).await;
    let count = |text: &str| world.web.messages().iter().filter(|m| *m == text).count();
    assert_eq!((count("gone"), count("busy")), (1, 2));
    house.stop().await;
}

#[test]
fn a_retry_survives_a_power_cut_and_follows_the_delivery_policy() {
    let outside = Outside::new(4);
    outside.life(async |world| {
        let house = world.open().await;
        let policy = r#"{"healthyRetryPolicy":{"numRetries":2,"minDelayTarget":300,"maxDelayTarget":300}}"#;
        let change = SubscriptionChange { delivery_policy: Some(policy.into()), ..Default::default() };
        subscribed(world, &house, change).await;
        world.web.answer(|_| Reply::Status(500));
        publish(&house, &["x"]).await;
        until("the first attempt", || world.web.messages().len() == 1).await;
        world.pass(Duration::from_secs(30)).await;
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        let house = world.open().await;
        world.pass(Duration::from_secs(200)).await;
        assert_eq!(world.web.messages().len(), 1, "not before its time");
        world.web.answer(|_| Reply::Ok(String::new()));
        world.pass(Duration::from_secs(150)).await;
        until("the retry", || world.web.messages().len() == 2).await;
        world.pass(Duration::from_secs(3_600)).await;
        assert_eq!(world.web.messages().len(), 2);
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn hanging_endpoints_hold_up_only_themselves() {
    let world = World::new(5);
    let house = world.open().await;
    subscribed(&world, &house, SubscriptionChange::default()).await;
    subscribe(&world, &house, "http://other.example/", SubscriptionChange::default()).await;
    world.web.answer(|post| if post.url.contains("hook.example") { Reply::Never } else { Reply::Ok(String::new()) });
    let texts: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
    publish(&house, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let to = |host: &str| world.web.posts().iter().filter(|p| p.url.contains(host)).count();
    until("the healthy one", || to("other.example") == 41).await;
    assert_eq!(to("hook.example"), 1 + 16, "at most sixteen under way");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn filters_and_raw_delivery_are_honoured_and_can_be_changed() {
    let world = World::new(6);
    let house = world.open().await;
    let change = SubscriptionChange { filter_policy: Some(r#"{"level":["high"]}"#.into()), ..Default::default() };
    let subscription = subscribed(&world, &house, change).await;
    let level = |text: &str, level: &str| {
        let attribute = Attribute { data_type: "String".into(), value: level.into() };
        Message { attributes: [("level".to_owned(), attribute)].into(), ..message(text) }
    };
    let (topics, scope) = (&house.flow.topics, scope());
    topics.publish(&scope, &topic(), vec![level("a", "low"), level("b", "high"), message("c")]).await.unwrap();
    until("the wanted one", || world.web.messages() == ["b"]).await;
    assert_eq!(world.web.posts().last().unwrap().json()["MessageAttributes"]["level"]["Value"], "high");
    let arn = subscription.arn(&topic_arn(&scope, &topic()));
    let change = SubscriptionChange {
        raw: Some(true),
        filter_policy: Some(r#"{"user":[{"exists":true}]}"#.into()),
        filter_scope: Some(FilterScope::MessageBody),
        ..Default::default()
    };
    topics.change_subscription(&arn, &change).await.unwrap();
    let before = world.web.posts().len();
    publish(&house, &["text", r#"{"user":"kim"}"#]).await;
    until("the raw one", || world.web.posts().len() == before + 1).await;
    let post = world.web.posts().pop().unwrap();
    assert_eq!((post.body.as_str(), post.header("x-amz-sns-rawdelivery")), (r#"{"user":"kim"}"#, "true"));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_is_silent() {
    let world = World::new(7);
    let house = world.open().await;
    let subscription = subscribed(&world, &house, SubscriptionChange::default()).await;
    let (topics, scope) = (&house.flow.topics, scope());
    world.web.answer(|_| Reply::Status(500));
    publish(&house, &["x"]).await;
    until("an attempt", || world.web.messages().len() == 1).await;
    topics.unsubscribe(&subscription.arn(&topic_arn(&scope, &topic())), By::Owner).await.unwrap();
    publish(&house, &["y"]).await;
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.web.messages().len(), 1);
    assert!(topics.subscriptions(&scope, &topic()).unwrap().is_empty());
    topics.delete_topic(&scope, &topic()).await.unwrap();
    assert!(topics.publish(&scope, &topic(), vec![message("z")]).await.is_err());
    topics.delete_topic(&scope, &topic()).await.unwrap();
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn asking_is_repeated_and_ends() {
    let world = World::new(8);
    let house = world.open().await;
    let (topics, scope) = (&house.flow.topics, scope());
    create(&house, &topic()).await;
    for endpoint in ["ftp://hook.example/", "hook.example", "https://user:secret@hook.example/"] {
        assert!(
            topics.subscribe(&scope, &topic(), to(endpoint, &SubscriptionChange::default())).await.is_err(),
            "{endpoint}"
        );
    }
    world.web.answer(|_| Reply::Busy);
    let url = "http://hook.example/";
    let pending = topics.subscribe(&scope, &topic(), to(url, &SubscriptionChange::default())).await.unwrap();
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.web.posts().len(), 4);
    house.stop().await;
    let house = world.open().await;
    world.web.answer(|_| Reply::Ok(String::new()));
    until("asked again after the restart", || world.web.posts().len() == 5).await;
    world.pass(Duration::from_secs(60)).await;
    house.stop().await;
    let house = world.open().await;
    world.pass(Duration::from_secs(3 * 86_400)).await;
    assert_eq!(world.web.posts().len(), 5, "asked once");
    let topics = &house.flow.topics;
    assert!(topics.confirm(&scope, &topic(), &pending.token, By::Link, false).await.is_err(), "the token is too old");
    assert!(topics.subscriptions(&scope, &topic()).unwrap().is_empty());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_deleted_beside_a_subscription_leaves_nothing() {
    use base::StateStore;
    let world = World::new(9);
    let house = world.open().await;
    let topics = &house.flow.topics;
    let queue = flow::queue::queue_arn(&scope(), &"q".parse().unwrap()).to_string();
    for n in 0..60 {
        create(&house, &topic()).await;
        let change = SubscriptionChange::default();
        let late = async {
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
            let asked = Subscribing { protocol: Protocol::Sqs, endpoint: &queue, change: &change };
            topics.subscribe(&scope(), &topic(), asked).await.is_ok()
        };
        let (scope, topic) = (scope(), topic());
        let (deleted, _) = tokio::join!(topics.delete_topic(&scope, &topic), late);
        deleted.unwrap();
        assert!(topics.topic(&scope, &topic).is_err());
        let left = house.state.scan(base::Table("flow.subscriptions"), b"", None, 10).unwrap();
        assert!(left.is_empty(), "after {n}: {left:?}");
        let places = house.state.scan(base::Table("flow.checkpoints"), b"subscription:", None, 10).unwrap();
        assert!(places.is_empty(), "after {n}: {places:?}");
    }
    house.stop().await;
}
