//! Messages of queues to functions: every option of a queue's mapping, and power cuts at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Kinded, Scope};
use flow::mapping::{MappingChange, MappingSpec, MappingView, StartingPosition};
use flow::queue::{QueueAttributes, Redrive, queue_arn};
use serde_json::Value;

use crate::fakes::Reply;
use crate::queue::{fifo, in_group, message, name};
use crate::world::{House, Outside, World, function_arn, role, scope, stream_arn, until};

const SECOND: Duration = Duration::from_secs(1);

fn spec(queue: &str, settings: MappingChange) -> MappingSpec {
    let source = queue_arn(&scope(), &name(queue));
    MappingSpec { function: function_arn("f"), role: role(), source, start: None, settings }
}

async fn map(house: &House, queue: &str, settings: MappingChange) -> MappingView {
    house.flow.mappings.create(&scope(), spec(queue, settings)).await.unwrap()
}

/// Why a mapping is not made.
async fn refused(house: &House, spec: MappingSpec) -> String {
    let error = house.flow.mappings.create(&scope(), spec).await.unwrap_err();
    assert_eq!(error.kind(), base::ErrorKind::Invalid);
    error.to_string()
}

fn records(payload: &str) -> Vec<Value> {
    let event: Value = serde_json::from_str(payload).unwrap();
    event["Records"].as_array().unwrap().clone()
}

fn bodies(payload: &str) -> Vec<String> {
    records(payload).iter().map(|record| record["body"].as_str().unwrap().to_owned()).collect()
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).unwrap()
}

/// The bodies of each batch that was handed over.
fn batches(world: &World) -> Vec<Vec<String>> {
    world.functions.payloads().iter().map(|payload| bodies(payload)).collect()
}

fn messages(bodies: &[&str]) -> Vec<flow::queue::Message> {
    bodies.iter().map(|body| message(body, body)).collect()
}

fn numbered(count: usize) -> Vec<flow::queue::Message> {
    (0..count).map(|n| message(&n.to_string(), &n.to_string())).collect()
}

/// How often each message had been received when it was handed over.
fn receives(world: &World) -> Vec<String> {
    let of = |record: Value| record["attributes"]["ApproximateReceiveCount"].as_str().unwrap().to_owned();
    world.functions.payloads().iter().flat_map(|payload| records(payload)).map(of).collect()
}

async fn left(house: &House, queue: &str) -> (usize, usize) {
    let counts = house.flow.queues.counts(&scope(), &name(queue)).await.unwrap();
    (counts.visible, counts.in_flight)
}

