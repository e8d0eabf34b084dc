//! Schedules: every instant is one run, and every run reaches its target or its dead-letter queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Arn, Clock, ScheduleGroupName, ScheduleName, StateStore, Table, Timestamp};
use flow::queue::{QueueAttributes, Receive, queue_arn};
use flow::scheduler::{BusInput, Listing, Retry, ScheduleSpec, ScheduleTarget, schedule_arn};
use futures::future::join_all;
use log::{StreamKey, StreamKind};
use serde_json::Value;

use crate::fakes::Reply;
use crate::queue::name as queue_name;
use crate::world::{House, Outside, World, function_arn, role, scope, stream_arn};

const CHANGES: [Call; 8] =
    [Call::Write, Call::SetLen, Call::SyncData, Call::SyncDir, Call::Rename, Call::Remove, Call::CreateDir, Call::Open];
/// When every world begins.
const BEGUN: &str = "2026-11-23T04:00:00Z";
const MINUTE: Duration = Duration::from_secs(60);

pub fn to(arn: Arn) -> ScheduleTarget {
    ScheduleTarget {
        arn,
        role: role(),
        input: Some("<aws.scheduler.scheduled-time>".into()),
        retry: Retry::default(),
        dead_letter: None,
        event: None,
        partition_key: None,
        message_group: None,
    }
}

pub fn spec(expression: &str, target: ScheduleTarget) -> ScheduleSpec {
    ScheduleSpec {
        expression: expression.into(),
        zone: None,
        start: None,
        end: None,
        window_minutes: None,
        enabled: true,
        description: None,
        delete_after: false,
        target,
    }
}

fn group() -> ScheduleGroupName {
    "default".parse().unwrap()
}

fn name(text: &str) -> ScheduleName {
    text.parse().unwrap()
}

impl House {
    pub async fn schedule(&self, text: &str, spec: ScheduleSpec) {
        self.flow.schedules.create(&scope(), &group(), &name(text), spec, None).await.unwrap();
    }

    async fn out(&self) -> Vec<String> {
        let records = self.records(&House::key("out")).await;
        records.iter().map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
    }

