//! awsJson in CBOR: the same structures, the same refusals, in other bytes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::Timestamp;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use proptest::prelude::*;
use wire::data::Structure;
use wire::kinesis::{self, Kinesis};
use wire::{Body, Call, Encoding, EventStream, ServiceError, Unidentified};

use crate::{Anybody, call, operation, soon, whole};

const CBOR: &str = "application/x-amz-cbor-1.1";

struct Streams;

#[async_trait]
impl Kinesis for Streams {
    async fn create_stream(
        &self,
        _: &Call,
        input: kinesis::CreateStreamInput,
    ) -> Result<kinesis::CreateStreamOutput, ServiceError> {
        Err(ServiceError::new("ResourceInUseException", input.stream_name))
    }

    async fn get_shard_iterator(
        &self,
        _: &Call,
        input: kinesis::GetShardIteratorInput,
    ) -> Result<kinesis::GetShardIteratorOutput, ServiceError> {
        let at = input.timestamp.map(|time| time.millis().to_string());
        Ok(kinesis::GetShardIteratorOutput { shard_iterator: at })
    }

    async fn get_records(
        &self,
        _: &Call,
        _: kinesis::GetRecordsInput,
    ) -> Result<kinesis::GetRecordsOutput, ServiceError> {
        let record = kinesis::Record {
            approximate_arrival_timestamp: Some(Timestamp::from_millis(1_795_406_706_789)),
            data: Bytes::from_static(b"a\x00"),
            partition_key: Some("k".into()),
            sequence_number: "1".into(),
            ..Default::default()
        };
        Ok(kinesis::GetRecordsOutput { records: vec![record], millis_behind_latest: Some(300), ..Default::default() })
    }

    async fn subscribe_to_shard(
        &self,
        _: &Call,
        _: kinesis::SubscribeToShardInput,
    ) -> Result<EventStream<kinesis::SubscribeToShardOutput, kinesis::SubscribeToShardEventStream>, ServiceError> {
        let error = ServiceError::new("ResourceNotFoundException", "x");
        Ok(EventStream { output: Default::default(), events: futures::stream::iter([Err(error)]).boxed() })
    }
}

fn request(target: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let target = format!("Kinesis_20131202.{target}");
    Request::post("/").header("x-amz-target", target).header("content-type", CBOR).body(body.into()).unwrap()
}

async fn send(target: &str, body: impl Into<Bytes>) -> Response<Bytes> {
    let request = request(target, body);
    whole(soon(kinesis::dispatch(&Streams, &Anybody, &call(), operation("kinesis", &request), &request)).await)
}

#[tokio::test]
async fn an_answer_has_bytes_and_milliseconds_as_the_sdk_for_java_reads_them() {
    let response = send("GetRecords", &b"\xa1\x6dShardIterator\x62it"[..]).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &CBOR.parse().unwrap()));
    let expected = b"\xbf\x72MillisBehindLatest\x19\x01\x2c\x67Records\x81\xbf\x78\x1bApproximateArrivalTimestamp\xc1\
        \x1b\x00\x00\x01\xa2\x06\x94\x38\x65\x64Data\x42a\x00\x6cPartitionKey\x61k\x6eSequenceNumber\x611\xff\xff";
    assert_eq!(response.body(), &expected[..]);
}

#[tokio::test]
async fn a_time_is_milliseconds_under_its_tag() {
    for at in [&b"\xc1\x1b\x00\x00\x01\xa2\x06\x94\x38\x65"[..], b"\x1b\x00\x00\x01\xa2\x06\x94\x38\x65"] {
        let head = b"\xbf\x67ShardId\x61a\x71ShardIteratorType\x6cAT_TIMESTAMP\x69Timestamp";
        let response = send("GetShardIterator", [head, at, b"\xff"].concat()).await;
        assert_eq!(response.body(), &b"\xbf\x6dShardIterator\x6d1795406706789\xff"[..]);
    }
}

