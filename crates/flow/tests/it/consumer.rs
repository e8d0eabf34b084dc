//! The loop itself, over real streams.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::{Position, RetryPolicy, TaskGroup};
use flow::checkpoint::{Checkpoints, Lane, Place};
use flow::consumer::{Batch, Consumer, Handler, Lag, Loop, Outcome, Policy, Start};

use tokio::sync::Semaphore;

use crate::world::{House, Outside, World, until};

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

#[async_trait]
impl Handler for Notes {
    async fn handle(&self, batch: &Batch) -> Outcome {
        let texts = batch.records.iter().map(|r| String::from_utf8(r.data.to_vec()).unwrap());
        self.0.lock().unwrap().extend(texts);
        Outcome::Done
    }
}

fn consumer() -> Consumer {
    let policy = Policy {
        records: 10,
        bytes: 1 << 20,
        weigh: |r| r.data.len(),
        window: Duration::ZERO,
        in_flight: 1,
        retry: RetryPolicy {
            first_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(1),
            max_attempts: None,
            max_age: None,
        },
        max_age: None,
        bisect: false,
        lanes: 1,
        tumble: None,
    };
    Consumer { id: "test:c".into(), source: House::key("s"), start: Start::TrimHorizon, policy }
}

fn context(world: &World, house: &House) -> (Loop, TaskGroup) {
    let group = TaskGroup::new(world.clock.clone(), world.env.rng.clone());
    let checkpoints = Checkpoints::new(house.state.clone());
    checkpoints.run(&group, world.clock.clone());
    (Loop { env: world.env.clone(), log: house.log.clone(), checkpoints, lag: Lag::default() }, group)
}

#[tokio::test(start_paused = true)]
async fn a_stream_made_later_is_found_and_one_made_again_is_read_from_its_start() {
    let world = World::new(1);
    let house = world.open().await;
    let (context, group) = context(&world, &house);
    let notes = Arc::new(Notes::default());
    context.start(group.child(), consumer(), notes.clone());
    world.pass(Duration::from_secs(5)).await;
    house.stream("s", 2).await;
    house.put("s", "a", &["1"]).await;
    house.put("s", "b", &["2"]).await;
    world.pass(Duration::from_secs(60)).await;
    until("the first stream", || notes.0.lock().unwrap().len() == 2).await;
    house.log.delete_stream(&House::key("s")).await.unwrap();
    house.stream("s", 1).await;
    house.put("s", "a", &["3"]).await;
    world.pass(Duration::from_secs(60)).await;
    until("the second stream", || notes.0.lock().unwrap().contains(&"3".to_owned())).await;
    assert!(group.stop(Duration::from_secs(10)).await);
    house.stop().await;
}

#[test]
fn checkpoints_are_durable_soon_after_the_outcome() {
    let outside = Outside::new(2);
    outside.life(async |world| {
        let house = world.open().await;
        house.stream("s", 1).await;
        let (context, group) = context(world, &house);
        let notes = Arc::new(Notes::default());
        context.start(group.child(), consumer(), notes.clone());
        house.put("s", "a", &["1", "2"]).await;
        until("the records", || notes.0.lock().unwrap().len() == 2).await;
        world.pass(Duration::from_millis(400)).await;
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        let house = world.open().await;
        let stream = house.log.stream(&House::key("s")).unwrap();
        let fresh = Checkpoints::new(house.state.clone());
        let next = fresh.get("test:c", stream.id, stream.shards[0].id).unwrap();
        assert_eq!(next, Some(house.log.tail(stream.shards[0].slot).unwrap().next));
        let writes = fresh.forget("test:c").await.unwrap();
        assert_eq!(writes.len(), 1);
        house.stop().await;
    });
}

/// Holds each batch until it may go on.
struct Holding {
    go: Semaphore,
    begun: AtomicUsize,
    ended: AtomicUsize,
}

#[async_trait]
impl Handler for Holding {
    async fn handle(&self, _: &Batch) -> Outcome {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.go.acquire().await.unwrap().forget();
        self.ended.fetch_add(1, Ordering::Relaxed);
        Outcome::Done
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_cannot_be_read_on_lets_what_is_under_way_end() {
    let world = World::new(3);
    let house = world.open().await;
    house.stream("s", 2).await;
    house.put("s", "a", &["1"]).await;
    let (context, group) = context(&world, &house);
    let holding = Holding { go: Semaphore::new(0), begun: AtomicUsize::new(0), ended: AtomicUsize::new(0) };
    let holding = Arc::new(holding);
    context.start(group.child(), consumer(), holding.clone());
    until("the batch", || holding.begun.load(Ordering::Relaxed) == 1).await;
    // Both shards' reads fail now, that of the batch's own shard too.
    house.log.delete_stream(&House::key("s")).await.unwrap();
    world.pass(Duration::from_secs(2)).await;
    holding.go.add_permits(1);
    until("the end of the batch", || holding.ended.load(Ordering::Relaxed) == 1).await;
    assert!(group.stop(Duration::from_secs(10)).await);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_counts_while_it_is_being_written() {
    let world = World::new(4);
    let house = world.open().await;
    let stream = house.stream("s", 1).await;
    let (checkpoints, shard, next) = (Checkpoints::new(house.state.clone()), stream.shards[0].id, Position::new(7));
    checkpoints.set("test:c", stream.id, shard, Lane::WHOLE, Place::at(next));
    let mut writing = std::pin::pin!(checkpoints.flush());
    assert!(futures::poll!(writing.as_mut()).is_pending());
    assert_eq!(checkpoints.get("test:c", stream.id, shard).unwrap(), Some(next));
    // Forgetting waits for the commit, so that the row is among those to be deleted.
    let (written, writes) = tokio::join!(writing, checkpoints.forget("test:c"));
    written.unwrap();
    assert_eq!(writes.unwrap().len(), 1);
    house.stop().await;
}
