//! Configuration that an earlier version wrote: it is read, and what is not accepted any more keeps nothing else from
//! starting.

use std::time::Duration;

use base::{Batch, StateStore, Table};
use flow::archive::ArchiveSpec;
use flow::bus::{RuleSpec, RuleState};
use flow::delivery::{DeliverySpec, Source};
use flow::destinations::{
    ApiDestinationSpec, Authorization, ConnectionSpec, Credentials, Parameters, Secret, connection_arn,
};
use flow::invocations::InvokeConfigChange;
use flow::mapping::{MappingChange, MappingSpec, StartingPosition};
use flow::queue::{QueueAttributes, Redrive, queue_arn};
use flow::topic::{Protocol, Subscribing, SubscriptionChange};
use serde_json::{Value, json};

use crate::queue::{message, name};
use crate::scheduler::{spec, to};
use crate::topic::{create, publish, topic};
use crate::world::{House, World, default_bus, event, function_arn, role, scope, stream_arn, target, until};

/// One of each kind, as version 0.1 wrote them.
const WRITTEN: &str = include_str!("../fixtures/documents.json");

const TABLES: [&str; 18] = [
    "flow.buses",
    "flow.rules",
    "flow.rule_clocks",
    "flow.deliveries",
    "flow.queues",
    "flow.queue_floors",
    "flow.schedule_groups",
    "flow.schedules",
    "flow.schedule_clocks",
    "flow.invoke_configs",
    "flow.mappings",
    "flow.checkpoints",
    "flow.connections",
    "flow.api_destinations",
    "flow.topics",
    "flow.subscriptions",
    "flow.invocations",
    "flow.archives",
];

fn table(name: &str) -> Table {
    Table(TABLES.iter().find(|known| **known == name).unwrap())
}

fn rule(name: &str, pattern: Option<&str>, schedule: Option<&str>) -> RuleSpec {
    let (pattern, schedule) = (pattern.map(Into::into), schedule.map(Into::into));
    let (state, description, role) = (RuleState::Enabled, Some("d".to_owned()), None);
    RuleSpec { name: name.parse().unwrap(), pattern, schedule, state, description, role }
}

