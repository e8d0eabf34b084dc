//! What gathered while a webhook was away is told at twice the rate of what comes meanwhile, or more.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flow::topic::SubscriptionChange;

use crate::fakes::Reply;
use crate::topic::{create, publish, subscribe, topic};
use crate::world::{House, World, scope};

/// Messages published in a second, all the time.
const LIVE: usize = 20;
/// How long the endpoint takes to answer: ten calls under way are enough for what is live.
const LATENCY: Duration = Duration::from_millis(500);
const AWAY: usize = 120;
const SPOOL: base::Table = base::Table("flow.spool");

/// An endpoint that is away until it is back, and then refuses so many calls of three.
struct Endpoint {
    is_back: Arc<AtomicBool>,
    told: Arc<Mutex<BTreeSet<usize>>>,
}

impl Endpoint {
    fn new(world: &World, refuses: u32) -> Self {
        let (is_back, told) = (Arc::<AtomicBool>::default(), Arc::<Mutex<BTreeSet<usize>>>::default());
        let (back, heard, calls) = (Arc::clone(&is_back), Arc::clone(&told), AtomicU32::new(0));
        world.web.answer(move |post| {
            let Ok(n) = post.json()["Message"].as_str().unwrap_or_default().parse() else {
                return Reply::Ok(String::new());
            };
            let refused = calls.fetch_add(1, Ordering::Relaxed) % 3 < refuses;
            if refused || !back.load(Ordering::Relaxed) {
                return Reply::Status(503);
            }
            assert!(heard.lock().unwrap().insert(n), "{n} was told twice");
            Reply::Ok(String::new())
        });
        Self { is_back, told }
    }

    /// Of the first so many messages, how many it was told.
    fn told_of(&self, first: usize) -> usize {
        self.told.lock().unwrap().range(..first).count()
    }
}

/// Publishes for so many seconds.
async fn live(world: &World, house: &House, published: &mut usize, seconds: usize) {
    for _ in 0..seconds {
        let texts: Vec<String> = (0..LIVE).map(|n| (*published + n).to_string()).collect();
        publish(house, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        *published += LIVE;
        world.pass(Duration::from_secs(1)).await;
    }
}

async fn away_and_back(seed: u64, refuses: u32) {
    let world = World::new(seed);
    let house = world.open().await;
    create(&house, &topic()).await;
    let policy = r#"{"healthyRetryPolicy":{"numRetries":100,"minDelayTarget":20,"maxDelayTarget":20}}"#;
    let change = SubscriptionChange { delivery_policy: Some(policy.into()), ..Default::default() };
    subscribe(&world, &house, "http://hook.example/", change).await;
    let (endpoint, mut published) = (Endpoint::new(&world, refuses), 0);
    world.web.take(LATENCY);
    live(&world, &house, &mut published, AWAY).await;
    let backlog = published;
    assert_eq!(endpoint.told_of(backlog), 0);
    let waiting = base::StateStore::scan(&*house.state, SPOOL, b"", None, 20_000).unwrap().len();
    assert!(waiting <= backlog && waiting > 0, "{waiting}");
    endpoint.is_back.store(true, Ordering::Relaxed);
    // Each waits out its delay of twenty seconds; then the rate counts.
    let seconds = 30;
    live(&world, &house, &mut published, seconds).await;
    let drained = endpoint.told_of(backlog);
    assert!(drained >= 2 * LIVE * seconds, "{drained} of {backlog} in {seconds} s, live {LIVE}/s");
    live(&world, &house, &mut published, 300).await;
    world.pass(Duration::from_secs(300)).await;
    assert_eq!(endpoint.told_of(published), published, "and every message is told in the end");
    assert!(house.flow.topics.subscriptions(&scope(), &topic()).unwrap()[0].confirmed);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_drains_at_twice_the_live_rate_when_the_endpoint_is_back() {
    away_and_back(71, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_drains_at_twice_the_live_rate_when_the_endpoint_is_back_and_flaky() {
    away_and_back(72, 1).await;
}
