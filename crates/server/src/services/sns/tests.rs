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

/// One attribute.
fn attributed(
    name: &str,
    data_type: &str,
    text: Option<&str>,
    bytes: Option<&'static [u8]>,
) -> BTreeMap<String, MessageAttributeValue> {
    let value = MessageAttributeValue {
        data_type: data_type.into(),
        string_value: text.map(Into::into),
        binary_value: bytes.map(Into::into),
        ..Default::default()
    };
    [(name.to_owned(), value)].into()
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
    assert_eq!((&*error.code, &*error.message), ("InvalidParameter", "Invalid parameter: TopicArn"));
    let of_other = GetTopicAttributesInput { topic_arn: arn.replace(ACCOUNT, "111111111111"), ..Default::default() };
    let error = world.service.get_topic_attributes(&world.call(), of_other).await.unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("NotFound", "Topic does not exist"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_refused_whole_or_entry_by_entry() {
    let world = World::new().await;
    assert_eq!(world.batch(vec![entry("a", "x")]).await.unwrap_err().code, "NotFound");
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
    // What would fail a single message's call fails that of all.
    let named = |name: &str| attributed(name, "String", Some("v"), None);
    for (bad, code) in [
        (
            PublishBatchRequestEntry { message_deduplication_id: Some("d".into()), ..entry("fifo", "x") },
            "InvalidParameter",
        ),
        (
            PublishBatchRequestEntry { message_structure: Some("json".into()), ..entry("json", "{}") },
            "InvalidParameter",
        ),
        (
            PublishBatchRequestEntry { message_attributes: Some(named("a^b")), ..entry("name", "x") },
            "ParameterValueInvalid",
        ),
    ] {
        assert_eq!(world.batch(vec![entry("good", "x"), bad]).await.unwrap_err().code, code);
    }
    let grouped = PublishBatchRequestEntry { message_group_id: Some("g".into()), ..entry("fair", "x") };
    let output = world.batch(vec![entry("good", "x"), entry("empty", ""), grouped]).await.unwrap();
    let (good, bad) = (output.successful.unwrap(), output.failed.unwrap());
    assert_eq!(good.iter().map(|e| e.id.as_deref().unwrap()).collect::<Vec<_>>(), ["good", "fair"]);
    let bad: Vec<_> = bad.iter().map(|e| (&*e.id, &*e.code)).collect();
    assert_eq!(bad, [("empty", "InvalidParameter")]);
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
    let long = json(&format!(r#"{{"default":"d","other":"{}"}}"#, "x".repeat(262_144)));
    for bad in [both, neither, json("{}"), json("x"), to(""), phone, long] {
        let error = publish(bad).await.unwrap_err();
        assert!(["InvalidParameter", "NotImplemented"].contains(&&*error.code), "{}: {}", error.code, error.message);
    }
}

/// The texts are those that the service was seen to answer (recorded in LocalStack's snapshots of SNS).
#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_an_attribute_is_said_as_the_service_says_it() {
    let world = World::new().await;
    let arn = world.create(&[]).await.unwrap();
    let publish = async |attributes: BTreeMap<String, MessageAttributeValue>| {
        let input = PublishInput {
            topic_arn: Some(arn.clone()),
            message: "m".into(),
            message_attributes: Some(attributes),
            ..Default::default()
        };
        world.service.publish(&world.call(), input).await
    };
    let text = |name: &str| attributed(name, "String", Some("v"), None);
    let number = |value: &str| attributed("n", "Number", Some(value), None);
    for good in [text("a.b-c_D1"), text("AWS.SNS.SMS.SenderID"), number("05"), number("1e126")] {
        publish(good).await.unwrap();
    }
    let (long, ones) = ("a".repeat(257), "1".repeat(50));
    for (attributes, said) in [
        (text(&long), "Length of message attribute name must be less than 256 bytes."),
        (text("^a"), "Invalid non-alphanumeric character '#x5E' was found in the message attribute name."),
        (text(".a"), "Invalid message attribute name starting with character '.' was found."),
        (text("a."), "Invalid message attribute name ending with character '.' was found."),
        (text("a..b"), "Message attribute name can not have successive '.' character."),
        (text("aws.x"), "names beginning with 'AWS.' or 'Amazon.' are reserved"),
        (text("Amazon.x"), "names beginning with 'AWS.' or 'Amazon.' are reserved"),
        (attributed("a", "String", None, Some(b"b")), "'a' with type 'String' must use field 'String'."),
        (attributed("a", "Number", None, Some(b"1")), "'a' with type 'Number' must use field 'String'."),
        (attributed("a", "Binary", Some("b"), None), "'a' with type 'Binary' must use field 'Binary'."),
        (attributed("a", "Binary", None, None), "for message attribute type 'Binary'."),
        (number("1e200"), "Could not cast message attribute 'n' value to number."),
        (number(&ones), "Could not cast message attribute 'n' value to number."),
    ] {
        let error = publish(attributes).await.unwrap_err();
        assert_eq!(error.code, "ParameterValueInvalid");
        assert!(error.message.contains(said), "{}", error.message);
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
    for (protocol, endpoint) in [
        ("https", "http://h/"),
        ("http", "https://h/"),
        ("email", "ops"),
        ("email-json", "a@h\r\nBcc: b@h"),
        ("http", "ftp://h/"),
        ("http", ""),
        ("sms", "+1"),
        ("application", "x"),
        ("firehose", "x"),
        ("pigeon", "x"),
    ] {
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

#[tokio::test(start_paused = true)]
async fn attributes_are_executed_and_shown_or_refused_by_name() {
    let world = World::new().await;
    let arn = world.create(&[("SignatureVersion", "2")]).await.unwrap();
    let set = async |name: &str, value: &str| {
        let (attribute_name, attribute_value) = (name.to_owned(), Some(value.to_owned()));
        let input =
            SetTopicAttributesInput { topic_arn: arn.clone(), attribute_name, attribute_value, ..Default::default() };
        world.service.set_topic_attributes(&world.call(), input).await
    };
    let policy = r#"{"http":{"defaultHealthyRetryPolicy":{"numRetries":7},"disableSubscriptionOverrides":true}}"#;
    for (name, value) in
        [("DisplayName", "d"), ("DeliveryPolicy", policy), ("MaximumMessageSize", "1048576"), ("KmsMasterKeyId", "")]
    {
        set(name, value).await.unwrap();
    }
    for (name, value) in [
        ("KmsMasterKeyId", "k"),
        ("Policy", "{}"),
        ("Policy", r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"sns:*","Resource":"*"}}"#),
        ("TracingConfig", "Active"),
        ("TracingConfig", "PassThrough"),
        ("DataProtectionPolicy", "{}"),
        ("HTTPSuccessFeedbackRoleArn", "r"),
        ("SignatureVersion", "3"),
        ("MaximumMessageSize", "1023"),
        ("ContentBasedDeduplication", "true"),
        ("FifoTopic", "true"),
        ("Nonsense", "x"),
        ("DeliveryPolicy", "x"),
    ] {
        let error = set(name, value).await.unwrap_err();
        assert_eq!(error.code, "InvalidParameter", "{name}: {}", error.message);
    }
    let get = GetTopicAttributesInput { topic_arn: arn.clone(), ..Default::default() };
    let shown = world.service.get_topic_attributes(&world.call(), get).await.unwrap().attributes.unwrap();
    assert_eq!((&*shown["SignatureVersion"], &*shown["MaximumMessageSize"]), ("2", "1048576"));
    assert!(shown["EffectiveDeliveryPolicy"].contains(r#""numRetries":7"#), "{}", shown["EffectiveDeliveryPolicy"]);
    let http = SubscribeInput {
        topic_arn: arn.clone(),
        protocol: "http".into(),
        endpoint: Some("http://h/".into()),
        ..Default::default()
    };
    let error = world.service.subscribe(&world.call(), http).await.unwrap_err();
    assert!(
        error.message.contains("MaximumMessageSize"),
        "only firehose, sqs and lambda take so much: {}",
        error.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_fifo_topic_s_name_says_so_and_topics_are_tagged() {
    let world = World::new().await;
    let create = async |name: &str, fifo: &str, tags: &[(&str, &str)]| {
        let tag =
            |(key, value): &(&str, &str)| Tag { key: (*key).into(), value: (*value).into(), ..Default::default() };
        let input = CreateTopicInput {
            name: name.into(),
            attributes: Some([("FifoTopic".to_owned(), fifo.to_owned())].into()),
            tags: Some(tags.iter().map(tag).collect()),
            ..Default::default()
        };
        Ok::<_, ServiceError>(world.service.create_topic(&world.call(), input).await?.topic_arn.unwrap())
    };
    assert!(create("a", "true", &[]).await.is_err() && create("a.fifo", "false", &[]).await.is_err());
    let arn = create("a.fifo", "true", &[("k", "v")]).await.unwrap();
    assert!(create("a.fifo", "true", &[("k", "w")]).await.unwrap_err().message.contains("different tags"));
    assert_eq!(create("b.fifo", "true", &[("AWS:k", "v")]).await.unwrap_err().code, "InvalidParameter");
    let untag = UntagResourceInput { resource_arn: arn.clone(), tag_keys: vec!["k".into()], ..Default::default() };
    world.service.untag_resource(&world.call(), untag).await.unwrap();
    let tag = Tag { key: "l".into(), value: "w".into(), ..Default::default() };
    let input = TagResourceInput { resource_arn: arn.clone(), tags: vec![tag], ..Default::default() };
    world.service.tag_resource(&world.call(), input).await.unwrap();
    let list = async |arn: &str| {
        let input = ListTagsForResourceInput { resource_arn: arn.into(), ..Default::default() };
        world.service.list_tags_for_resource(&world.call(), input).await
    };
    let tags = list(&arn).await.unwrap().tags.unwrap();
    assert_eq!(tags.iter().map(|t| (&*t.key, &*t.value)).collect::<Vec<_>>(), [("l", "w")]);
    assert_eq!(list(&arn.replace("a.fifo", "b")).await.unwrap_err().code, "ResourceNotFound");
    let publish = async |dedup: Option<&str>| {
        let input = PublishInput {
            topic_arn: Some(arn.clone()),
            message: "m".into(),
            message_group_id: Some("g".into()),
            message_deduplication_id: dedup.map(Into::into),
            ..Default::default()
        };
        world.service.publish(&world.call(), input).await
    };
    assert_eq!(publish(None).await.unwrap_err().code, "InvalidParameter");
    let whole = PublishBatchRequestEntry {
        message_group_id: Some("g".into()),
        message_deduplication_id: Some("of a batch".into()),
        ..entry("good", "x")
    };
    let no_group = PublishBatchRequestEntry { message_group_id: None, ..whole.clone() };
    let no_dedup = PublishBatchRequestEntry { message_deduplication_id: None, ..whole.clone() };
    for (bad, said) in [
        (no_group, "Invalid parameter: The MessageGroupId parameter is required for FIFO topics"),
        (no_dedup, "The topic should either have ContentBasedDeduplication enabled"),
    ] {
        let entries = vec![whole.clone(), PublishBatchRequestEntry { id: "bad".into(), ..bad }];
        let input =
            PublishBatchInput { topic_arn: arn.clone(), publish_batch_request_entries: entries, ..Default::default() };
        let error = world.service.publish_batch(&world.call(), input).await.unwrap_err();
        assert_eq!(error.code, "InvalidParameter");
        assert!(error.message.contains(said), "{}", error.message);
    }
    let first = publish(Some("d")).await.unwrap();
    assert_eq!(first.sequence_number.as_ref().map(String::len), Some(20));
    assert_eq!(publish(Some("d")).await.unwrap().message_id, first.message_id);
}

#[tokio::test(start_paused = true)]
async fn a_link_ends_a_subscription_unless_its_owner_forbade_it_and_can_take_it_back() {
    let world = World::new().await;
    let topic_arn = world.create(&[]).await.unwrap();
    let (owner, link) = (world.call(), Call { principal: Principal::Anonymous, ..world.call() });
    let topic = "t".parse().unwrap();
    let token = || world.house.flow.topics.subscriptions(&owner.scope, &topic).unwrap()[0].token.clone();
    let confirm = async |call: &Call, strict: bool| {
        let input = ConfirmSubscriptionInput {
            topic_arn: topic_arn.clone(),
            token: token(),
            authenticate_on_unsubscribe: strict.then(|| "true".to_owned()),
            ..Default::default()
        };
        Ok::<_, ServiceError>(world.service.confirm_subscription(call, input).await?.subscription_arn.unwrap())
    };
    let end = async |call: &Call, arn: &str| {
        let input = UnsubscribeInput { subscription_arn: arn.into(), ..Default::default() };
        world.service.unsubscribe(call, input).await.map(drop)
    };
    let subscribe = SubscribeInput {
        topic_arn: topic_arn.clone(),
        protocol: "http".into(),
        endpoint: Some("http://h/".into()),
        return_subscription_arn: Some(true),
        ..Default::default()
    };
    let made = world.service.subscribe(&owner, subscribe.clone()).await.unwrap().subscription_arn.unwrap();
    assert_eq!(confirm(&link, true).await.unwrap_err().code, "AuthorizationError");
    let maybe = ConfirmSubscriptionInput {
        topic_arn: topic_arn.clone(),
        token: token(),
        authenticate_on_unsubscribe: Some("maybe".into()),
        ..Default::default()
    };
    assert_eq!(world.service.confirm_subscription(&owner, maybe).await.unwrap_err().code, "InvalidParameter");
    let arn = confirm(&link, false).await.unwrap();
    assert_eq!(arn, made, "as ReturnSubscriptionArn said");
    let before = token();
    end(&link, &arn).await.unwrap();
    assert_ne!(token(), before, "what confirmed it once does not do so again");
    assert_eq!(confirm(&link, false).await.unwrap(), arn);
    end(&owner, &arn).await.unwrap();
    assert!(world.house.flow.topics.subscriptions(&owner.scope, &topic).unwrap().is_empty());
    world.service.subscribe(&owner, subscribe).await.unwrap();
    let strict = confirm(&owner, true).await.unwrap();
    assert_eq!(end(&link, &strict).await.unwrap_err().code, "AuthorizationError");
    end(&owner, &strict).await.unwrap();
}
