//! Changes of a mapping while the function is called: they are answered at once, the call ends as it would have, and
//! nothing of its shard goes on beside it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Clock, Kinded, StateStore, Table};
use flow::mapping::{MappingChange, MappingSpec, MappingView, StartingPosition};

use crate::fakes::{Reply, batch_of};
use crate::mapping::{map, until_time};
use crate::world::{House, World, function_arn, role, scope, stream_arn, until};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn one_by_one() -> MappingChange {
    MappingChange { batch_size: Some(1), ..Default::default() }
}

fn enabled(enabled: bool) -> MappingChange {
    MappingChange { enabled: Some(enabled), ..Default::default() }
}

/// Calls with a text that begins with `slow` take a minute.
fn slow(world: &World) {
    world.functions.answer(|call| {
        let batch = batch_of(std::str::from_utf8(&call.payload).unwrap());
        match batch.iter().any(|text| text.starts_with("slow")) {
            true => Reply::After(MINUTE, "{}".into()),
            false => Reply::Ok("{}".into()),
        }
    });
}

/// The function has `slow` for a minute, and `b` is behind it in the same shard.
async fn in_a_call(world: &World) -> (House, MappingView) {
    let house = world.open().await;
    house.stream("s", 1).await;
    slow(world);
    house.put("s", "k", &["slow", "b"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, one_by_one()).await;
    until("the call", || world.functions.calls().len() == 1).await;
    (house, view)
}

impl House {
    async fn change(&self, world: &World, view: &MappingView, change: &MappingChange) -> &'static str {
        let before = world.clock.instant();
        let changed = self.flow.mappings.update(&scope(), &view.mapping.id, change).await.unwrap();
        assert!(world.clock.instant() - before < SECOND, "a change is answered promptly");
        changed.state
    }

    fn mapping_state(&self, view: &MappingView) -> &'static str {
        self.flow.mappings.get(&scope(), &view.mapping.id).map_or("gone", |view| view.state)
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_outlasts_a_change_is_finished_and_nothing_overtakes_it() {
    let world = World::new(801);
    let (house, view) = in_a_call(&world).await;
    assert_eq!(
        house.change(&world, &view, &MappingChange { window_secs: Some(1), ..Default::default() }).await,
        "Updating"
    );
    assert_eq!(
        house.change(&world, &view, &MappingChange { bisect: Some(true), ..Default::default() }).await,
        "Updating"
    );
    world.pass(MINUTE - 2 * SECOND).await;
    assert_eq!((world.functions.calls().len(), house.mapping_state(&view)), (1, "Updating"));
    until_time(&world, || world.functions.calls().len() == 2).await;
    assert_eq!(house.mapping_state(&view), "Enabled");
    world.pass(10 * MINUTE).await;
    assert_eq!(world.functions.batches(), [["slow"], ["b"]], "its success counts");
    assert_eq!(house.change(&world, &view, &one_by_one()).await, "Enabled", "nothing is under way");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_is_disabled_during_a_call_ends_with_it() {
    let world = World::new(802);
    let (house, view) = in_a_call(&world).await;
    assert_eq!(house.change(&world, &view, &enabled(false)).await, "Disabling");
    world.pass(2 * MINUTE).await;
    assert_eq!((world.functions.calls().len(), house.mapping_state(&view)), (1, "Disabled"));
    assert_eq!(house.change(&world, &view, &enabled(true)).await, "Enabled");
    until("the next", || world.functions.calls().len() == 2).await;
    assert_eq!(world.functions.batches(), [["slow"], ["b"]]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_outlasts_a_change_is_tried_again_by_its_new_settings() {
    let world = World::new(803);
    let house = world.open().await;
    house.stream("s", 1).await;
    let mut first = true;
    world.functions.answer(move |_| match std::mem::take(&mut first) {
        true => Reply::Raise(MINUTE),
        false => Reply::Ok("{}".into()),
    });
    house.put("s", "k", &["a", "b"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, MappingChange::default()).await;
    until("the call", || world.functions.calls().len() == 1).await;
    house.change(&world, &view, &one_by_one()).await;
    until_time(&world, || world.functions.calls().len() == 3).await;
    assert_eq!(world.functions.batches(), [vec!["a", "b"], vec!["a"], vec!["b"]]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn other_shards_go_on_beside_a_call_that_outlasts_a_change() {
    let world = World::new(804);
    let house = world.open().await;
    let stream = house.stream("s", 2).await;
    slow(&world);
    let key = |shard: usize| {
        (0..)
            .map(|n| format!("k{n}"))
            .find(|k| stream.shard_for(&k.parse().unwrap(), None).id == stream.shards[shard].id)
    };
    let (first, second) = (key(0).unwrap(), key(1).unwrap());
    house.put("s", &first, &["slow", "after"]).await;
    let view = map(&house, StartingPosition::TrimHorizon, one_by_one()).await;
    until("the call", || world.functions.calls().len() == 1).await;
    house.change(&world, &view, &MappingChange { parallelization: Some(3), ..Default::default() }).await;
    house.put("s", &second, &["other"]).await;
    until("the other shard", || world.functions.calls().len() == 2).await;
    until_time(&world, || world.functions.calls().len() == 3).await;
    assert_eq!(world.functions.batches(), [["slow"], ["other"], ["after"]]);
    house.stop().await;
}

/// However often a mapping is changed, no two calls with the same key are under way at once, and each key keeps its order.
#[tokio::test(start_paused = true)]
async fn changes_in_the_middle_of_calls_keep_the_order_of_every_key() {
    let world = World::new(805);
    let house = world.open().await;
    house.stream("s", 2).await;
    let began = Arc::new(Mutex::new(Vec::<(Duration, Duration, String)>::new()));
    let (noted, clock, mut calls) = (Arc::clone(&began), world.clock.clone(), 0_u64);
    world.functions.answer(move |call| {
        calls += 1;
        let time = Duration::from_millis(calls * 7_919 % 40_000);
        let now = clock.instant();
        for text in batch_of(std::str::from_utf8(&call.payload).unwrap()) {
            noted.lock().unwrap().push((now, now + time, text));
        }
        Reply::After(time, "{}".into())
    });
    let view = map(&house, StartingPosition::TrimHorizon, one_by_one()).await;
    for round in 0..6_u32 {
        for key in 0..6 {
            house
                .put("s", &format!("k{key}"), &[&format!("{key}-{}", 2 * round), &format!("{key}-{}", 2 * round + 1)])
                .await;
        }
        world.pass(Duration::from_secs(7 * u64::from(round))).await;
        let change = MappingChange {
            parallelization: Some(1 + round % 4),
            batch_size: Some(1 + round % 3),
            ..Default::default()
        };
        house.change(&world, &view, &change).await;
        house.change(&world, &view, &enabled(round % 3 != 2)).await;
        world.pass(SECOND).await;
        house.change(&world, &view, &enabled(true)).await;
    }
    until_time(&world, || began.lock().unwrap().len() >= 72).await;
    world.pass(10 * MINUTE).await;
    let began = began.lock().unwrap().clone();
    assert_eq!(began.len(), 72, "each once");
    for key in 0..6 {
        let of_key: Vec<_> = began.iter().filter(|(.., text)| text.starts_with(&format!("{key}-"))).collect();
        let texts: Vec<String> = of_key.iter().map(|(.., text)| text.clone()).collect();
        assert_eq!(texts, (0..12).map(|n| format!("{key}-{n}")).collect::<Vec<_>>());
        // Those of one batch begin together.
        let apart = of_key.windows(2).all(|pair| pair[0].0 == pair[1].0 || pair[0].1 <= pair[1].0);
        assert!(apart, "two calls with key {key} at once");
    }
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_is_deleted_during_a_call_is_shown_until_its_end_and_leaves_nothing() {
    let world = World::new(806);
    let (house, view) = in_a_call(&world).await;
    let (mappings, id, before) = (&house.flow.mappings, &view.mapping.id, world.clock.instant());
    assert_eq!(mappings.delete(&scope(), id).await.unwrap().state, "Deleting");
    assert!(world.clock.instant() - before < SECOND);
    assert_eq!(mappings.list(&scope(), None, None).unwrap()[0].state, "Deleting");
    let spec = || MappingSpec {
        function: function_arn("f"),
        role: role(),
        source: stream_arn("s"),
        start: Some(StartingPosition::TrimHorizon),
        settings: one_by_one(),
    };
    assert_eq!(mappings.create(&scope(), spec()).await.unwrap_err().kind(), base::ErrorKind::Conflict);
    assert_eq!(mappings.update(&scope(), id, &enabled(false)).await.unwrap_err().kind(), base::ErrorKind::Conflict);
    assert_eq!(mappings.delete(&scope(), id).await.unwrap_err().kind(), base::ErrorKind::Conflict);
    world.pass(MINUTE).await;
    until("its end", || house.mapping_state(&view) == "gone").await;
    world.pass(MINUTE).await;
    let rows = house.state.scan(Table("flow.checkpoints"), format!("mapping:{id}").as_bytes(), None, 10).unwrap();
    assert_eq!((rows, world.functions.calls().len()), (vec![], 1));
    mappings.create(&scope(), spec()).await.unwrap();
    until("the first again", || world.functions.calls().len() == 2).await;
    assert_eq!(world.functions.batches()[1], ["slow"]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn when_all_stop_a_call_has_a_few_seconds_and_is_made_again_later() {
    let world = World::new(807);
    let (house, _) = in_a_call(&world).await;
    let before = world.clock.instant();
    house.stop().await;
    assert!(world.clock.instant() - before < 10 * SECOND);
    let house = world.open().await;
    until_time(&world, || world.functions.calls().len() == 3).await;
    assert_eq!(world.functions.batches(), [["slow"], ["slow"], ["b"]]);
    house.stop().await;
}
