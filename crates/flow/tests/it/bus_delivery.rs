//! A target that cannot receive holds up nobody, and what it misses comes later or is a dead letter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base::{Arn, StateStore, Table};
use flow::bus::{RuleState, RuleTarget, TargetRetry};
use flow::queue::{QueueAttributes, Receive, Received};

use crate::world::{House, Outside, World, default_bus, event, function_arn, scope, stream_arn, target};

const ALL: &str = r#"{"account":["000000000000"]}"#;
const HOUR: Duration = Duration::from_secs(3_600);

/// A standard queue.
async fn queue(house: &House, name: &str) -> Arn {
    let queues = &house.flow.queues;
    queues.create(&scope(), &name.parse().unwrap(), QueueAttributes::default(), [].into()).await.unwrap();
    flow::queue::queue_arn(&scope(), &name.parse().unwrap())
}

/// All messages of a queue, which are deleted.
async fn drain(house: &House, name: &str) -> Vec<Received> {
    let (queues, name, mut all) = (&house.flow.queues, name.parse().unwrap(), Vec::new());
    loop {
        let ask = Receive { max: 10, ..Receive::default() };
        let taken = queues.receive(&scope(), &name, &ask).await.unwrap();
        if taken.is_empty() {
            return all;
        }
        let handles: Vec<String> = taken.iter().map(|message| message.handle.clone()).collect();
        queues.settle(&scope(), &name, &handles).await.unwrap();
        all.extend(taken);
    }
}

fn ids<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    texts.into_iter().map(|text| serde_json::from_slice::<base::Event>(text).unwrap().id).collect()
}

