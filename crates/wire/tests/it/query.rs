//! Query: forms in, XML out.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use wire::sns::{self, Sns};
use wire::sqs::{self, Sqs};
use wire::sts::{self, Sts};
use wire::{Call, ServiceError};

use crate::{Anybody, body, call, operation, soon, whole};

struct Topics;

#[async_trait]
impl Sns for Topics {
    async fn create_topic(
        &self,
        _: &Call,
        input: sns::CreateTopicInput,
    ) -> Result<sns::CreateTopicOutput, ServiceError> {
        Ok(sns::CreateTopicOutput { topic_arn: Some(format!("arn:<{}>&", input.name)) })
    }

    async fn delete_topic(&self, _: &Call, _: sns::DeleteTopicInput) -> Result<sns::DeleteTopicOutput, ServiceError> {
        Ok(sns::DeleteTopicOutput {})
    }

    async fn list_topics(&self, _: &Call, _: sns::ListTopicsInput) -> Result<sns::ListTopicsOutput, ServiceError> {
        let topics = ["a", "b"].map(|name| sns::Topic { topic_arn: Some(name.into()) });
        Ok(sns::ListTopicsOutput { topics: Some(topics.into()), next_token: None })
    }

    async fn get_topic_attributes(
        &self,
        _: &Call,
        input: sns::GetTopicAttributesInput,
    ) -> Result<sns::GetTopicAttributesOutput, ServiceError> {
        if input.topic_arn == "gone" {
            return Err(ServiceError::new("NotFoundException", "Topic does not exist"));
        }
        let attributes = [("DisplayName", "x\u{1}\"y\""), ("Owner", "000000000000")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(sns::GetTopicAttributesOutput { attributes: Some(attributes.into()) })
    }
}

struct Callers;

#[async_trait]
impl Sts for Callers {
    async fn get_caller_identity(
        &self,
        call: &Call,
        _: sts::GetCallerIdentityInput,
    ) -> Result<sts::GetCallerIdentityOutput, ServiceError> {
        let account = call.scope.account.to_string();
        let arn = format!("arn:aws:iam::{account}:root");
        Ok(sts::GetCallerIdentityOutput { user_id: Some(account.clone()), account: Some(account), arn: Some(arn) })
    }
}

fn form(text: &str) -> Request<Bytes> {
    Request::post("/").body(text.to_owned().into()).unwrap()
}

async fn send(text: &str) -> Response<Bytes> {
    let request = form(&format!("{text}&Version=2010-03-31"));
    whole(soon(sns::dispatch(&Topics, &Anybody, &call(), operation("sns", &request), &request)).await)
}

const ID: &str = "7d6e3fd1-0a4f-4b0f-9c43-5e8f0d5f8a11";
const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

#[tokio::test]
async fn answers_have_their_wrapper_namespace_and_request_id() {
    let response = send("Action=CreateTopic&Name=a%2Bb+c").await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/xml".parse().unwrap()));
    let expected = format!(
        "<?xml version=\"1.0\"?>\n<CreateTopicResponse xmlns=\"{NAMESPACE}\"><CreateTopicResult><TopicArn>arn:&lt;a+b \
         c&gt;&amp;</TopicArn></CreateTopicResult><ResponseMetadata><RequestId>{ID}</RequestId></ResponseMetadata>\
         </CreateTopicResponse>"
    );
    assert_eq!(body(&response), expected);
    let response = send("Action=DeleteTopic&TopicArn=a").await;
    let expected = format!(
        "<?xml version=\"1.0\"?>\n<DeleteTopicResponse xmlns=\"{NAMESPACE}\"><ResponseMetadata><RequestId>{ID}\
         </RequestId></ResponseMetadata></DeleteTopicResponse>"
    );
    assert_eq!(body(&response), expected);
}

#[tokio::test]
async fn lists_and_maps_have_their_elements() {
    let response = send("Action=ListTopics").await;
    assert!(body(&response).contains(
        "<ListTopicsResult><Topics><member><TopicArn>a</TopicArn></member><member><TopicArn>b</TopicArn></member></Topics></ListTopicsResult>"
    ));
    let response = send("Action=GetTopicAttributes&TopicArn=a").await;
    assert!(body(&response).contains(
        "<Attributes><entry><key>DisplayName</key><value>x\u{fffd}&quot;y&quot;</value></entry><entry><key>Owner</key><value>000000000000</value></entry></Attributes>"
    ));
}

#[tokio::test]
async fn errors_are_sender_or_receiver() {
    let response = send("Action=GetTopicAttributes&TopicArn=gone").await;
    assert_eq!(response.status(), 404);
    let expected = format!(
        "<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>NotFound</Code>\
         <Message>Topic does not exist</Message></Error><RequestId>{ID}</RequestId></ErrorResponse>"
    );
    assert_eq!(body(&response), expected);
    let response = send("Action=GetTopicAttributes").await;
    assert_eq!(response.status(), 400);
    assert!(body(&response).contains(
        "<Code>ValidationError</Code><Message>1 validation error detected: Value null at 'topicArn' failed to satisfy constraint: Member must not be null</Message>"
    ));
    let response = send("Action=CreatePlatformApplication&Name=a").await;
    assert_eq!(response.status(), 501);
    assert!(
        body(&response)
            .contains("<Type>Receiver</Type><Code>NotImplemented</Code><Message>CreatePlatformApplication of sns")
    );
}

#[tokio::test]
async fn a_confirmation_link_is_a_call_without_version() {
    let uri = "/?Action=ConfirmSubscription&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A000000000000%3Aalerts&Token=abc";
    let request = Request::get(uri).body(Bytes::new()).unwrap();
    let operation = operation("sns", &request);
    assert_eq!(operation.name, "ConfirmSubscription");
    let input: sns::ConfirmSubscriptionInput = wire::protocol::read(operation, &request).unwrap();
    assert_eq!((input.topic_arn.as_str(), input.token.as_str()), ("arn:aws:sns:us-east-1:000000000000:alerts", "abc"));
}

#[tokio::test]
async fn a_list_keeps_the_order_of_its_numbers() {
    let members: String =
        (1..=12).rev().map(|n| format!("&Tags.member.{n}.Key=k{n}&Tags.member.{n}.Value=v")).collect();
    let request = form(&format!("Action=CreateTopic&Name=a{members}"));
    let input: sns::CreateTopicInput = wire::protocol::read(operation("sns", &request), &request).unwrap();
    let keys: Vec<_> = input.tags.unwrap().into_iter().map(|tag| tag.key).collect();
    assert_eq!(keys[..3], ["k1", "k2", "k3"]);
    assert_eq!((keys.len(), keys[11].as_str()), (12, "k12"));
    let request = form("Action=CreateTopic&Name=a&Tags.member.x.Key=k");
    let refused = wire::protocol::read::<sns::CreateTopicInput>(operation("sns", &request), &request).unwrap_err();
    assert_eq!(refused.code, "MalformedInput");
}

#[tokio::test]
async fn the_caller_learns_who_it_is() {
    let request = form("Action=GetCallerIdentity&Version=2011-06-15");
    let response = whole(soon(sts::dispatch(&Callers, &Anybody, &call(), operation("sts", &request), &request)).await);
    assert!(body(&response).contains(
        "<GetCallerIdentityResult><Account>000000000000</Account><Arn>arn:aws:iam::000000000000:root</Arn><UserId>000000000000</UserId></GetCallerIdentityResult>"
    ));
}

#[test]
fn a_name_of_endless_parts_is_refused() {
    let request = form(&format!("Action=CreateTopic&Name=a&{}=x", "a.".repeat(500_000)));
    let refused = wire::protocol::read::<sns::CreateTopicInput>(operation("sns", &request), &request).unwrap_err();
    assert_eq!((&*refused.code, refused.message.as_str()), ("MalformedInput", "a parameter's name has too many parts"));
}

proptest! {
    #[test]
    fn forms_read_back_as_written(
        name in "[a-zA-Z0-9_-]{1,20}",
        attributes in prop::collection::btree_map(".{1,12}", ".{0,20}", 0..6),
    ) {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let entries = attributes.iter().enumerate().map(|(i, (key, value))| {
            let entry = format!("&Attributes.entry.{}", i + 1);
            format!("{entry}.key={}{entry}.value={}", encode(key), encode(value))
        });
        let request = form(&format!("Action=CreateTopic&Name={name}{}", entries.collect::<String>()));
        let input: sns::CreateTopicInput = wire::protocol::read(operation("sns", &request), &request).unwrap();
        prop_assert_eq!(input.name, name);
        prop_assert_eq!(input.attributes.unwrap_or_default(), attributes);
    }

    #[test]
    fn no_form_makes_the_decoder_panic(text in "[a-zA-Z0-9.=&%+]{0,200}") {
        let request = form(&format!("Action=PublishBatch&{text}"));
        let _ = wire::protocol::read::<sns::PublishBatchInput>(operation("sns", &request), &request);
    }
}

struct Queues;

#[async_trait]
impl Sqs for Queues {
    async fn receive_message(
        &self,
        _: &Call,
        input: sqs::ReceiveMessageInput,
    ) -> Result<sqs::ReceiveMessageOutput, ServiceError> {
        if input.queue_url == "/none" {
            return Err(ServiceError::new("QueueDoesNotExist", "gone"));
        }
        let names = input.attribute_names.unwrap_or_default().into_iter().map(|name| (name, "1".to_owned()));
        let attribute = sqs::MessageAttributeValue { data_type: "String".into(), ..Default::default() };
        let message = sqs::Message {
            body: Some(format!("<{}>", input.queue_url)),
            attributes: Some(names.collect()),
            message_attributes: Some([("a".to_owned(), attribute)].into()),
            ..Default::default()
        };
        Ok(sqs::ReceiveMessageOutput { messages: Some(vec![message.clone(), message]) })
    }

