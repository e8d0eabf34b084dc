//! Functions called later.

use std::time::Duration;

use base::{Arn, Clock, Invocation};
use flow::bus::RuleState;
use flow::invocations::InvokeConfigChange;
use flow::queue::{QueueAttributes, Received};
use serde_json::{Value, json};

use crate::fakes::Reply;
use crate::world::{Deadline, House, Outside, World, call, function_arn, scope, target, until};

async fn submit(house: &House, text: &'static str) -> String {
    house.flow.invocations.submit(call("f", text)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_made_again_after_one_and_two_minutes_and_holds_nobody_up() {
    let world = World::new(1);
    let house = world.open().await;
    world
        .functions
        .answer(|call| if &call.payload[..] == b"bad" { Reply::Status(500) } else { Reply::Ok("{}".into()) });
    let began = world.clock.now();
    let id = submit(&house, "bad").await;
    for text in ["a", "b", "c"] {
        submit(&house, text).await;
    }
    until("the others", || world.functions.calls().len() == 4).await;
    assert_eq!(world.clock.now(), began, "they did not wait");
    world.pass(Duration::from_secs(59)).await;
    assert_eq!(world.functions.calls().len(), 4);
    world.pass(Duration::from_secs(2)).await;
    until("the second call", || world.functions.calls().len() == 5).await;
    world.pass(Duration::from_secs(118)).await;
    assert_eq!(world.functions.calls().len(), 5);
    world.pass(Duration::from_secs(3)).await;
    until("the third call", || world.functions.calls().len() == 6).await;
    world.pass(Duration::from_secs(3_600)).await;
    let bad: Vec<_> = world.functions.calls().into_iter().filter(|c| &c.payload[..] == b"bad").collect();
    assert_eq!(bad.len(), 3, "then it is given up");
    assert!(bad.iter().all(|call| call.request_id.as_ref() == Some(&id)), "under one request id");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_retry_survives_a_restart() {
    let world = World::new(2);
    let house = world.open().await;
    world.functions.answer(|_| Reply::Status(500));
    submit(&house, "x").await;
    until("the first call", || world.functions.calls().len() == 1).await;
    world.pass(Duration::from_secs(1)).await;
    house.stop().await;
    let house = world.open().await;
    world.pass(Duration::from_secs(5)).await;
    assert_eq!(world.functions.calls().len(), 1, "not before its time");
    world.functions.answer(|_| Reply::Ok("{}".into()));
    world.pass(Duration::from_secs(60)).await;
    until("the second call", || world.functions.calls().len() == 2).await;
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.functions.calls().len(), 2);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_function_is_asked_for_six_hours() {
    let world = World::new(3);
    let house = world.open().await;
    world.functions.answer(|_| Reply::Busy);
    submit(&house, "x").await;
    world.pass(Duration::from_secs(5 * 3_600)).await;
    let before = world.functions.calls().len();
    assert!(before > 30, "{before}");
    world.pass(Duration::from_secs(2 * 3_600)).await;
    let end = world.functions.calls().len();
    world.pass(Duration::from_secs(2 * 3_600)).await;
    assert!(end > before);
    assert_eq!(world.functions.calls().len(), end, "then it is given up");
    house.stop().await;
}

#[test]
fn a_slow_call_neither_holds_up_others_nor_is_lost_in_a_crash() {
    let outside = Outside::new(4);
    outside.life(async |world| {
        let house = world.open().await;
        let slow = |payload: &[u8]| payload == b"slow";
        world.functions.answer(move |c| if slow(&c.payload) { Reply::Never } else { Reply::Ok("{}".into()) });
        submit(&house, "slow").await;
        submit(&house, "quick").await;
        until("both", || world.functions.calls().len() == 2).await;
        world.pass(Duration::from_secs(10)).await;
    });
    // The checkpoint is past both by now; what was under way is known by its row.
    outside.fs.power_cut();
    outside.life(async |world| {
        world.functions.answer(|_| Reply::Ok("{}".into()));
        let house = world.open().await;
        until("the slow one again", || world.functions.calls().len() == 3).await;
        assert_eq!(world.functions.payloads()[2], "slow");
        world.pass(Duration::from_secs(600)).await;
        assert_eq!(world.functions.calls().len(), 3);
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_deleted_function_leaves_nothing_behind() {
    let world = World::new(5);
    let house = world.open().await;
    world.functions.answer(|_| Reply::Status(500));
    submit(&house, "x").await;
    until("a call", || world.functions.calls().len() == 1).await;
    house.flow.invocations.remove(&scope(), &"f".parse().unwrap()).await.unwrap();
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.functions.calls().len(), 1);
    world.functions.answer(|_| Reply::Ok("{}".into()));
    submit(&house, "y").await;
    until("the new one", || world.functions.calls().len() == 2).await;
    house.stop().await;
}

/// Receives until so many came.
async fn told(house: &House, queue: &str, count: usize) -> Vec<Received> {
    let (deadline, mut all) = (Deadline::new(), Vec::new());
    while all.len() < count {
        all.extend(house.receive(queue).await);
        deadline.check(&format!("{count} messages in {queue}, not {}", all.len()));
        tokio::task::yield_now().await;
    }
    all
}

fn document(received: &Received) -> Value {
    serde_json::from_slice(&received.message.body).unwrap()
}

async fn configure(house: &House, qualifier: Option<&str>, change: InvokeConfigChange) {
    let name = "f".parse().unwrap();
    house.flow.invocations.configure(&scope(), &name, qualifier, change, true).await.unwrap();
}

fn queue_named(name: &str) -> Arn {
    Arn::new("sqs", &scope(), name)
}

fn failing_with(text: &'static str) -> impl FnMut(&Invocation) -> Reply + Send + 'static {
    move |call| if &call.payload[..] == text.as_bytes() { Reply::Status(500) } else { Reply::Ok("[1]".into()) }
}

#[tokio::test(start_paused = true)]
async fn retries_and_age_are_the_owner_s_for_each_qualifier() {
    let world = World::new(6);
    let house = world.open().await;
    world.functions.answer(|_| Reply::Status(500));
    configure(&house, None, InvokeConfigChange { max_retries: Some(0), ..Default::default() }).await;
    configure(&house, Some("live"), InvokeConfigChange { max_retries: Some(1), ..Default::default() }).await;
    for function in ["f", "f:live", "f:other"] {
        house.flow.invocations.submit(call(function, "{}")).await.unwrap();
    }
    world.pass(Duration::from_secs(600)).await;
    let calls =
        |function: &str| world.functions.calls().iter().filter(|c| c.function == function_arn(function)).count();
    until("all calls", || (calls("f"), calls("f:live"), calls("f:other")) == (1, 2, 3)).await;
    world.functions.answer(|_| Reply::Busy);
    configure(&house, None, InvokeConfigChange { max_age_secs: Some(60), ..Default::default() }).await;
    house.flow.invocations.submit(call("f", "{}")).await.unwrap();
    world.pass(Duration::from_secs(120)).await;
    let end = calls("f");
    assert!(end > 3, "{end}");
    world.pass(Duration::from_secs(1_200)).await;
    assert_eq!(calls("f"), end, "it is too old");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_became_of_an_event_is_told_to_every_kind_of_destination() {
    let world = World::new(7);
    let house = world.open().await;
    house.queue("good", QueueAttributes::default()).await;
    house.queue("bad", QueueAttributes::default()).await;
    world.functions.answer(failing_with("\"bad\""));
    let both = InvokeConfigChange {
        on_success: Some(Some(queue_named("good"))),
        on_failure: Some(Some(queue_named("bad"))),
        ..Default::default()
    };
    configure(&house, None, both).await;
    let good = submit(&house, "{\"a\": 1}").await;
    let bad = submit(&house, "\"bad\"").await;
    let success = document(&told(&house, "good", 1).await[0]);
    assert_eq!(success["requestContext"]["requestId"], good);
    assert_eq!(success["requestContext"]["functionArn"], format!("{}:$LATEST", function_arn("f")));
    assert_eq!(
        (&success["requestContext"]["condition"], &success["requestContext"]["approximateInvokeCount"]),
        (&json!("Success"), &json!(1))
    );
    assert_eq!((&success["requestPayload"], &success["responsePayload"]), (&json!({"a": 1}), &json!([1])));
    assert_eq!(success["responseContext"], json!({"statusCode": 200, "executedVersion": "$LATEST"}));
    world.pass(Duration::from_secs(200)).await;
    let failure = document(&told(&house, "bad", 1).await[0]);
    assert_eq!(failure["requestContext"]["requestId"], bad);
    assert_eq!(
        (&failure["requestContext"]["condition"], &failure["requestContext"]["approximateInvokeCount"]),
        (&json!("RetriesExhausted"), &json!(3))
    );
    assert_eq!(failure["responseContext"]["functionError"], "Unhandled");
    // A function is told by a call of its own, a bus by an event.
    let others = InvokeConfigChange {
        max_retries: Some(0),
        on_success: Some(Some(Arn::new("events", &scope(), "event-bus/default"))),
        on_failure: Some(Some(function_arn("g"))),
        ..Default::default()
    };
    configure(&house, None, others).await;
    let pattern = r#"{"source": ["lambda"], "detail-type": ["Lambda Function Invocation Result - Success"]}"#;
    house.queue("heard", QueueAttributes::default()).await;
    house.rule("results", pattern, RuleState::Enabled, target(queue_named("heard"))).await;
    submit(&house, "{}").await;
    submit(&house, "\"bad\"").await;
    let event = document(&told(&house, "heard", 1).await[0]);
    assert_eq!(event["detail"]["requestContext"]["condition"], "Success");
    let resources = json!([
        format!("arn:aws:events:{}:{}:event-bus/default", scope().region, scope().account),
        format!("{}:$LATEST", function_arn("f"))
    ]);
    assert_eq!(event["resources"], resources);
    until("the other function", || world.functions.calls().iter().any(|c| c.function == function_arn("g"))).await;
    let calls = world.functions.calls();
    let told = calls.iter().find(|c| c.function == function_arn("g")).unwrap();
    let told: Value = serde_json::from_slice(&told.payload).unwrap();
    assert_eq!(told["requestContext"]["condition"], "RetriesExhausted");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_given_up_goes_to_the_dead_letter_queue_as_it_came() {
    let world = World::new(8);
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    world.functions.dead_letters(queue_named("dead"));
    world.functions.answer(|_| Reply::Status(500));
    configure(&house, None, InvokeConfigChange { max_retries: Some(0), ..Default::default() }).await;
    let id = submit(&house, "{\"an\": \"event\"}").await;
    let letter = told(&house, "dead", 1).await.remove(0).message;
    assert_eq!(&letter.body[..], b"{\"an\": \"event\"}");
    let said =
        |name: &str| (letter.head.attributes[name].data_type.as_str(), letter.head.attributes[name].value.as_str());
    assert_eq!((said("RequestID"), said("ErrorCode")), (("String", id.as_str()), ("Number", "200")));
    assert_eq!(said("ErrorMessage"), ("String", "the function failed: Unhandled"));
    house.stop().await;
}

#[test]
fn a_failure_is_told_through_a_crash_before_the_event_is_let_go() {
    let outside = Outside::new(9);
    outside.life(async |world| {
        let house = world.open().await;
        house.queue("bad", QueueAttributes::default()).await;
        let change = InvokeConfigChange { on_failure: Some(Some(queue_named("bad"))), ..Default::default() };
        configure(&house, None, change).await;
        world.functions.answer(|_| Reply::Status(500));
        submit(&house, "{}").await;
        world.pass(Duration::from_secs(100)).await;
        until("two calls", || world.functions.calls().len() == 2).await;
        world.pass(Duration::from_secs(1)).await;
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        world.functions.answer(|_| Reply::Status(500));
        let house = world.open().await;
        world.pass(Duration::from_secs(200)).await;
        let failure = document(&told(&house, "bad", 1).await[0]);
        assert_eq!(failure["requestContext"]["approximateInvokeCount"], 3);
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_configuration_is_changed_listed_and_refused_by_what_is_wrong() {
    let world = World::new(10);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let (room, name) = (&house.flow.invocations, "f".parse().unwrap());
    let first =
        InvokeConfigChange { max_retries: Some(1), on_failure: Some(Some(queue_named("q"))), ..Default::default() };
    configure(&house, None, first).await;
    let second = InvokeConfigChange { max_age_secs: Some(90), on_failure: Some(None), ..Default::default() };
    let changed = room.configure(&scope(), &name, None, second.clone(), false).await.unwrap();
    assert_eq!((changed.max_retries, changed.max_age_secs, changed.on_failure), (Some(1), Some(90), None));
    let anew = room.configure(&scope(), &name, None, second, true).await.unwrap();
    assert_eq!((anew.max_retries, anew.max_age_secs), (None, Some(90)));
    configure(&house, Some("2"), InvokeConfigChange::default()).await;
    let all: Vec<String> = room.configs(&scope(), &name).unwrap().into_iter().map(|c| c.qualifier).collect();
    assert_eq!(all, ["$LATEST", "2"]);
    assert!(room.forget_config(&scope(), &name, Some("2")).await.unwrap());
    assert!(!room.forget_config(&scope(), &name, Some("2")).await.unwrap());
    for (to, text) in [
        (&*function_arn("f").to_string(), "You can't specify the function as a destination for itself."),
        (&*function_arn("f:live").to_string(), "You can't specify the function as a destination for itself."),
        ("arn:aws:s3:::bucket", "is not available"),
        ("arn:aws:kinesis:eu-central-1:000000000000:stream/s", "is not the ARN of a queue"),
        ("arn:aws:sqs:eu-central-1:000000000000:q.fifo", "is FIFO"),
        ("arn:aws:sqs:eu-central-1:111111111111:q", "is not in this account"),
    ] {
        let change = InvokeConfigChange { on_success: Some(Some(to.parse().unwrap())), ..Default::default() };
        let refused = room.configure(&scope(), &name, None, change, true).await.unwrap_err().to_string();
        assert!(refused.contains(text), "{refused}");
    }
    let gone = InvokeConfigChange { on_success: Some(Some(queue_named("gone"))), ..Default::default() };
    assert!(
        room.configure(&scope(), &name, None, gone, true).await.unwrap_err().to_string().contains("cannot be used")
    );
    room.remove(&scope(), &name).await.unwrap();
    assert_eq!(room.configs(&scope(), &name).unwrap(), []);
    house.stop().await;
}

#[test]
fn an_event_that_became_too_old_while_the_server_was_away_is_told() {
    let outside = Outside::new(11);
    outside.life(async |world| {
        let house = world.open().await;
        house.queue("dead", QueueAttributes::default()).await;
        house.queue("bad", QueueAttributes::default()).await;
        let change = InvokeConfigChange { on_failure: Some(Some(queue_named("bad"))), ..Default::default() };
        configure(&house, None, change).await;
        world.functions.answer(|_| Reply::Never);
        // As many as are taken at once and one that is not.
        for _ in 0..33 {
            submit(&house, "{}").await;
        }
        until("calls", || world.functions.calls().len() == 32).await;
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        world.pass(Duration::from_secs(9 * 3_600)).await;
        world.functions.dead_letters(queue_named("dead"));
        let house = world.open().await;
        assert_eq!(told(&house, "dead", 33).await.len(), 33);
        for failure in told(&house, "bad", 33).await {
            assert_eq!(document(&failure)["requestContext"]["condition"], "EventAgeExceeded");
        }
        assert_eq!(world.functions.calls().len(), 32);
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_put_once_however_often_the_destination_takes_nothing() {
    let world = World::new(12);
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    world.functions.dead_letters(queue_named("dead"));
    let to = function_arn("g");
    let change = InvokeConfigChange { max_retries: Some(0), on_failure: Some(Some(to.clone())), ..Default::default() };
    configure(&house, None, change).await;
    let away = to.clone();
    world.functions.available(move |function| *function != away);
    // What is told to the destination has no dead letter of its own.
    let failing = function_arn("f");
    world
        .functions
        .answer(move |call| if call.function == failing { Reply::Status(500) } else { Reply::Ok("{}".into()) });
    submit(&house, "{}").await;
    world.pass(Duration::from_secs(600)).await;
    // Also not after a restart.
    house.stop().await;
    let house = world.open().await;
    world.pass(Duration::from_secs(600)).await;
    world.functions.available(|_| true);
    world.pass(Duration::from_secs(600)).await;
    until("the destination", || world.functions.calls().iter().any(|call| call.function == to)).await;
    assert_eq!(told(&house, "dead", 1).await.len(), 1);
    assert!(house.receive("dead").await.is_empty(), "once");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn events_of_a_function_with_no_environment_left_are_told_at_once() {
    let world = World::new(13);
    let house = world.open().await;
    for queue in ["dead", "bad"] {
        house.queue(queue, QueueAttributes::default()).await;
    }
    world.functions.dead_letters(queue_named("dead"));
    let change = InvokeConfigChange { on_failure: Some(Some(queue_named("bad"))), ..Default::default() };
    configure(&house, None, change).await;
    world.functions.answer(|_| Reply::Busy);
    world.functions.stop(true);
    submit(&house, "{}").await;
    let failure = document(&told(&house, "bad", 1).await[0]);
    assert_eq!(
        (&failure["requestContext"]["condition"], &failure["requestContext"]["approximateInvokeCount"]),
        (&json!("ZeroReservedConcurrency"), &json!(0))
    );
    let letter = told(&house, "dead", 1).await.remove(0).message;
    assert_eq!(letter.head.attributes["ErrorCode"].value, "429");
    assert_eq!(world.functions.calls().len(), 1);
    house.stop().await;
}

#[test]
fn what_a_deletion_left_that_was_not_finished_is_removed_at_the_next_start() {
    let outside = Outside::new(14);
    outside.life(async |world| {
        let house = world.open().await;
        world.functions.answer(|_| Reply::Status(500));
        submit(&house, "old").await;
        until("a call", || world.functions.calls().len() == 1).await;
        world.pass(Duration::from_secs(1)).await;
        // The function is deleted, and then the server ends before it comes to the function's events.
        world.functions.gone(function_arn("f"));
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        world.functions.gone(function_arn("f"));
        let house = world.open().await;
        assert!(!house.flow.invocations.has_left(&scope(), &"f".parse().unwrap()).unwrap());
        let before = world.functions.calls().len();
        // A new one has nothing of it.
        submit(&house, "new").await;
        until("its own event", || world.functions.calls().len() == before + 1).await;
        world.pass(Duration::from_secs(600)).await;
        assert!(!world.functions.payloads()[before..].contains(&"old".to_owned()));
        house.stop().await;
    });
}

#[tokio::test(start_paused = true)]
async fn calls_that_cross_a_deletion_leave_nobody_reading_what_is_gone() {
    let world = World::new(15);
    let house = world.open().await;
    world.functions.answer(|_| Reply::Ok("{}".into()));
    for round in 0..20 {
        let (room, crossing) = (house.flow.invocations.clone(), house.flow.invocations.clone());
        let name = "f".parse().unwrap();
        let (removed, _) =
            tokio::join!(async { room.remove(&scope(), &name).await }, crossing.submit(call("f", "crossing")));
        removed.unwrap();
        let before = world.functions.calls().len();
        submit(&house, "after").await;
        let seen = || world.functions.payloads()[before..].contains(&"after".to_owned());
        until(&format!("the event after deletion {round}"), seen).await;
    }
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn successes_that_cannot_be_told_yet_hold_up_no_calls() {
    const EVENTS: usize = 100;
    let world = World::new(14);
    let house = world.open().await;
    let to = function_arn("g");
    configure(&house, None, InvokeConfigChange { on_success: Some(Some(to.clone())), ..Default::default() }).await;
    let away = to.clone();
    world.functions.available(move |function| *function != away);
    world.functions.answer(|_| Reply::Ok("{}".into()));
    for _ in 0..EVENTS {
        submit(&house, "{}").await;
    }
    let calls = |of: &Arn| world.functions.calls().iter().filter(|call| call.function == *of).count();
    let own = function_arn("f");
    let began = world.clock.now();
    until("every call", || calls(&own) == EVENTS).await;
    assert_eq!(world.clock.now(), began, "none waited for what is told");
    world.pass(Duration::from_secs(10)).await;
    world.functions.available(|_| true);
    world.pass(Duration::from_secs(60)).await;
    until("every success", || calls(&to) == EVENTS).await;
    world.pass(Duration::from_secs(600)).await;
    assert_eq!((calls(&own), calls(&to)), (EVENTS, EVENTS), "once each");

    // One that can never be told is no failure, and is not called again.
    house.queue("bad", QueueAttributes::default()).await;
    let both = InvokeConfigChange {
        on_success: Some(Some(to.clone())),
        on_failure: Some(Some(queue_named("bad"))),
        max_age_secs: Some(60),
        ..Default::default()
    };
    configure(&house, None, both).await;
    let away = to.clone();
    world.functions.available(move |function| *function != away);
    submit(&house, "{}").await;
    world.pass(Duration::from_secs(1_200)).await;
    assert_eq!((calls(&own), calls(&to)), (EVENTS + 1, EVENTS));
    assert!(house.receive("bad").await.is_empty());
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_for_its_destination_is_told_without_payloads() {
    let world = World::new(15);
    let house = world.open().await;
    house.queue("bad", QueueAttributes { max_message_bytes: 1_024, ..QueueAttributes::default() }).await;
    let change =
        InvokeConfigChange { max_retries: Some(0), on_failure: Some(Some(queue_named("bad"))), ..Default::default() };
    configure(&house, None, change).await;
    world.functions.answer(|_| Reply::Status(500));
    let id = house.flow.invocations.submit(call("f", format!("\"{}\"", "x".repeat(2_000)))).await.unwrap();
    let failure = document(&told(&house, "bad", 1).await[0]);
    assert_eq!(failure["requestContext"]["requestId"], id);
    assert_eq!(failure["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!((&failure["requestPayload"], &failure["responsePayload"]), (&Value::Null, &Value::Null));
    house.stop().await;
}
