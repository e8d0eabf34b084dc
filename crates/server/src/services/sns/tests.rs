use super::*;
use crate::services::testing::{ACCOUNT, House};

struct World {
    house: House,
    service: Arc<Notifications>,
}

impl World {
    async fn new() -> Self {
        let house = House::new().await;
        Self { service: Notifications::new(house.flow.topics.clone(), house.env.clone()), house }
    }

    fn call(&self) -> Call {
        self.house.call()
    }

    async fn create(&self, attributes: &[(&str, &str)]) -> Result<String, ServiceError> {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let input = CreateTopicInput { name: "t".into(), attributes: Some(attributes.collect()), ..Default::default() };
        Ok(self.service.create_topic(&self.call(), input).await?.topic_arn.unwrap())
    }

    async fn batch(&self, entries: Vec<PublishBatchRequestEntry>) -> Result<PublishBatchOutput, ServiceError> {
        let topic_arn = format!("arn:aws:sns:eu-central-1:{ACCOUNT}:t");
        let input = PublishBatchInput { topic_arn, publish_batch_request_entries: entries, ..Default::default() };
        self.service.publish_batch(&self.call(), input).await
    }
}

fn entry(id: &str, message: &str) -> PublishBatchRequestEntry {
    PublishBatchRequestEntry { id: id.into(), message: message.into(), ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_created_once_and_again_only_as_it_is() {
    let world = World::new().await;
    let arn = world.create(&[("DisplayName", "one")]).await.unwrap();
    assert_eq!(arn, format!("arn:aws:sns:eu-central-1:{ACCOUNT}:t"));
    assert_eq!(world.create(&[]).await.unwrap(), arn);
    assert_eq!(world.create(&[("DisplayName", "one"), ("FifoTopic", "false")]).await.unwrap(), arn);
    let error = world.create(&[("DisplayName", "two")]).await.unwrap_err();
    let message = "Invalid parameter: Attributes Reason: Topic already exists with different attributes";
    assert_eq!((&*error.code, &*error.message), ("InvalidParameter", message));
    assert_eq!(world.create(&[("KmsMasterKeyId", "k")]).await.unwrap_err().code, "InvalidParameter");
    let get = GetTopicAttributesInput { topic_arn: arn.clone(), ..Default::default() };
    let shown = world.service.get_topic_attributes(&world.call(), get).await.unwrap().attributes.unwrap();
    assert_eq!((&*shown["DisplayName"], &*shown["SubscriptionsPending"]), ("one", "0"));
    let elsewhere =
        GetTopicAttributesInput { topic_arn: arn.replace("eu-central-1", "us-east-1"), ..Default::default() };
    let error = world.service.get_topic_attributes(&world.call(), elsewhere).await.unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("NotFound", "Topic does not exist"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_refused_whole_or_entry_by_entry() {
    let world = World::new().await;
    assert_eq!(world.batch(vec![entry("a", "x")]).await.unwrap().failed.unwrap()[0].code, "NotFound");
    world.create(&[]).await.unwrap();
    let many = (0..11).map(|n| entry(&n.to_string(), "x")).collect();
    let attribute = MessageAttributeValue {
        data_type: "String".into(),
        string_value: Some("x".repeat(262_144)),
        ..Default::default()
    };
    let heavy =
        PublishBatchRequestEntry { message_attributes: Some([("a".to_owned(), attribute)].into()), ..entry("a", "x") };
    for (entries, code) in [
        (vec![], "EmptyBatchRequest"),
        (many, "TooManyEntriesInBatchRequest"),
        (vec![entry("a", "x"), entry("a", "y")], "BatchEntryIdsNotDistinct"),
        (vec![entry("a b", "x")], "InvalidBatchEntryId"),
        (vec![entry("", "x")], "InvalidBatchEntryId"),
        (vec![entry("a", &"x".repeat(200_000)), entry("b", &"x".repeat(100_000))], "BatchRequestTooLong"),
        (vec![heavy], "BatchRequestTooLong"),
    ] {
        assert_eq!(world.batch(entries).await.unwrap_err().code, code);
    }
    let fifo = PublishBatchRequestEntry { message_group_id: Some("g".into()), ..entry("fifo", "x") };
    let output = world.batch(vec![entry("good", "x"), entry("empty", ""), fifo]).await.unwrap();
    let (good, bad) = (output.successful.unwrap(), output.failed.unwrap());
    assert_eq!(good.iter().map(|e| e.id.as_deref().unwrap()).collect::<Vec<_>>(), ["good"]);
    let bad: Vec<_> = bad.iter().map(|e| (&*e.id, &*e.code)).collect();
    assert_eq!(bad, [("empty", "InvalidParameter"), ("fifo", "NotImplemented")]);
}

#[tokio::test(start_paused = true)]
async fn a_message_names_one_topic_and_has_one_text_for_http() {
    let world = World::new().await;
    let arn = world.create(&[]).await.unwrap();
    let publish = async |input: PublishInput| world.service.publish(&world.call(), input).await;
    let to =
        |message: &str| PublishInput { topic_arn: Some(arn.clone()), message: message.into(), ..Default::default() };
    assert!(publish(to("x")).await.unwrap().message_id.is_some());
    let by_target = PublishInput { topic_arn: None, target_arn: Some(arn.clone()), ..to("x") };
    assert!(publish(by_target).await.is_ok());
    let json = |text: &str| PublishInput { message_structure: Some("json".into()), ..to(text) };
    assert!(publish(json(r#"{"default":"d","http":"h"}"#)).await.is_ok());
    assert!(publish(json(r#"{"default":"d","https":"s"}"#)).await.is_ok());
    let both = PublishInput { target_arn: Some(arn.clone()), ..to("x") };
    let neither = PublishInput { topic_arn: None, ..to("x") };
    let phone = PublishInput { topic_arn: None, phone_number: Some("+1".into()), ..to("x") };
    for bad in [both, neither, json("{}"), json("x"), to(""), phone] {
        let error = publish(bad).await.unwrap_err();
        assert!(["InvalidParameter", "NotImplemented"].contains(&&*error.code), "{}: {}", error.code, error.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_pending_until_its_own_token_confirms_it() {
    let world = World::new().await;
    let topic_arn = world.create(&[]).await.unwrap();
    let subscribe = async |protocol: &str, endpoint: &str| {
        let (protocol, endpoint) = (protocol.to_owned(), Some(endpoint.to_owned()));
        let input = SubscribeInput { topic_arn: topic_arn.clone(), protocol, endpoint, ..Default::default() };
        world.service.subscribe(&world.call(), input).await
    };
    for (protocol, endpoint) in
        [("https", "http://h/"), ("http", "https://h/"), ("email", "a@b"), ("http", "ftp://h/"), ("http", "")]
    {
        assert_eq!(subscribe(protocol, endpoint).await.unwrap_err().code, "InvalidParameter");
    }
    let made = subscribe("http", "http://h:1/").await.unwrap();
    assert_eq!(made.subscription_arn.as_deref(), Some("pending confirmation"));
    subscribe("http", "http://h:1/").await.unwrap();
    let list = async || {
        let input = ListSubscriptionsByTopicInput { topic_arn: topic_arn.clone(), ..Default::default() };
        world.service.list_subscriptions_by_topic(&world.call(), input).await.unwrap().subscriptions.unwrap()
    };
    let listed = list().await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].subscription_arn.as_deref(), Some("PendingConfirmation"));
    let confirm = async |token: &str| {
        let (topic_arn, token) = (topic_arn.clone(), token.to_owned());
        let input = ConfirmSubscriptionInput { topic_arn, token, ..Default::default() };
        world.service.confirm_subscription(&world.call(), input).await
    };
    assert_eq!(confirm("made up").await.unwrap_err().code, "InvalidParameter");
    let topic = "t".parse().unwrap();
    let token = world.house.flow.topics.subscriptions(&world.call().scope, &topic).unwrap()[0].token.clone();
    let arn = confirm(&token).await.unwrap().subscription_arn.unwrap();
    assert_eq!(list().await[0].subscription_arn.as_ref(), Some(&arn));
    let end = UnsubscribeInput { subscription_arn: arn, ..Default::default() };
    world.service.unsubscribe(&world.call(), end).await.unwrap();
    assert!(list().await.is_empty());
}