#[tokio::test]
async fn errors_are_cbor_too() {
    let response = send("CreateStream", &b"\xa1\x6aStreamName\x61a"[..]).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (400, &CBOR.parse().unwrap()));
    assert_eq!(response.headers()["x-amzn-errortype"], "ResourceInUseException");
    assert_eq!(response.body(), &b"\xa2\x66__type\x76ResourceInUseException\x67message\x61a"[..]);
}

#[tokio::test]
async fn what_is_not_the_member_s_type_is_refused_as_in_json() {
    for (text, code, message) in [
        (&b"\xa1\x6aStreamName\x05"[..], "SerializationException", "NUMBER_VALUE cannot be converted to String"),
        (b"\xa1\x6aStreamName\x41a", "SerializationException", "BINARY_VALUE cannot be converted to String"),
        (b"\xa1\x6aStreamName\x80", "SerializationException", "Start of list found where not expected"),
        (b"\x80", "SerializationException", "Start of list found where not expected"),
        (b"\xa1\x6aStreamName\x61a\xff", "SerializationException", "the CBOR document goes on after its end"),
        (b"\xa0", "ValidationException", "1 validation error detected: Value null at 'streamName' failed"),
        (b"", "ValidationException", "1 validation error detected: Value null at 'streamName' failed"),
        (b"\xa1\x6aStreamName\xf6", "ValidationException", "1 validation error detected: Value null at 'streamName'"),
    ] {
        let body = send("CreateStream", text).await.into_body();
        let words = String::from_utf8_lossy(&body);
        assert!(words.contains(code) && words.contains(message), "{text:x?}: {words}");
    }
    for text in [
        &b"\xbf"[..],
        b"\xa1",
        b"{\"StreamName\": \"a\"}",
        b"\xa1\x01\x02\x03",
        b"\x9f\xff",
        b"\xa1\x6aStreamName\x62\xff\xff",
    ] {
        let body = send("CreateStream", text).await.into_body();
        assert!(String::from_utf8_lossy(&body).contains("SerializationException"), "{text:x?}");
    }
    let text_for_bytes = b"\xa2\x64Data\x64YQ==\x6cPartitionKey\x61k";
    let body = send("PutRecord", &text_for_bytes[..]).await.into_body();
    assert!(String::from_utf8_lossy(&body).contains("STRING_VALUE cannot be converted to ByteBuffer"));
}

#[tokio::test]
async fn the_events_of_a_stream_are_cbor() {
    let request = request(
        "SubscribeToShard",
        &b"\xa3\x6bConsumerARN\x78\x3carn:aws:kinesis:us-east-1:123456789012:stream/s/consumer/c:1\x67ShardId\x61s\x70StartingPosition\xa1\x64Type\x66LATEST"[..],
    );
    let response = soon(kinesis::dispatch(&Streams, &Anybody, &call(), operation("kinesis", &request), &request)).await;
    let body = match response.into_body() {
        Body::Events(frames) => frames.collect::<Vec<_>>().await.concat(),
        Body::Whole(bytes) => panic!("{bytes:?}"),
    };
    let text = String::from_utf8_lossy(&body);
    assert_eq!(text.matches(CBOR).count(), 2);
    let has = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    assert!(has(b"\xbf\xff") && has(b"\xa2\x66__type\x78\x19ResourceNotFoundException\x67message\x61x"));
}

#[tokio::test]
async fn other_dresses_of_cbor_are_refused_by_name() {
    let mut plain = request("CreateStream", &b"\xa0"[..]);
    plain.headers_mut().insert("content-type", "application/cbor".parse().unwrap());
    let response =
        whole(soon(kinesis::dispatch(&Streams, &Anybody, &call(), operation("kinesis", &plain), &plain)).await);
    assert_eq!(response.status(), 415);
    assert!(crate::body(&response).contains("not as application/cbor"));
    let request =
        Request::post("/service/Kinesis_20131202/operation/CreateStream").header("smithy-protocol", "rpc-v2-cbor");
    let found = wire::identify("kinesis", &request.body(Bytes::from_static(b"\xa0")).unwrap());
    let Err(Unidentified::Operation { error, .. }) = found else { panic!("{found:?}") };
    assert_eq!((error.status, error.message.contains("rpc-v2-cbor")), (Some(415), true));
}

