//! Violations in AWS's words, all of a call at once.

use bytes::Bytes;
use http::Request;
use wire::data::Build;
use wire::{ServiceId, firehose, kinesis, lambda};

use crate::operation;

fn refused<T: Build + std::fmt::Debug>(target: &str, body: impl Into<Bytes>) -> String {
    let service = if target.starts_with("Firehose") { "firehose" } else { "kinesis" };
    let request = Request::post("/").header("x-amz-target", target).body(body.into()).unwrap();
    let error = wire::protocol::read::<T>(operation(service, &request), &request).unwrap_err();
    assert_eq!((&*error.code, error.status), ("ValidationException", Some(400)), "{error}");
    error.message
}

fn create_stream(body: &str) -> String {
    refused::<kinesis::CreateStreamInput>("Kinesis_20131202.CreateStream", body.to_owned())
}

fn put_records(body: &str) -> String {
    refused::<kinesis::PutRecordsInput>("Kinesis_20131202.PutRecords", body.to_owned())
}

#[test]
fn one_violation_each() {
    let long = "a".repeat(129);
    assert_eq!(
        create_stream(&format!(r#"{{"StreamName": "{long}"}}"#)),
        format!(
            "1 validation error detected: Value '{long}' at 'streamName' failed to satisfy constraint: Member must have length less than or equal to 128"
        )
    );
    assert_eq!(
        create_stream(r#"{"StreamName": "sp ace"}"#),
        "1 validation error detected: Value 'sp ace' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
    );
    assert_eq!(
        create_stream(r#"{"StreamName": "a", "ShardCount": 0}"#),
        "1 validation error detected: Value '0' at 'shardCount' failed to satisfy constraint: Member must have value greater than or equal to 1"
    );
    for body in ["", "{}", r#"{"StreamName": null}"#] {
        assert_eq!(
            create_stream(body),
            "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: Member must not be null"
        );
    }
}

#[test]
fn enums_name_their_values() {
    let body = r#"{"StreamName": "a", "ShardId": "s", "ShardIteratorType": "NOW"}"#;
    assert_eq!(
        refused::<kinesis::GetShardIteratorInput>("Kinesis_20131202.GetShardIterator", body),
        "1 validation error detected: Value 'NOW' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum value set: [AT_SEQUENCE_NUMBER, AFTER_SEQUENCE_NUMBER, TRIM_HORIZON, LATEST, AT_TIMESTAMP]"
    );
}

#[test]
fn all_violations_come_at_once_with_their_paths() {
    let body = r#"{"StreamName": "", "Records": [{"Data": "YQ==", "PartitionKey": "k"}, {"PartitionKey": "", "ExplicitHashKey": "x"}]}"#;
    assert_eq!(
        put_records(body),
        "5 validation errors detected: Value null at 'records.2.member.data' failed to satisfy constraint: Member must not be null; \
         Value 'x' at 'records.2.member.explicitHashKey' failed to satisfy constraint: Member must satisfy regular expression pattern: ^(0|([1-9]\\d{0,38}))$; \
         Value '' at 'records.2.member.partitionKey' failed to satisfy constraint: Member must have length greater than or equal to 1; \
         Value '' at 'streamName' failed to satisfy constraint: Member must have length greater than or equal to 1; \
         Value '' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
    );
}

#[test]
fn five_hundred_and_one_records_are_too_many() {
    let records = vec![r#"{"Data": "", "PartitionKey": "k"}"#; 501].join(",");
    let message = put_records(&format!(r#"{{"StreamName": "a", "Records": [{records}]}}"#));
    assert!(message.starts_with("1 validation error detected: Value '[PutRecordsRequestEntry, "), "{message}");
    assert!(
        message.ends_with(
            "…' at 'records' failed to satisfy constraint: Member must have length less than or equal to 500"
        )
    );
    assert!(message.len() < 1_500);
    let message = put_records(r#"{"StreamName": "a", "Records": []}"#);
    assert!(message.contains(
        "Value '[]' at 'records' failed to satisfy constraint: Member must have length greater than or equal to 1"
    ));
}

#[test]
fn blobs_are_measured_in_bytes_and_not_shown() {
    let data = "A".repeat(14_000_000);
    let message =
        put_records(&format!(r#"{{"StreamName": "a", "Records": [{{"Data": "{data}", "PartitionKey": "k"}}]}}"#));
    assert_eq!(
        message,
        "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=10500000 cap=10500000]' at 'records.1.member.data' failed to satisfy constraint: Member must have length less than or equal to 10485760"
    );
}

#[test]
fn lengths_count_characters() {
    let key = |n: usize| {
        format!(r#"{{"StreamName": "a", "Records": [{{"Data": "", "PartitionKey": "{}"}}]}}"#, "é".repeat(n))
    };
    assert!(put_records(&key(257)).contains("less than or equal to 256"));
    let request =
        Request::post("/").header("x-amz-target", "Kinesis_20131202.PutRecords").body(key(256).into()).unwrap();
    assert!(wire::protocol::read::<kinesis::PutRecordsInput>(operation("kinesis", &request), &request).is_ok());
}

#[test]
fn maps_and_simple_lists_show_the_constraints_of_their_content() {
    let body = r#"{"StreamName": "a", "Tags": {"": "v"}}"#;
    assert_eq!(
        create_stream(body),
        "1 validation error detected: Value '{=v}' at 'tags' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]"
    );
}

#[test]
fn nested_structures_have_nested_paths() {
    let body = r#"{"DeliveryStreamName": "a", "KinesisStreamSourceConfiguration": {"KinesisStreamARN": "x"}}"#;
    let message = refused::<firehose::CreateDeliveryStreamInput>("Firehose_20150804.CreateDeliveryStream", body);
    assert!(message.starts_with("2 validation errors detected: "), "{message}");
    assert!(message.contains(
        "Value null at 'kinesisStreamSourceConfiguration.roleARN' failed to satisfy constraint: Member must not be null"
    ));
}

#[test]
fn sensitive_values_are_neither_in_messages_nor_in_debug_prints() {
    let values = "v".repeat(3);
    let input = lambda::CreateFunctionInput {
        environment: Some(lambda::Environment { variables: Some([("1BAD".to_owned(), values)].into()) }),
        function_name: "a".into(),
        role: "arn:aws:iam::000000000000:role/r".into(),
        ..Default::default()
    };
    let error = wire::validate::check(ServiceId::Lambda, &input).unwrap_err();
    assert!(error.message.contains("Value at 'environment.variables' failed"), "{error}");
    assert!(!error.message.contains("vvv") && !format!("{input:?}").contains("vvv"), "{input:?}");
}

#[test]
fn every_pattern_of_every_model_compiles() {
    use wire::model::{Kind, Shape};
    fn walk(shape: &'static Shape, seen: &mut Vec<&'static str>) {
        if seen.contains(&shape.name) {
            return;
        }
        seen.push(shape.name);
        if let Some(pattern) = shape.pattern {
            assert!(pattern.is_checked(), "{}: {}", shape.name, pattern.text);
        }
        match &shape.kind {
            Kind::List { member, .. } => walk(member.shape, seen),
            Kind::Map { key, value, .. } => {
                walk(key.shape, seen);
                walk(value.shape, seen);
            }
            Kind::Structure(members) => members.iter().for_each(|member| walk(member.shape, seen)),
            _ => {}
        }
    }
    let mut patterns = 0;
    for service in ServiceId::ALL {
        let mut seen = Vec::new();
        service.model().shapes.iter().for_each(|shape| walk(shape, &mut seen));
        patterns += seen.len();
    }
    assert!(patterns > 500);
}

#[test]
fn look_around_is_done_by_two_patterns() {
    let path = wire::model::Pattern::new(r"^(?!\s*$).+");
    assert!(path.matches("a b") && !path.matches("  ") && !path.matches(""));
    let bucket = wire::model::Pattern::new(r"[0-9A-Za-z\.\-_]*(?<!\.)");
    assert!(bucket.matches("a.b") && bucket.matches("") && !bucket.matches("a.") && !bucket.matches("a/b"));
}

#[test]
fn of_very_many_violations_only_the_first_are_written() {
    let body = format!(r#"{{"StreamName": "a", "Records": [{}]}}"#, vec!["{}"; 100_000].join(","));
    let message = put_records(&body);
    // The list's own length, and the data that each record lacks.
    assert!(message.starts_with("100001 validation errors detected: "), "{}", &message[..100]);
    assert!(message.len() < 20_000, "{}", message.len());
}

#[test]
fn a_list_without_end_is_refused_before_it_is_kept() {
    let body = format!(r#"{{"StreamName": "a", "Records": [{}]}}"#, vec!["{}"; 100_001].join(","));
    let request = Request::post("/").header("x-amz-target", "Kinesis_20131202.PutRecords").body(Bytes::from(body));
    let request = request.unwrap();
    let read = wire::protocol::read::<kinesis::PutRecordsInput>(operation("kinesis", &request), &request);
    let error = read.unwrap_err();
    assert_eq!((&*error.code, &*error.message), ("SerializationException", "a list has more than 100000 items"));
}
