use base::{Principal, Scope, Timestamp};
use log::{ReadLimit, StreamKey, StreamKind};
use serde_json::{Value, json};
use wire::access::{Named, Names};
use wire::data::Structure;
use wire::kinesis::*;
use wire::{Call, ServiceError, ServiceId};

use super::*;
use crate::services::testing::{ACCOUNT, House, scope};

const HOME: &str = "eu-central-1";

struct Nothing;

impl Names for Nothing {
    fn arn_of(&self, _: &Scope, _: Named<'_>) -> Option<String> {
        None
    }
}

struct World {
    house: House,
    audit: Audit,
}

impl World {
    async fn new() -> Self {
        Self::following("").await
    }

    async fn following(data: &str) -> Self {
        let house = House::new().await;
        let (account, home) = (ACCOUNT.parse().unwrap(), HOME.parse().unwrap());
        let data = Selectors::parse(data).unwrap();
        let audit = Audit::open(&house.env, &house.log, &house.flow.buses, (&account, &home), data).await.unwrap();
        Self { house, audit }
    }

    fn call(&self) -> Call {
        Call {
            source_ip: Some("::ffff:192.0.2.7".parse().unwrap()),
            user_agent: Some("Boto3/1.0".into()),
            access_key_id: Some("AKIA1".into()),
            ..self.house.call()
        }
    }

    async fn record(
        &self,
        call: &Call,
        (service, operation): (ServiceId, &str),
        input: Option<&dyn Structure>,
        outcome: Result<&dyn Structure, &ServiceError>,
    ) {
        let operation = service.model().operation(operation).unwrap();
        assert!(self.audit.follows(operation));
        self.audit.record(call, operation, input, outcome, &Nothing).await.unwrap();
    }

    async fn create(&self, name: &str) {
        let input = CreateStreamInput { stream_name: name.into(), shard_count: Some(1), ..Default::default() };
        let output = CreateStreamOutput::default();
        self.record(&self.call(), (ServiceId::Kinesis, "CreateStream"), Some(&input), Ok(&output)).await;
    }

    async fn all(&self, kind: StreamKind, region: &str, name: &str) -> Vec<Value> {
        let key = StreamKey { kind, scope: scope(region), name: name.into() };
        let Ok(stream) = self.house.log.stream(&key) else { return Vec::new() };
        let limit = ReadLimit { records: 100, bytes: 1 << 20 };
        let slice = self.house.log.read(stream.shards[0].slot, base::Position::ZERO, limit).await.unwrap();
        slice.records.iter().map(|record| serde_json::from_slice(&record.data).unwrap()).collect()
    }

    async fn trail(&self) -> Vec<Value> {
        self.all(StreamKind::Kinesis, HOME, "tidegate-audit").await
    }

    async fn last(&self) -> Value {
        self.trail().await.pop().unwrap()
    }

    async fn lookup(&self, attribute: Option<(Attribute, &str)>, limit: usize) -> Vec<Found> {
        let attribute = attribute.map(|(key, value)| (key, value.to_owned()));
        let query = Query { region: HOME.into(), attribute, start: None, end: None, limit };
        self.every(&query).await.concat()
    }

    /// Every page of a query.
    async fn every(&self, query: &Query) -> Vec<Vec<Found>> {
        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let page = self.audit.lookup(query, before).await.unwrap();
            pages.push(page.found);
            before = page.next;
            if before.is_none() {
                return pages;
            }
        }
    }
}