    async fn tag_queue(&self, _: &Call, input: sqs::TagQueueInput) -> Result<sqs::TagQueueOutput, ServiceError> {
        assert_eq!(input.tags, [("k".to_owned(), "v".to_owned())].into());
        Ok(sqs::TagQueueOutput {})
    }
}

async fn ask_queues(request: Request<Bytes>) -> Response<Bytes> {
    whole(sqs::dispatch(&Queues, &Anybody, &call(), operation("sqs", &request), &request).await)
}

fn queue_form(path: &str, form: &'static str) -> Request<Bytes> {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    request.body(Bytes::from_static(form.as_bytes())).unwrap()
}

#[tokio::test]
async fn a_service_of_awsjson_that_was_one_of_query_answers_as_it_is_asked() {
    let answer =
        soon(ask_queues(queue_form("/1/q", "Action=ReceiveMessage&AttributeName.1=A&AttributeName.2=B"))).await;
    let one = "<Message><Attribute><Name>A</Name><Value>1</Value></Attribute><Attribute><Name>B</Name><Value>1</Value>\
               </Attribute><Body>&lt;/1/q&gt;</Body><MessageAttribute><Name>a</Name><Value><DataType>String</DataType>\
               </Value></MessageAttribute></Message>";
    let expected = format!(
        "<?xml version=\"1.0\"?>\n<ReceiveMessageResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\">\
         <ReceiveMessageResult>{one}{one}</ReceiveMessageResult><ResponseMetadata><RequestId>{}</RequestId>\
         </ResponseMetadata></ReceiveMessageResponse>",
        call().request_id
    );
    assert_eq!(body(&answer), expected);
    let answer = soon(ask_queues(queue_form("/", "Action=TagQueue&QueueUrl=/1/q&Tag.1.Key=k&Tag.1.Value=v"))).await;
    assert!(body(&answer).contains("<TagQueueResponse"), "{}", body(&answer));
    let error = soon(ask_queues(queue_form("/none", "Action=ReceiveMessage&Version=2012-11-05"))).await;
    assert_eq!(error.status(), 400);
    assert!(body(&error).contains("<Type>Sender</Type><Code>AWS.SimpleQueueService.NonExistentQueue</Code>"));
    let json = Request::post("/").header("x-amz-target", "AmazonSQS.ReceiveMessage");
    let json = json.header("content-type", "application/x-amz-json-1.0");
    let error = soon(ask_queues(json.body(Bytes::from_static(br#"{"QueueUrl":"/none"}"#)).unwrap())).await;
    assert_eq!(error.headers()["x-amzn-query-error"], "AWS.SimpleQueueService.NonExistentQueue;Sender");
    assert_eq!(error.headers()["content-type"], "application/x-amz-json-1.0");
    assert_eq!(body(&error), r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"gone"}"#);
}
