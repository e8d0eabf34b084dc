//! Event streams: frames as clients read them, and what ends them.

use async_trait::async_trait;
use base::Timestamp;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use wire::kinesis::{self, Kinesis, SubscribeToShardEvent, SubscribeToShardEventStream};
use wire::{Body, Call, EventStream, ServiceError};

use crate::{Anybody, call, operation, soon};

/// Pushes one event, then ends with the error if there is one; what follows an error must not be sent.
struct Subscription(Option<ServiceError>);

#[async_trait]
impl Kinesis for Subscription {
    async fn subscribe_to_shard(
        &self,
        _: &Call,
        input: kinesis::SubscribeToShardInput,
    ) -> Result<EventStream<kinesis::SubscribeToShardOutput, SubscribeToShardEventStream>, ServiceError> {
        if input.shard_id == "none" {
            return Err(ServiceError::new("ResourceNotFoundException", "no such shard"));
        }
        let event = SubscribeToShardEvent {
            continuation_sequence_number: Some("49".into()),
            millis_behind_latest: 7,
            records: vec![kinesis::Record {
                approximate_arrival_timestamp: Some(Timestamp::from_millis(1_500)),
                data: Bytes::from_static(b"abc"),
                partition_key: Some("k".into()),
                sequence_number: "48".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let event = SubscribeToShardEventStream::SubscribeToShardEvent(event);
        let mut items = vec![Ok(event.clone())];
        if let Some(error) = &self.0 {
            items.extend([Err(error.clone()), Ok(event)]);
        }
        let output = kinesis::SubscribeToShardOutput::default();
        Ok(EventStream { output, events: stream::iter(items).boxed() })
    }
}

async fn subscribe(service: Subscription, shard: &str) -> Response<Body> {
    let text = format!(
        r#"{{"ConsumerARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1", "ShardId": "{shard}",
             "StartingPosition": {{"Type": "LATEST"}}}}"#
    );
    let request = Request::post("/").header("x-amz-target", "Kinesis_20131202.SubscribeToShard").body(text.into());
    let request = request.unwrap();
    soon(kinesis::dispatch(&service, &Anybody, &call(), operation("kinesis", &request), &request)).await
}

/// A frame's headers and payload, read by the specification, with both checksums checked.
fn read(frame: &[u8]) -> (Vec<(String, String)>, String) {
    let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    assert_eq!(number(0) as usize, frame.len());
    assert_eq!(number(8), crc32(&frame[..8]));
    assert_eq!(number(frame.len() - 4), crc32(&frame[..frame.len() - 4]));
    let end = 12 + number(4) as usize;
    let (mut at, mut headers) = (12, Vec::new());
    let mut take = |n: usize| {
        at += n;
        std::str::from_utf8(&frame[at - n..at]).unwrap().to_owned()
    };
    let mut left = end - 12;
    while left > 0 {
        let name_len = usize::from(take(1).as_bytes()[0]);
        let name = take(name_len);
        assert_eq!(take(1), "\u{7}");
        let value_len = take(2).bytes().fold(0, |len, byte| len << 8 | usize::from(byte));
        headers.push((name, take(value_len)));
        left -= 4 + name_len + value_len;
    }
    (headers, std::str::from_utf8(&frame[end..frame.len() - 4]).unwrap().to_owned())
}

/// CRC-32 of IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

async fn frames(response: Response<Body>) -> Vec<(Vec<(String, String)>, String)> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
    assert_eq!(response.headers()["x-amzn-requestid"], "7d6e3fd1-0a4f-4b0f-9c43-5e8f0d5f8a11");
    let Body::Events(frames) = response.into_body() else { panic!("no events") };
    soon(frames.map(|frame| read(&frame)).collect()).await
}

fn headers(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const JSON: (&str, &str) = (":content-type", "application/x-amz-json-1.1");
const RECORDS: &str = "{\"ContinuationSequenceNumber\":\"49\",\"MillisBehindLatest\":7,\"Records\":[{\
                       \"ApproximateArrivalTimestamp\":1.500,\"Data\":\"YWJj\",\"PartitionKey\":\"k\",\"SequenceNumber\":\"48\"}]}";

#[tokio::test]
async fn a_stream_begins_with_its_initial_response() {
    let sent = frames(subscribe(Subscription(None), "shardId-000000000000").await).await;
    let event = |name| headers(&[(":message-type", "event"), (":event-type", name), JSON]);
    assert_eq!(
        sent,
        [(event("initial-response"), "{}".to_owned()), (event("SubscribeToShardEvent"), RECORDS.to_owned())]
    );
}

#[tokio::test]
async fn a_declared_error_is_an_exception_and_the_last_frame() {
    let error = ServiceError::new("ResourceInUseException", "another took over");
    let sent = frames(subscribe(Subscription(Some(error)), "shardId-000000000000").await).await;
    assert_eq!(sent.len(), 3);
    let expected = headers(&[(":message-type", "exception"), (":exception-type", "ResourceInUseException"), JSON]);
    assert_eq!(sent[2].0, expected);
    assert_eq!(sent[2].1, r#"{"__type":"ResourceInUseException","message":"another took over"}"#);
}

#[tokio::test]
async fn any_other_error_is_told_by_code_and_message() {
    let sent = frames(subscribe(Subscription(Some(ServiceError::new("Odd", "é".repeat(5_000)))), "s").await).await;
    assert_eq!(sent.len(), 3);
    let expected = [(":message-type", "error"), (":error-code", "Odd"), (":error-message", &"é".repeat(2_048))];
    assert_eq!(sent[2], (headers(&expected), String::new()));
}

#[tokio::test]
async fn a_refusal_before_the_first_event_is_an_ordinary_error() {
    let response = crate::whole(subscribe(Subscription(None), "none").await);
    assert_eq!((response.status().as_u16(), crate::body(&response).contains("no such shard")), (400, true));
}