    async fn dead(&self) -> Vec<flow::queue::Received> {
        let ask = Receive { max: 10, ..Receive::default() };
        self.flow.queues.receive(&scope(), &queue_name("dead"), &ask).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn at_rate_and_cron_reach_streams_queues_functions_topics_and_buses() {
    let world = World::new(1);
    let house = world.open().await;
    house.stream("out", 1).await;
    house.queue("work", QueueAttributes::default()).await;
    house.schedule("once", spec("at(2026-11-23T04:10:00)", to(stream_arn("out")))).await;
    house.schedule("queued", spec("rate(5 minutes)", to(queue_arn(&scope(), &queue_name("work"))))).await;
    let mut called = to(function_arn("f"));
    called.input = None;
    house.schedule("called", spec("cron(7 4 * * ? *)", called)).await;
    let mut on_bus = to(Arn::new("events", &scope(), "event-bus/default"));
    on_bus.event = Some(BusInput { detail_type: "tick".into(), source: "mine".into() });
    on_bus.input = Some(r#"{"n": <aws.scheduler.attempt-number>}"#.into());
    house.schedule("put", spec("cron(8 4 * * ? *)", on_bus)).await;
    world.pass(MINUTE * 12).await;
    assert_eq!(house.out().await, ["2026-11-23T04:10:00Z"]);
    let ask = Receive { max: 10, ..Receive::default() };
    let got = house.flow.queues.receive(&scope(), &queue_name("work"), &ask).await.unwrap();
    let got: BTreeSet<String> = got.iter().map(crate::queue::body).collect();
    // The first at once.
    assert_eq!(got, ["04:00", "04:05", "04:10"].map(|t| format!("2026-11-23T{t}:00Z")).into());
    let notice: Value = serde_json::from_str(&world.functions.payloads()[0]).unwrap();
    let arn = schedule_arn(&scope(), &group(), &name("called")).to_string();
    assert_eq!((&notice["source"], &notice["resources"][0]), (&"aws.scheduler".into(), &Value::from(arn)));
    assert_eq!((&notice["time"], &notice["detail"]), (&"2026-11-23T04:07:00Z".into(), &"{}".into()));
    let bus = StreamKey { kind: StreamKind::Bus, scope: scope(), name: "default".into() };
    let event: Value = serde_json::from_slice(&house.records(&bus).await[0].data).unwrap();
    assert_eq!((&event["detail-type"], &event["detail"]["n"]), (&"tick".into(), &1.into()));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_update_runs_nothing_again() {
    let world = World::new(31);
    let house = world.open().await;
    house.stream("out", 1).await;
    let once = spec("at(2026-11-23T04:10:00)", to(stream_arn("out")));
    let mut often = spec("cron(0/20 4 * * ? *)", to(stream_arn("out")));
    often.start = Some(BEGUN.parse().unwrap());
    house.schedule("once", once.clone()).await;
    house.schedule("often", often.clone()).await;
    world.pass(MINUTE * 21).await;
    let before = house.out().await;
    assert_eq!(before.iter().filter(|at| *at == "2026-11-23T04:10:00Z").count(), 1, "{before:?}");
    let update = async |text: &str, spec: ScheduleSpec| {
        house.flow.schedules.update(&scope(), &group(), &name(text), spec, None).await.unwrap();
    };
    update("once", ScheduleSpec { enabled: false, ..once.clone() }).await;
    update("once", ScheduleSpec { description: Some("on again".into()), ..once }).await;
    update("often", ScheduleSpec { end: often.start.map(|start| start + MINUTE * 50), ..often }).await;
    world.pass(MINUTE).await;
    assert_eq!(house.out().await, before);
    world.pass(MINUTE * 60).await;
    assert_eq!(house.out().await[before.len()..], ["2026-11-23T04:40:00Z"]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn zones_bounds_windows_and_ends() {
    let world = World::new(2);
    let house = world.open().await;
    house.stream("out", 1).await;
    // Berlin is an hour ahead of UTC in November.
    let mut zoned = spec("cron(30 5 * * ? *)", to(stream_arn("out")));
    zoned.zone = Some("Europe/Berlin".into());
    house.schedule("zoned", zoned).await;
    let mut bounded = spec("rate(1 minute)", to(stream_arn("out")));
    bounded.start = Some("2026-11-23T06:00:00Z".parse().unwrap());
    bounded.end = Some("2026-11-23T06:02:00Z".parse().unwrap());
    bounded.delete_after = true;
    house.schedule("bounded", bounded).await;
    let mut loose = spec("at(2026-11-23T07:00:00)", to(stream_arn("out")));
    loose.window_minutes = Some(30);
    loose.delete_after = true;
    house.schedule("loose", loose).await;
    world.pass(MINUTE * 100).await;
    assert_eq!(house.out().await, ["2026-11-23T04:30:00Z"]);
    world.pass(MINUTE * 79).await;
    assert_eq!(house.out().await[1..], ["06:00", "06:01"].map(|t| format!("2026-11-23T{t}:00Z")));
    let schedules = &house.flow.schedules;
    assert!(schedules.get(&scope(), &group(), &name("bounded")).is_err(), "deleted after its last run");
    assert!(schedules.get(&scope(), &group(), &name("loose")).is_ok());
    world.pass(MINUTE * 32).await;
    assert_eq!(house.out().await.len(), 4);
    assert!(schedules.get(&scope(), &group(), &name("loose")).is_err());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_is_tried_again_and_then_given_up_to_the_dead_letter_queue() {
    let world = World::new(3);
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    let mut nowhere = to(stream_arn("nowhere"));
    nowhere.dead_letter = Some(queue_arn(&scope(), &queue_name("dead")));
    house.schedule("s", spec("at(2026-11-23T04:01:00)", nowhere)).await;
    world.pass(MINUTE * 2).await;
    let dead = house.dead().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(crate::queue::body(&dead[0]), "2026-11-23T04:01:00Z");
    let said = |name: &str| dead[0].message.head.attributes[name].value.clone();
    assert_eq!(said("ERROR_CODE"), "ResourceNotFoundException");
    assert_eq!(said("SCHEDULE_ARN"), schedule_arn(&scope(), &group(), &name("s")).to_string());
    assert_eq!(said("TARGET_ARN"), stream_arn("nowhere").to_string());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_its_queue_would_not_take_is_cut_and_says_so() {
    let world = World::new(33);
    let house = world.open().await;
    house.queue("dead", QueueAttributes { max_message_bytes: 2_048, ..QueueAttributes::default() }).await;
    let dead = Some(queue_arn(&scope(), &queue_name("dead")));
    for (text, input, cut) in [("short", "ä".repeat(100), "false"), ("long", "ä".repeat(5_000), "true")] {
        let nowhere =
            ScheduleTarget { input: Some(input.clone()), dead_letter: dead.clone(), ..to(stream_arn("nowhere")) };
        house.schedule(text, spec("at(2026-11-23T04:00:00)", nowhere)).await;
        world.pass(MINUTE).await;
        let letters = house.dead().await;
        assert_eq!(letters.len(), 1);
        let (body, attributes) = (crate::queue::body(&letters[0]), &letters[0].message.head.attributes);
        assert_eq!(attributes["IS_PAYLOAD_TRUNCATED"].value, cut);
        assert_eq!(body.len() < input.len(), cut == "true");
        let size: usize = attributes.iter().map(|(n, a)| n.len() + a.data_type.len() + a.value.len()).sum();
        assert!(
            input.starts_with(&body) && body.len() + size <= 2_048 && (cut == "false" || body.len() + size > 2_040)
        );
        house.flow.queues.purge(&scope(), &queue_name("dead")).await.unwrap();
    }
    let large = ScheduleTarget { input: Some("x".repeat((256 << 10) + 1)), ..to(stream_arn("nowhere")) };
    let refused = house.flow.schedules.create(&scope(), &group(), &name("x"), spec("rate(1 day)", large), None).await;
    assert!(refused.unwrap_err().to_string().contains("262144"));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tokens_groups_and_refusals() {
    let world = World::new(4);
    let house = world.open().await;
    house.stream("out", 1).await;
    let schedules = &house.flow.schedules;
    let (scope, own, s) = (scope(), "own".parse::<ScheduleGroupName>().unwrap(), name("s"));
    let once = || spec("at(2026-11-24T04:00:00)", to(stream_arn("out")));
    let message = |result: Result<(), flow::FlowError>| result.unwrap_err().to_string();
    assert_eq!(message(schedules.create(&scope, &own, &s, once(), None).await), "Schedule group own does not exist.");
    schedules.create_group(&scope, &own, BTreeMap::new(), Some("t".into())).await.unwrap();
    schedules.create_group(&scope, &own, BTreeMap::new(), Some("t".into())).await.unwrap();
    let again = schedules.create_group(&scope, &own, BTreeMap::new(), Some("u".into())).await;
    assert_eq!(message(again), "Schedule group own already exists.");
    schedules.create(&scope, &own, &s, once(), Some("t".into())).await.unwrap();
    schedules.create(&scope, &own, &s, once(), Some("t".into())).await.unwrap();
    let again = schedules.create(&scope, &own, &s, once(), Some("u".into())).await;
    assert_eq!(message(again), "Schedule s already exists.");
    let wrong = spec("rate(5 seconds)", to(stream_arn("out")));
    assert_eq!(
        message(schedules.update(&scope, &own, &s, wrong, None).await),
        "Invalid Schedule Expression rate(5 seconds)."
    );
    let mut wrong = once();
    wrong.zone = Some("Europe/Atlantis".into());
    assert!(message(schedules.update(&scope, &own, &s, wrong, None).await).contains("Europe/Atlantis"));
    let elsewhere = spec("rate(5 minutes)", to(Arn::new("ecs", &scope, "cluster/c")));
    assert!(message(schedules.update(&scope, &own, &s, elsewhere, None).await).contains("cannot be a target"));
    let absent = schedules.update(&scope, &own, &name("absent"), once(), None).await;
    assert_eq!(message(absent), "Schedule absent does not exist.");
    schedules.delete(&scope, &own, &s, Some("d".into())).await.unwrap();
    schedules.delete(&scope, &own, &s, Some("d".into())).await.unwrap();
    let gone = schedules.delete(&scope, &own, &s, Some("e".into())).await;
    assert_eq!(message(gone), "Schedule s does not exist.");
    schedules.create(&scope, &own, &s, once(), None).await.unwrap();
    schedules.delete_group(&scope, &own, Some("g".into())).await.unwrap();
    schedules.delete_group(&scope, &own, Some("g".into())).await.unwrap();
    assert_eq!(message(schedules.delete_group(&scope, &own, None).await), "Schedule group own does not exist.");
    assert!(schedules.get(&scope, &own, &s).is_err());
    assert!(schedules.delete_group(&scope, &group(), None).await.is_err());
    house.stop().await;
}

#[test]
fn a_function_that_is_busy_is_called_later_and_a_restart_changes_nothing() {
    let outside = Outside::new(5);
    outside.life(async |world| {
        world.functions.answer(|_| Reply::Busy);
        let house = world.open().await;
        let mut called = to(function_arn("f"));
        called.input = Some("\"<aws.scheduler.execution-id>\"".into());
        house.schedule("s", spec("at(2026-11-23T04:01:00)", called)).await;
        world.pass(MINUTE * 2).await;
        house.stop().await;
    });
    outside.life(async |world| {
        world.functions.answer(|_| Reply::Ok("null".into()));
        let house = world.open().await;
        let before = world.functions.calls().len();
        world.pass(MINUTE * 20).await;
        let calls: BTreeSet<String> = world.functions.payloads().into_iter().collect();
        assert_eq!((calls.len(), world.functions.calls().len() > before), (1, true));
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_due_at_once_is_synced_together() {
    let world = World::new(34);
    let house = world.open().await;
    house.stream("out", 1).await;
    let schedules = &house.flow.schedules;
    let create = |n: usize| async move {
        let mut daily = spec("cron(0 5 * * ? *)", to(stream_arn("out")));
        // Their runs are made at the full hour, and wait.
        daily.window_minutes = Some(1_440);
        schedules.create(&scope(), &group(), &name(&format!("s{n}")), daily, None).await.unwrap();
    };
    join_all((0..400).map(create)).await;
    world.pass(MINUTE * 59).await;
    let before = world.fs.calls(&[Call::SyncData]);
    world.pass(MINUTE * 2).await;
    assert_eq!(house.state.scan(Table("flow.schedule_clocks"), b"", None, 1_000).unwrap().len(), 400);
    let runs = house.state.scan(Table("flow.schedule_runs"), b"", None, 1_000).unwrap().len();
    let (syncs, done) = (world.fs.calls(&[Call::SyncData]) - before, house.out().await.len());
    assert!(runs + done == 400 && syncs < 100, "{syncs} syncs for {runs} runs, {done} done");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn runs_that_no_target_takes_are_bounded_and_hold_up_no_other() {
    let world = World::new(35);
    let house = world.open().await;
    house.stream("out", 1).await;
    let schedules = &house.flow.schedules;
    world.functions.available(|_| false);
    let create = |n: usize| async move {
        let mut once = spec("at(2026-11-23T04:00:00)", to(function_arn("away")));
        // They wait for their place in it.
        once.window_minutes = Some(1_440);
        schedules.create(&scope(), &group(), &name(&format!("s{n}")), once, None).await.unwrap();
    };
    for hundreds in 0..101 {
        join_all((0..100).map(|n| create(100 * hundreds + n))).await;
    }
    house.schedule("stuck", spec("rate(1 minute)", to(function_arn("away")))).await;
    house.schedule("well", spec("rate(1 minute)", to(stream_arn("out")))).await;
    let rows = |name: &str| {
        let prefix = format!("{}/default\0{name}\0", scope());
        house.state.scan(Table("flow.schedule_runs"), prefix.as_bytes(), None, 100).unwrap().len()
    };
    world.pass(Duration::from_secs(6 * 60 + 10)).await;
    assert_eq!(house.out().await.len(), 7, "each minute, and the first at once");
    assert!((1..=3).contains(&rows("stuck")), "{}", rows("stuck"));
    world.functions.available(|_| true);
    world.pass(MINUTE * 10).await;
    let taken = world.functions.payloads();
    let stuck = taken.iter().filter(|at| at.as_str() != "2026-11-23T04:00:00Z").collect::<BTreeSet<_>>();
    assert!(stuck.len() >= 15, "what passed is made good: {stuck:?}");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pages_show_each_schedule_once_by_group_and_name() {
    let world = World::new(36);
    let house = world.open().await;
    let (schedules, own) = (&house.flow.schedules, "own".parse::<ScheduleGroupName>().unwrap());
    schedules.create_group(&scope(), &own, BTreeMap::new(), None).await.unwrap();
    for n in 0..25 {
        let mut once = spec("at(2026-11-24T04:00:00)", to(stream_arn("out")));
        once.enabled = n % 2 == 0;
        let group = if n < 10 { group() } else { own.clone() };
        let text = name(&format!("{}{n:02}", if n % 5 == 0 { "x" } else { "s" }));
        schedules.create(&scope(), &group, &text, once, None).await.unwrap();
    }
    let all = |listing: Listing| {
        let (mut names, mut listing) = (Vec::new(), listing);
        loop {
            let (page, more) = schedules.page(&scope(), &listing).unwrap();
            assert!(page.len() <= listing.limit && (page.len() == listing.limit || !more));
            listing.after = page.last().map(|last| (last.group.clone(), last.name.clone()));
            names.extend(page.into_iter().map(|schedule| schedule.name.to_string()));
            if !more {
                return names;
            }
        }
    };
    for limit in [1, 4, 5, 25, 100] {
        let listing = Listing { limit, ..Listing::default() };
        let names = all(listing.clone());
        assert_eq!((names.len(), names[0].as_str(), names[24].as_str()), (25, "s01", "x20"));
        assert_eq!(all(Listing { group: Some(own.clone()), ..listing.clone() }).len(), 15);
        let prefixed = Listing { prefix: Some("x".into()), ..listing.clone() };
        assert_eq!(all(prefixed.clone()), ["x00", "x05", "x10", "x15", "x20"]);
        assert_eq!(all(Listing { group: Some(own.clone()), ..prefixed.clone() }), ["x10", "x15", "x20"]);
        assert_eq!(all(Listing { enabled: Some(false), ..prefixed }), ["x05", "x15"]);
    }
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_is_repeated_after_its_schedule_has_ended_runs_nothing_again() {
    let world = World::new(37);
    let house = world.open().await;
    house.stream("out", 1).await;
    let schedules = &house.flow.schedules;
    let mut once = spec("at(2026-11-23T04:00:30)", to(stream_arn("out")));
    once.delete_after = true;
    let create = async |token: &str, spec: &ScheduleSpec| {
        schedules.create(&scope(), &group(), &name("s"), spec.clone(), Some(token.into())).await.unwrap();
        world.pass(MINUTE).await;
        assert!(schedules.get(&scope(), &group(), &name("s")).is_err());
        house.out().await.len()
    };
    assert_eq!(create("t", &once).await, 1);
    assert_eq!(create("t", &once).await, 1, "the same call");
    assert_eq!(create("u", &once).await, 2, "another one");
    once.description = Some("changed".into());
    assert_eq!(create("u", &once).await, 3, "another schedule");
    house.stop().await;
}

#[test]
fn a_schedule_that_asks_for_it_is_deleted_whenever_the_power_fails() {
    let mut cuts = 0;
    for nth in 1..25 {
        let outside = Outside::new(9_000 + nth);
        outside.life(async |world| {
            let house = world.open().await;
            house.stream("out", 1).await;
            let mut once = spec("at(2026-11-23T04:00:30)", to(stream_arn("out")));
            once.delete_after = true;
            house.schedule("once", once).await;
            world.pass(Duration::from_secs(29)).await;
            world.fs.fail(&CHANGES, nth, Fault::Crash);
            world.pass(MINUTE).await;
        });
        cuts += u32::from(outside.fs.is_off());
        outside.fs.power_cut();
        outside.life(async |world| {
            let house = world.open().await;
            world.pass(MINUTE).await;
            assert_eq!(house.out().await.len(), 1, "after {nth}");
            assert!(house.flow.schedules.get(&scope(), &group(), &name("once")).is_err(), "after {nth}");
            house.stop().await;
        });
    }
    assert!(cuts > 4, "the script does something: {cuts}");
}

#[test]
fn no_schedule_survives_its_group() {
    let (own, mut cuts) = ("own".parse::<ScheduleGroupName>().unwrap(), 0);
    for nth in 1..30 {
        let outside = Outside::new(9_100 + nth);
        let once = || spec("at(2026-11-23T04:05:00)", to(stream_arn("out")));
        let survivors = |house: &House| {
            let there = house.flow.schedules.group(&scope(), &own).is_ok();
            let listing = Listing { group: Some(own.clone()), limit: 100, ..Listing::default() };
            (there, house.flow.schedules.page(&scope(), &listing).unwrap().0.len())
        };
        outside.life(async |world| {
            let house = world.open().await;
            let schedules = &house.flow.schedules;
            house.stream("out", 1).await;
            schedules.create_group(&scope(), &own, BTreeMap::new(), None).await.unwrap();
            let create = |n: u64| {
                let own = &own;
                async move {
                    // One after the other, so that some meet the deletion.
                    for _ in 0..5 * n {
                        tokio::task::yield_now().await;
                    }
                    schedules.create(&scope(), own, &name(&format!("s{n}")), once(), None).await.is_ok()
                }
            };
            if nth % 2 == 0 {
                assert!(create(0).await);
            }
            let deleted = async {
                for _ in 0..nth % 8 {
                    tokio::task::yield_now().await;
                }
                schedules.delete_group(&scope(), &own, None).await
            };
            if nth % 3 > 0 {
                world.fs.fail(&CHANGES, nth, Fault::Crash);
            }
            let (deleted, _) = tokio::join!(deleted, join_all((1..20).map(create)));
            // Nothing can be read once the power is off.
            if deleted.is_ok() && !world.fs.is_off() {
                assert_eq!(survivors(&house), (false, 0), "{nth}");
            }
        });
        cuts += u32::from(outside.fs.is_off());
        outside.fs.power_cut();
        outside.life(async |world| {
            let house = world.open().await;
            world.pass(MINUTE).await;
            let (there, schedules) = survivors(&house);
            assert!(there || schedules == 0, "{nth}: {schedules} schedules without their group");
            house.stop().await;
        });
    }
    assert!(cuts > 3, "the script does something: {cuts}");
}

#[tokio::test(start_paused = true)]
async fn a_run_is_named_by_where_the_journal_was_and_not_an_idle_bus() {
    let world = World::new(38);
    let house = world.open().await;
    house.stream("s", 1).await;
    house.put_events(&[crate::world::event("e", "mine", "{}")]).await;
    for n in 0..50 {
        house.put("s", "k", &[&n.to_string()]).await;
    }
    let last = house.records(&House::key("s")).await.last().unwrap().position;
    world.functions.available(|_| false);
    house.schedule("once", spec("at(2026-11-23T04:00:30)", to(function_arn("away")))).await;
    world.pass(MINUTE).await;
    let rows = house.state.scan(Table("flow.schedule_runs"), b"", None, 10).unwrap();
    let run: Value = serde_json::from_slice(&rows[0].1).unwrap();
    assert!(run["at"].as_u64().unwrap() > last.get(), "{run}");
    house.stop().await;
}

/// Lives that a fault strikes; how often it ended one, and how many instants there were.
fn script(seeds: std::ops::Range<u64>, fault: Fault) -> (u32, usize) {
    let (mut cuts, mut instants) = (0, 0);
    for seed in seeds {
        let outside = Outside::new(8_000 + seed);
        let mut last = Timestamp::from_millis(0);
        outside.life(async |world| {
            let house = world.open().await;
            house.stream("out", 1).await;
            let mut tick = spec("cron(* * * * ? *)", to(stream_arn("out")));
            tick.window_minutes = Some(2);
            house.schedule("tick", tick).await;
            house.stop().await;
        });
        for _ in 0..5 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(120), fault);
                let Ok(_house) = world.try_open().await else { return };
                for _ in 0..6 {
                    world.pass(Duration::from_secs(1 + world.env.rng.below(400))).await;
                    match world.env.rng.below(6) {
                        0 => world.clock.shift_wall(-(world.env.rng.below(1_800_000) as i64)),
                        1 => world.clock.shift_wall(world.env.rng.below(1_800_000) as i64),
                        _ => {}
                    }
                    if world.fs.is_off() {
                        break;
                    }
                }
                last = last.max(world.clock.now());
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        outside.life(async |world| {
            let house = world.open().await;
            // Past every time that any clock has shown, and all retries.
            world.pass(last.since(world.clock.now()) + MINUTE * 20).await;
            world.pass(Duration::from_millis(60_500 - world.clock.now().millis() as u64 % 60_000)).await;
            let end = world.clock.now();
            let begun: Timestamp = BEGUN.parse().unwrap();
            let wanted: Vec<String> = (begun.millis() + 60_000..=end.millis())
                .step_by(60_000)
                .map(|ms| Timestamp::from_millis(ms - ms % 60_000).to_iso_secs())
                .collect();
            // The windows of the last instants are still open.
            world.pass(MINUTE * 3).await;
            let mut found = house.out().await;
            found.sort();
            let doubled = found.windows(2).find(|pair| pair[0] == pair[1]);
            assert_eq!(doubled, None, "seed {seed}");
            let found: BTreeSet<String> = found.into_iter().collect();
            let lost: Vec<&String> = wanted.iter().filter(|instant| !found.contains(*instant)).collect();
            assert!(lost.is_empty(), "seed {seed}: {lost:?}");
            instants += wanted.len();
            house.stop().await;
        });
    }
    (cuts, instants)
}

#[test]
fn a_power_cut_at_any_moment_costs_no_run_and_doubles_none_in_a_stream() {
    let (cuts, instants) = script(0..20, Fault::Crash);
    assert!(cuts > 50 && instants > 400, "the script does something: {cuts}, {instants}");
}

#[test]
fn a_disk_that_fails_a_call_costs_no_run_and_doubles_none_in_a_stream() {
    assert!(script(100..108, Fault::Eio).1 > 150, "the script does something");
}
