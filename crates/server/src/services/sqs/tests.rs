use std::collections::BTreeMap;

use flow::queue::{Attribute, QueueAttributes, digest};

use super::*;
use crate::services::testing::{ACCOUNT, House};

struct World {
    house: House,
    service: Arc<QueueService>,
}

impl World {
    async fn new() -> Self {
        let house = House::new().await;
        Self { service: QueueService::new(house.flow.queues.clone(), house.env.clone()), house }
    }

    async fn create(&self, name: &str, attributes: &[(&str, &str)]) -> Result<String, ServiceError> {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let input = CreateQueueInput { queue_name: name.into(), attributes: Some(attributes), ..Default::default() };
        Ok(self.service.create_queue(&self.house.call(), input).await?.queue_url.unwrap())
    }

    async fn send(&self, url: &str, body: &str) -> Result<SendMessageOutput, ServiceError> {
        let input = SendMessageInput { queue_url: url.into(), message_body: body.into(), ..Default::default() };
        self.service.send_message(&self.house.call(), input).await
    }

    async fn receive(&self, url: &str) -> Vec<Message> {
        let names = Some(vec!["All".to_owned()]);
        let input = ReceiveMessageInput { queue_url: url.into(), attribute_names: names, ..Default::default() };
        self.service.receive_message(&self.house.call(), input).await.unwrap().messages.unwrap_or_default()
    }
}

/// Digests as AWS gave them (recorded in LocalStack's snapshots of SQS).
#[test]
fn digests_of_attributes_are_those_of_the_service() {
    let of = |name: &str, data_type: &str, value: &str| {
        let attribute = Attribute { data_type: data_type.into(), value: value.into() };
        digest::of_attributes(&[(name.to_owned(), attribute)].into()).unwrap()
    };
    assert_eq!(of("Hello", "String", "There"), "a311262e065454b75da111d535b8dacd");
    assert_eq!(of("Foo", "String", "Bar"), "ae7155c6026991b6d54b11589678bf9c");
    let encoded = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01",
    );
    assert_eq!(of("attr1", "Binary", &encoded), "8cbe4db156db8a94db8b801b7addb984");
    assert_eq!(digest::of_attributes(&BTreeMap::new()), None);
}