/// Waits until nothing is left of a queue, without letting virtual time pass.
async fn empty(house: &House, queue: &str) {
    let deadline = crate::world::Deadline::new();
    while left(house, queue).await != (0, 0) {
        deadline.check("an empty queue");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_pushed_in_batches_and_deleted() {
    let world = World::new(1);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let view = map(&house, "q", MappingChange::default()).await;
    assert_eq!((view.state, view.mapping.batch_size, view.mapping.start), ("Enabled", 10, None));
    assert_eq!(view.last_result, "No records processed");
    let before = base::Clock::instant(&*world.clock);
    house.send("q", numbered(25)).await;
    empty(&house, "q").await;
    assert!(base::Clock::instant(&*world.clock) - before < SECOND, "nothing was waited for");
    let sizes: Vec<usize> = batches(&world).iter().map(Vec::len).collect();
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(receives(&world), ["1"; 25]);
    until("the result", || {
        house.flow.mappings.get(&scope(), &view.mapping.id).is_ok_and(|view| view.last_result == "OK")
    })
    .await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_gathers_more_and_a_full_batch_goes_at_once() {
    let world = World::new(2);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let settings = MappingChange { batch_size: Some(3_000), window_secs: Some(20), ..Default::default() };
    map(&house, "q", settings).await;
    house.send("q", messages(&["a"])).await;
    world.pass(Duration::from_secs(15)).await;
    house.send("q", messages(&["b", "c"])).await;
    world.pass(Duration::from_secs(4)).await;
    assert_eq!(world.functions.calls().len(), 0);
    world.pass(Duration::from_secs(2)).await;
    assert_eq!(batches(&world), [["a", "b", "c"]]);
    house.send("q", numbered(3_000)).await;
    until("a full batch", || world.functions.calls().len() == 2).await;
    assert_eq!(batches(&world)[1].len(), 3_000);
    empty(&house, "q").await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_gathered_for_longer_than_it_is_invisible_is_handed_over_once() {
    let world = World::new(3);
    let house = world.open().await;
    house.queue("q", QueueAttributes { visibility_s: 10, ..QueueAttributes::default() }).await;
    world.functions.may_take(Duration::from_secs(10));
    let settings = MappingChange { batch_size: Some(100), window_secs: Some(300), ..Default::default() };
    map(&house, "q", settings).await;
    house.send("q", messages(&["a"])).await;
    world.pass(Duration::from_secs(295)).await;
    house.send("q", messages(&["b"])).await;
    assert_eq!((world.functions.calls().len(), left(&house, "q").await.0), (0, 0));
    world.pass(Duration::from_secs(10)).await;
    assert_eq!((batches(&world), receives(&world)), (vec![vec!["a".into(), "b".into()]], vec!["1".into(), "1".into()]));
    empty(&house, "q").await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn payloads_stay_below_their_limit_and_what_does_not_fit_is_not_received_yet() {
    let world = World::new(4);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let view = map(&house, "q", MappingChange { enabled: Some(false), ..Default::default() }).await;
    let long = |n: usize| message(&n.to_string(), &"x".repeat(1_000_000));
    for n in 0..9 {
        house.send("q", vec![long(n)]).await;
    }
    let enable = MappingChange { enabled: Some(true), ..Default::default() };
    house.flow.mappings.update(&scope(), &view.mapping.id, &enable).await.unwrap();
    empty(&house, "q").await;
    let sizes: Vec<usize> = world.functions.payloads().iter().map(String::len).collect();
    assert!(sizes.iter().all(|size| *size <= 6 << 20), "{sizes:?}");
    let counts: Vec<usize> = batches(&world).iter().map(Vec::len).collect();
    assert_eq!((counts, receives(&world)), (vec![6, 3], vec!["1".to_owned(); 9]));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_comes_back_in_time_and_dies_by_the_queues_policy() {
    let world = World::new(5);
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    let redrive = Some(Redrive { target: queue_arn(&scope(), &name("dead")), max_receives: 3 });
    house.queue("q", QueueAttributes { redrive, visibility_s: 60, ..QueueAttributes::default() }).await;
    world.functions.answer(|call| match text(&call.payload).contains("poison") {
        true => Reply::Status(500),
        false => Reply::Ok("{}".into()),
    });
    let view = map(&house, "q", MappingChange::default()).await;
    house.send("q", messages(&["good", "poison"])).await;
    until("the first attempt", || world.functions.calls().len() == 1).await;
    world.pass(Duration::from_secs(59)).await;
    assert_eq!((world.functions.calls().len(), left(&house, "q").await), (1, (0, 2)));
    let problem = house.flow.mappings.get(&scope(), &view.mapping.id).unwrap().last_result;
    assert_eq!(problem, "PROBLEM: Function call failed");
    world.pass(Duration::from_secs(200)).await;
    assert_eq!((world.functions.calls().len(), left(&house, "q").await), (3, (0, 0)));
    assert_eq!(receives(&world), ["1", "1", "2", "2", "3", "3"]);
    assert_eq!(house.bodies("dead").await.len(), 2, "the whole batch failed each time");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_reported_items_come_back() {
    let world = World::new(6);
    let house = world.open().await;
    house.queue("q", QueueAttributes { visibility_s: 20, ..QueueAttributes::default() }).await;
    let (mut first, mut second) = (true, true);
    world.functions.answer(move |call| {
        let named = |id: &str| Reply::Ok(format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{id}"}}]}}"#));
        match () {
            () if std::mem::take(&mut first) => named("b"),
            // Nobody knows what it means, so all of it failed.
            () if std::mem::take(&mut second) => named("nobody"),
            () => Reply::Ok(String::from_utf8(call.payload.to_vec()).unwrap()),
        }
    });
    map(&house, "q", MappingChange { report_item_failures: Some(true), ..Default::default() }).await;
    house.send("q", messages(&["a", "b", "c"])).await;
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(left(&house, "q").await, (0, 1));
    world.pass(Duration::from_secs(50)).await;
    assert_eq!(batches(&world), [vec!["a", "b", "c"], vec!["b"], vec!["b"]]);
    empty(&house, "q").await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn filters_delete_what_they_do_not_want() {
    let world = World::new(7);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let filters = vec![
        r#"{"body":{"n":[{"numeric":[">",1]}]}}"#.to_owned(),
        r#"{"body":["plain"]}"#.to_owned(),
        r#"{"messageAttributes":{"k":{"stringValue":["v"]}}}"#.to_owned(),
    ];
    map(&house, "q", MappingChange { filters: Some(filters), ..Default::default() }).await;
    let mut attributed = message("x", "no");
    let value = flow::queue::Attribute { data_type: "String".into(), value: "v".into() };
    attributed.head.attributes.insert("k".into(), value);
    let mut all = messages(&[r#"{"n":1}"#, r#"{"n":2}"#, "plain", "other", r#"{"m":5}"#]);
    all.push(attributed);
    house.send("q", all).await;
    empty(&house, "q").await;
    assert_eq!(batches(&world), [[r#"{"n":2}"#, "plain", "no"]]);
    // A batch of which nothing is wanted makes no call.
    house.send("q", messages(&["other"])).await;
    empty(&house, "q").await;
    assert_eq!(world.functions.calls().len(), 1);
    house.stop().await;
}

/// How many calls began within half a second, while each takes one.
async fn under_way(world: &World, house: &House, queue: &str, count: usize) -> usize {
    world.functions.answer(|_| Reply::Late("{}".into()));
    let before = world.functions.calls().len();
    for part in numbered(count).chunks(10) {
        house.send(queue, part.to_vec()).await;
    }
    world.pass(Duration::from_millis(500)).await;
    world.functions.calls().len() - before
}

#[tokio::test(start_paused = true)]
async fn concurrency_has_its_bound() {
    let world = World::new(8);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let view = map(&house, "q", MappingChange { max_concurrency: Some(Some(2)), ..Default::default() }).await;
    assert_eq!(under_way(&world, &house, "q", 100).await, 2);
    world.pass(Duration::from_secs(3)).await;
    assert_eq!(world.functions.calls().len(), 2 * 4, "one round a second, no wider");
    world.pass(Duration::from_secs(5)).await;
    empty(&house, "q").await;
    // Without it, it grows from five.
    let change = MappingChange { max_concurrency: Some(None), ..Default::default() };
    let changed = house.flow.mappings.update(&scope(), &view.mapping.id, &change).await.unwrap();
    assert_eq!(changed.mapping.max_concurrency, None);
    assert_eq!(under_way(&world, &house, "q", 1_000).await, 5);
    let before = world.functions.calls().len();
    world.pass(SECOND).await;
    assert_eq!(world.functions.calls().len() - before, 10, "each that succeeds makes room for one more");
    world.pass(Duration::from_secs(10)).await;
    empty(&house, "q").await;
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_be_called_costs_no_receives_and_few_batches_wait() {
    let world = World::new(9);
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    let redrive = Some(Redrive { target: queue_arn(&scope(), &name("dead")), max_receives: 1 });
    house.queue("q", QueueAttributes { redrive, ..QueueAttributes::default() }).await;
    let busy = Arc::new(Mutex::new(true));
    let is_busy = Arc::clone(&busy);
    world.functions.answer(move |_| match *is_busy.lock().unwrap() {
        true => Reply::Busy,
        false => Reply::Ok("{}".into()),
    });
    let view = map(&house, "q", MappingChange::default()).await;
    house.send("q", numbered(200)).await;
    world.pass(Duration::from_secs(3_600)).await;
    let (visible, held) = left(&house, "q").await;
    assert!(held <= 50 && visible >= 150, "{visible} visible, {held} held");
    let problem = house.flow.mappings.get(&scope(), &view.mapping.id).unwrap().last_result;
    assert_eq!(problem, "PROBLEM: busy");
    *busy.lock().unwrap() = false;
    world.pass(Duration::from_secs(15)).await;
    empty(&house, "q").await;
    assert!(receives(&world).iter().all(|receives| receives == "1"));
    assert_eq!(left(&house, "dead").await, (0, 0));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disabled_mapping_gives_back_what_it_holds_and_goes_on_when_enabled() {
    let world = World::new(10);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    world.functions.answer(|_| Reply::Busy);
    let view = map(&house, "q", MappingChange::default()).await;
    house.send("q", messages(&["a"])).await;
    world.pass(SECOND).await;
    assert_eq!(left(&house, "q").await, (0, 1));
    let (mappings, id) = (&house.flow.mappings, &view.mapping.id);
    let enabled = |enabled| MappingChange { enabled: Some(enabled), ..Default::default() };
    assert_eq!(mappings.update(&scope(), id, &enabled(false)).await.unwrap().state, "Disabled");
    assert_eq!(left(&house, "q").await, (1, 0), "others can have it at once");
    world.functions.answer(|_| Reply::Ok("{}".into()));
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(left(&house, "q").await, (1, 0));
    mappings.update(&scope(), id, &enabled(true)).await.unwrap();
    empty(&house, "q").await;
    // A change is of the next batch, and a deleted mapping reads nothing.
    mappings.update(&scope(), id, &MappingChange { batch_size: Some(1), ..Default::default() }).await.unwrap();
    let before = world.functions.calls().len();
    house.send("q", messages(&["b", "c"])).await;
    empty(&house, "q").await;
    assert_eq!(batches(&world)[before..], [["b"], ["c"]]);
    mappings.delete(&scope(), id).await.unwrap();
    house.send("q", messages(&["d"])).await;
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(left(&house, "q").await, (1, 0));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_outlasts_a_change_is_finished_and_deleted_and_counts_as_under_way() {
    let world = World::new(16);
    let house = world.open().await;
    house.queue("q", QueueAttributes { visibility_s: 120, ..QueueAttributes::default() }).await;
    world.functions.may_take(Duration::from_secs(60));
    world.functions.answer(|_| Reply::After(Duration::from_secs(60), "{}".into()));
    let bound = MappingChange { max_concurrency: Some(Some(2)), batch_size: Some(1), ..Default::default() };
    let view = map(&house, "q", bound).await;
    house.send("q", messages(&["a"])).await;
    until("a call", || world.functions.calls().len() == 1).await;
    let (mappings, id, before) = (&house.flow.mappings, &view.mapping.id, base::Clock::instant(&*world.clock));
    let change = MappingChange { report_item_failures: Some(true), ..Default::default() };
    assert_eq!(mappings.update(&scope(), id, &change).await.unwrap().state, "Updating");
    assert!(base::Clock::instant(&*world.clock) - before < SECOND, "answered promptly");
    house.send("q", messages(&["b", "c", "d"])).await;
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(batches(&world), [["a"], ["b"]], "two at once, the old one among them");
    world.pass(Duration::from_secs(35)).await;
    assert_eq!((batches(&world).len(), mappings.get(&scope(), id).unwrap().state), (4, "Enabled"));
    house.send("q", messages(&["e"])).await;
    let disabled = MappingChange { enabled: Some(false), ..Default::default() };
    assert_eq!(mappings.update(&scope(), id, &disabled).await.unwrap().state, "Disabling");
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(mappings.get(&scope(), id).unwrap().state, "Disabled");
    assert_eq!(
        (batches(&world).concat(), left(&house, "q").await),
        (["a", "b", "c", "d"].map(String::from).into(), (1, 0))
    );
    // A deleted one ends, too, and its message goes.
    mappings.update(&scope(), id, &MappingChange { enabled: Some(true), ..Default::default() }).await.unwrap();
    until("the last", || world.functions.calls().len() == 5).await;
    mappings.delete(&scope(), id).await.unwrap();
    world.pass(Duration::from_secs(600)).await;
    assert_eq!((world.functions.calls().len(), left(&house, "q").await), (5, (0, 0)));
    assert!(mappings.get(&scope(), id).is_err());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_has_one_batch_under_way_and_keeps_its_order_after_a_failure() {
    let world = World::new(11);
    let house = world.open().await;
    house.queue("q.fifo", QueueAttributes { visibility_s: 30, ..fifo() }).await;
    let failed = Arc::new(Mutex::new(BTreeSet::new()));
    world.functions.answer(move |call| {
        // Every batch with something of the group a fails once.
        let mut failed = failed.lock().unwrap();
        let first = bodies(text(&call.payload)).into_iter().find(|body| body.starts_with('a'));
        let fails = first.is_some_and(|first| failed.insert(first));
        if fails { Reply::Status(500) } else { Reply::Late("{}".into()) }
    });
    map(&house, "q.fifo", MappingChange { batch_size: Some(5), ..Default::default() }).await;
    let of = |group: &str, n: usize| in_group(group, &format!("{group}{n:02}"), &format!("{group}{n:02}"));
    for group in ["a", "b"] {
        for n in 0..20 {
            house.send("q.fifo", vec![of(group, n)]).await;
        }
    }
    world.pass(Duration::from_secs(25)).await;
    let delivered: Vec<String> = batches(&world).concat();
    assert_eq!(delivered.iter().filter(|body| body.starts_with('b')).count(), 20, "the other group goes on");
    world.pass(Duration::from_secs(600)).await;
    empty(&house, "q.fifo").await;
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for body in batches(&world).concat() {
        let group = seen.entry(body[..1].to_owned()).or_default();
        // What comes again is not behind what has come since.
        if let Some(at) = group.iter().position(|earlier| *earlier == body) {
            group.truncate(at);
        }
        assert!(group.last().is_none_or(|last| *last < body), "{body} after {group:?}");
        group.push(body);
    }
    assert!(seen.values().all(|group| group.len() == 20));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_go_with_a_queue_is_refused() {
    let world = World::new(12);
    let house = world.open().await;
    house.queue("q", QueueAttributes { visibility_s: 30, ..QueueAttributes::default() }).await;
    house.queue("q.fifo", QueueAttributes { visibility_s: 30, ..fifo() }).await;
    house.stream("s", 1).await;
    let none = MappingChange::default;
    let of = async |queue, settings| refused(&house, spec(queue, settings)).await;
    assert!(of("missing", none()).await.contains("AWS.SimpleQueueService.NonExistentQueue"));
    let start = Some(StartingPosition::Latest);
    let started = MappingSpec { start, ..spec("q", none()) };
    assert_eq!(refused(&house, started).await, "StartingPosition is not valid for SQS event sources.");
    let bisect = MappingChange { bisect: Some(true), ..none() };
    assert_eq!(of("q", bisect).await, "BisectBatchOnFunctionError is not valid for SQS event sources.");
    assert!(of("q", MappingChange { batch_size: Some(11), ..none() }).await.contains("batch window"));
    let windowed = MappingChange { window_secs: Some(1), ..none() };
    assert_eq!(of("q.fifo", windowed).await, "Batching window is not supported for FIFO queues");
    let scaled = MappingChange { max_concurrency: Some(Some(5)), ..none() };
    let stream = MappingSpec { source: stream_arn("s"), start, ..spec("q", scaled) };
    assert!(refused(&house, stream).await.contains("ScalingConfig"));
    world.functions.may_take(Duration::from_secs(31));
    let late = "Queue visibility timeout: 30 seconds is less than Function timeout: 31 seconds";
    assert_eq!(of("q", none()).await, late);
    world.functions.may_take(Duration::from_secs(30));
    let view = map(&house, "q", none()).await;
    let (mappings, id) = (&house.flow.mappings, &view.mapping.id);
    let again = mappings.create(&scope(), spec("q", none())).await.unwrap_err();
    assert!(again.kind() == base::ErrorKind::Conflict && again.to_string().contains(id), "{again}");
    // The same holds of changes.
    world.functions.may_take(Duration::from_secs(31));
    let change = MappingChange { function: Some(function_arn("g")), ..none() };
    assert_eq!(mappings.update(&scope(), id, &change).await.unwrap_err().to_string(), late);
    let change = MappingChange { max_retries: Some(1), ..none() };
    assert!(mappings.update(&scope(), id, &change).await.unwrap_err().to_string().contains("MaximumRetryAttempts"));
    assert!(mappings.update(&scope(), id, &MappingChange { batch_size: Some(50), ..none() }).await.is_err());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_queue_is_read_again_when_it_is_there_again() {
    let world = World::new(13);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let view = map(&house, "q", MappingChange::default()).await;
    house.flow.queues.delete(&scope(), &name("q")).await.unwrap();
    world.pass(Duration::from_secs(60)).await;
    let problem = house.flow.mappings.get(&scope(), &view.mapping.id).unwrap().last_result;
    assert!(problem.starts_with("PROBLEM: ") && problem.contains("does not exist"), "{problem}");
    // It can be changed all the same.
    let change = MappingChange { batch_size: Some(2), ..Default::default() };
    house.flow.mappings.update(&scope(), &view.mapping.id, &change).await.unwrap();
    house.queue("q", QueueAttributes::default()).await;
    house.send("q", messages(&["a"])).await;
    world.pass(Duration::from_secs(11)).await;
    assert_eq!(batches(&world), [["a"]]);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_orderly_stop_leaves_nothing_under_way() {
    let world = World::new(14);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    world.functions.answer(|_| Reply::Late("{}".into()));
    let gathering = MappingChange { batch_size: Some(100), window_secs: Some(300), ..Default::default() };
    house.queue("slow", QueueAttributes::default()).await;
    map(&house, "slow", gathering).await;
    map(&house, "q", MappingChange::default()).await;
    house.send("q", messages(&["a"])).await;
    house.send("slow", messages(&["b"])).await;
    until("a call", || world.functions.calls().len() == 1).await;
    house.stop().await;
    let house = world.open().await;
    assert_eq!(left(&house, "q").await, (0, 0), "what was under way was finished");
    world.pass(Duration::from_secs(310)).await;
    assert_eq!(batches(&world), [["a"], ["b"]], "what was gathered was given back");
    house.stop().await;
}

const CHANGES: [Call; 8] =
    [Call::Write, Call::SetLen, Call::SyncData, Call::SyncDir, Call::Rename, Call::Remove, Call::CreateDir, Call::Open];

/// Sends messages to both queues, until the power goes or enough were sent.
async fn send_until_the_end(world: &World, life: u32, acknowledged: &mut BTreeSet<String>) {
    let Ok(house) = world.try_open().await else { return };
    for n in 0..25 {
        let body = format!("{life}-{n:02}");
        if house.flow.queues.send(&scope(), &name("q"), messages(&[&body])).await.is_ok() {
            acknowledged.insert(body);
        }
        let body = format!("f{life}-{n:02}");
        if house.flow.queues.send(&scope(), &name("q.fifo"), vec![in_group("g", &body, &body)]).await.is_ok() {
            acknowledged.insert(body);
        }
        if world.fs.is_off() {
            return;
        }
        world.pass(Duration::from_millis(world.env.rng.below(4_000))).await;
    }
}

#[test]
fn whatever_was_acknowledged_is_handled_at_least_once_and_in_order_through_power_cuts() {
    let (mut sent, mut cuts) = (0, 0);
    for seed in 300..308 {
        let outside = Outside::new(seed);
        let handled: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noting, mut calls) = (Arc::clone(&handled), 0);
        outside.functions.answer(move |call| {
            calls += 1;
            if calls % 3 == 0 {
                return Reply::Status(500);
            }
            noting.lock().unwrap().extend(bodies(text(&call.payload)));
            if calls % 2 == 0 { Reply::Late("{}".into()) } else { Reply::Ok("{}".into()) }
        });
        outside.life(async |world| {
            let house = world.open().await;
            let short = QueueAttributes { visibility_s: 5, ..QueueAttributes::default() };
            house.queue("q", short.clone()).await;
            house.queue("q.fifo", QueueAttributes { fifo: fifo().fifo, ..short }).await;
            let windowed = MappingChange { batch_size: Some(20), window_secs: Some(3), ..Default::default() };
            map(&house, "q", windowed).await;
            map(&house, "q.fifo", MappingChange::default()).await;
            house.stop().await;
        });
        let mut acknowledged = BTreeSet::new();
        for life in 0..5 {
            outside.life(async |world| {
                world.fs.fail(&CHANGES, 1 + world.env.rng.below(300), Fault::Crash);
                send_until_the_end(world, life, &mut acknowledged).await;
            });
            cuts += u32::from(outside.fs.is_off());
            outside.fs.power_cut();
        }
        outside.life(async |world| {
            let house = world.open().await;
            world.pass(Duration::from_secs(600)).await;
            assert_eq!(left(&house, "q").await, (0, 0), "seed {seed}");
            assert_eq!(left(&house, "q.fifo").await, (0, 0), "seed {seed}");
            house.stop().await;
        });
        sent += acknowledged.len();
        let handled = handled.lock().unwrap();
        let missing: Vec<_> = acknowledged.iter().filter(|body| !handled.contains(body)).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?} were never handled");
        // The first time that each message of the group was handled is in the group's order.
        let mut first = Vec::new();
        for body in handled.iter().filter(|body| body.starts_with('f') && acknowledged.contains(*body)) {
            if !first.contains(body) {
                first.push(body.clone());
            }
        }
        assert!(first.is_sorted(), "seed {seed}: {first:?}");
    }
    assert!(sent > 600 && cuts > 20, "the script does something: {sent} sent, {cuts} cuts");
}

/// Of another account, or no queue at all.
#[tokio::test(start_paused = true)]
async fn other_sources_are_no_queues() {
    let world = World::new(15);
    let house = world.open().await;
    let other = Scope { account: "111111111111".parse().unwrap(), region: scope().region };
    let source = queue_arn(&other, &name("q"));
    assert!(
        refused(&house, MappingSpec { source, ..spec("q", MappingChange::default()) }).await.contains("NonExistent")
    );
    house.stop().await;
}
