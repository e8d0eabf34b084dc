//! Records to functions.

use std::time::Duration;

use base::HashKey;
use flow::mapping::{MappingChange, MappingSpec, MappingView, StartingPosition};
use log::Reshard;

use crate::fakes::{Reply, batch_of};
use crate::world::{House, Outside, World, function_arn, role, scope, stream_arn, until};

pub async fn map(house: &House, start: StartingPosition, settings: MappingChange) -> MappingView {
    let spec = MappingSpec {
        function: function_arn("f"),
        role: role(),
        source: stream_arn("s"),
        start: Some(start),
        settings,
    };
    house.flow.mappings.create(&scope(), spec).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn records_arrive_in_order_one_batch_at_a_time() {
    let world = World::new(1);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.put("s", "k", &["a", "b", "c", "d", "e"]).await;
    let settings = MappingChange { batch_size: Some(2), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    assert_eq!((view.state, view.last_result.as_str()), ("Enabled", "No records processed"));
    until("three calls", || world.functions.calls().len() == 3).await;
    assert_eq!(world.functions.batches(), [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
    until("the result", || {
        house.flow.mappings.get(&scope(), &view.mapping.id).is_ok_and(|view| view.last_result == "OK")
    })
    .await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn latest_begins_at_its_creation_and_timestamps_at_their_time() {
    let world = World::new(2);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.put("s", "k", &["old"]).await;
    world.pass(Duration::from_secs(60)).await;
    let then = base::Clock::now(&*world.clock);
    house.put("s", "k", &["middle"]).await;
    map(&house, StartingPosition::Latest, MappingChange::default()).await;
    // The place is durable from the start: a restart loses nothing that comes between.
    house.stop().await;
    let house = world.open().await;
    house.put("s", "k", &["new"]).await;
    until("a call", || !world.functions.calls().is_empty()).await;
    assert_eq!(world.functions.batches(), [["new"]]);
    let spec = MappingSpec {
        function: function_arn("g"),
        role: role(),
        source: stream_arn("s"),
        start: Some(StartingPosition::AtTimestamp(then)),
        settings: MappingChange::default(),
    };
    house.flow.mappings.create(&scope(), spec).await.unwrap();
    until("its call", || world.functions.calls().len() == 2).await;
    assert_eq!(world.functions.batches()[1], ["middle", "new"]);
    house.stop().await;
}

fn enabled(enabled: bool) -> MappingChange {
    MappingChange { enabled: Some(enabled), ..Default::default() }
}

#[test]
fn latest_of_a_mapping_that_is_made_disabled_begins_when_it_is_first_enabled() {
    let outside = Outside::new(20);
    let functions = &outside.functions;
    let id = outside.life(async |world| {
        let house = world.open().await;
        house.stream("s", 1).await;
        house.put("s", "k", &["before it is made"]).await;
        map(&house, StartingPosition::Latest, enabled(false)).await.mapping.id
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        let house = world.open().await;
        house.put("s", "k", &["before it is enabled"]).await;
        // Its shards by then are what counts, those that came and went among them.
        let stream = house.log.stream(&House::key("s")).unwrap();
        let split = Reshard::Split { shard: stream.shards[0].id, at: HashKey(1 << 127) };
        house.log.reshard(&House::key("s"), vec![split]).await.unwrap();
        house.put("s", "k", &["on a child"]).await;
        let other = MappingChange { batch_size: Some(7), ..Default::default() };
        house.flow.mappings.update(&scope(), &id, &other).await.unwrap();
        let view = house.flow.mappings.update(&scope(), &id, &enabled(true)).await.unwrap();
        assert_eq!(view.state, "Enabled");
    });
    // Nothing was stopped in order: what was answered is durable.
    outside.fs.power_cut();
    outside.life(async |world| {
        let house = world.open().await;
        house.put("s", "k", &["a"]).await;
        until("a call", || functions.calls().len() == 1).await;
        house.flow.mappings.update(&scope(), &id, &enabled(false)).await.unwrap();
        house.put("s", "k", &["b"]).await;
        house.flow.mappings.update(&scope(), &id, &enabled(true)).await.unwrap();
        until("another call", || functions.calls().len() == 2).await;
        assert_eq!(functions.batches(), [["a"], ["b"]], "from then on it keeps its place");
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_starting_time_in_the_future_is_refused() {
    let world = World::new(21);
    let house = world.open().await;
    house.stream("s", 1).await;
    let later = base::Clock::now(&*world.clock) + Duration::from_secs(1);
    let spec = MappingSpec {
        function: function_arn("f"),
        role: role(),
        source: stream_arn("s"),
        start: Some(StartingPosition::AtTimestamp(later)),
        settings: MappingChange::default(),
    };
    let refused = house.flow.mappings.create(&scope(), spec).await.unwrap_err();
    assert_eq!(refused.to_string(), "StartingPositionTimestamp cannot be in the future");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_poison_pill_is_given_up_after_its_retries_and_the_rest_goes_on() {
    let world = World::new(3);
    let house = world.open().await;
    house.stream("s", 1).await;
    world.functions.answer(|call| {
        let batch = batch_of(std::str::from_utf8(&call.payload).unwrap());
        if batch.iter().any(|text| text == "poison") { Reply::Status(500) } else { Reply::Ok("{}".into()) }
    });
    house.put("s", "k", &["a", "poison", "b", "c"]).await;
    let settings = MappingChange { max_retries: Some(2), bisect: Some(true), ..Default::default() };
    let view = map(&house, StartingPosition::TrimHorizon, settings).await;
    until_time(&world, || {
        world.functions.batches().concat().iter().any(|t| t == "c")
            && world.functions.batches().last().is_some_and(|b| b.contains(&"c".to_owned()))
    })
    .await;
    let batches = world.functions.batches();
    let alone = batches.iter().filter(|b| **b == ["poison"]).count();
    assert_eq!(alone, 3, "one attempt and two retries: {batches:?}");
    let handled: Vec<_> = batches.iter().filter(|b| !b.contains(&"poison".to_owned())).flatten().collect();
    assert_eq!(handled, ["a", "b", "c"]);
    house.flow.mappings.delete(&scope(), &view.mapping.id).await.unwrap();
    house.stop().await;
}

/// Waits for a condition and lets virtual time pass meanwhile.
pub async fn until_time(world: &World, condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        world.pass(Duration::from_millis(100)).await;
    }
    panic!("waited in vain");
}

#[tokio::test(start_paused = true)]
async fn a_failing_function_holds_its_shard_until_it_succeeds() {
    let world = World::new(4);
    let house = world.open().await;
    house.stream("s", 1).await;
    let mut attempts = 0;
    world.functions.answer(move |_| {
        attempts += 1;
        if attempts <= 30 { Reply::Status(500) } else { Reply::Ok("{}".into()) }
    });
    house.put("s", "k", &["a"]).await;
    map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    until("the first call", || world.functions.calls().len() == 1).await;
    house.put("s", "k", &["b"]).await;
    world.pass(Duration::from_secs(120)).await;
    let consumer = format!("mapping:{}", house.flow.mappings.list(&scope(), None, None).unwrap()[0].mapping.id);
    let age = house.flow.lag.of(&consumer, base::Clock::now(&*world.clock)).unwrap();
    assert!(age >= Duration::from_secs(120), "the age grows while stuck: {age:?}");
    until_time(&world, || world.functions.calls().len() == 32).await;
    let batches = world.functions.batches();
    assert!(batches[..31].iter().all(|b| *b == ["a"]), "nothing overtakes: {batches:?}");
    assert_eq!(batches[31], ["b"]);
    until("the end", || house.flow.lag.of(&consumer, base::Clock::now(&*world.clock)) == Some(Duration::ZERO)).await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn partial_answers_and_filters_are_honoured() {
    let world = World::new(5);
    let house = world.open().await;
    house.stream("s", 1).await;
    let mut first = true;
    world.functions.answer(move |call| {
        if !std::mem::take(&mut first) {
            // As Go writes an empty slice.
            return Reply::Ok(r#"{"batchItemFailures":null}"#.into());
        }
        let event: serde_json::Value = serde_json::from_slice(&call.payload).unwrap();
        let number = event["Records"][1]["kinesis"]["sequenceNumber"].as_str().unwrap();
        Reply::Ok(format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{number}"}}]}}"#))
    });
    house.put("s", "k", &[r#"{"n":1}"#, r#"{"n":"no"}"#, "text", r#"{"n":2}"#, r#"{"n":3}"#]).await;
    let settings = MappingChange {
        filters: Some(vec![r#"{"data":{"n":[{"numeric":[">",0]}]}}"#.into()]),
        report_item_failures: Some(true),
        ..Default::default()
    };
    map(&house, StartingPosition::TrimHorizon, settings).await;
    until_time(&world, || world.functions.calls().len() == 2).await;
    let expected = [vec![r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#], vec![r#"{"n":2}"#, r#"{"n":3}"#]];
    assert_eq!(world.functions.batches(), expected);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.functions.calls().len(), 2, "nothing named is a success");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_creations_at_once_one_is_refused() {
    let world = World::new(5);
    let house = world.open().await;
    house.stream("s", 1).await;
    let spec = || MappingSpec {
        function: function_arn("f"),
        role: role(),
        source: stream_arn("s"),
        start: Some(StartingPosition::Latest),
        settings: MappingChange::default(),
    };
    let (scope, mappings) = (scope(), &house.flow.mappings);
    let (one, other) = tokio::join!(mappings.create(&scope, spec()), mappings.create(&scope, spec()));
    let refused = [one.err(), other.err()].into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].to_string().contains("provided mapping already exists"), "{}", refused[0]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disabled_mapping_keeps_its_place_and_a_deleted_one_loses_it() {
    let world = World::new(6);
    let house = world.open().await;
    house.stream("s", 1).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    house.put("s", "k", &["a"]).await;
    until("a call", || world.functions.calls().len() == 1).await;
    let (mappings, id) = (&house.flow.mappings, &view.mapping.id);
    let enabled = |enabled| MappingChange { enabled: Some(enabled), ..Default::default() };
    assert_eq!(mappings.update(&scope(), id, &enabled(false)).await.unwrap().state, "Disabled");
    house.put("s", "k", &["b"]).await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.functions.calls().len(), 1);
    mappings.update(&scope(), id, &enabled(true)).await.unwrap();
    until("the second call", || world.functions.calls().len() == 2).await;
    mappings.delete(&scope(), id).await.unwrap();
    assert!(mappings.get(&scope(), id).is_err());
    map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    until("both again", || world.functions.calls().len() == 3).await;
    assert_eq!(world.functions.batches(), [vec!["a"], vec!["b"], vec!["a", "b"]]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_gone_is_told_and_one_of_its_name_is_read() {
    let world = World::new(12);
    let house = world.open().await;
    house.stream("s", 1).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    house.put("s", "k", &["a"]).await;
    until("a call", || world.functions.calls().len() == 1).await;
    let last = || house.flow.mappings.get(&scope(), &view.mapping.id).unwrap().last_result;
    until("its success", || last() == "OK").await;
    house.log.delete_stream(&House::key("s")).await.unwrap();
    world.pass(Duration::from_secs(60)).await;
    assert!(last().starts_with("PROBLEM: ") && last().contains("stream"), "{}", last());
    house.stream("s", 1).await;
    house.put("s", "k", &["b"]).await;
    until_time(&world, || world.functions.calls().len() == 2).await;
    until("its success", || last() == "OK").await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_commits_what_was_handled() {
    let world = World::new(7);
    let house = world.open().await;
    house.stream("s", 4).await;
    map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    for n in 0..20 {
        house.put("s", &format!("k{n}"), &[&n.to_string()]).await;
    }
    until("all", || world.functions.batches().concat().len() == 20).await;
    house.stop().await;
    let house = world.open().await;
    house.put("s", "k", &["last"]).await;
    until("the last", || world.functions.batches().concat().len() > 20).await;
    assert_eq!(world.functions.batches().concat().len(), 21, "nothing is handled twice after an orderly stop");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_gathers_records() {
    let world = World::new(8);
    let house = world.open().await;
    house.stream("s", 1).await;
    let settings = MappingChange { window_secs: Some(10), batch_size: Some(3), ..Default::default() };
    map(&house, StartingPosition::TrimHorizon, settings).await;
    house.put("s", "k", &["a"]).await;
    world.pass(Duration::from_secs(5)).await;
    house.put("s", "k", &["b"]).await;
    assert!(world.functions.calls().is_empty());
    until_time(&world, || world.functions.calls().len() == 1).await;
    house.put("s", "k", &["c", "d", "e"]).await;
    until("a full batch at once", || world.functions.calls().len() == 2).await;
    assert_eq!(world.functions.batches(), [vec!["a", "b"], vec!["c", "d", "e"]]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn payloads_stay_below_their_limit() {
    let world = World::new(9);
    let house = world.open().await;
    house.stream("s", 1).await;
    let big = "x".repeat(1 << 20);
    for _ in 0..6 {
        house.put("s", "k", &[&big]).await;
    }
    map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    until("all", || world.functions.batches().concat().len() == 6).await;
    let sizes: Vec<usize> = world.functions.calls().iter().map(|c| c.payload.len()).collect();
    assert!(sizes.len() > 1 && sizes.iter().all(|size| *size <= 6 << 20), "{sizes:?}");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_meets_a_deletion_starts_nothing_again() {
    let world = World::new(11);
    let house = world.open().await;
    house.stream("s", 1).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    let (mappings, scope, id) = (&house.flow.mappings, scope(), &view.mapping.id);
    let change = MappingChange { batch_size: Some(7), ..Default::default() };
    let (_, deleted) = tokio::join!(mappings.update(&scope, id, &change), mappings.delete(&scope, id));
    deleted.unwrap();
    house.put("s", "k", &["a"]).await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.functions.calls().len(), 0);
    house.stop().await;
}
