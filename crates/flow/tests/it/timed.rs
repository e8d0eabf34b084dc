//! Rules on a schedule: every instant is on the bus once, and its targets get it, whatever ends the process and
//! whatever the clock does.

use std::collections::BTreeSet;
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Clock, Timestamp};
use flow::bus::{RuleSpec, RuleState};
use log::{StreamKey, StreamKind};
use serde_json::Value;

use crate::world::{House, Outside, World, default_bus, scope, stream_arn, target};

const CHANGES: [Call; 8] =
    [Call::Write, Call::SetLen, Call::SyncData, Call::SyncDir, Call::Rename, Call::Remove, Call::CreateDir, Call::Open];

/// When every world begins.
const BEGUN: &str = "2026-11-23T04:00:00Z";
const MINUTE: Duration = Duration::from_secs(60);

fn bus() -> StreamKey {
    StreamKey { kind: StreamKind::Bus, scope: scope(), name: "default".into() }
}

fn spec(name: &str, pattern: Option<&str>, schedule: Option<&str>) -> RuleSpec {
    RuleSpec {
        name: name.parse().unwrap(),
        pattern: pattern.map(Into::into),
        schedule: schedule.map(Into::into),
        state: RuleState::Enabled,
        description: None,
        role: None,
    }
}

impl House {
    async fn timed(&self, name: &str, schedule: &str, to: &str) {
        let (scope, bus) = (scope(), default_bus());
        self.flow.buses.put_rule(&scope, &bus, spec(name, None, Some(schedule))).await.unwrap();
        let targets = vec![target(stream_arn(to))];
        self.flow.buses.put_targets(&scope, &bus, &name.parse().unwrap(), targets).await.unwrap();
    }

    /// The times of the scheduled events of a stream, in order.
    async fn times(&self, key: &StreamKey) -> Vec<String> {
        if self.log.stream(key).is_err() {
            return Vec::new();
        }
        let events: Vec<Value> =
            self.records(key).await.iter().map(|record| serde_json::from_slice(&record.data).unwrap()).collect();
        events.iter().map(|event| event["time"].as_str().unwrap().to_owned()).collect()
    }
}

