//! Log records over the ingest route: onto the bus, each once, whatever happens.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use server::Server;

use crate::fixture::{Fixture, config, env, signed, text};

const PATH: &str = "/_tidegate/ingest/cloudtrail";

fn record(id: &str) -> Value {
    json!({
        "eventVersion": "1.08", "eventID": id, "eventTime": "2026-01-01T00:00:00Z", "eventSource": "ec2.amazonaws.com",
        "eventName": "RunInstances", "awsRegion": "eu-west-1", "readOnly": false, "eventType": "AwsApiCall",
        "managementEvent": true, "recipientAccountId": "111111111111", "eventCategory": "Management",
    })
}

fn lines(ids: &[&str]) -> String {
    ids.iter().map(|id| format!("{}\n", record(id))).collect()
}

/// Sends a body: the status and the answer.
async fn ingest(fixture: &Fixture, body: impl Into<Bytes>) -> (u16, Value) {
    let request = Request::post(format!("{}{PATH}", fixture.endpoint())).body(body.into()).unwrap();
    let answer = fixture.send(signed(request, "tidegate")).await;
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
}

/// A call of a JSON service.
async fn call(fixture: &Fixture, service: &str, target: &str, input: &Value) -> Value {
    let headers = [("x-amz-target", target), ("content-type", "application/x-amz-json-1.1")];
    let answer = fixture.send(signed(fixture.request("POST", "/", &headers, &input.to_string()), service)).await;
    assert!(answer.status().is_success(), "{target}: {answer:?}");
    serde_json::from_slice(answer.body()).unwrap_or_default()
}

fn counts(answer: &Value) -> (u64, u64, u64) {
    let count = |name: &str| answer[name].as_u64().unwrap();
    (count("accepted"), count("duplicates"), count("rejected"))
}

#[tokio::test]
async fn records_are_accepted_once_also_after_a_restart() {
    let mut fixture = Fixture::start(&[]).await;
    let (status, answer) = ingest(&fixture, lines(&["a", "b", "a"])).await;
    assert_eq!((status, counts(&answer)), (200, (2, 1, 0)));
    assert_eq!(counts(&ingest(&fixture, lines(&["b", "c"])).await.1), (1, 1, 0));

    fixture.server.stop().await.unwrap();
    fixture.server = Server::start(config(fixture.dir.path(), &[]), env()).await.unwrap();
    assert_eq!(counts(&ingest(&fixture, lines(&["a", "b", "c", "d"])).await.1), (1, 3, 0));
}

#[tokio::test]
async fn the_same_records_sent_at_once_are_accepted_once() {
    let fixture = Fixture::start(&[]).await;
    let ids: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let body = lines(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let answers = futures::future::join_all((0..8).map(|_| ingest(&fixture, body.clone()))).await;
    let totals = answers.iter().map(|(_, answer)| counts(answer)).fold((0, 0), |(a, d), (x, y, _)| (a + x, d + y));
    assert_eq!(totals, (300, 7 * 300));
}

#[tokio::test]
async fn documents_and_gzip_are_understood_and_what_is_no_record_is_named() {
    let fixture = Fixture::start(&[]).await;
    let document = json!({"Records": [record("a"), {"eventID": "x"}, record("b")]}).to_string();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(document.as_bytes()).unwrap();
    let (status, answer) = ingest(&fixture, encoder.finish().unwrap()).await;
    assert_eq!((status, counts(&answer)), (200, (2, 0, 1)), "{answer}");
    assert_eq!(answer["problems"][0]["record"], 1);
    assert_eq!(answer["problems"][0]["offset"], document.find("{\"eventID\":\"x\"}").unwrap());
    assert!(answer["problems"][0]["reason"].as_str().unwrap().contains("is missing"));

    let (status, answer) = ingest(&fixture, format!("nonsense\n{}", record("c"))).await;
    assert_eq!((status, counts(&answer)), (200, (1, 0, 1)));
    assert_eq!(ingest(&fixture, vec![0x1f, 0x8b, 0, 0]).await.0, 400);
    assert_eq!(counts(&ingest(&fixture, "").await.1), (0, 0, 0));

    let metrics = fixture.send(signed(fixture.request("GET", "/_tidegate/metrics", &[], ""), "tidegate")).await;
    assert!(text(&metrics).contains("tidegate_ingest_records_total{result=\"rejected\"}"));
}

#[tokio::test]
async fn events_reach_the_rules_of_the_calls_region_as_they_were_recorded() {
    let fixture = Fixture::start(&[]).await;
    call(&fixture, "kinesis", "Kinesis_20131202.CreateStream", &json!({"StreamName": "s", "ShardCount": 1})).await;
    let trust =
        r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"events.amazonaws.com"}}}"#;
    let may = r#"{"Statement":{"Effect":"Allow","Action":"kinesis:PutRecord","Resource":"*"}}"#;
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    for form in [
        format!("Action=CreateRole&AssumeRolePolicyDocument={}", encoded(trust)),
        format!("Action=PutRolePolicy&PolicyName=own&PolicyDocument={}", encoded(may)),
    ] {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let form = format!("{form}&RoleName=r&Version=2010-05-08");
        let answer = fixture.send(signed(fixture.request("POST", "/", &headers, &form), "iam")).await;
        assert!(answer.status().is_success(), "{answer:?}");
    }
    // Of the account that is told of: our own calls are events, too.
    let pattern = json!({"detail-type": [{"prefix": "AWS "}], "account": ["111111111111"]});
    let rule = json!({"Name": "r", "EventPattern": pattern.to_string()});
    call(&fixture, "events", "AWSEvents.PutRule", &rule).await;
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let targets =
        json!({"Rule": "r", "Targets": [{"Id": "1", "Arn": arn, "RoleArn": "arn:aws:iam::000000000000:role/r"}]});
    assert_eq!(call(&fixture, "events", "AWSEvents.PutTargets", &targets).await["FailedEntryCount"], 0);

    let read_only = json!({"eventID": "read", "readOnly": true, "eventName": "DescribeInstances"});
    let mut read = record("read");
    read.as_object_mut().unwrap().extend(read_only.as_object().unwrap().clone());
    assert_eq!(counts(&ingest(&fixture, format!("{read}\n{}", record("write"))).await.1), (2, 0, 0));

    let start = json!({"StreamName": "s", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"});
    let start = call(&fixture, "kinesis", "Kinesis_20131202.GetShardIterator", &start).await;
    let mut iterator = start["ShardIterator"].clone();
    let clock = env().clock;
    let found = loop {
        let answer =
            call(&fixture, "kinesis", "Kinesis_20131202.GetRecords", &json!({"ShardIterator": iterator})).await;
        let records = answer["Records"].as_array().unwrap().clone();
        if !records.is_empty() {
            break records;
        }
        assert!(clock.instant() < std::time::Duration::from_secs(20), "no record came");
        iterator = answer["NextShardIterator"].clone();
    };
    assert_eq!(found.len(), 1);
    use base64::Engine;
    let data = base64::engine::general_purpose::STANDARD.decode(found[0]["Data"].as_str().unwrap()).unwrap();
    let event: Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(
        event,
        json!({
            "version": "0", "id": "write", "detail-type": "AWS API Call via CloudTrail", "source": "aws.ec2",
            "account": "111111111111", "time": "2026-01-01T00:00:00Z", "region": "eu-west-1", "resources": [],
            "detail": record("write"),
        })
    );
}
