//! What a quarantine keeps, by somebody's word or because it was given up: skipped, redriven, unreadable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Kinded, SequenceNumber, StateStore, Table};
use flow::mapping::{MappingChange, MappingView, StartingPosition, Why};
use serde_json::Value;

use crate::fakes::{Reply, batch_of};
use crate::mapping::{map, until_time};
use crate::mapping_give_up::poisoned;
use crate::world::{DAY, House, World, scope, until};

#[tokio::test(start_paused = true)]
async fn a_skipped_record_is_set_aside_and_the_others_go_on() {
    let world = World::new(306);
    let house = world.open().await;
    house.stream("s", 1).await;
    let cured = poisoned(&world.functions);
    house.put("s", "k", &["a", "poison", "b"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    until_time(&world, || world.functions.calls().len() >= 9).await;
    let (shard, records) = (base::ShardId::new(0), house.records(&House::key("s")).await);
    let number = |n: usize| SequenceNumber::new(records[n].position, shard, records[n].arrival);
    let (mappings, id) = (&house.flow.mappings, &view.mapping.id);
    mappings.skip(&scope(), id, shard, number(1)).await.unwrap();
    until("the others", || world.functions.batches().last().is_some_and(|b| *b == ["a", "b"])).await;
    until("the checkpoint", || {
        house.flow.lag.of(&format!("mapping:{id}"), base::Clock::now(&*world.clock)) == Some(Duration::ZERO)
    })
    .await;
    let again = mappings.skip(&scope(), id, shard, number(0)).await.unwrap_err().to_string();
    assert!(again.contains("has dealt with record"), "{again}");
    let status = house.status(&view).await;
    assert_eq!((status.quarantine.len(), status.quarantine[0].why), (1, Why::Skipped));
    cured.store(true, Ordering::Relaxed);
    assert_eq!(house.redrive(&view).await, (1, vec![]));
    assert_eq!(world.functions.batches().last().unwrap(), &["poison"]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_came_of_a_redrive_is_told_though_it_is_interrupted() {
    let world = World::new(322);
    let house = world.open().await;
    house.stream("s", 1).await;
    poisoned(&world.functions);
    house.put("s", "k", &["poison", "b", "c", "d"]).await;
    let settings = MappingChange { max_retries: Some(0), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    house.quarantined(&world, &view, 4).await;
    // All, the first half, its halves, and then there is no environment for the second half.
    let mut calls = 0;
    world.functions.answer(move |call| {
        calls += 1;
        let batch = batch_of(std::str::from_utf8(&call.payload).unwrap());
        match calls {
            5 => Reply::Busy,
            _ if batch.contains(&"poison".to_owned()) => Reply::Status(500),
            _ => Reply::Ok("{}".into()),
        }
    });
    let part = house.flow.mappings.redrive(&scope(), &view.mapping.id, None).await.unwrap();
    assert_eq!((part.succeeded, part.failed.len(), part.interrupted.as_deref()), (1, 1, Some("busy")));
    assert_eq!(house.status(&view).await.quarantine.len(), 3);
    assert_eq!(house.redrive(&view).await.0, 2);
    house.stop().await;
}

/// What nobody can read lies in the mapping's quarantine.
async fn spoil(house: &House, view: &MappingView) {
    let key = log::StreamKey { kind: log::StreamKind::Quarantine, scope: scope(), name: view.mapping.id.clone() };
    let into = house.log.ensure_stream(&key, log::StreamSpec { shards: 1, retention: 400 * DAY }).await.unwrap();
    let record = log::NewRecord {
        shard: into.shards[0].slot,
        partition_key: "k".parse().unwrap(),
        explicit_hash_key: None,
        data: "nothing that anybody wrote".into(),
    };
    house.log.append(log::Append { producer: None, records: vec![record] }).await.unwrap();
}

/// The sequence numbers of a stream's first shard.
async fn numbers(house: &House) -> Vec<SequenceNumber> {
    let records = house.records(&House::key("s")).await;
    records.iter().map(|r| SequenceNumber::new(r.position, base::ShardId::new(0), r.arrival)).collect()
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_quarantine_holds_up_nothing_but_what_has_to_go_there() {
    let world = World::new(317);
    let house = world.open().await;
    house.stream("s", 1).await;
    let cured = poisoned(&world.functions);
    house.put("s", "k", &["poison1", "a"]).await;
    let settings = MappingChange { batch_size: Some(1), max_retries: Some(2), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    until("a call", || world.functions.calls().len() == 1).await;
    let (shard, sequence) = (base::ShardId::new(0), numbers(&house).await);
    house.flow.mappings.skip(&scope(), &view.mapping.id, shard, sequence[0]).await.unwrap();
    spoil(&house, &view).await;
    house.stop().await;
    let house = world.open().await;
    house.put("s", "k", &["b"]).await;
    until_time(&world, || world.functions.batches().concat().contains(&"b".to_owned())).await;
    let (mappings, id) = (&house.flow.mappings, &view.mapping.id);
    let status = house.status(&view).await;
    assert!(status.unreadable.is_some_and(|why| why.contains("quarantined record")), "it says so");
    assert_eq!((status.stuck, status.view.last_result.as_str()), (vec![], "OK"));
    // What has to go there waits: nothing is lost.
    house.put("s", "k", &["poison2", "c"]).await;
    until_time(&world, || world.functions.batches().concat().iter().filter(|text| *text == "poison2").count() == 3)
        .await;
    world.pass(Duration::from_secs(300)).await;
    let stuck = house.status(&view).await.stuck;
    assert!(stuck[0].held.as_ref().is_some_and(|held| held.contains("cannot be read")), "{stuck:?}");
    assert!(!world.functions.batches().concat().contains(&"c".to_owned()));
    let sequence = numbers(&house).await;
    assert!(mappings.skip(&scope(), id, shard, sequence[4]).await.is_err(), "what is not put aside is not done");
    cured.store(true, Ordering::Relaxed);
    house.stop().await;
    // The function is mended, and the batch is tried anew after a start.
    let house = world.open().await;
    until_time(&world, || world.functions.batches().concat().contains(&"c".to_owned())).await;
    let handled: Vec<String> = world.functions.batches().concat();
    assert_eq!(handled.iter().filter(|text| *text == "poison1").count(), 1, "it stays skipped");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_skipped_stays_skipped_though_it_is_redriven_meanwhile() {
    let world = World::new(318);
    let house = world.open().await;
    house.stream("s", 1).await;
    let cured = Arc::new(AtomicBool::new(false));
    let is_cured = Arc::clone(&cured);
    world.functions.answer(move |call| {
        let batch = batch_of(std::str::from_utf8(&call.payload).unwrap());
        let fails = batch.iter().any(|text| text == "stuck") && !is_cured.load(Ordering::Relaxed);
        if fails { Reply::Status(500) } else { Reply::Ok("{}".into()) }
    });
    house.put("s", "k", &["stuck", "aside", "b"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    until_time(&world, || world.functions.calls().len() > 3).await;
    let (shard, sequence) = (base::ShardId::new(0), numbers(&house).await);
    house.flow.mappings.skip(&scope(), &view.mapping.id, shard, sequence[1]).await.unwrap();
    assert_eq!(house.redrive(&view).await, (1, vec![]));
    let before = world.functions.calls().len();
    house.stop().await;
    let house = world.open().await;
    cured.store(true, Ordering::Relaxed);
    until_time(&world, || world.functions.batches().last().is_some_and(|batch| *batch == ["stuck", "b"])).await;
    let after = &world.functions.batches()[before..];
    assert!(!after.concat().contains(&"aside".to_owned()), "it was handled once: {after:?}");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_skipped_while_the_function_has_it_is_handled_or_set_aside() {
    for succeeds in [true, false] {
        let world = World::new(319);
        let house = world.open().await;
        house.stream("s", 1).await;
        let mut first = true;
        world.functions.answer(move |_| match (std::mem::take(&mut first), succeeds) {
            (true, true) => Reply::After(Duration::from_secs(60), "{}".into()),
            (true, false) => Reply::Raise(Duration::from_secs(60)),
            (false, _) => Reply::Ok("{}".into()),
        });
        house.put("s", "k", &["a", "b"]).await;
        let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
        until("the call", || world.functions.calls().len() == 1).await;
        let (shard, sequence) = (base::ShardId::new(0), numbers(&house).await);
        let (mappings, id) = (&house.flow.mappings, &view.mapping.id);
        mappings.skip(&scope(), id, shard, sequence[1]).await.unwrap();
        assert_eq!(house.status(&view).await.quarantine.len(), 1);
        world.pass(Duration::from_secs(120)).await;
        let (kept, batches) = (house.status(&view).await.quarantine.len(), world.functions.batches());
        match succeeds {
            true => assert_eq!((kept, batches), (0, vec![vec!["a".to_owned(), "b".to_owned()]]), "handled after all"),
            false => assert_eq!((kept, &batches[1..]), (1, &[vec!["a".to_owned()]][..]), "set aside"),
        }
        assert_eq!(
            mappings.skip(&scope(), id, shard, sequence[0]).await.unwrap_err().kind(),
            base::ErrorKind::Conflict
        );
        house.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_dealt_with_is_not_skipped_under_another_factor() {
    let world = World::new(320);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.put("s", "k", &["a", "b"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    until("the call", || world.functions.calls().len() == 1).await;
    world.pass(Duration::from_secs(1)).await;
    let (mappings, id) = (&house.flow.mappings, &view.mapping.id);
    let change = MappingChange { parallelization: Some(4), enabled: Some(false), ..Default::default() };
    mappings.update(&scope(), id, &change).await.unwrap();
    house.put("s", "k", &["c"]).await;
    let (shard, sequence) = (base::ShardId::new(0), numbers(&house).await);
    assert_eq!(mappings.skip(&scope(), id, shard, sequence[0]).await.unwrap_err().kind(), base::ErrorKind::Conflict);
    mappings.skip(&scope(), id, shard, sequence[2]).await.unwrap();
    assert_eq!(house.status(&view).await.quarantine.len(), 1);
    house.stop().await;
}

/// A row of before marks were kept apart.
#[tokio::test(start_paused = true)]
async fn marks_of_an_earlier_version_are_believed() {
    let world = World::new(321);
    let house = world.open().await;
    house.stream("s", 1).await;
    poisoned(&world.functions);
    house.put("s", "k", &["poison", "b"]).await;
    let view =
        map(&house, StartingPosition::TrimHorizon, MappingChange { enabled: Some(false), ..Default::default() }).await;
    let (shard, sequence) = (base::ShardId::new(0), numbers(&house).await);
    let (mappings, id) = (&house.flow.mappings, &view.mapping.id);
    mappings.skip(&scope(), id, shard, sequence[0]).await.unwrap();
    let rows = house.state.scan(Table("flow.quarantines"), b"", None, 10).unwrap();
    let (row, bytes) = &rows[0];
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    assert!(value["skips"].as_array().is_some_and(|skips| skips.len() == 1), "{value}");
    value.as_object_mut().unwrap().remove("skips");
    let older = base::Batch::new().put(Table("flow.quarantines"), row.clone(), value.to_string().into_bytes());
    house.state.commit(older).await.unwrap();
    house.stop().await;
    let house = world.open().await;
    let enabled = MappingChange { enabled: Some(true), ..Default::default() };
    house.flow.mappings.update(&scope(), id, &enabled).await.unwrap();
    until("the others", || world.functions.batches() == [["b"]]).await;
    house.stop().await;
}
