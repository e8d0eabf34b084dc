//! What boto3 really sends (`fixtures/sign.py` records it): every signature verifies, every call is identified, and
//! every done one decodes to the values that the script gave.

use std::time::Duration;

use base::{Principal, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use serde_json::Value;
use wire::protocol::read;
use wire::sigv4::{Credential, Verifier};
use wire::{events, firehose, kinesis, lambda, sns};

const KEYS: [(&str, &str, Option<&str>); 2] = [
    ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None),
    ("ASIAEXAMPLE", "another/EXAMPLE+secret", Some("session/token==")),
];

struct Sent {
    /// Absent for the search API, which has none.
    operation: Option<String>,
    service: String,
    request: Request<Bytes>,
}

fn sent() -> Vec<Sent> {
    let entries: Vec<Value> = serde_json::from_str(include_str!("../fixtures/botocore.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let read = |entry: &Value| {
        let url: http::Uri = text(&entry["url"]).parse().unwrap();
        let path = url.path_and_query().unwrap().as_str();
        let mut request =
            Request::builder().method(&*text(&entry["method"])).uri(path).header("host", "127.0.0.1:4566");
        for (name, value) in entry["headers"].as_object().unwrap() {
            request = request.header(name, text(value));
        }
        let body = STANDARD.decode(text(&entry["body"])).unwrap();
        let operation = entry["operation"].as_str().map(str::to_owned);
        let service = text(&entry["service"]);
        Sent { operation, service, request: request.body(body.into()).unwrap() }
    };
    entries.iter().map(read).collect()
}

fn one<T: wire::data::Build>(operation: &str) -> T {
    let sent = sent().into_iter().find(|sent| sent.operation.as_deref() == Some(operation)).unwrap();
    let found = wire::identify(&sent.service, &sent.request).unwrap();
    read(found, &sent.request).unwrap()
}

#[test]
fn every_signature_verifies_and_every_call_is_identified() {
    let verifier = Verifier::new(Duration::from_secs(300));
    let now = Timestamp::from_basic("20261123T040506Z").unwrap();
    let lookup = |key: &str| {
        let (_, secret, token) = KEYS.iter().find(|(known, ..)| *known == key)?;
        let (secret, session_token) = ((*secret).into(), token.map(str::to_owned));
        Some(Credential { secret, session_token, expires: None, principal: Principal::Root })
    };
    for sent in sent() {
        let verified =
            verifier.verify(&sent.request, now, lookup).unwrap_or_else(|e| panic!("{:?}: {e}", sent.operation));
        assert_eq!((verified.service.as_str(), verified.region.as_str()), (sent.service.as_str(), "eu-central-1"));
        if let Some(operation) = &sent.operation {
            assert_eq!(wire::identify(&verified.service, &sent.request).unwrap().name, operation);
        }

        let mut tampered = sent.request.clone();
        *tampered.body_mut() = Bytes::from_static(b"{\"StreamName\": \"other\"}");
        assert!(verifier.verify(&tampered, now, lookup).is_err(), "{:?}", sent.operation);
    }
}

#[test]
fn kinesis_calls_decode() {
    let put: kinesis::PutRecordInput = one("PutRecord");
    assert_eq!((put.partition_key.as_deref(), &put.data[..]), (Some("clé"), &b"\x00\xff data"[..]));
    let put: kinesis::PutRecordsInput = one("PutRecords");
    assert_eq!(put.records[1].explicit_hash_key.as_deref(), Some("12"));
    assert_eq!(put.records[1].data, "22");
    let iterator: kinesis::GetShardIteratorInput = one("GetShardIterator");
    assert_eq!(iterator.timestamp, Some(Timestamp::from_millis(1_795_406_706_789)));
}

#[test]
fn events_calls_decode() {
    let targets: events::PutTargetsInput = one("PutTargets");
    let parameters = targets.targets[0].kinesis_parameters.as_ref().unwrap();
    assert_eq!(parameters.partition_key_path, "$.id");
    let put: events::PutEventsInput = one("PutEvents");
    let entry = &put.entries[0];
    assert_eq!((entry.detail.as_deref(), entry.resources.as_deref()), (Some("{}"), Some(&["r".to_owned()][..])));
    assert_eq!(entry.time.unwrap().to_iso_secs(), "2026-11-23T00:00:00Z");
}

#[test]
fn firehose_calls_decode() {
    let create: firehose::CreateDeliveryStreamInput = one("CreateDeliveryStream");
    let destination = create.amazonopensearchservice_destination_configuration.unwrap();
    assert_eq!(destination.domain_arn.as_deref(), Some("arn:aws:es:us-east-1:000000000000:domain/search"));
    assert_eq!(destination.buffering_hints.unwrap().size_in_mbs, Some(5));
    assert_eq!(destination.s3_configuration.bucket_arn, "arn:aws:s3:::refused");
}

#[test]
fn lambda_calls_decode() {
    let create: lambda::CreateFunctionInput = one("CreateFunction");
    assert_eq!(create.code.zip_file.as_deref(), Some(&b"PK\x03\x04zip"[..]));
    assert_eq!(create.environment.unwrap().variables.unwrap()["TOPIC"], "arn:aws:sns:us-east-1:000000000000:alerts");
    let get: lambda::GetFunctionInput = one("GetFunction");
    assert_eq!(get.function_name, "arn:aws:lambda:us-east-1:000000000000:function:alert");
    let invoke: lambda::InvokeInput = one("Invoke");
    assert_eq!(invoke.payload.as_deref(), Some("{\"a\": \"é\"}".as_bytes()));
    assert_eq!((invoke.function_name.as_str(), invoke.log_type.as_deref()), ("alert", Some("Tail")));
    let list: lambda::ListFunctionsInput = one("ListFunctions");
    assert_eq!((list.max_items, list.marker.as_deref()), (Some(5), Some("a b/c+d")));
    let update: lambda::UpdateEventSourceMappingInput = one("UpdateEventSourceMapping");
    assert_eq!((update.uuid.as_str(), update.enabled), ("0c6b1b8e-8d51-4bd9-9f7e-3a7a6f0e9f11", Some(false)));
}

#[test]
fn sns_calls_decode() {
    let create: sns::CreateTopicInput = one("CreateTopic");
    assert_eq!(create.attributes.unwrap()["DisplayName"], "Alerts & more");
    assert_eq!(create.tags.unwrap()[0].value, "sec");
    let subscribe: sns::SubscribeInput = one("Subscribe");
    assert_eq!(subscribe.endpoint.as_deref(), Some("http://127.0.0.1:9000/hook?a=b&c=d"));
    assert_eq!(subscribe.return_subscription_arn, Some(true));
    let publish: sns::PublishInput = one("Publish");
    assert_eq!(publish.message, "user é + 1\nterminated");
    let attributes = publish.message_attributes.unwrap();
    assert_eq!(attributes["kind"].string_value.as_deref(), Some("x y"));
    assert_eq!(attributes["raw"].binary_value.as_deref(), Some(&[1, 2][..]));
    let batch: sns::PublishBatchInput = one("PublishBatch");
    let ids: Vec<_> = batch.publish_batch_request_entries.iter().map(|e| (e.id.as_str(), e.message.as_str())).collect();
    assert_eq!(ids, [("1", "a"), ("2", "b")]);
}