/// Makes one of each kind.
async fn make(house: &House) {
    let flow = &house.flow;
    house.stream("s", 1).await;
    house.queue("dead", QueueAttributes::default()).await;
    let redrive = Some(Redrive { target: queue_arn(&scope(), &name("dead")), max_receives: 3 });
    house.queue("q", QueueAttributes { redrive, ..QueueAttributes::default() }).await;

    flow.buses.create_bus(&scope(), &"own".parse().unwrap(), Some("d".into())).await.unwrap();
    flow.buses.put_rule(&scope(), &default_bus(), rule("clock", None, Some("rate(5 minutes)"))).await.unwrap();
    flow.buses.put_rule(&scope(), &default_bus(), rule("r", Some(r#"{"source":["my.app"]}"#), None)).await.unwrap();
    for rule in ["clock", "r"] {
        let rule = rule.parse().unwrap();
        let failed = flow.buses.put_targets(&scope(), &default_bus(), &rule, vec![target(stream_arn("s"))]).await;
        assert!(failed.unwrap().is_empty());
    }
    let archive =
        ArchiveSpec { description: None, pattern: Some(r#"{"source":["my.app"]}"#.into()), retention_days: 3 };
    flow.archives.create(&scope(), &"kept".parse().unwrap(), &default_bus(), archive).await.unwrap();

    create(house, &topic()).await;
    let filter_policy = Some(r#"{"k":[{"anything-but":["x"]}]}"#.to_owned());
    let change = SubscriptionChange { filter_policy, ..Default::default() };
    let endpoint = queue_arn(&scope(), &name("q")).to_string();
    let asked = Subscribing { protocol: Protocol::Sqs, endpoint: &endpoint, change: &change };
    flow.topics.subscribe(&scope(), &topic(), asked).await.unwrap();

    let filters = Some(vec![r#"{"data":{"n":[1]}}"#.to_owned()]);
    for (source, start, function) in
        [(stream_arn("s"), Some(StartingPosition::TrimHorizon), "f"), (queue_arn(&scope(), &name("dead")), None, "g")]
    {
        let settings = MappingChange { filters: filters.clone(), ..Default::default() };
        let spec = MappingSpec { function: function_arn(function), role: role(), source, start, settings };
        flow.mappings.create(&scope(), spec).await.unwrap();
    }
    flow.schedules.create_group(&scope(), &"own".parse().unwrap(), Default::default(), None).await.unwrap();
    let group = "default".parse().unwrap();
    let often = spec("rate(10 minutes)", to(stream_arn("s")));
    flow.schedules.create(&scope(), &group, &"often".parse().unwrap(), often, None).await.unwrap();

    let source = Source::Stream(stream_arn("s"), role());
    let delivery = DeliverySpec { name: "d".parse().unwrap(), source, destination: crate::delivery::destination() };
    flow.deliveries.create(&scope(), delivery).await.unwrap();

    let credentials = Credentials::ApiKey { name: "x-api-key".into(), value: Secret::new("hunter2".into()) };
    let authorization = Authorization { credentials, parameters: Parameters::default() };
    let connection = ConnectionSpec { name: "c".into(), description: None };
    let connection = flow.destinations.create_connection(&scope(), connection, &authorization).await.unwrap();
    let destination = ApiDestinationSpec {
        name: "d".into(),
        connection: Some(connection_arn(&scope(), &connection)),
        endpoint: Some("http://127.0.0.1:9/hook".into()),
        method: Some("POST".into()),
        rate: Some(10),
        ..ApiDestinationSpec::default()
    };
    flow.destinations.create_destination(&scope(), destination).await.unwrap();
    let change = InvokeConfigChange { max_retries: Some(1), ..Default::default() };
    flow.invocations.configure(&scope(), &"f".parse().unwrap(), None, change, true).await.unwrap();
    flow.invocations.submit(crate::world::call("f", "{}")).await.unwrap();
}

fn rows(house: &House) -> Vec<Value> {
    let of = |table: &&'static str| {
        let rows = house.state.scan(Table(table), b"", None, 1_000).unwrap();
        let row = |(key, value): (Vec<u8>, Vec<u8>)| {
            let value: Value = serde_json::from_slice(&value).unwrap();
            json!({"table": table, "key": String::from_utf8(key).unwrap(), "value": value})
        };
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    TABLES.iter().flat_map(of).collect()
}

/// Run by hand when documents change so that those of earlier versions need a fixture of their own.
#[ignore = "writes the fixture"]
#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods, reason = "the fixture is in the real file system")]
async fn write_the_fixture() {
    let world = World::new(81);
    let house = world.open().await;
    make(&house).await;
    world.pass(Duration::from_secs(3_600)).await;
    let written = serde_json::to_string_pretty(&rows(&house)).unwrap();
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/documents.json"), written + "\n").unwrap();
    house.stop().await;
}

/// Writes documents as they are given, and starts again.
async fn reopened_with(world: &World, house: House, documents: &[Value]) -> House {
    let text = |document: &Value, member: &str| document[member].as_str().unwrap().to_owned();
    let batch = documents.iter().fold(Batch::new(), |batch, document| {
        let value = serde_json::to_vec(&document["value"]).unwrap();
        batch.put(table(&text(document, "table")), text(document, "key"), value)
    });
    house.state.commit(batch).await.unwrap();
    world.reopen(house).await
}

#[tokio::test(start_paused = true)]
async fn documents_of_every_kind_are_read_as_they_were_written() {
    let world = World::new(82);
    let written: Vec<Value> = serde_json::from_str(WRITTEN).unwrap();
    let tables: Vec<&str> = written.iter().map(|document| document["table"].as_str().unwrap()).collect();
    assert!(TABLES.iter().all(|table| tables.contains(table)), "{tables:?}");
    let house = world.open().await;
    house.stream("s", 1).await;
    // Whoever wrote them had a journal, which these places are in.
    house.stream("before", 1).await;
    house.put("before", "k", &["x"; 500]).await;
    let house = reopened_with(&world, house, &written).await;
    let flow = &house.flow;
    assert_eq!(flow.buses.buses(&scope()).unwrap().len(), 2);
    assert_eq!(flow.buses.rules(&scope(), &default_bus()).unwrap().len(), 2);
    assert_eq!(flow.archives.list(&scope()).unwrap().len(), 1);
    assert_eq!(flow.topics.topics(&scope()).unwrap().len(), 1);
    assert_eq!(flow.topics.subscriptions(&scope(), &topic()).unwrap().len(), 1);
    let mappings = flow.mappings.list(&scope(), None, None).unwrap();
    assert!(mappings.len() == 2 && mappings.iter().all(|view| view.last_result == "No records processed"));
    assert!(flow.schedules.get(&scope(), &"default".parse().unwrap(), &"often".parse().unwrap()).is_ok());
    assert_eq!((flow.queues.list(&scope()).len(), flow.deliveries.list(&scope()).unwrap().len()), (2, 1));
    assert!(flow.destinations.connection(&scope(), "c").unwrap().is_authorized());
    assert!(flow.destinations.is_active(&scope(), &flow.destinations.destination(&scope(), "d").unwrap()));
    assert_eq!(flow.invocations.config(&scope(), &"f".parse().unwrap(), None).unwrap().unwrap().max_retries, Some(1));
    // What they say is done.
    let records = house.records(&House::key("s")).await.len();
    house.put_events(&[event("e", "my.app", "{}")]).await;
    // There was no log of the bus, and its consumer looks again after a while.
    world.pass(Duration::from_secs(1)).await;
    house.wait_for(&House::key("s"), records + 1).await;
    // An hour of it was dealt with by whoever wrote that.
    world.pass(Duration::from_secs(2 * 3_600)).await;
    assert!(house.records(&House::key("s")).await.len() >= records + 12, "both clocks go");
    house.stop().await;
}

/// The documents of a house, with some texts replaced by others.
fn replaced(house: &House, texts: &[(&str, &str)]) -> Vec<Value> {
    let all = serde_json::to_string(&rows(house)).unwrap();
    let bad = texts.iter().fold(all, |all, (good, bad)| {
        assert!(all.contains(good), "{good}");
        all.replace(good, bad)
    });
    serde_json::from_str(&bad).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_once_goes_on() {
    let world = World::new(83);
    let house = world.open().await;
    make(&house).await;
    // Neither is accepted of a caller today.
    let older = [
        ("rate(5 minutes)", "rate(5 minute)"),
        (r#"\"anything-but\":[\"x\"]"#, r#"\"anything-but\":{\"suffix\":\"x\"}"#),
    ];
    let documents = replaced(&house, &older);
    let house = reopened_with(&world, house, &documents).await;
    let before = house.records(&House::key("s")).await.len();
    world.pass(Duration::from_secs(301)).await;
    assert!(house.records(&House::key("s")).await.len() > before, "the rule's clock goes");
    let mut wanted = crate::topic::message("wanted");
    let attribute = |value: &str| flow::topic::Attribute { data_type: "String".into(), value: value.into() };
    wanted.attributes.insert("k".into(), attribute("y"));
    let mut other = crate::topic::message("other");
    other.attributes.insert("k".into(), attribute("ax"));
    house.flow.topics.publish(&scope(), &topic(), vec![wanted, other]).await.unwrap();
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(house.visible("q").await, 1);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_accepted_any_more_does_nothing_and_keeps_nothing_else_from_starting() {
    let world = World::new(84);
    let house = world.open().await;
    make(&house).await;
    let bad = [
        ("rate(5 minutes)", "rate(5 fortnights)"),
        ("rate(10 minutes)", "rate(10 fortnights)"),
        (r#"\"anything-but\":[\"x\"]"#, r#"\"anything-but\":[7e999]"#),
        (r#"{\"data\":{\"n\":[1]}}"#, r#"{\"data\":{\"n\":1}}"#),
        (r#"{\"source\":[\"my.app\"]}"#, r#"{\"source\":\"my.app\"}"#),
    ];
    let documents = replaced(&house, &bad);
    let house = reopened_with(&world, house, &documents).await;
    let flow = &house.flow;
    // All are shown.
    assert_eq!(flow.buses.rules(&scope(), &default_bus()).unwrap().len(), 2);
    assert_eq!(flow.archives.list(&scope()).unwrap().len(), 1);
    assert_eq!(flow.topics.subscriptions(&scope(), &topic()).unwrap().len(), 1);
    assert!(flow.schedules.get(&scope(), &"default".parse().unwrap(), &"often".parse().unwrap()).is_ok());
    let mappings = flow.mappings.list(&scope(), None, None).unwrap();
    assert!(mappings.iter().all(|view| view.last_result.starts_with("PROBLEM: It does not run")), "{mappings:?}");
    // None of them does anything, and the others go on.
    let before = house.records(&House::key("s")).await.len();
    house.put_events(&[event("e", "my.app", "{}")]).await;
    publish(&house, &["a"]).await;
    world.pass(Duration::from_secs(1_800)).await;
    assert_eq!((house.records(&House::key("s")).await.len(), house.visible("q").await), (before, 0));
    house.send("q", vec![message("1", "x")]).await;
    assert_eq!(house.receive("q").await.len(), 1);
    // What is put right goes on, with what waited for it.
    let right = SubscriptionChange { filter_policy: Some(String::new()), ..Default::default() };
    let subscription = flow.topics.subscriptions(&scope(), &topic()).unwrap().remove(0);
    let arn = base::Arn::new("sns", &scope(), format!("{}:{}", topic(), subscription.id));
    flow.topics.change_subscription(&arn, &right).await.unwrap();
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(house.visible("q").await, 1, "the message that was published meanwhile");
    flow.buses.put_rule(&scope(), &default_bus(), rule("r", Some(r#"{"source":["my.app"]}"#), None)).await.unwrap();
    house.put_events(&[event("e2", "my.app", "{}")]).await;
    world.pass(Duration::from_secs(1)).await;
    house.wait_for(&House::key("s"), before + 1).await;
    let calls = world.functions.calls().len();
    let right = MappingChange { filters: Some(Vec::new()), ..Default::default() };
    flow.mappings.update(&scope(), &mappings[0].mapping.id, &right).await.unwrap();
    flow.mappings.update(&scope(), &mappings[1].mapping.id, &right).await.unwrap();
    until("a call", || world.functions.calls().len() > calls).await;
    house.stop().await;
}