/// Every whole minute after one time, up to another.
fn minutes(after: Timestamp, to: Timestamp) -> Vec<String> {
    let first = (after.millis() / 60_000 + 1) * 60_000;
    (first..=to.millis()).step_by(60_000).map(|ms| Timestamp::from_millis(ms).to_iso_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_instant_becomes_the_services_event_and_reaches_the_rules_target() {
    let world = World::new(1);
    let house = world.open().await;
    house.stream("out", 1).await;
    house.timed("tick", "rate(5 minutes)", "out").await;
    world.pass(MINUTE * 16).await;
    let got = house.wait_for(&House::key("out"), 3).await;
    assert_eq!(house.times(&bus()).await, ["2026-11-23T04:05:00Z", "2026-11-23T04:10:00Z", "2026-11-23T04:15:00Z"]);
    let mut event: Value = serde_json::from_str(&got[0]).unwrap();
    let id = event["id"].take();
    assert_eq!(id.as_str().unwrap().len(), 36);
    assert_eq!(
        event,
        serde_json::json!({
            "version": "0", "id": null, "detail-type": "Scheduled Event", "source": "aws.events",
            "account": "000000000000", "time": "2026-11-23T04:05:00Z", "region": "us-east-1",
            "resources": ["arn:aws:events:us-east-1:000000000000:rule/tick"], "detail": {},
        })
    );
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_may_have_a_pattern_and_a_schedule_and_sees_no_other_rules_events() {
    let world = World::new(2);
    let house = world.open().await;
    for name in ["both", "own"] {
        house.stream(name, 1).await;
        house.timed(name, "cron(0/10 * * * ? *)", name).await;
    }
    let both = spec("both", Some(r#"{"source":["mine"]}"#), Some("cron(0/10 * * * ? *)"));
    house.flow.buses.put_rule(&scope(), &default_bus(), both).await.unwrap();
    house.put_events(&[crate::world::event("e", "mine", "{}")]).await;
    world.pass(MINUTE * 11).await;
    assert_eq!(house.wait_for(&House::key("both"), 2).await.len(), 2);
    assert_eq!(house.wait_for(&House::key("own"), 1).await.len(), 1);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disabled_rule_rests_and_one_that_is_changed_begins_anew() {
    let world = World::new(3);
    let house = world.open().await;
    let (buses, bus_name, rule) = (&house.flow.buses, default_bus(), "tick".parse().unwrap());
    house.stream("out", 1).await;
    house.timed("tick", "rate(10 minutes)", "out").await;
    world.pass(MINUTE * 12).await;
    buses.set_rule_state(&scope(), &bus_name, &rule, false).await.unwrap();
    world.pass(MINUTE * 30).await;
    buses.set_rule_state(&scope(), &bus_name, &rule, true).await.unwrap();
    world.pass(MINUTE * 12).await;
    // The same again changes nothing; another rate begins now.
    buses.put_rule(&scope(), &bus_name, spec("tick", None, Some("rate(10 minutes)"))).await.unwrap();
    world.pass(MINUTE * 9).await;
    buses.put_rule(&scope(), &bus_name, spec("tick", None, Some("rate(4 minutes)"))).await.unwrap();
    world.pass(MINUTE * 5).await;
    let wanted = ["04:10", "04:52", "05:02", "05:07"].map(|time| format!("2026-11-23T{time}:00Z"));
    assert_eq!(house.times(&bus()).await, wanted);
    buses.remove_targets(&scope(), &bus_name, &rule, &["t".into()]).await.unwrap();
    buses.delete_rule(&scope(), &bus_name, &rule).await.unwrap();
    world.pass(MINUTE * 30).await;
    assert_eq!(house.times(&bus()).await.len(), 4);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_scheduled_is_refused() {
    let world = World::new(4);
    let house = world.open().await;
    let buses = &house.flow.buses;
    let refused = async |bus: &str, spec: RuleSpec| {
        buses.put_rule(&scope(), &bus.parse().unwrap(), spec).await.unwrap_err().to_string()
    };
    buses.create_bus(&scope(), &"own".parse().unwrap(), None).await.unwrap();
    let message = refused("own", spec("r", None, Some("rate(1 minute)"))).await;
    assert_eq!(message, "ScheduleExpression is supported only on the default event bus.");
    assert_eq!(
        refused("default", spec("r", None, Some("rate(1 minutes)"))).await,
        "Parameter ScheduleExpression is not valid."
    );
    assert!(refused("default", spec("r", None, None)).await.contains("EventPattern or ScheduleExpression"));
    house.stop().await;
}

#[test]
fn a_stop_is_made_up_for_and_a_clock_that_jumps_neither_doubles_nor_loses() {
    let outside = Outside::new(5);
    let mut wanted = Vec::new();
    outside.life(async |world| {
        let house = world.open().await;
        house.stream("out", 1).await;
        house.timed("tick", "cron(* * * * ? *)", "out").await;
        let begun = world.clock.now();
        world.pass(MINUTE * 10 + Duration::from_secs(1)).await;
        wanted = minutes(begun, world.clock.now());
        house.stop().await;
        // An hour off.
        world.pass(MINUTE * 60).await;
    });
    outside.life(async |world| {
        let house = world.open().await;
        world.pass(MINUTE * 5).await;
        wanted = minutes(BEGUN.parse().unwrap(), world.clock.now());
        assert_eq!(house.times(&bus()).await, wanted);
        // Half an hour back: nothing is new until the clock shows what it showed.
        world.clock.shift_wall(-1_800_000);
        world.pass(MINUTE * 29).await;
        assert_eq!(house.times(&bus()).await, wanted);
        // Two hours ahead: what was jumped over is made up for.
        let before = world.clock.now();
        world.clock.shift_wall(7_200_000);
        world.pass(MINUTE * 3).await;
        assert!(before < world.clock.now());
        wanted = minutes(BEGUN.parse().unwrap(), world.clock.now());
        assert_eq!(house.times(&bus()).await, wanted);
        assert_eq!(house.wait_for(&House::key("out"), wanted.len()).await.len(), wanted.len());
        house.stop().await;
    });
}

/// Time passes in a house until the power goes. The latest time that a clock showed.
async fn live(world: &World) -> Timestamp {
    let mut latest = world.clock.now();
    let Ok(_house) = world.try_open().await else { return latest };
    for _ in 0..6 {
        world.pass(Duration::from_secs(1 + world.env.rng.below(400))).await;
        latest = latest.max(world.clock.now());
        match world.env.rng.below(6) {
            0 => world.clock.shift_wall(-(world.env.rng.below(1_800_000) as i64)),
            1 => world.clock.shift_wall(world.env.rng.below(1_800_000) as i64),
            _ => {}
        }
        latest = latest.max(world.clock.now());
        if world.fs.is_off() {
            break;
        }
    }
    latest
}

/// Lives that a fault strikes; how often it ended one, and how many instants there were.
fn script(seeds: std::ops::Range<u64>, fault: Fault) -> (u32, usize) {
    let (mut cuts, mut instants) = (0, 0);
    for seed in seeds {
        let outside = Outside::new(4_000 + seed);
        let mut last = Timestamp::from_millis(0);
        outside.life(async |world| {
            let house = world.open().await;
            house.stream("out", 1).await;
            house.timed("tick", "cron(* * * * ? *)", "out").await;
            house.stop().await;
        });
        for _ in 0..5 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(120), fault);
                last = last.max(live(world).await);
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        outside.life(async |world| {
            let house = world.open().await;
            // Past every time that any clock has shown.
            world.pass(last.since(world.clock.now()) + MINUTE * 10).await;
            // Away from a whole minute, whose event may be under way.
            world.pass(Duration::from_millis(60_500 - world.clock.now().millis() as u64 % 60_000)).await;
            let wanted = minutes(BEGUN.parse().unwrap(), world.clock.now());
            let mut found = house.times(&bus()).await;
            found.sort();
            assert_eq!(found, wanted, "seed {seed}");
            let delivered: BTreeSet<String> =
                house.wait_for(&House::key("out"), wanted.len()).await.into_iter().collect();
            assert_eq!(delivered.len(), wanted.len(), "seed {seed}");
            instants += wanted.len();
            house.stop().await;
        });
    }
    (cuts, instants)
}

#[test]
fn a_power_cut_at_any_moment_costs_no_instant_and_doubles_none() {
    let (cuts, instants) = script(0..20, Fault::Crash);
    assert!(cuts > 50 && instants > 400, "the script does something: {cuts}, {instants}");
}

#[test]
fn a_disk_that_fails_a_call_costs_no_instant_and_doubles_none() {
    assert!(script(100..108, Fault::Eio).1 > 150, "the script does something");
}
