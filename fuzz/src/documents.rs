//! The decoders of awsJson: the first byte chooses an operation, the rest is its document.

use base::{Principal, Scope, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use serde_json::Value;
use wire::data::Build;
use wire::kinesis::PutRecordsInput;
use wire::model::Operation;
use wire::{Call, Encoding, ServiceError, events, firehose, kinesis, protocol};

/// Longer than the message of any document: violations are cut, their values too.
const MESSAGE_BYTES: usize = 1 << 20;

/// A document as JSON.
pub fn json(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    choose(*choice, Encoding::Json, body);
}

/// A document as CBOR.
pub fn cbor(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    choose(*choice, Encoding::Cbor, body);
}

fn choose(choice: u8, encoding: Encoding, body: &[u8]) {
    match choice % 10 {
        0 => {
            if let Some(input) = check::<PutRecordsInput>(&kinesis::SERVICE, "PutRecords", encoding, body)
                && encoding == Encoding::Json
            {
                as_plain_json_says(&input, body);
            }
        }
        1 => drop(check::<kinesis::PutRecordInput>(&kinesis::SERVICE, "PutRecord", encoding, body)),
        2 => drop(check::<kinesis::CreateStreamInput>(&kinesis::SERVICE, "CreateStream", encoding, body)),
        3 => drop(check::<kinesis::GetShardIteratorInput>(&kinesis::SERVICE, "GetShardIterator", encoding, body)),
        4 => drop(check::<kinesis::SubscribeToShardInput>(&kinesis::SERVICE, "SubscribeToShard", encoding, body)),
        5 => drop(check::<events::PutEventsInput>(&events::SERVICE, "PutEvents", encoding, body)),
        6 => drop(check::<events::PutTargetsInput>(&events::SERVICE, "PutTargets", encoding, body)),
        8 => drop(check::<firehose::PutRecordBatchInput>(&firehose::SERVICE, "PutRecordBatch", encoding, body)),
        9 => drop(check::<firehose::PutRecordInput>(&firehose::SERVICE, "PutRecord", encoding, body)),
        _ => drop(check::<firehose::CreateDeliveryStreamInput>(
            &firehose::SERVICE,
            "CreateDeliveryStream",
            encoding,
            body,
        )),
    }
}

/// Reads a document and, if it is taken, checks what must hold of it.
fn check<T: Build>(service: &wire::model::Service, name: &str, encoding: Encoding, body: &[u8]) -> Option<T> {
    let operation = service.operation(name).expect("an operation of the model");
    let input = match read::<T>(operation, encoding, body) {
        Ok(input) => input,
        Err(error) => {
            assert_eq!(error.status, Some(400));
            assert!(matches!(&*error.code, "SerializationException" | "ValidationException"), "{error}");
            assert!(error.message.len() < MESSAGE_BYTES);
            return None;
        }
    };
    // An input has the form of an output in this protocol. It is compared as it is written: not a number is not equal
    // to itself.
    let written = |encoding, input: &T| protocol::write(operation, encoding, &call(), input).into_body();
    for other in [Encoding::Json, Encoding::Cbor] {
        let document = written(other, &input);
        let again = read::<T>(operation, other, &document).unwrap_or_else(|e| panic!("{other:?} {document:?}: {e}"));
        assert_eq!(written(Encoding::Json, &again), written(Encoding::Json, &input));
        assert_eq!(written(Encoding::Cbor, &again), written(Encoding::Cbor, &input));
    }
    if !body.is_empty() {
        let longer = [body, b"x"].concat();
        assert!(read::<T>(operation, encoding, &longer).is_err(), "what follows a document is passed over");
    }
    Some(input)
}

fn read<T: Build>(operation: &Operation, encoding: Encoding, body: &[u8]) -> Result<T, ServiceError> {
    let kind = if encoding == Encoding::Cbor { "application/x-amz-cbor-1.1" } else { "application/x-amz-json-1.1" };
    let request = Request::post("/").header("content-type", kind).body(Bytes::copy_from_slice(body));
    protocol::read(operation, &request.expect("a request"))
}

/// A second reading, by way of a document in memory, sees the same records.
fn as_plain_json_says(input: &PutRecordsInput, body: &[u8]) {
    if body.is_empty() {
        return;
    }
    let document: Value = serde_json::from_slice(body).expect("what was read is JSON");
    let records = document["Records"].as_array().expect("records were read");
    assert_eq!(records.len(), input.records.len());
    for (plain, record) in records.iter().zip(&input.records) {
        assert_eq!(plain.get("PartitionKey").and_then(Value::as_str), record.partition_key.as_deref());
        let data = STANDARD.decode(plain["Data"].as_str().expect("data was read")).expect("base64 was read");
        assert_eq!(record.data, data);
    }
}

fn call() -> Call {
    Call {
        scope: Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() },
        principal: Principal::Root,
        request_id: "r".into(),
        trace: None,
        now: Timestamp::from_millis(0),
        endpoint: "http://localhost:4566".into(),
        source_ip: None,
        secure: false,
        user_agent: None,
        access_key_id: None,
        left: Default::default(),
    }
}
