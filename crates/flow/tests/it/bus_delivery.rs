//! A target that cannot receive holds up nobody, and what it misses comes later or is a dead letter.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Arn, ErrorKind, Kinded, StateStore, Table};
use flow::bus::{InputSpec, RuleState, RuleTarget, TargetRetry};
use flow::queue::{QueueAttributes, Receive, Received};
use log::{StreamKey, StreamKind};

use crate::world::{House, Outside, World, default_bus, event, function_arn, scope, stream_arn, target, until};

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
        ("few", TargetRetry { max_attempts: Some(3), max_age_secs: Some(86_400) }, few),
        ("old", TargetRetry { max_attempts: Some(185), max_age_secs: Some(60) }, old),
        ("never", TargetRetry { max_attempts: Some(0), max_age_secs: Some(86_400) }, never),
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
        let retry = TargetRetry { max_attempts: Some(12), max_age_secs: Some(86_400) };
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
    // What is put away is kept whole, whatever senders may send there.
    house.flow.queues.update(&scope(), &"dead".parse().unwrap(), attributes).await.unwrap();
    house.rule("r", ALL, RuleState::Enabled, RuleTarget { dead_letter: Some(dead), ..target(small) }).await;
    let detail = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(bytes));
    let sized = [("a", 10), ("large", 2_000), ("b", 10)];
    house.put_events(&sized.map(|(id, bytes)| event(id, "my.app", &detail(bytes)))).await;
    world.pass(Duration::from_secs(10)).await;
    let taken = drain(&house, "small").await;
    assert_eq!(ids(taken.iter().map(|m| &m.message.body[..])), ["a", "b"]);
    let letters = drain(&house, "dead").await;
    assert_eq!(ids(letters.iter().map(|m| &m.message.body[..])), ["large"]);
    assert!(letters[0].message.body.len() > 2_000);
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

/// The outbox of the target `t` of a rule of the default bus.
fn outbox(rule: &str) -> StreamKey {
    StreamKey { kind: StreamKind::Outbox, scope: scope(), name: format!("default/{rule}/t") }
}

impl House {
    /// Waits until so many events were put into a target's outbox.
    async fn waits(&self, rule: &str, events: usize) {
        until("an outbox", || self.log.stream(&outbox(rule)).is_ok()).await;
        self.wait_for(&outbox(rule), events).await;
    }
}

