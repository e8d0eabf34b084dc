//! Mails, and messages in the words of Slack, Teams and PagerDuty.

use std::time::Duration;

use base::StateStore;
use flow::queue::{QueueAttributes, queue_arn};
use flow::topic::{By, Protocol, Secret, Subscribing, Subscription, SubscriptionChange, TopicChange, topic_arn};
use serde_json::Value;

use crate::fakes::Reply;
use crate::queue::{body, name};
use crate::topic::{create, message, publish, to, topic};
use crate::world::{House, Outside, World, scope, until};

const KEY: &str = "0123456789abcdef0123456789ABCDEF";

fn format(format: &str, key: Option<&str>) -> SubscriptionChange {
    let routing_key = key.map(|key| Secret::new(key.to_owned()));
    SubscriptionChange { webhook: Some(format.to_owned()), routing_key, ..Default::default() }
}

fn token_in(text: &str) -> String {
    text.split_once("&Token=").unwrap().1.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// Subscribes by mail and opens the link.
async fn subscribe_mail(world: &World, house: &House, protocol: Protocol, address: &str) -> Subscription {
    let (before, change) = (world.post.mails().len(), SubscriptionChange::default());
    let asked = Subscribing { protocol, endpoint: address, change: &change };
    house.flow.topics.subscribe(&scope(), &topic(), asked).await.unwrap();
    until("the mail that asks", || world.post.mails().len() > before).await;
    let token = token_in(&world.post.mails().last().unwrap().text);
    house.flow.topics.confirm(&scope(), &topic(), &token, By::Link, false).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_asked_and_told_and_can_leave_by_a_link() {
    let world = World::new(31);
    let house = world.open().await;
    create(&house, &topic()).await;
    let topics = &house.flow.topics;
    let change = TopicChange { display_name: Some("Watch".into()), ..Default::default() };
    topics.change_topic(&scope(), &topic(), &change).await.unwrap();
    let subscription = subscribe_mail(&world, &house, Protocol::Email, "ops@example.com").await;
    let asking = world.post.mails().remove(0);
    assert_eq!((&*asking.to, &*asking.subject), ("ops@example.com", "Notification - Subscription Confirmation"));
    assert!(asking.text.contains("arn:aws:sns:us-east-1:000000000000:alerts\n"), "{}", asking.text);
    assert!(asking.text.contains("\nhttp://127.0.0.1:4566/?Action=ConfirmSubscription&"), "a line of its own");

    let said = flow::topic::Message {
        subject: Some("Root login".into()),
        texts: [("email".to_owned(), "for readers".to_owned())].into(),
        ..message("for all")
    };
    topics.publish(&scope(), &topic(), vec![said, message("plain")]).await.unwrap();
    until("both", || world.post.mails().len() == 3).await;
    let mails = world.post.mails();
    let first = mails.iter().find(|mail| mail.subject == "Root login").unwrap();
    assert_eq!((&*first.sender, &*first.id), ("Watch", &*format!("id-for all.{}", subscription.id)));
    let link = "http://127.0.0.1:4566/?Action=Unsubscribe&SubscriptionArn=arn%3Aaws%3Asns%3A";
    assert!(first.text.starts_with("for readers\n\n--\n") && first.text.contains(link), "{}", first.text);
    assert!(mails.iter().any(|mail| mail.subject == "Notification Message" && mail.text.starts_with("plain\n")));

    let arn = subscription.arn(&topic_arn(&scope(), &topic()));
    topics.unsubscribe(&arn, By::Link).await.unwrap();
    // A program that looks at links opens it, too, or a finger slips.
    topics.unsubscribe(&arn, By::Link).await.unwrap();
    until("the question whether that was meant", || world.post.mails().len() == 4).await;
    let left = world.post.mails().remove(3);
    assert_eq!(left.subject, "Notification - Unsubscribe Confirmation");
    publish(&house, &["unheard"]).await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.post.mails().len(), 4);
    topics.confirm(&scope(), &topic(), &token_in(&left.text), By::Link, false).await.unwrap();
    publish(&house, &["heard"]).await;
    until("taken up again", || world.post.mails().len() == 5).await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_reads_the_documents_that_web_endpoints_get() {
    let world = World::new(32);
    let house = world.open().await;
    create(&house, &topic()).await;
    subscribe_mail(&world, &house, Protocol::EmailJson, "robot@example.com").await;
    publish(&house, &["m"]).await;
    until("the notification", || world.post.mails().len() == 2).await;
    let bodies: Vec<Value> = world.post.mails().iter().map(|m| serde_json::from_str(&m.text).unwrap()).collect();
    assert_eq!((&bodies[0]["Type"], &bodies[1]["Type"]), (&"SubscriptionConfirmation".into(), &"Notification".into()));
    assert!(bodies[0]["SubscribeURL"].is_string() && bodies[1]["UnsubscribeURL"].is_string());
    assert_eq!(bodies[1]["Message"], "m");
    assert!(bodies[1]["Signature"].as_str().unwrap().starts_with("1:Message\nm\n"));
    for (protocol, endpoint) in [(Protocol::Email, "ops"), (Protocol::EmailJson, "a@h\r\nBcc: b@h")] {
        let change = SubscriptionChange::default();
        let asked = Subscribing { protocol, endpoint, change: &change };
        let error = house.flow.topics.subscribe(&scope(), &topic(), asked).await.unwrap_err();
        assert_eq!(error.to_string(), "Invalid parameter: Email address");
    }
    house.stop().await;
}

#[test]
fn a_mail_server_that_is_away_for_hours_costs_no_mail_nor_does_a_power_cut() {
    let outside = Outside::new(33);
    outside.life(async |world| {
        let house = world.open().await;
        create(&house, &topic()).await;
        subscribe_mail(world, &house, Protocol::Email, "ops@example.com").await;
        world.post.close(true);
        publish(&house, &["a", "b"]).await;
        until("the first attempts", || world.post.attempts() == 3).await;
        world.pass(Duration::from_secs(3_600)).await;
        assert!(world.post.attempts() > 20, "{}", world.post.attempts());
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        let house = world.open().await;
        world.post.close(true);
        world.pass(Duration::from_secs(4 * 3_600)).await;
        world.post.close(false);
        world.pass(Duration::from_secs(700)).await;
        let mut texts: Vec<String> = world.post.mails().iter().skip(1).map(|m| m.text[..1].to_owned()).collect();
        texts.sort();
        assert_eq!(texts, ["a", "b"]);
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn what_no_mailbox_takes_is_in_the_dead_letter_queue_at_once_or_after_six_hours() {
    let world = World::new(34);
    let house = world.open().await;
    create(&house, &topic()).await;
    house.queue("dead", QueueAttributes::default()).await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{}"}}"#, queue_arn(&scope(), &name("dead")));
    let change = SubscriptionChange { redrive_policy: Some(policy), ..Default::default() };
    for address in ["nobody@example.com", "ops@example.com"] {
        let asked = Subscribing { protocol: Protocol::Email, endpoint: address, change: &change };
        let topics = &house.flow.topics;
        let pending = topics.subscribe(&scope(), &topic(), asked).await.unwrap();
        topics.confirm(&scope(), &topic(), &pending.token, By::Owner, false).await.unwrap();
    }
    until("the questions", || world.post.attempts() == 2).await;
    publish(&house, &["one"]).await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(house.receive("dead").await.len(), 1, "of the mailbox that is none");
    world.post.close(true);
    publish(&house, &["two"]).await;
    world.pass(Duration::from_secs(5 * 3_600)).await;
    assert!(
        house.receive("dead").await.iter().all(|m| body(m).contains("\"one\"")),
        "tried for longer than five hours"
    );
    world.pass(Duration::from_secs(3 * 3_600)).await;
    let dead = house.receive("dead").await;
    assert_eq!(dead.iter().filter(|m| body(m).contains("\"two\"")).count(), 2);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_channel_is_asked_and_told_in_its_own_words() {
    let world = World::new(35);
    let house = world.open().await;
    create(&house, &topic()).await;
    let topics = &house.flow.topics;
    for (url, change) in [
        ("https://hooks.slack.example/x", format("slack", None)),
        ("https://teams.example/x", format("teams", None)),
        ("https://events.pagerduty.example/v2/enqueue", format("pagerduty", Some(KEY))),
    ] {
        let before = world.web.posts().len();
        topics.subscribe(&scope(), &topic(), to(url, &change)).await.unwrap();
        until("the question", || world.web.posts().len() > before).await;
        let post = world.web.posts().pop().unwrap();
        assert_eq!((&*post.url, post.header("content-type")), (url, "application/json"));
        assert!(post.body.contains("Confirm this subscription"), "{}", post.body);
        let token = token_in(&post.body);
        topics.confirm(&scope(), &topic(), &token, By::Link, false).await.unwrap();
    }
    let mut attempts = 0;
    world.web.answer(move |post| {
        attempts += u32::from(post.url.contains("pagerduty"));
        if attempts == 1 { Reply::Status(500) } else { Reply::Ok(String::new()) }
    });
    let said = flow::topic::Message { subject: Some("Root login".into()), ..message("from 203.0.113.66") };
    topics.publish(&scope(), &topic(), vec![said]).await.unwrap();
    world.pass(Duration::from_secs(60)).await;
    let posts: Vec<_> = world.web.posts().into_iter().skip(3).collect();
    let of = |host: &str| posts.iter().filter(|p| p.url.contains(host)).map(|p| p.json()).collect::<Vec<Value>>();
    assert_eq!(of("slack")[0]["blocks"][0]["text"]["text"], "Root login");
    assert_eq!(of("slack")[0]["blocks"][1]["text"]["text"], "from 203.0.113.66");
    let card = &of("teams")[0]["attachments"][0]["content"];
    assert_eq!(card["body"][1]["inlines"][0]["text"], "from 203.0.113.66");
    let pager = of("pagerduty");
    assert_eq!(pager.len(), 2, "tried again");
    assert_eq!(pager[0], pager[1], "the same alert");
    assert_eq!((&pager[0]["routing_key"], &pager[0]["dedup_key"]), (&KEY.into(), &"id-from 203.0.113.66".into()));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_format_is_set_with_what_it_needs_and_its_key_is_a_secret() {
    let world = World::new(36);
    let house = world.open().await;
    create(&house, &topic()).await;
    let topics = &house.flow.topics;
    let url = "https://events.pagerduty.example/v2/enqueue";
    let typed = r#"{"requestPolicy":{"headerContentType":"text/plain"}}"#;
    for (change, why) in [
        (format("Slack", None), "slack, teams or pagerduty"),
        (format("pagerduty", None), "needs the attribute WebhookRoutingKey"),
        (format("pagerduty", Some("short")), "32 letters and digits"),
        (format("slack", Some(KEY)), "only the WebhookFormat pagerduty"),
        (SubscriptionChange { raw: Some(true), ..format("slack", None) }, "raw"),
        (SubscriptionChange { delivery_policy: Some(typed.into()), ..format("slack", None) }, "content type"),
    ] {
        let error = topics.subscribe(&scope(), &topic(), to(url, &change)).await.unwrap_err().to_string();
        assert!(error.starts_with("Invalid parameter: Attributes Reason: Webhook") && error.contains(why), "{error}");
    }
    let change = format("slack", None);
    let asked = Subscribing { protocol: Protocol::Email, endpoint: "ops@example.com", change: &change };
    assert!(topics.subscribe(&scope(), &topic(), asked).await.is_err());

    let change = format("pagerduty", Some(KEY));
    let plain = to("http://events.pagerduty.example/v2/enqueue", &change);
    let error = topics.subscribe(&scope(), &topic(), plain).await.unwrap_err().to_string();
    assert!(error.contains("WebhookRoutingKey: it is sent over https only"), "{error}");
    let made = topics.subscribe(&scope(), &topic(), to(url, &change)).await.unwrap();
    let again = topics.subscribe(&scope(), &topic(), to(url, &change)).await.unwrap();
    assert_eq!(made.id, again.id, "with the same key it is the same");
    let other = format("pagerduty", Some("ffffffffffffffffffffffffffffffff"));
    assert!(topics.subscribe(&scope(), &topic(), to(url, &other)).await.is_err());
    assert!(made.has_routing_key());
    let shown = format!("{made:?} {change:?}");
    assert!(!shown.contains(KEY) && !shown.contains(&made.token), "{shown}");
    let rows = house.state.scan(base::Table("flow.subscriptions"), b"", None, 10).unwrap();
    let rows: String = rows.iter().map(|(_, row)| String::from_utf8_lossy(row)).collect();
    assert!(rows.contains("routing_key") && !rows.contains(KEY), "sealed in the state store: {rows}");

    let arn = made.arn(&topic_arn(&scope(), &topic()));
    topics.change_subscription(&arn, &format("teams", None)).await.unwrap();
    let (_, _, changed) = topics.subscription(&arn).unwrap();
    assert!(!changed.has_routing_key(), "what is of no use is not kept");
    assert!(topics.change_subscription(&arn, &format("pagerduty", None)).await.is_err());
    topics.change_subscription(&arn, &format("", None)).await.unwrap();
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_asked_by_one_task_until_there_is_nothing_to_ask() {
    let world = World::new(38);
    let house = world.open().await;
    create(&house, &topic()).await;
    let (topics, change) = (&house.flow.topics, SubscriptionChange::default());
    let asked = || Subscribing { protocol: Protocol::Email, endpoint: "ops@example.com", change: &change };
    world.post.close(true);
    let subscription = topics.subscribe(&scope(), &topic(), asked()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(topics.subscribe(&scope(), &topic(), asked()).await.unwrap().id, subscription.id);
    }
    until("the attempt", || world.post.attempts() > 0).await;
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.post.attempts(), 1, "it is asked once however often it is wanted");
    topics.unsubscribe(&subscription.arn(&topic_arn(&scope(), &topic())), By::Owner).await.unwrap();
    let before = world.post.attempts();
    world.post.close(false);
    world.pass(Duration::from_secs(600)).await;
    assert_eq!((world.post.attempts(), world.post.mails().len()), (before, 0), "nobody is asked any more");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_ended_by_its_link_is_subscribed_anew_and_raw_is_no_mail() {
    let world = World::new(39);
    let house = world.open().await;
    create(&house, &topic()).await;
    let first = subscribe_mail(&world, &house, Protocol::Email, "ops@example.com").await;
    let arn = first.arn(&topic_arn(&scope(), &topic()));
    let raw = SubscriptionChange { raw: Some(true), ..Default::default() };
    let error = house.flow.topics.change_subscription(&arn, &raw).await.unwrap_err().to_string();
    assert_eq!(error, "Invalid parameter: RawMessageDelivery: not supported by the protocol email");
    house.flow.topics.unsubscribe(&arn, By::Link).await.unwrap();
    until("the question", || world.post.mails().len() == 2).await;
    let second = subscribe_mail(&world, &house, Protocol::Email, "ops@example.com").await;
    assert_ne!(first.id, second.id);
    assert_eq!(world.post.mails()[2].subject, "Notification - Subscription Confirmation");
    assert_eq!(house.flow.topics.subscriptions(&scope(), &topic()).unwrap().len(), 1);
    house.stop().await;
}