#[tokio::test]
async fn a_call_is_in_the_stream_and_on_the_bus_of_its_region_as_cloudtrail_has_it() {
    let world = World::new().await;
    let buses = &world.house.flow.buses;
    let bus = "default".parse().unwrap();
    buses.put_events(&scope("us-west-2"), &bus, &[]).await.unwrap();
    let call = Call { scope: scope("us-west-2"), ..world.call() };
    let input = CreateStreamInput { stream_name: "s".into(), shard_count: Some(2), ..Default::default() };
    world.record(&call, (ServiceId::Kinesis, "CreateStream"), Some(&input), Ok(&CreateStreamOutput::default())).await;
    let mut record = world.last().await;
    let id = record["eventID"].take();
    assert_eq!(id.as_str().unwrap().len(), 36);
    assert_eq!(
        record,
        json!({
            "eventVersion": "1.11",
            "userIdentity": {"type": "Root", "principalId": ACCOUNT, "arn": format!("arn:aws:iam::{ACCOUNT}:root"),
                             "accountId": ACCOUNT, "accessKeyId": "AKIA1"},
            "eventTime": "2023-11-14T22:13:20Z", "eventSource": "kinesis.amazonaws.com", "eventName": "CreateStream",
            "awsRegion": "us-west-2", "sourceIPAddress": "192.0.2.7", "userAgent": "Boto3/1.0",
            "requestParameters": {"streamName": "s", "shardCount": 2}, "responseElements": null, "requestID": "r",
            "eventID": null, "readOnly": false, "eventType": "AwsApiCall", "managementEvent": true,
            "recipientAccountId": ACCOUNT, "eventCategory": "Management",
        })
    );
    let events = world.all(StreamKind::Bus, "us-west-2", "default").await;
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (&event["source"], &event["detail-type"], &event["region"], &event["id"], &event["detail"]["eventID"]),
        (&json!("aws.kinesis"), &json!("AWS API Call via CloudTrail"), &json!("us-west-2"), &id, &id)
    );
    assert_eq!(world.all(StreamKind::Bus, HOME, "default").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_bus_that_nobody_ever_used_is_not_made() {
    let world = World::new().await;
    world.create("s").await;
    assert_eq!(world.trail().await.len(), 1);
    assert!(world.house.log.all_streams(StreamKind::Bus).is_empty());
}

#[tokio::test]
async fn refused_calls_are_recorded_with_their_error_and_without_secrets() {
    let world = World::new().await;
    let denied = ServiceError::new("AccessDeniedException", "User: u is not authorized to perform: sns:Publish");
    let input = wire::sns::SubscribeInput { endpoint: Some("https://h/secret-path".into()), ..Default::default() };
    let subscribe = (ServiceId::Sns, "Subscribe");
    world.record(&world.call(), subscribe, Some(&input), Err(&denied)).await;
    let record = world.last().await;
    assert_eq!(record["errorCode"], "AccessDenied");
    assert_eq!(record["errorMessage"], "User: u is not authorized to perform: sns:Publish");
    assert_eq!(record["requestParameters"]["endpoint"], "https://h/HIDDEN_DUE_TO_SECURITY_REASONS");

    let quoting = ServiceError::new("InvalidParameter", "Invalid parameter: Endpoint: https://h/secret-path");
    world.record(&world.call(), subscribe, Some(&input), Err(&quoting)).await;
    assert_eq!(
        world.last().await["errorMessage"],
        "Invalid parameter: Endpoint: https://hHIDDEN_DUE_TO_SECURITY_REASONS"
    );

    let invalid = "1 validation error detected: Value 'hunter2' at 'password' failed to satisfy constraint: long";
    let invalid = ServiceError::validation(ServiceId::Kinesis, invalid);
    world.record(&world.call(), (ServiceId::Kinesis, "CreateStream"), None, Err(&invalid)).await;
    let record = world.last().await;
    assert_eq!((&record["errorCode"], &record["requestParameters"]), (&json!("ValidationException"), &Value::Null));
    assert!(!record.to_string().contains("hunter2"));
}

#[tokio::test]
async fn data_events_are_recorded_where_a_selector_says_so() {
    let world = World::following("kinesis").await;
    let operation = |service: ServiceId, name: &str| service.model().operation(name).unwrap();
    assert!(!world.audit.follows(operation(ServiceId::Sns, "Publish")));
    assert!(!World::new().await.audit.follows(operation(ServiceId::Kinesis, "PutRecord")));
    let input = PutRecordInput {
        stream_name: Some("s".into()),
        data: "very secret".into(),
        partition_key: Some("secret too".into()),
        ..Default::default()
    };
    let output = PutRecordOutput { shard_id: "shardId-000000000000".into(), ..Default::default() };
    world.record(&world.call(), (ServiceId::Kinesis, "PutRecord"), Some(&input), Ok(&output)).await;
    let record = world.last().await;
    assert_eq!((&record["eventCategory"], &record["managementEvent"]), (&json!("Data"), &json!(false)));
    assert_eq!(
        record["resources"],
        json!([{"accountId": ACCOUNT, "type": "AWS::Kinesis::Stream",
                "ARN": format!("arn:aws:kinesis:{HOME}:{ACCOUNT}:stream/s")}])
    );
    assert_eq!(record["responseElements"]["shardId"], "shardId-000000000000");
    assert!(!record.to_string().contains("secret"), "{record}");
    assert_eq!(world.lookup(None, 50).await, [], "data events are not looked up");
}

#[tokio::test]
async fn reading_the_trail_does_not_make_it_longer_and_trying_to_write_it_does() {
    let world = World::following("kinesis").await;
    let name = || Some("tidegate-audit".to_owned());
    let input = GetShardIteratorInput { stream_name: name(), ..Default::default() };
    let iterator = (ServiceId::Kinesis, "GetShardIterator");
    world.record(&world.call(), iterator, Some(&input), Ok(&GetShardIteratorOutput::default())).await;
    assert_eq!(world.trail().await, [] as [Value; 0]);
    let input = PutRecordInput { stream_name: name(), ..Default::default() };
    let denied = ServiceError::new("AccessDeniedException", "no");
    world.record(&world.call(), (ServiceId::Kinesis, "PutRecord"), Some(&input), Err(&denied)).await;
    assert_eq!(world.trail().await.len(), 1);
}

#[tokio::test]
async fn links_of_messages_make_no_records() {
    let world = World::new().await;
    let call = Call { principal: Principal::Anonymous, ..world.call() };
    let input = wire::sns::ConfirmSubscriptionInput::default();
    let refused = ServiceError::new("InvalidParameter", "no");
    world.record(&call, (ServiceId::Sns, "ConfirmSubscription"), Some(&input), Err(&refused)).await;
    assert_eq!(world.trail().await, [] as [Value; 0]);
}

#[tokio::test]
async fn what_is_too_large_is_left_out_and_said_to_be() {
    let world = World::new().await;
    let input = CreateStreamInput { stream_name: "x".repeat(200 << 10), ..Default::default() };
    let error = ServiceError::new("LimitExceededException", "ü".repeat(1_000));
    let call = Call { user_agent: Some("a".repeat(5_000)), ..world.call() };
    world.record(&call, (ServiceId::Kinesis, "CreateStream"), Some(&input), Err(&error)).await;
    let record = world.last().await;
    assert_eq!(
        record["requestParameters"],
        json!({"omitted": true, "originalSize": (200 << 10) + 17, "reason": "requestParameters too large"})
    );
    assert_eq!(record["errorMessage"].as_str().unwrap().len(), 1_024);
    assert_eq!(record["userAgent"].as_str().unwrap().len(), 1_024);
}

#[tokio::test]
async fn reading_calls_have_no_answer_in_their_record() {
    let world = World::new().await;
    let output = ListStreamsOutput { stream_names: vec!["s".into()], ..Default::default() };
    world
        .record(&world.call(), (ServiceId::Kinesis, "ListStreams"), Some(&ListStreamsInput::default()), Ok(&output))
        .await;
    let record = world.last().await;
    assert_eq!(
        (&record["readOnly"], &record["requestParameters"], &record["responseElements"]),
        (&json!(true), &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_call_whose_record_cannot_be_written_is_told_to_come_again() {
    let world = World::new().await;
    world.house.log.close().await.unwrap();
    let operation = ServiceId::Kinesis.model().operation("CreateStream").unwrap();
    let output = CreateStreamOutput::default();
    let error = world.audit.record(&world.call(), operation, None, Ok(&output), &Nothing).await.unwrap_err();
    assert_eq!(base::Kinded::kind(&error), base::ErrorKind::Unavailable);
    assert!(error.to_string().contains("audit trail"), "{error}");
}

#[tokio::test]
async fn events_are_looked_up_the_newest_first_and_by_one_attribute() {
    let world = World::new().await;
    for n in 0..120 {
        world.create(&format!("s{n}")).await;
    }
    let user = Principal::User { arn: format!("arn:aws:iam::{ACCOUNT}:user/ann").parse().unwrap(), id: "AIDA1".into() };
    let call = Call { principal: user, access_key_id: Some("AKIA2".into()), ..world.call() };
    let (input, output) = (ListStreamsInput::default(), ListStreamsOutput::default());
    world.record(&call, (ServiceId::Kinesis, "ListStreams"), Some(&input), Ok(&output)).await;
    let elsewhere = Call { scope: scope("us-west-2"), ..world.call() };
    world.record(&elsewhere, (ServiceId::Kinesis, "ListStreams"), Some(&input), Ok(&output)).await;

    let query = Query { region: HOME.into(), attribute: None, start: None, end: None, limit: 50 };
    let pages = world.every(&query).await;
    let lengths: Vec<_> = pages.iter().map(Vec::len).collect();
    assert_eq!(lengths.iter().sum::<usize>(), 121, "{lengths:?}");
    assert!(lengths.iter().all(|len| *len <= 50));
    let all = pages.concat();
    assert_eq!((all[0].event_name.as_str(), all[0].username.as_deref()), ("ListStreams", Some("ann")));
    let names: Vec<_> = all[1..].iter().map(|found| found.resources[0].1.clone()).collect();
    assert_eq!(names, (0..120).rev().map(|n| format!("s{n}")).collect::<Vec<_>>());
    assert_eq!(serde_json::from_str::<Value>(&all[0].text).unwrap()["eventID"], all[0].event_id);

    for (attribute, value, count) in [
        (Attribute::EventId, &*all[7].event_id, 1),
        (Attribute::EventName, "CreateStream", 120),
        (Attribute::EventName, "createstream", 0),
        (Attribute::ReadOnly, "true", 1),
        (Attribute::Username, "root", 120),
        (Attribute::ResourceType, "AWS::Kinesis::Stream", 120),
        (Attribute::ResourceName, "s7", 1),
        (Attribute::EventSource, "kinesis.amazonaws.com", 121),
        (Attribute::AccessKeyId, "AKIA2", 1),
    ] {
        let found = world.lookup(Some((attribute, value)), 50).await;
        assert_eq!(found.len(), count, "{attribute:?} {value}");
    }
}

#[tokio::test]
async fn a_time_range_is_kept_to() {
    let world = World::new().await;
    let clock = &world.house.env.clock;
    let begun = clock.now();
    let mut times = Vec::new();
    for n in 0..6 {
        world.create(&format!("s{n}")).await;
        times.push(clock.now());
        world.house.clock.shift_wall(2 * 3_600_000);
    }
    let between = async |start: Option<Timestamp>, end: Option<Timestamp>| {
        let query = Query { region: HOME.into(), attribute: None, start, end, limit: 50 };
        let found = world.every(&query).await.concat();
        found.into_iter().map(|found| found.resources[0].1.clone()).collect::<Vec<_>>()
    };
    assert_eq!(between(Some(begun), None).await.len(), 6);
    assert_eq!(between(Some(times[2]), Some(times[3])).await, ["s3", "s2"]);
    assert_eq!(between(None, Some(times[0])).await, ["s0"]);
    assert_eq!(between(Some(times[5]), None).await, ["s5"]);
}

#[tokio::test]
async fn a_lookup_reads_a_bounded_part_and_says_where_it_goes_on() {
    let world = World::new().await;
    for n in 0..300 {
        world.create(&format!("s{n}")).await;
    }
    // A busy journal: what lies between is not the trail's.
    world.house.stream("busy").await;
    let key = StreamKey { kind: StreamKind::Kinesis, scope: scope(HOME), name: "busy".into() };
    let shard = world.house.log.stream(&key).unwrap().shards[0].slot;
    let record = || log::NewRecord {
        shard,
        partition_key: "k".parse().unwrap(),
        explicit_hash_key: None,
        data: bytes::Bytes::from_static(b"x"),
    };
    world
        .house
        .log
        .append(log::Append { producer: None, records: (0..50_000).map(|_| record()).collect() })
        .await
        .unwrap();
    for n in 300..12_000 {
        world.create(&format!("s{n}")).await;
    }
    let found = world.lookup(Some((Attribute::ResourceName, "s11999")), 1).await;
    assert_eq!(found.len(), 1);
    let attribute = Some((Attribute::ResourceName, "s5".to_owned()));
    let query = Query { region: HOME.into(), attribute, start: None, end: None, limit: 50 };
    let pages = world.every(&query).await;
    assert!(pages.len() > 1, "the first page has read its part");
    assert_eq!(pages.concat().len(), 1);
    assert!(pages.len() < 10, "{}", pages.len());
}