fn rows(house: &House) -> usize {
    house.state.scan(Table("flow.spool"), b"outbox:", None, 100_000).unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_for_an_hour_and_then_flaky_gets_everything_and_holds_up_nobody() {
    let world = World::new(21);
    let house = world.open().await;
    house.stream("s", 1).await;
    let (down, flaky) = (Arc::new(AtomicBool::new(true)), AtomicUsize::new(0));
    house.rule("well", ALL, RuleState::Enabled, target(stream_arn("s"))).await;
    house.rule("away", ALL, RuleState::Enabled, target(function_arn("alert"))).await;
    let is_down = Arc::clone(&down);
    // Afterwards every third call is refused.
    world.functions.available(move |_| {
        !is_down.load(Ordering::Relaxed) && !flaky.fetch_add(1, Ordering::Relaxed).is_multiple_of(3)
    });
    let mut sent = 0;
    for minute in 0..60 {
        let events: Vec<_> = (0..10).map(|n| event(&format!("e{minute}-{n}"), "my.app", "{}")).collect();
        house.put_events(&events).await;
        sent += events.len();
        assert_eq!(house.wait_for(&House::key("s"), sent).await.len(), sent, "the other target is not held up");
        world.pass(Duration::from_secs(60)).await;
        assert!(rows(&house) <= sent);
    }
    assert!(world.functions.calls().is_empty());
    assert_eq!(rows(&house), sent, "each waits on its own");
    down.store(false, Ordering::Relaxed);
    world.pass(HOUR).await;
    let payloads = world.functions.payloads();
    let got: BTreeSet<String> = ids(payloads.iter().map(|p| p.as_bytes())).into_iter().collect();
    assert_eq!((got.len(), payloads.len()), (sent, sent), "each once");
    assert_eq!(rows(&house), 0, "nothing waits any more");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_end_as_the_policy_says() {
    let world = World::new(22);
    let house = world.open().await;
    let (few, old, never) = (queue(&house, "few").await, queue(&house, "old").await, queue(&house, "never").await);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let to = |id: &str, retry: TargetRetry, dead: Arn| RuleTarget {
        id: id.into(),
        retry,
        dead_letter: Some(dead),
        ..target(function_arn(id))
    };
    for (name, retry, dead) in [
        ("few", TargetRetry { max_attempts: 3, max_age_secs: 86_400 }, few),
        ("old", TargetRetry { max_attempts: 185, max_age_secs: 60 }, old),
        ("never", TargetRetry { max_attempts: 0, max_age_secs: 86_400 }, never),
    ] {
        house.rule(name, ALL, RuleState::Enabled, to(name, retry, dead)).await;
    }
    world.functions.available(move |function| {
        if function.resource() == "function:few" {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        false
    });
    house.put_events(&[event("e", "my.app", r#"{"a":1}"#)]).await;
    world.pass(HOUR).await;
    for (name, code, condition, retries) in [
        ("few", "THROTTLING", "MaximumRetryAttempts", Some("3")),
        ("old", "THROTTLING", "MaximumEventAgeInSeconds", None),
        ("never", "THROTTLING", "MaximumRetryAttempts", Some("0")),
    ] {
        let letters = drain(&house, name).await;
        assert_eq!(letters.len(), 1, "{name}");
        let said = |name: &str| letters[0].message.head.attributes[name].value.as_str();
        assert_eq!(ids([&letters[0].message.body[..]]), ["e"]);
        assert_eq!((said("ERROR_CODE"), said("EXHAUSTED_RETRY_CONDITION")), (code, condition), "{name}");
        if let Some(retries) = retries {
            assert_eq!(said("RETRY_ATTEMPTS"), retries, "{name}");
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), 4, "one attempt and three retries");
    assert_eq!(rows(&house), 0);
    house.stop().await;
}

#[test]
fn nothing_that_waits_is_lost_when_the_power_fails() {
    let (events, mut letters) = (40, Vec::new());
    let outside = Outside::new(23);
    outside.functions.available(|_| false);
    outside.life(async |world| {
        let house = world.open().await;
        let dead = queue(&house, "dead").await;
        world.functions.available(|_| true);
        let retry = TargetRetry { max_attempts: 12, max_age_secs: 86_400 };
        let to = RuleTarget { retry, dead_letter: Some(dead), ..target(function_arn("alert")) };
        house.rule("r", ALL, RuleState::Enabled, to).await;
        world.functions.available(|_| false);
    });
    for life in 0..8 {
        outside.life(async |world| {
            let house = world.open().await;
            if life < 4 {
                let of_life = (0..10).map(|n| event(&format!("e{life}-{n}"), "my.app", "{}")).collect::<Vec<_>>();
                house.put_events(&of_life).await;
            }
            let mut calls = 0;
            world.functions.available(move |_| {
                calls += 1;
                life == 6 && calls % 3 == 0
            });
            world.pass(Duration::from_secs(1 << life)).await;
        });
        // Ends without a stop: what was not synced is gone.
        outside.fs.power_cut();
    }
    outside.functions.available(|_| false);
    outside.life(async |world| {
        let house = world.open().await;
        world.pass(10 * HOUR).await;
        letters = drain(&house, "dead").await;
        assert_eq!(rows(&house), 0);
        house.stop().await;
    });
    let payloads = outside.functions.payloads();
    let delivered: BTreeSet<String> = ids(payloads.iter().map(|p| p.as_bytes())).into_iter().collect();
    let dead: BTreeSet<String> = ids(letters.iter().map(|l| &l.message.body[..])).into_iter().collect();
    assert_eq!(delivered.union(&dead).count(), events, "delivered {delivered:?}, dead {dead:?}");
    assert!(!delivered.is_empty() && !dead.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_with_its_target() {
    let world = World::new(24);
    let house = world.open().await;
    house.rule("r", ALL, RuleState::Enabled, target(function_arn("alert"))).await;
    world.functions.available(|_| false);
    house.put_events(&[event("e", "my.app", "{}")]).await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(rows(&house), 1);
    let rule = "r".parse().unwrap();
    house.flow.buses.remove_targets(&scope(), &default_bus(), &rule, &["t".into()]).await.unwrap();
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(rows(&house), 0);
    assert!(house.log.all_streams(log::StreamKind::Outbox).is_empty());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_passes_from_bus_to_bus_and_does_not_circle_for_ever() {
    let world = World::new(25);
    let house = world.open().await;
    let (other, buses): (base::BusName, _) = ("other".parse().unwrap(), &house.flow.buses);
    let other_arn = buses.create_bus(&scope(), &other, None).await.unwrap();
    let dead = queue(&house, "dead").await;
    house.stream("s", 1).await;
    let there = RuleTarget { dead_letter: Some(dead), ..target(other_arn) };
    house.rule("there", ALL, RuleState::Enabled, there).await;
    let back = flow::bus::RuleSpec {
        name: "back".parse().unwrap(),
        pattern: Some(ALL.into()),
        schedule: None,
        state: RuleState::Enabled,
        description: None,
        role: None,
    };
    buses.put_rule(&scope(), &other, back.clone()).await.unwrap();
    let home = target(flow::bus::bus_arn(&scope(), &default_bus()));
    let both = vec![home, RuleTarget { id: "s".into(), ..target(stream_arn("s")) }];
    assert!(buses.put_targets(&scope(), &other, &back.name, both).await.unwrap().is_empty());
    house.put_events(&[event("e", "my.app", r#"{"a":1}"#)]).await;
    world.pass(Duration::from_secs(10)).await;
    let there = house.records(&House::key("s")).await;
    assert!(there.iter().all(|record| record.partition_key.as_str() == "e"), "the key of a stream is the event's id");
    assert_eq!(ids(there.iter().map(|r| &r.data[..])), vec!["e"; there.len()]);
    let letters = drain(&house, "dead").await;
    assert_eq!((letters.len(), there.len()), (1, 4), "eight hops, then a dead letter");
    assert!(letters[0].message.head.attributes["ERROR_MESSAGE"].value.contains("circle"));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_does_not_fit_takes_no_other_with_it() {
    let world = World::new(27);
    let house = world.open().await;
    let (dead, small) = (queue(&house, "dead").await, queue(&house, "small").await);
    let attributes = |info: &mut flow::queue::QueueInfo| {
        info.attributes.max_message_bytes = 1_024;
        Ok(())
    };
    house.flow.queues.update(&scope(), &"small".parse().unwrap(), attributes).await.unwrap();
    house.rule("r", ALL, RuleState::Enabled, RuleTarget { dead_letter: Some(dead), ..target(small) }).await;
    let detail = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes));
    let sized = [("a", 10), ("large", 2_000), ("b", 10)];
    house.put_events(&sized.map(|(id, bytes)| event(id, "my.app", &detail(bytes)))).await;
    world.pass(Duration::from_secs(10)).await;
    let taken = drain(&house, "small").await;
    assert_eq!(ids(taken.iter().map(|m| &m.message.body[..])), ["a", "b"]);
    let letters = drain(&house, "dead").await;
    assert_eq!(ids(letters.iter().map(|m| &m.message.body[..])), ["large"]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_way_of_an_event_is_told() {
    let world = World::new(26);
    let house = world.open().await;
    let dead = queue(&house, "dead").await;
    house.stream("s", 1).await;
    house.stream("gone", 1).await;
    house.rule("fine", r#"{"source":["my.app"]}"#, RuleState::Enabled, target(stream_arn("s"))).await;
    let refused = RuleTarget { dead_letter: Some(dead), ..target(stream_arn("gone")) };
    house.rule("refused", r#"{"source":["my.app"]}"#, RuleState::Enabled, refused).await;
    house.rule("slow", r#"{"source":["my.app"]}"#, RuleState::Enabled, target(function_arn("alert"))).await;
    house.log.delete_stream(&House::key("gone")).await.unwrap();
    world.functions.available(|_| false);
    let (id, other) = (world.env.rng.uuid_at(world.env.clock.now()), world.env.rng.uuid_at(world.env.clock.now()));
    house.put_events(&[event("before", "my.app", "{}"), event(&id, "my.app", "{}"), event(&other, "x", "{}")]).await;
    world.pass(Duration::from_secs(3)).await;
    let way = async |id: &str| house.flow.buses.trace(&scope(), id).await.unwrap();
    let told = way(&id).await;
    assert!(told.complete);
    let [bus] = &told.buses[..] else { panic!("{told:?}") };
    assert_eq!((bus.bus.as_str(), bus.state), ("default", "evaluated"));
    let outcomes: Vec<_> = bus.rules.iter().map(|r| (r.rule.as_str(), r.targets[0].outcome)).collect();
    assert_eq!(outcomes, [("fine", "delivered"), ("refused", "dead-lettered"), ("slow", "waiting")]);
    assert!(bus.rules[1].targets[0].failures[0].error.starts_with("NO_RESOURCE: "));
    let waiting = &bus.rules[2].targets[0];
    assert!(waiting.next.unwrap() > world.env.clock.now() && waiting.failures.len() > 1, "{waiting:?}");
    world.functions.available(|_| true);
    world.pass(HOUR).await;
    assert_eq!(way(&id).await.buses[0].rules[2].targets[0].outcome, "delivered");
    let unmatched = way(&other).await;
    assert_eq!((unmatched.buses[0].state, unmatched.buses[0].rules.len()), ("evaluated", 0));
    assert!(way(&world.env.rng.uuid_at(world.env.clock.now())).await.buses.is_empty());
    house.stop().await;
}
