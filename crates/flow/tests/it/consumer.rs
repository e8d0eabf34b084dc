//! The loop itself, over real streams.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::{RetryPolicy, TaskGroup};
use flow::checkpoint::Checkpoints;
use flow::consumer::{Batch, Consumer, Handler, Lag, Loop, Outcome, Policy, Start};

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
        let writes = fresh.forget("test:c").unwrap();
        assert_eq!(writes.len(), 1);
        house.stop().await;
    });
}