#[test]
fn a_queue_that_cannot_be_read_now_holds_up_nobody() {
    let outside = Outside::new(61);
    outside.life(async |world| {
        let house = world.open().await;
        let work = queue(&house, "work").await;
        house.stream("s", 1).await;
        house.rule("well", ALL, RuleState::Enabled, target(stream_arn("s"))).await;
        house.rule("queued", ALL, RuleState::Enabled, target(work)).await;
        house.put_events(&[event("e0", "my.app", "{}")]).await;
        house.wait_for(&House::key("s"), 1).await;
        house.stop().await;
    });
    let (mut sent, mut struck) = (1, 0);
    // Which of the reads of a start are the queue's depends on what else is read meanwhile, and whether it was read again
    // before anybody asks, on the threads that read: a start in which it can still not be read is looked for.
    for nth in (1..80).cycle().take(1_600) {
        if struck > 0 {
            break;
        }
        outside.life(async |world| {
            world.fs.fail(&[Call::Read], nth, Fault::Eio);
            let Ok(house) = world.try_open().await else { return };
            let unread = house.flow.queues.counts(&scope(), &"work".parse().unwrap()).await;
            // A read of the state store that fails is the end of everything.
            let settled = house.flow.buses.rules(&scope(), &default_bus()).is_ok();
            if settled && unread.is_err_and(|error| error.kind() == ErrorKind::Unavailable) {
                struck += 1;
                for _ in 0..3 {
                    house.put_events(&[event(&format!("e{sent}"), "my.app", "{}")]).await;
                    sent += 1;
                    // The queue is read again after a second.
                    world.pass(Duration::from_millis(250)).await;
                    house.wait_for(&House::key("s"), sent).await;
                }
                // Only then: all hours together would be longer than the queue keeps a message.
                world.pass(HOUR).await;
            }
            house.stop().await;
        });
        outside.fs.kill();
    }
    assert!(struck > 0, "no read of the queue failed");
    outside.life(async |world| {
        let house = world.open().await;
        let taken = drain(&house, "work").await;
        let got: BTreeSet<String> = ids(taken.iter().map(|m| &m.message.body[..])).into_iter().collect();
        assert_eq!((got.len(), taken.len()), (sent, sent), "each once");
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_queue_that_is_full_holds_up_nobody() {
    let world = World::new(62);
    let house = world.open().await;
    let dead = queue(&house, "dead").await;
    queue(&house, "full").await;
    house.stream("s", 1).await;
    house.rule("well", ALL, RuleState::Enabled, target(stream_arn("s"))).await;
    let input = InputSpec::Transformer {
        paths: [("x".to_owned(), "$.detail.x".to_owned())].into(),
        template: format!("\"{}\"", "<x>".repeat(2_000)),
    };
    let kept_back = RuleTarget { input, dead_letter: Some(dead), ..target(function_arn("f")) };
    house.rule("back", ALL, RuleState::Enabled, kept_back).await;
    loop {
        // Two mebibytes are allowed for all queues.
        let some = (0..500).map(|n| crate::queue::message(&n.to_string(), "x")).collect();
        if house.flow.queues.send(&scope(), &"full".parse().unwrap(), some).await.is_err() {
            break;
        }
    }
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000));
    for n in 1..=3 {
        house.put_events(&[event(&format!("e{n}"), "my.app", &large)]).await;
        house.wait_for(&House::key("s"), n).await;
    }
    house.flow.queues.purge(&scope(), &"full".parse().unwrap()).await.unwrap();
    world.pass(HOUR).await;
    let letters = drain(&house, "dead").await;
    assert_eq!(ids(letters.iter().map(|l| &l.message.body[..])).len(), 3);
    for letter in &letters {
        let said = |name: &str| letter.message.head.attributes[name].value.as_str();
        assert_eq!((said("ERROR_CODE"), said("RETRY_ATTEMPTS")), ("INVALID_PARAMETER", "0"));
        assert!(said("ERROR_MESSAGE").contains("too large"), "{}", said("ERROR_MESSAGE"));
    }
    assert!(world.functions.calls().is_empty());
    house.stop().await;
}

#[test]
fn what_an_outbox_has_is_not_given_directly_after_a_crash() {
    let outside = Outside::new(63);
    outside.life(async |world| {
        let house = world.open().await;
        house.rule("r", ALL, RuleState::Enabled, target(function_arn("f"))).await;
        world.functions.available(|_| false);
        for n in 0..5 {
            house.put_events(&[event(&format!("e{n}"), "my.app", "{}")]).await;
        }
        house.waits("r", 5).await;
    });
    // The checkpoint is not written yet.
    outside.fs.power_cut();
    outside.functions.available(|_| true);
    outside.life(async |world| {
        let house = world.open().await;
        house.put_events(&[event("e5", "my.app", "{}")]).await;
        world.pass(HOUR).await;
        let got = ids(world.functions.payloads().iter().map(|p| p.as_bytes()));
        assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 6);
        assert_eq!(got.len(), 6, "{got:?}");
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_put_again_begins_anew_at_once() {
    let world = World::new(64);
    let house = world.open().await;
    house.stream("s", 1).await;
    let (buses, rule, bus) = (&house.flow.buses, "r".parse().unwrap(), default_bus());
    house.rule("r", ALL, RuleState::Enabled, target(function_arn("away"))).await;
    world.functions.available(|_| false);
    let id = world.env.rng.uuid_at(world.env.clock.now());
    house.put_events(&[event(&id, "my.app", "{}")]).await;
    house.waits("r", 1).await;
    for n in 0..3 {
        let old = house.log.stream(&outbox("r")).unwrap().id;
        buses.remove_targets(&scope(), &bus, &rule, &["t".into()]).await.unwrap();
        world.functions.available(|_| true);
        house.rule("r", ALL, RuleState::Enabled, target(function_arn("gone"))).await;
        world.functions.available(|_| false);
        house.put_events(&[event(&format!("e{n}"), "my.app", "{}")]).await;
        // Nobody waits for the old one to end.
        let log = &house.log;
        until("another outbox", || log.stream(&outbox("r")).is_ok_and(|stream| stream.id != old)).await;
        house.waits("r", 1).await;
    }
    buses.remove_targets(&scope(), &bus, &rule, &["t".into()]).await.unwrap();
    house.rule("r", ALL, RuleState::Enabled, target(stream_arn("s"))).await;
    house.put_events(&[event("new", "my.app", "{}")]).await;
    assert_eq!(house.wait_for(&House::key("s"), 1).await.len(), 1);
    world.functions.available(|_| true);
    world.pass(HOUR).await;
    assert_eq!(ids(world.functions.payloads().iter().map(|p| p.as_bytes())), [""; 0]);
    assert_eq!((rows(&house), house.records(&House::key("s")).await.len()), (0, 1));
    assert!(house.log.all_streams(StreamKind::Outbox).is_empty());
    let told = buses.trace(&scope(), &id).await.unwrap();
    let way = &told.buses[0].rules[0].targets[0];
    assert_eq!(way.outcome, "given up");
    assert!(way.failures.iter().any(|failure| failure.error.contains("was removed")), "{way:?}");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outbox_works_for_the_target_as_it_is_now() {
    let world = World::new(65);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.rule("r", ALL, RuleState::Enabled, target(function_arn("f"))).await;
    for n in 0..20 {
        world.functions.available(|function| function.resource() == "function:new");
        house.put_events(&[event(&format!("e{n}"), "my.app", "{}")]).await;
        // Changed while an outbox may be about to be opened.
        for _ in 0..n {
            tokio::task::yield_now().await;
        }
        house.rule("r", ALL, RuleState::Enabled, target(function_arn("new"))).await;
        world.pass(HOUR).await;
        assert_eq!((rows(&house), world.functions.calls().len()), (0, n + 1), "after {n}");
        let buses = &house.flow.buses;
        buses.remove_targets(&scope(), &default_bus(), &"r".parse().unwrap(), &["t".into()]).await.unwrap();
        world.functions.available(|_| true);
        house.rule("r", ALL, RuleState::Enabled, target(function_arn("f"))).await;
        world.pass(HOUR).await;
    }
    house.stop().await;
}
