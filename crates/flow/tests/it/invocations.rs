//! Functions called later.

use std::time::Duration;

use base::Clock;
use bytes::Bytes;

use crate::fakes::Reply;
use crate::world::{House, Outside, World, function_arn, scope, until};

async fn submit(house: &House, text: &'static str) -> String {
    house.flow.invocations.submit(&function_arn("f"), Bytes::from_static(text.as_bytes()), None).await.unwrap()
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
