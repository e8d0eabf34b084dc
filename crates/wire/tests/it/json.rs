//! awsJson: answers byte by byte, and input that is not what it should be.

use async_trait::async_trait;
use base::Timestamp;
use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use wire::kinesis::{self, Kinesis};
use wire::{Call, ServiceError};

use crate::{Anybody, body, call, operation, soon, whole};

struct Streams;

#[async_trait]
impl Kinesis for Streams {
    async fn create_stream(
        &self,
        _: &Call,
        input: kinesis::CreateStreamInput,
    ) -> Result<kinesis::CreateStreamOutput, ServiceError> {
        match input.stream_name.as_str() {
            "taken" => Err(ServiceError::new("ResourceInUseException", "stream \"taken\" exists")),
            _ => Ok(kinesis::CreateStreamOutput {}),
        }
    }

    async fn get_records(
        &self,
        call: &Call,
        _: kinesis::GetRecordsInput,
    ) -> Result<kinesis::GetRecordsOutput, ServiceError> {
        let record = |data: &'static [u8], key: &str, at: i64| kinesis::Record {
            approximate_arrival_timestamp: Some(Timestamp::from_millis(at)),
            data: Bytes::from_static(data),
            partition_key: Some(key.into()),
            sequence_number: "1".into(),
            ..Default::default()
        };
        Ok(kinesis::GetRecordsOutput {
            records: vec![record(b"a\x00", "k\"\\\n\u{1}é", call.now.millis()), record(b"", "x", 1_000)],
            millis_behind_latest: Some(0),
            ..Default::default()
        })
    }
}

async fn send(target: &str, body: impl Into<Bytes>) -> Response<Bytes> {
    let request = Request::post("/").header("x-amz-target", format!("Kinesis_20131202.{target}")).body(body.into());
    let request = request.unwrap();
    whole(soon(kinesis::dispatch(&Streams, &Anybody, &call(), operation("kinesis", &request), &request)).await)
}

#[tokio::test]
async fn an_answer_carries_blobs_times_and_escapes() {
    let response = send("GetRecords", r#"{"ShardIterator": "it", "Unknown": {"of": ["no", "interest"]}}"#).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.1");
    assert_eq!(response.headers()["x-amzn-requestid"], "7d6e3fd1-0a4f-4b0f-9c43-5e8f0d5f8a11");
    assert_eq!(
        body(&response),
        "{\"MillisBehindLatest\":0,\"Records\":[{\"ApproximateArrivalTimestamp\":1795406706.789,\"Data\":\"YQA=\",\
         \"PartitionKey\":\"k\\\"\\\\\\n\\u0001é\",\"SequenceNumber\":\"1\"},{\"ApproximateArrivalTimestamp\":1,\
         \"Data\":\"\",\"PartitionKey\":\"x\",\"SequenceNumber\":\"1\"}]}"
    );
}

#[tokio::test]
async fn an_error_has_its_code_in_body_and_header() {
    let response = send("CreateStream", r#"{"StreamName": "taken"}"#).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["x-amzn-errortype"], "ResourceInUseException");
    assert_eq!(body(&response), r#"{"__type":"ResourceInUseException","message":"stream \"taken\" exists"}"#);
    assert_eq!(send("CreateStream", r#"{"StreamName": "free"}"#).await.status(), 200);
}

#[tokio::test]
async fn known_operations_that_are_not_done_are_refused_by_name() {
    for (target, body_text) in [("DescribeLimits", "{}"), ("ListShards", r#"{"StreamName": "a"}"#)] {
        let response = send(target, body_text).await;
        assert_eq!(response.status(), 501);
        let expected = format!(
            r#"{{"__type":"NotImplemented","message":"{target} of kinesis is not available in this version of Tidegate"}}"#
        );
        assert_eq!(body(&response), expected);
    }
}

#[tokio::test]
async fn what_is_not_the_member_s_type_is_refused_as_the_services_do() {
    for (text, message) in [
        (r#"{"StreamName": 5}"#, "NUMBER_VALUE cannot be converted to String"),
        (r#"{"StreamName": true}"#, "TRUE_VALUE cannot be converted to String"),
        (r#"{"StreamName": []}"#, "Start of list found where not expected"),
        (r#"{"StreamName": {}}"#, "Start of structure or map found where not expected."),
        (r#"{"StreamName": "a", "ShardCount": "2"}"#, "STRING_VALUE cannot be converted to Integer"),
        (r#"{"StreamName": "a", "ShardCount": 1.5}"#, "NUMBER_VALUE cannot be converted to Integer"),
        (r#"{"StreamName": "a", "ShardCount": 3000000000}"#, "NUMBER_VALUE cannot be converted to Integer"),
        (r#"[]"#, "Start of list found where not expected"),
    ] {
        let response = send("CreateStream", text).await;
        assert_eq!(response.status(), 400);
        assert_eq!(
            body(&response),
            format!(r#"{{"__type":"SerializationException","message":"{message}"}}"#),
            "{text}"
        );
    }
    for text in ["{", "{\"StreamName\": \"a\"} x", "nothing", "\u{0}", r#"{"StreamName": "\ud800"}"#] {
        let response = send("CreateStream", text).await;
        assert!(body(&response).starts_with(r#"{"__type":"SerializationException","#), "{text}: {}", body(&response));
    }
    assert_eq!(send("CreateStream", r#"{"StreamName": "a", "ShardCount": 2.0}"#).await.status(), 200);
}

proptest! {
    /// What is written is read back, whatever the bytes and characters.
    #[test]
    fn records_read_back_as_written(
        entries in prop::collection::vec((".{1,20}", prop::collection::vec(any::<u8>(), 0..40)), 1..20),
        name in "[a-zA-Z0-9_.-]{1,30}",
    ) {
        let records = entries.into_iter().map(|(partition_key, data)| kinesis::PutRecordsRequestEntry {
            partition_key: Some(partition_key), data: data.into(), ..Default::default()
        });
        let input = kinesis::PutRecordsInput { records: records.collect(), stream_name: Some(name), ..Default::default() };
        let request = Request::post("/").header("x-amz-target", "Kinesis_20131202.PutRecords").body(Bytes::new()).unwrap();
        let operation = operation("kinesis", &request);
        // An input has the form of an output in this protocol.
        let written = wire::protocol::write(operation, wire::Encoding::Json, &call(), &input).into_body();
        serde_json::from_slice::<serde_json::Value>(&written).unwrap();
        let (parts, _) = request.into_parts();
        let read: kinesis::PutRecordsInput = wire::protocol::read(operation, &Request::from_parts(parts, written)).unwrap();
        prop_assert_eq!(read, input);
    }

    #[test]
    fn no_body_makes_the_decoder_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let request = Request::post("/").header("x-amz-target", "Kinesis_20131202.PutRecords").body(text.into()).unwrap();
        let read = wire::protocol::read::<kinesis::PutRecordsInput>(operation("kinesis", &request), &request);
        prop_assert!(read.is_err());
    }
}