#[test]
fn the_content_type_and_the_target_decide() {
    for (kind, expected) in [
        (CBOR, Encoding::Cbor),
        ("Application/X-Amz-Cbor-1.1; charset=utf-8", Encoding::Cbor),
        ("application/x-amz-cbor-1.10", Encoding::Json),
        ("application/x-amz-json-1.1", Encoding::Json),
        ("", Encoding::Json),
    ] {
        let mut headers: http::HeaderMap = [(http::header::CONTENT_TYPE, kind.parse().unwrap())].into_iter().collect();
        let untargeted = if expected == Encoding::Json { Encoding::Form } else { expected };
        assert_eq!(Encoding::of(&headers), untargeted, "{kind}");
        headers.insert("x-amz-target", "Kinesis_20131202.PutRecord".parse().unwrap());
        assert_eq!(Encoding::of(&headers), expected, "{kind}");
    }
}

fn records() -> impl Strategy<Value = kinesis::PutRecordsInput> {
    let entry =
        (prop::option::of(".{1,20}"), prop::collection::vec(any::<u8>(), 0..300), prop::option::of("[1-9][0-9]{0,19}"));
    (prop::collection::vec(entry, 1..20), "[a-zA-Z0-9_.-]{1,30}").prop_map(|(entries, name)| {
        let records =
            entries.into_iter().map(|(partition_key, data, explicit_hash_key)| kinesis::PutRecordsRequestEntry {
                partition_key,
                data: data.into(),
                explicit_hash_key,
                ..Default::default()
            });
        kinesis::PutRecordsInput { records: records.collect(), stream_name: Some(name), ..Default::default() }
    })
}

fn tagged() -> impl Strategy<Value = kinesis::CreateStreamInput> {
    let tags: BoxedStrategy<BTreeMap<String, String>> =
        prop::collection::btree_map("[a-z]{1,5}", ".{0,30}", 1..30).boxed();
    ("[a-zA-Z0-9_.-]{1,30}", 1..i32::MAX, tags).prop_map(|(stream_name, shards, tags)| kinesis::CreateStreamInput {
        stream_name,
        shard_count: Some(shards),
        tags: Some(tags),
        ..Default::default()
    })
}

fn timed() -> impl Strategy<Value = kinesis::GetShardIteratorInput> {
    // JSON's times are seconds in floating point: exact to the millisecond as long as a double is.
    ("[a-zA-Z0-9_.-]{1,30}", 0..4_000_000_000_000i64).prop_map(|(shard_id, at)| kinesis::GetShardIteratorInput {
        shard_id,
        shard_iterator_type: "AT_TIMESTAMP".into(),
        timestamp: Some(Timestamp::from_millis(at)),
        ..Default::default()
    })
}

/// What is written in either encoding is read back as it was: so both say the same.
fn agree<T: wire::data::Build + PartialEq + std::fmt::Debug>(target: &str, input: &T) -> Result<(), TestCaseError> {
    for encoding in [Encoding::Json, Encoding::Cbor] {
        let mut request = request(target, Bytes::new());
        let operation = operation("kinesis", &request);
        // An input has the form of an output in this protocol.
        let answer = wire::protocol::write(operation, encoding, &call(), input as &dyn Structure);
        request.headers_mut().insert("content-type", answer.headers()["content-type"].clone());
        *request.body_mut() = answer.into_body();
        let read: T = wire::protocol::read(operation, &request).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(&read, input);
    }
    Ok(())
}

proptest! {
    #[test]
    fn both_encodings_read_back_as_written(records in records(), tagged in tagged(), timed in timed()) {
        agree("PutRecords", &records)?;
        agree("CreateStream", &tagged)?;
        agree("GetShardIterator", &timed)?;
    }

    #[test]
    fn no_body_makes_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let request = request("PutRecords", bytes);
        let read = wire::protocol::read::<kinesis::PutRecordsInput>(operation("kinesis", &request), &request);
        prop_assert!(read.is_err());
    }
}
