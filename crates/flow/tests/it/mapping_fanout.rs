//! Mappings that read as a registered consumer of a stream.

use std::time::Duration;

use base::{Arn, ErrorKind, Kinded};
use flow::mapping::{MappingChange, MappingSpec, StartingPosition, StreamConsumer};
use log::{StreamKey, StreamKind};
use serde_json::Value;

use crate::mapping::until_time;
use crate::world::{World, function_arn, role, scope, stream_arn, until};

fn consumer(epoch: i64) -> (StreamConsumer, Arn) {
    let stream = StreamKey { kind: StreamKind::Kinesis, scope: scope(), name: "s".into() };
    let arn = Arn::new("kinesis", &scope(), format!("stream/s/consumer/c:{epoch}"));
    (StreamConsumer { stream, name: "c".into(), epoch }, arn)
}

fn spec(function: &str, source: &Arn) -> MappingSpec {
    MappingSpec {
        function: function_arn(function),
        role: role(),
        source: source.clone(),
        start: Some(StartingPosition::TrimHorizon),
        settings: MappingChange::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_mapping_reads_as_a_consumer_and_is_its_one_reader() {
    let world = World::new(701);
    let house = world.open().await;
    house.stream("s", 1).await;
    let (one, arn) = consumer(1);
    let mappings = &house.flow.mappings;
    let unknown = mappings.create(&scope(), spec("f", &arn)).await.unwrap_err();
    assert_eq!(
        (unknown.kind(), unknown.to_string()),
        (ErrorKind::Invalid, format!("Stream consumer not found: {arn}"))
    );

    world.consumers.register(one.clone());
    house.put("s", "k", &["a", "b"]).await;
    let id = mappings.create(&scope(), spec("f", &arn)).await.unwrap().mapping.id;
    until("a call", || world.functions.calls().len() == 1).await;
    let event: Value = serde_json::from_str(&world.functions.payloads()[0]).unwrap();
    assert_eq!(event["Records"][1]["eventSourceARN"], arn.to_string());
    assert_eq!(world.functions.batches(), [["a", "b"]]);
    assert!(world.consumers.is_taken(&one));

    // Another function cannot have it, but the stream itself can be read as well.
    let second = mappings.create(&scope(), spec("g", &arn)).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Conflict);
    assert!(second.to_string().contains(&id), "{second}");
    mappings.create(&scope(), spec("f", &stream_arn("s"))).await.unwrap();
    let found = mappings.list(&scope(), None, Some(&arn)).unwrap();
    assert_eq!(found.iter().map(|view| &view.mapping.id).collect::<Vec<_>>(), [&id]);

    let set = |enabled| MappingChange { enabled: Some(enabled), ..Default::default() };
    mappings.update(&scope(), &id, &set(false)).await.unwrap();
    assert!(!world.consumers.is_taken(&one), "it is free while the mapping is disabled");
    mappings.update(&scope(), &id, &set(true)).await.unwrap();
    assert!(world.consumers.is_taken(&one));
    mappings.delete(&scope(), &id).await.unwrap();
    assert!(!world.consumers.is_taken(&one));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_its_consumer_a_mapping_keeps_its_place_and_says_so() {
    let world = World::new(702);
    let house = world.open().await;
    house.stream("s", 1).await;
    let (one, arn) = consumer(1);
    world.consumers.register(one.clone());
    let id = house.flow.mappings.create(&scope(), spec("f", &arn)).await.unwrap().mapping.id;
    house.put("s", "k", &["a"]).await;
    until("a call", || world.functions.calls().len() == 1).await;

    world.consumers.deregister(&one);
    let problem = format!("PROBLEM: Stream consumer not found: {arn}");
    assert_eq!(house.flow.mappings.get(&scope(), &id).unwrap().last_result, problem, "also before anything comes");
    house.put("s", "k", &["b", "c"]).await;
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.functions.calls().len(), 1);
    // It is read neither after a restart, and its records are seen as stuck.
    house.stop().await;
    let house = world.open().await;
    world.pass(Duration::from_secs(600)).await;
    let status = house.flow.mappings.status(&scope(), &id).await.unwrap();
    assert_eq!((status.view.state, status.view.last_result), ("Enabled", problem));
    assert_eq!(status.stuck[0].error, format!("Stream consumer not found: {arn}"));
    assert!(status.age.unwrap() >= Duration::from_secs(1_200));

    // One that is registered anew under the name has another ARN, and is another.
    let (two, _) = consumer(2);
    world.consumers.register(two);
    world.pass(Duration::from_secs(120)).await;
    assert_eq!(world.functions.calls().len(), 1);
    world.consumers.register(one);
    until_time(&world, || world.functions.calls().len() == 2).await;
    assert_eq!(world.functions.batches()[1], ["b", "c"]);
    until_time(&world, || house.flow.mappings.get(&scope(), &id).unwrap().last_result == "OK").await;
    house.stop().await;
}
