//! Archives and replays: each event once in the archive and once on the bus again, whatever ends the process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Arn, Clock, Event, Timestamp};
use flow::archive::{Archive, ArchiveSpec, Replay, ReplaySpec, ReplayState};
use flow::bus::{RuleState, rule_arn};
use log::{StreamKey, StreamKind};
use serde_json::Value;

use crate::world::{Deadline, House, Outside, World, default_bus, event, scope, stream_arn, target};

const CHANGES: [Call; 8] =
    [Call::Write, Call::SetLen, Call::SyncData, Call::SyncDir, Call::Rename, Call::Remove, Call::CreateDir, Call::Open];

fn bus() -> StreamKey {
    StreamKey { kind: StreamKind::Bus, scope: scope(), name: "default".into() }
}

fn spec(pattern: Option<&str>, retention_days: u32) -> ArchiveSpec {
    ArchiveSpec { description: None, pattern: pattern.map(Into::into), retention_days }
}

fn replay(name: &str, rules: Vec<Arn>) -> ReplaySpec {
    ReplaySpec {
        name: name.parse().unwrap(),
        description: None,
        archive: "all".parse().unwrap(),
        bus: default_bus(),
        rules,
        from: Timestamp::from_millis(0),
        to: "2200-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn timed(id: &str, source: &str, time: &str) -> Event {
    Event { time: time.parse().unwrap(), ..event(id, source, "{}") }
}

impl House {
    async fn archive(&self, name: &str, spec: ArchiveSpec) -> Archive {
        self.flow.archives.create(&scope(), &name.parse().unwrap(), &default_bus(), spec).await.unwrap()
    }

    /// Waits until an archive has so many events.
    async fn archived(&self, archive: &Archive, events: u64) {
        let deadline = Deadline::new();
        while self.flow.archives.tally(&scope(), archive).await.unwrap().events != events {
            deadline.check("the archive's events");
            tokio::task::yield_now().await;
        }
    }

    async fn over(&self, world: &World, name: &str) -> Replay {
        let deadline = Deadline::new();
        loop {
            let replay = self.flow.archives.replay(&scope(), &name.parse().unwrap()).unwrap();
            if replay.state.is_over() {
                return replay;
            }
            deadline.check("the replay's end");
            world.pass(Duration::from_millis(20)).await;
        }
    }

    /// The ids of the events on the bus, with the names of their replays.
    async fn on_bus(&self) -> Vec<(String, Option<String>)> {
        let events = self.records(&bus()).await.into_iter().map(|record| {
            let event: Value = serde_json::from_slice(&record.data).unwrap();
            let text = |name: &str| event.get(name).map(|text| text.as_str().unwrap().to_owned());
            (text("id").unwrap(), text("replay-name"))
        });
        events.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_archive_takes_what_its_pattern_matches_and_no_replayed_events() {
    let world = World::new(1);
    let house = world.open().await;
    house.put_events(&[event("before", "mine", "{}")]).await;
    let all = house.archive("all", spec(None, 0)).await;
    let mine = house.archive("mine", spec(Some(r#"{"source":["mine"]}"#), 3)).await;
    house.put_events(&[event("a", "mine", "{}"), event("b", "other", "{}")]).await;
    house.archived(&all, 2).await;
    house.archived(&mine, 1).await;
    house.flow.archives.start_replay(&scope(), replay("again", Vec::new())).await.unwrap();
    let over = house.over(&world, "again").await;
    assert_eq!((over.state, over.last), (ReplayState::Completed, Some(Timestamp::from_millis(0))));
    let again = Some("again".to_owned());
    let on_bus = house.on_bus().await;
    let replayed: Vec<&str> = on_bus.iter().filter(|(_, name)| *name == again).map(|(id, _)| id.as_str()).collect();
    assert_eq!(replayed, ["a", "b"]);
    house.put_events(&[event("c", "mine", "{}")]).await;
    house.archived(&all, 3).await;
    house.archived(&mine, 2).await;

    let archives = &house.flow.archives;
    archives.update(&scope(), &mine.name, |spec| spec.pattern = Some(r#"{"source":["x"]}"#.into())).await.unwrap();
    house.put_events(&[event("d", "mine", "{}"), event("e", "x", "{}")]).await;
    house.archived(&all, 5).await;
    house.archived(&mine, 3).await;
    assert!(house.flow.buses.delete_bus(&scope(), &default_bus()).await.is_err());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_by_the_minute_of_the_events_times_and_seen_by_the_rules_that_it_names() {
    let world = World::new(2);
    let house = world.open().await;
    for name in ["wanted", "unwanted"] {
        house.stream(name, 1).await;
        house.rule(name, r#"{"source":["mine"]}"#, RuleState::Enabled, target(stream_arn(name))).await;
    }
    let all = house.archive("all", spec(None, 0)).await;
    let times = ["10:02:30", "10:01:00", "10:02:10", "09:59:59", "10:03:00", "10:01:30", "10:03:01"];
    let events: Vec<Event> = times.iter().map(|t| timed(t, "mine", &format!("2026-05-01T{t}Z"))).collect();
    house.put_events(&events).await;
    house.archived(&all, 7).await;
    let mut some = replay("some", vec![rule_arn(&scope(), &default_bus(), &"wanted".parse().unwrap())]);
    (some.from, some.to) = ("2026-05-01T10:00:00Z".parse().unwrap(), "2026-05-01T10:03:00Z".parse().unwrap());
    house.flow.archives.start_replay(&scope(), some).await.unwrap();
    let over = house.over(&world, "some").await;
    assert_eq!(over.last.map(Timestamp::to_iso_secs).as_deref(), Some("2026-05-01T10:03:00Z"));
    let got = house.wait_for(&House::key("wanted"), 12).await;
    let order: Vec<Value> = got[7..].iter().map(|text| serde_json::from_str::<Value>(text).unwrap()).collect();
    let ids: Vec<&str> = order.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["10:01:00", "10:01:30", "10:02:30", "10:02:10", "10:03:00"]);
    assert!(order.iter().all(|event| event["replay-name"] == "some"));
    house.put_events(&[timed("last", "mine", "2026-05-01T11:00:00Z")]).await;
    let unwanted = house.wait_for(&House::key("unwanted"), 8).await;
    assert_eq!(unwanted.len(), 8);
    assert!(unwanted.iter().all(|event| !event.contains("replay-name")));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_and_what_ends() {
    let world = World::new(3);
    let house = world.open().await;
    let archives = &house.flow.archives;
    let all = house.archive("all", spec(None, 0)).await;
    let again = archives.create(&scope(), &all.name, &default_bus(), spec(None, 0)).await.unwrap_err();
    assert_eq!(again.to_string(), "Archive all already exists.");
    let nowhere = archives.create(&scope(), &"x".parse().unwrap(), &"none".parse().unwrap(), spec(None, 0)).await;
    assert_eq!(nowhere.unwrap_err().to_string(), "Event bus none does not exist.");
    house.put_events(&[event("a", "mine", "{}")]).await;
    house.archived(&all, 1).await;
    archives.start_replay(&scope(), replay("r", Vec::new())).await.unwrap();
    let twice = archives.start_replay(&scope(), replay("r", Vec::new())).await.unwrap_err();
    assert_eq!(twice.to_string(), "Replay r already exists.");
    house.over(&world, "r").await;
    let late = archives.cancel_replay(&scope(), &"r".parse().unwrap()).await.unwrap_err();
    assert_eq!(late.to_string(), "Replay r is not in a valid state for this operation.");
    let mut backwards = replay("b", Vec::new());
    backwards.to = backwards.from;
    let refused = archives.start_replay(&scope(), backwards).await.unwrap_err().to_string();
    assert!(refused.contains("EventStartTime must be before EventEndTime."), "{refused}");
    archives.start_replay(&scope(), replay("c", Vec::new())).await.unwrap();
    let cancelling = archives.cancel_replay(&scope(), &"c".parse().unwrap()).await.unwrap();
    assert_eq!(cancelling.state, ReplayState::Cancelling);
    assert_eq!(house.over(&world, "c").await.state, ReplayState::Cancelled);
    archives.delete(&scope(), &all.name).await.unwrap();
    assert!(archives.get(&scope(), &all.name).is_err());
    let gone = archives.start_replay(&scope(), replay("d", Vec::new())).await.unwrap_err().to_string();
    assert_eq!(gone, "Parameter EventSourceArn is not valid. Reason: Archive all does not exist.");
    house.stop().await;
}

#[test]
fn a_power_cut_at_any_moment_neither_loses_nor_doubles_in_archive_and_replay() {
    let mut cuts = 0;
    for seed in 0..16 {
        let outside = Outside::new(7_000 + seed);
        let (mut acknowledged, mut put) = (BTreeSet::new(), 0);
        outside.life(async |world| {
            let house = world.open().await;
            house.archive("all", spec(None, 0)).await;
            house.stop().await;
        });
        for _ in 0..4 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(60), Fault::Crash);
                let Ok(house) = world.try_open().await else { return };
                for _ in 0..12 {
                    let events: Vec<Event> = (0..50).map(|n| event(&format!("e{}", put + n), "mine", "{}")).collect();
                    put += 50;
                    if house.flow.buses.put_events(&scope(), &default_bus(), &events).await.is_ok() {
                        acknowledged.extend(events.into_iter().map(|event| event.id));
                    }
                    world.pass(Duration::from_millis(50)).await;
                }
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        let mut started = false;
        for _ in 0..4 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(40), Fault::Crash);
                let Ok(house) = world.try_open().await else { return };
                started |= house.flow.archives.start_replay(&scope(), replay("r", Vec::new())).await.is_ok();
                world.pass(Duration::from_secs(3)).await;
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        outside.life(async |world| {
            let house = world.open().await;
            if !started && house.flow.archives.replay(&scope(), &"r".parse().unwrap()).is_err() {
                house.flow.archives.start_replay(&scope(), replay("r", Vec::new())).await.unwrap();
            }
            assert_eq!(house.over(world, "r").await.state, ReplayState::Completed, "seed {seed}");
            let all = house.flow.archives.get(&scope(), &"all".parse().unwrap()).unwrap();
            let mut times: BTreeMap<String, (usize, usize)> = BTreeMap::new();
            for (id, name) in house.on_bus().await {
                let (first, again) = times.entry(id).or_default();
                *(if name.is_some() { again } else { first }) += 1;
            }
            assert!(acknowledged.iter().all(|id| times.contains_key(id)), "seed {seed}: an event is lost");
            for (id, times) in &times {
                assert_eq!(*times, (1, 1), "seed {seed}: {id}");
            }
            house.archived(&all, times.len() as u64).await;
            house.stop().await;
        });
    }
    assert!(cuts > 40, "the script does something: {cuts}");
}

#[test]
fn an_archive_forgets_after_its_days() {
    let outside = Outside::new(9);
    outside.life(async |world| {
        let house = world.open().await;
        let archive = house.archive("all", spec(None, 2)).await;
        house.put_events(&[event("a", "mine", "{}")]).await;
        house.archived(&archive, 1).await;
        let begun = world.clock.now();
        world.pass(Duration::from_secs(4 * 86_400)).await;
        assert!(world.clock.now() > begun);
        assert_eq!(house.flow.archives.tally(&scope(), &archive).await.unwrap().events, 0);
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn events_that_came_in_no_order_of_time_are_replayed_minute_by_minute_each_once() {
    let world = World::new(91);
    let house = world.open().await;
    let archive = house.archive("all", spec(None, 0)).await;
    let minute = |n: usize| n * 7_919 % 20;
    for chunk in (0..3_000).collect::<Vec<usize>>().chunks(500) {
        let at = |n: &usize| format!("2026-11-20T10:{:02}:{:02}Z", minute(*n), n % 60);
        let events: Vec<Event> = chunk.iter().map(|n| timed(&n.to_string(), "mine", &at(n))).collect();
        house.put_events(&events).await;
    }
    house.archived(&archive, 3_000).await;
    let (from, to) = ("2026-11-20T10:05:00Z".parse().unwrap(), "2026-11-20T10:14:30Z".parse().unwrap());
    let some = ReplaySpec { from, to, ..replay("r", Vec::new()) };
    house.flow.archives.start_replay(&scope(), some).await.unwrap();
    assert_eq!(house.over(&world, "r").await.state, ReplayState::Completed);
    let replayed: Vec<usize> = house
        .on_bus()
        .await
        .into_iter()
        .filter(|(_, name)| name.is_some())
        .map(|(id, _)| id.parse().unwrap())
        .collect();
    let mut wanted: Vec<usize> =
        (0..3_000).filter(|n| (5..14).contains(&minute(*n)) || minute(*n) == 14 && n % 60 <= 30).collect();
    wanted.sort_by_key(|n| (minute(*n), *n));
    assert_eq!(replayed, wanted);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_named_rule_sends_to_another_bus_is_seen_there() {
    let world = World::new(92);
    let house = world.open().await;
    house.stream("s", 1).await;
    let (other, buses): (base::BusName, _) = ("other".parse().unwrap(), &house.flow.buses);
    let other_arn = buses.create_bus(&scope(), &other, None).await.unwrap();
    let archive = house.archive("all", spec(None, 0)).await;
    house.put_events(&[event("e", "mine", "{}")]).await;
    house.archived(&archive, 1).await;
    let pattern = r#"{"source":["mine"]}"#;
    house.rule("on", pattern, RuleState::Enabled, target(other_arn)).await;
    let there = flow::bus::RuleSpec {
        name: "there".parse().unwrap(),
        pattern: Some(pattern.into()),
        schedule: None,
        state: RuleState::Enabled,
        description: None,
        role: None,
    };
    buses.put_rule(&scope(), &other, there).await.unwrap();
    let to = vec![target(stream_arn("s"))];
    assert!(buses.put_targets(&scope(), &other, &"there".parse().unwrap(), to).await.unwrap().is_empty());
    let named = rule_arn(&scope(), &default_bus(), &"on".parse().unwrap());
    house.flow.archives.start_replay(&scope(), replay("r", vec![named])).await.unwrap();
    assert_eq!(house.over(&world, "r").await.state, ReplayState::Completed);
    assert!(house.wait_for(&House::key("s"), 1).await[0].contains(r#""replay-name":"r""#));
    house.stop().await;
}