#[test]
fn attributes_are_bounded_and_unknown_ones_refused() {
    let set = |name: &str, value: &str, fifo: bool| {
        let mut attributes = QueueAttributes { fifo: fifo.then(Default::default), ..QueueAttributes::default() };
        let given = [(name.to_owned(), value.to_owned())].into();
        attributes::apply(&mut attributes, &given).map(|()| attributes).map_err(|error| error.code.into_owned())
    };
    for (name, good, bad) in [
        ("DelaySeconds", ["0", "900"], ["-1", "901"]),
        ("MaximumMessageSize", ["1024", "1048576"], ["1023", "1048577"]),
        ("MessageRetentionPeriod", ["60", "1209600"], ["59", "1209601"]),
        ("ReceiveMessageWaitTimeSeconds", ["0", "20"], ["x", "21"]),
        ("VisibilityTimeout", ["0", "43200"], ["", "43201"]),
        ("SqsManagedSseEnabled", ["true", "false"], ["yes", ""]),
    ] {
        good.iter().for_each(|value| assert!(set(name, value, false).is_ok(), "{name} {value}"));
        bad.iter().for_each(|value| assert_eq!(set(name, value, false).unwrap_err(), "InvalidAttributeValue"));
    }
    for name in ["ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit", "QueueArn", "x"] {
        assert_eq!(set(name, "true", false).unwrap_err(), "InvalidAttributeName", "{name}");
    }
    assert!(set("ContentBasedDeduplication", "true", true).unwrap().fifo.unwrap().content_based_deduplication);
    assert_eq!(set("FifoThroughputLimit", "perMessageGroupId", true).unwrap_err(), "InvalidAttributeValue");
    assert_eq!(set("FifoQueue", "false", true).unwrap_err(), "InvalidAttributeValue");
    assert_eq!(set("FifoQueue", "false", false).unwrap_err(), "InvalidAttributeName");
    for policy in [
        r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-central-1:000000000000:d","maxReceiveCount":0}"#,
        r#"{"deadLetterTargetArn":"dummy","maxReceiveCount":1}"#,
        r#"{"maxReceiveCount":1}"#,
        "[]",
    ] {
        assert_eq!(set("RedrivePolicy", policy, false).unwrap_err(), "InvalidParameterValue", "{policy}");
    }
    assert_eq!(
        set("RedriveAllowPolicy", r#"{"redrivePermission":"byQueue"}"#, false).unwrap_err(),
        "InvalidParameterValue"
    );
    let policy = |action: &str| {
        format!(r#"{{"Statement":{{"Effect":"Allow","Principal":"*","Action":"{action}","Resource":"*"}}}}"#)
    };
    assert_eq!(set("Policy", &policy("sqs:SendMessage"), false).unwrap().policy, Some(policy("sqs:SendMessage")));
    for wrong in ["{}", &policy("sns:Publish"), &policy("sqs:*").repeat(2)] {
        assert_eq!(set("Policy", wrong, false).unwrap_err(), "InvalidAttributeValue", "{wrong}");
    }
    assert_eq!(set("Policy", "", false).unwrap(), QueueAttributes::default());
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_found_by_the_end_of_its_url_and_only_in_its_account() {
    let world = World::new().await;
    let url = world.create("q", &[]).await.unwrap();
    assert_eq!(url, format!("http://localhost:4566/{ACCOUNT}/q"));
    for good in [&*url, &format!("https://elsewhere/{ACCOUNT}/q"), &format!("/{ACCOUNT}/q")] {
        assert!(world.send(good, "x").await.is_ok(), "{good}");
    }
    for (bad, code) in [
        ("q", "InvalidAddress"),
        ("/", "InvalidAddress"),
        ("http://localhost:4566/111111111111/q", "QueueDoesNotExist"),
        ("http://localhost:4566/000000000000/other", "QueueDoesNotExist"),
    ] {
        assert_eq!(world.send(bad, "x").await.unwrap_err().code, code, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_checked_as_the_service_does() {
    let world = World::new().await;
    let url = world.create("q", &[("MaximumMessageSize", "1024")]).await.unwrap();
    for (body, code) in
        [("", "MissingParameter"), ("\u{0}", "InvalidMessageContents"), ("\u{fffe}", "InvalidMessageContents")]
    {
        assert_eq!(world.send(&url, body).await.unwrap_err().code, code);
    }
    let error = world.send(&url, &"x".repeat(1_025)).await.unwrap_err();
    assert_eq!(error.message, "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.");
    let with = async |name: &str, data_type: &str, value: &str| {
        let value = MessageAttributeValue {
            data_type: data_type.into(),
            string_value: Some(value.into()),
            ..Default::default()
        };
        let attributes = Some([(name.to_owned(), value)].into());
        let input = SendMessageInput {
            queue_url: url.clone(),
            message_body: "x".into(),
            message_attributes: attributes,
            ..Default::default()
        };
        world.service.send_message(&world.house.call(), input).await.map(drop).map_err(|error| error.code)
    };
    for (name, data_type, value) in
        [("a.b-C_1", "String", "x"), ("n", "Number.int", "-1.5e3"), ("t", "String.json", "{}")]
    {
        assert_eq!(with(name, data_type, value).await, Ok(()), "{name}");
    }
    for (name, data_type, value) in [
        ("", "String", "x"),
        (".a", "String", "x"),
        ("a..b", "String", "x"),
        ("AWS.x", "String", "x"),
        ("a", "Text", "x"),
        ("a", "Number", "x"),
        ("a", "Number", "NaN"),
        ("a", "Number.float", "-inf"),
        ("a", "Binary", "x"),
        ("a", "String", ""),
    ] {
        assert_eq!(with(name, data_type, value).await.unwrap_err(), "InvalidParameterValue", "{name} {data_type}");
    }
    assert_eq!(world.receive(&url).await[0].body.as_deref(), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_s_name_is_bounded_and_no_receipt_of_a_visible_message_holds_it() {
    let world = World::new().await;
    let url = world.create("q.fifo", &[("FifoQueue", "true"), ("VisibilityTimeout", "0")]).await.unwrap();
    let attempt = async |name: &str| {
        let input = ReceiveMessageInput {
            queue_url: url.clone(),
            receive_request_attempt_id: Some(name.into()),
            ..Default::default()
        };
        world.service.receive_message(&world.house.call(), input).await.map_err(|error| error.code)
    };
    assert!(attempt(&"a".repeat(128)).await.is_ok());
    for bad in ["", "a b", "ä", &"a".repeat(129)] {
        assert_eq!(attempt(bad).await.unwrap_err(), "InvalidParameterValue", "{bad}");
    }
    let input = SendMessageInput {
        queue_url: url.clone(),
        message_body: "x".into(),
        message_group_id: Some("g".into()),
        message_deduplication_id: Some("d".into()),
        ..Default::default()
    };
    world.service.send_message(&world.house.call(), input).await.unwrap();
    let receipt_handle = world.receive(&url).await.remove(0).receipt_handle.unwrap();
    let input = ChangeMessageVisibilityInput {
        queue_url: url.clone(),
        receipt_handle,
        visibility_timeout: 5,
        ..Default::default()
    };
    let error = world.service.change_message_visibility(&world.house.call(), input).await.unwrap_err();
    assert_eq!(error.code, "MessageNotInflight");
}

#[tokio::test(start_paused = true)]
async fn permissions_are_statements_of_the_policy() {
    let world = World::new().await;
    let url = world.create("q", &[]).await.unwrap();
    let call = world.house.call();
    let add = async |label: &str, accounts: &[&str], actions: &[&str]| {
        let texts = |given: &[&str]| given.iter().map(|text| (*text).to_owned()).collect();
        let input = AddPermissionInput {
            queue_url: url.clone(),
            label: label.into(),
            aws_account_ids: texts(accounts),
            actions: texts(actions),
            ..Default::default()
        };
        world.service.add_permission(&call, input).await.map_err(|error| (error.code.into_owned(), error.message))
    };
    let policy = async || {
        let names = Some(vec!["Policy".to_owned()]);
        let input = GetQueueAttributesInput { queue_url: url.clone(), attribute_names: names, ..Default::default() };
        world.service.get_queue_attributes(&call, input).await.unwrap().attributes
    };
    let remove = async |label: &str| {
        let input = RemovePermissionInput { queue_url: url.clone(), label: label.into(), ..Default::default() };
        world.service.remove_permission(&call, input).await.map_err(|error| error.message)
    };
    assert_eq!(policy().await, None);
    add("a", &[ACCOUNT], &["SendMessage"]).await.unwrap();
    add("b", &[ACCOUNT, "111111111111"], &["*", "PurgeQueue"]).await.unwrap();
    let shown = policy().await.unwrap().remove("Policy").unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let arn = format!("arn:aws:sqs:eu-central-1:{ACCOUNT}:q");
    assert_eq!(
        shown["Statement"][0],
        serde_json::json!({"Sid": "a", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")},
            "Action": "SQS:SendMessage", "Resource": arn})
    );
    assert_eq!(shown["Statement"][1]["Action"], serde_json::json!(["SQS:*", "SQS:PurgeQueue"]));
    for (label, accounts, actions, code) in [
        ("a", &[ACCOUNT][..], &["SendMessage"][..], "InvalidParameterValue"),
        ("c", &[ACCOUNT], &["DeleteQueue"], "InvalidParameterValue"),
        ("c", &["12"], &["SendMessage"], "InvalidParameterValue"),
        ("c d", &[ACCOUNT], &["SendMessage"], "InvalidParameterValue"),
        ("", &[ACCOUNT], &["SendMessage"], "MissingParameter"),
        ("c", &[ACCOUNT], &[], "MissingParameter"),
        ("c", &[ACCOUNT], &["*"; 8], "OverLimit"),
    ] {
        assert_eq!(add(label, accounts, actions).await.unwrap_err().0, code, "{label} {accounts:?} {actions:?}");
    }
    let missing = "Value c for parameter Label is invalid. Reason: can't find label on existing policy.";
    assert_eq!(remove("c").await.unwrap_err(), missing);
    remove("a").await.unwrap();
    remove("b").await.unwrap();
    assert_eq!(policy().await, None);
}

#[test]
fn every_listed_operation_is_done() {
    assert!(SERVICE.model().operations.iter().all(|operation| operation.done));
}

#[tokio::test(start_paused = true)]
async fn a_batch_for_a_fifo_queue_is_sent_whole_or_not_at_all() {
    let world = World::new().await;
    let url = world.create("q.fifo", &[("FifoQueue", "true")]).await.unwrap();
    let whole = SendMessageBatchRequestEntry {
        id: "good".into(),
        message_body: "m".into(),
        message_group_id: Some("g".into()),
        message_deduplication_id: Some("d".into()),
        ..Default::default()
    };
    let no_group = SendMessageBatchRequestEntry { id: "bad".into(), message_group_id: None, ..whole.clone() };
    let no_dedup = SendMessageBatchRequestEntry { id: "bad".into(), message_deduplication_id: None, ..whole.clone() };
    let send = async |entries: Vec<SendMessageBatchRequestEntry>| {
        let input = SendMessageBatchInput { queue_url: url.clone(), entries, ..Default::default() };
        world.service.send_message_batch(&world.house.call(), input).await
    };
    // As the service was seen to answer (recorded in LocalStack's snapshots of SQS).
    for (bad, said) in [
        (no_group, "The request must contain the parameter MessageGroupId."),
        (
            no_dedup,
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
        ),
    ] {
        let error = send(vec![whole.clone(), bad]).await.unwrap_err();
        assert_eq!((&*error.code, &*error.message), ("InvalidParameterValue", said));
    }
    assert!(world.receive(&url).await.is_empty(), "nothing was sent");
    assert_eq!(send(vec![whole]).await.unwrap().successful.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn attributes_of_messages_are_checked_as_the_service_does() {
    let world = World::new().await;
    let url = world.create("q", &[]).await.unwrap();
    let send = async |data_type: &str, value: &str| {
        let attribute = MessageAttributeValue {
            data_type: data_type.into(),
            string_value: Some(value.into()),
            ..Default::default()
        };
        let input = SendMessageInput {
            queue_url: url.clone(),
            message_body: "m".into(),
            message_attributes: Some([("n".to_owned(), attribute)].into()),
            ..Default::default()
        };
        world.service.send_message(&world.house.call(), input).await
    };
    send("Number", "05").await.unwrap();
    let ones = "1".repeat(50);
    let cast = "Can't cast the value of message (user) attribute 'n' to a number.";
    for (data_type, value, said) in [
        ("String", "", "Message (user) attribute 'n' must contain a non-empty value of type 'String'."),
        ("Number", "1e200", cast),
        ("Number", &*ones, cast),
    ] {
        let error = send(data_type, value).await.unwrap_err();
        assert_eq!((&*error.code, &*error.message), ("InvalidParameterValue", said));
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_task_says_which_queue_is_missing_and_runs_once_at_a_time() {
    let world = World::new().await;
    let arn = |name: &str| format!("arn:aws:sqs:eu-central-1:{ACCOUNT}:{name}");
    let letters = world.create("letters", &[]).await.unwrap();
    let redrive = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":1}}"#, arn("letters"));
    world.create("q", &[("RedrivePolicy", &redrive)]).await.unwrap();
    let start = async |source: &str, destination: &str| {
        let input = StartMessageMoveTaskInput {
            source_arn: arn(source),
            destination_arn: Some(arn(destination)),
            max_number_of_messages_per_second: Some(1),
            ..Default::default()
        };
        world.service.start_message_move_task(&world.house.call(), input).await
    };
    for (source, destination, parameter) in
        [("none", "q", "SourceArn"), ("letters", "none", "DestinationArn"), ("letters", "a b", "DestinationArn")]
    {
        let error = start(source, destination).await.unwrap_err();
        let said = format!("The resource that you specified for the {parameter} parameter doesn't exist.");
        assert_eq!((&*error.code, &*error.message), ("ResourceNotFoundException", &*said));
    }
    for _ in 0..3 {
        world.send(&letters, "x").await.unwrap();
    }
    start("letters", "q").await.unwrap();
    let error = start("letters", "q").await.unwrap_err();
    assert_eq!(error.code, "InvalidParameterValue");
    assert!(error.message.starts_with("There is already a task running."), "{}", error.message);
}
