//! How long outboxes keep what waits for a target, or for its dead-letter queue.

use std::time::Duration;

use flow::bus::{InputSpec, RuleState, RuleTarget};
use flow::queue::{QueueAttributes, queue_arn};
use log::{StreamKey, StreamKind};

use crate::queue::{in_group, name};
use crate::world::{DAY, House, Outside, event, function_arn, scope, target};

const ALL: &str = r#"{"account":["000000000000"]}"#;

/// Fills the memory of all queues, so that no other queue takes anything.
pub async fn stuff(house: &House) {
    house.queue("full", QueueAttributes { retention_s: 14 * 86_400, ..QueueAttributes::default() }).await;
    for n in 0.. {
        // Names of groups are kept in memory.
        let long = in_group(&format!("{n}{}", "x".repeat(200_000)), &n.to_string(), "x");
        if house.flow.queues.send(&scope(), &name("full"), vec![long]).await.is_err() {
            return;
        }
    }
}

fn outbox() -> StreamKey {
    StreamKey { kind: StreamKind::Outbox, scope: scope(), name: "default/back/t".into() }
}

#[test]
fn what_waits_for_a_dead_letter_queue_that_takes_nothing_is_kept_for_days_and_then_goes() {
    let outside = Outside::new(71);
    outside.life(async |world| {
        let house = world.open().await;
        house.queue("dead", QueueAttributes::default()).await;
        // What the transformer makes of an event is too large, so that it is a dead letter at once.
        let input = InputSpec::Transformer {
            paths: [("x".to_owned(), "$.detail.x".to_owned())].into(),
            template: format!("\"{}\"", "<x>".repeat(2_000)),
        };
        let dead_letter = Some(queue_arn(&scope(), &name("dead")));
        let back = RuleTarget { input, dead_letter, ..target(function_arn("f")) };
        house.rule("back", ALL, RuleState::Enabled, back).await;
        stuff(&house).await;
        let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000));
        for n in 0..3 {
            house.put_events(&[event(&format!("e{n}"), "my.app", &large)]).await;
        }
        world.pass(Duration::from_secs(10)).await;
        assert_eq!(house.records(&outbox()).await.len(), 3);
        // As it was made by an earlier version.
        house.log.set_retention(&outbox(), Duration::from_secs(26 * 3_600)).await.unwrap();
        house.stop().await;
    });
    outside.life(async |world| {
        let house = world.open().await;
        house.fill_segments().await;
        world.pass(DAY).await;
    });
    outside.fs.power_cut();
    outside.life(async |world| {
        let house = world.open().await;
        assert!(house.receive("dead").await.is_empty());
        world.pass(DAY).await;
        house.flow.queues.purge(&scope(), &name("full")).await.unwrap();
        world.pass(Duration::from_secs(3_600)).await;
        let letters = house.receive("dead").await;
        assert_eq!(letters.len(), 3, "none was dropped for its age");
        house.fill_segments().await;
        world.pass(2 * DAY).await;
        let left = world.segments();
        assert!(left <= 3, "nothing of it is kept any more: {left} segments");
        house.stop().await;
    });
}
