//! Queues as targets of events: each event once, whatever is repeated, and a refusal before anything is taken.

use std::sync::Arc;
use std::time::Duration;

use base::{Delivery, Position, ProducerId, Target};
use bytes::Bytes;
use flow::bus::RuleState;
use flow::queue::{Fifo, MoveStatus, QueueAttributes, QueueTarget, Redrive, queue_arn};

use crate::queue::{fifo, in_group, message, name};
use crate::world::{World, event, scope, target as rule_target, until};

#[tokio::test(start_paused = true)]
async fn a_target_s_replay_adds_nothing_twice() {
    let world = World::new(4);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    house.queue("f.fifo", fifo()).await;
    let deliveries: Vec<Delivery> = (1..=6)
        .map(|n| Delivery {
            position: Position::new(n),
            payload: Bytes::from(format!("m{n}")),
            partition_key: Some(format!("g{}", n % 2).parse().unwrap()),
        })
        .collect();
    let target: Arc<dyn Target> = Arc::new(QueueTarget::new(house.flow.queues.clone()));
    for queue in ["q", "f.fifo"] {
        let arn = queue_arn(&scope(), &name(queue));
        target.check(&arn).await.unwrap();
        for until in [3, 6, 6, 2] {
            target.deliver(&arn, ProducerId(7), &deliveries[..until]).await.unwrap();
        }
        assert_eq!(house.visible(queue).await, 6, "{queue}");
    }
    let first = house.bodies("f.fifo").await;
    assert_eq!(first, ["m1", "m3", "m5", "m2", "m4", "m6"]);
    assert!(target.check(&queue_arn(&scope(), &name("none"))).await.is_err());
    house.stop().await;
}

pub fn delivery(position: u64, payload: String, group: Option<&str>) -> Delivery {
    let partition_key = group.map(|group| group.parse().unwrap());
    Delivery { position: Position::new(position), payload: Bytes::from(payload), partition_key }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_a_queue_cannot_take_is_refused_before_its_neighbours_are_taken() {
    let world = World::new(7);
    let house = world.open().await;
    house.queue("q", QueueAttributes { max_message_bytes: 1_024, ..QueueAttributes::default() }).await;
    house.queue("f.fifo", fifo()).await;
    let target = QueueTarget::new(house.flow.queues.clone());
    let to = queue_arn(&scope(), &name("q"));
    let batch = [delivery(1, "a".into(), None), delivery(2, "x".repeat(2_000), None), delivery(3, "b".into(), None)];
    for _ in 0..2 {
        assert_eq!(target.deliver(&to, ProducerId(7), &batch).await.unwrap_err().kind, base::ErrorKind::Invalid);
        assert_eq!(house.visible("q").await, 0);
    }
    for one in &batch {
        let taken = target.deliver(&to, ProducerId(7), std::slice::from_ref(one)).await;
        assert_eq!(taken.is_ok(), one.payload.len() == 1);
    }
    assert_eq!(house.bodies("q").await, ["a", "b"]);
    // What no sender may write.
    for text in ["a\u{1}b\u{0}c", "\u{fffe}"] {
        let refused = target.deliver(&to, ProducerId(7), &[delivery(4, text.into(), None)]).await.unwrap_err();
        assert_eq!(refused.kind, base::ErrorKind::Invalid);
    }
    assert_eq!(house.visible("q").await, 0);
    let ungrouped = [delivery(1, "a".into(), None)];
    let to = queue_arn(&scope(), &name("f.fifo"));
    assert_eq!(target.deliver(&to, ProducerId(7), &ungrouped).await.unwrap_err().kind, base::ErrorKind::Invalid);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_asks_to_try_again_and_a_deleted_queue_is_not_there() {
    use base::Kinded;
    let world = World::new(8);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    house.queue("gone", QueueAttributes::default()).await;
    let (target, queues) = (QueueTarget::new(house.flow.queues.clone()), house.flow.queues.clone());
    let (scope, batch) = (scope(), [delivery(1, "a".into(), None)]);
    // A call that found the queue and comes to it when it is deleted.
    let gone = name("gone");
    let (deleted, sent) = futures::join!(queues.delete(&scope, &gone), async {
        tokio::task::yield_now().await;
        queues.send(&scope, &gone, vec![message("1", "x")]).await
    });
    deleted.unwrap();
    assert!(sent.is_ok() || sent.as_ref().unwrap_err().kind() == base::ErrorKind::NotFound, "{sent:?}");
    assert!(house.flow.stop(Duration::from_secs(5)).await.unwrap());
    let delivered = target.deliver(&queue_arn(&scope, &name("q")), ProducerId(7), &batch).await.unwrap_err();
    assert!(delivered.kind.is_transient(), "{delivered}");
    let sent = queues.send(&scope, &name("q"), vec![message("1", "x")]).await.unwrap_err();
    assert_eq!(sent.kind(), base::ErrorKind::Unavailable);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_event_for_a_queue_is_lost_by_a_stop() {
    for moments in (0..40).step_by(4) {
        let world = World::new(100 + moments);
        let house = world.open().await;
        house.queue("q", QueueAttributes::default()).await;
        let arn = queue_arn(&scope(), &name("q"));
        house.rule("r", r#"{"source":["s"]}"#, RuleState::Enabled, rule_target(arn)).await;
        let events: Vec<_> = (0..20).map(|n| event(&format!("{n}"), "s", "{}")).collect();
        house.put_events(&events).await;
        for _ in 0..moments {
            tokio::task::yield_now().await;
        }
        house.stop().await;
        let house = world.open().await;
        for _ in 0..50 {
            world.pass(Duration::from_secs(1)).await;
            if house.visible("q").await == 20 {
                break;
            }
        }
        assert_eq!(house.visible("q").await, 20, "stopped after {moments} moments");
        house.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_and_moved_messages_are_deduplicated_alike_before_and_after_a_restart() {
    let world = World::new(14);
    let house = world.open().await;
    let by_content = Fifo { content_based_deduplication: true, ..Fifo::default() };
    house.queue("f.fifo", QueueAttributes { fifo: Some(by_content), ..QueueAttributes::default() }).await;
    let to = queue_arn(&scope(), &name("f.fifo"));
    let target = QueueTarget::new(house.flow.queues.clone());
    let batch = [delivery(1, "same".into(), Some("g")), delivery(2, "same".into(), Some("g"))];
    target.deliver(&to, ProducerId(7), &batch).await.unwrap();
    target.deliver(&to, ProducerId(8), &[delivery(1, "same".into(), Some("h"))]).await.unwrap();
    let mut again = in_group("g", "", "same");
    again.head.dedup = None;
    house.send("f.fifo", vec![again]).await;
    assert_eq!(house.visible("f.fifo").await, 1);

    house.queue("dead.fifo", fifo()).await;
    let dead = queue_arn(&scope(), &name("dead.fifo"));
    let redrive = Some(Redrive { target: dead.clone(), max_receives: 1 });
    house.queue("work.fifo", QueueAttributes { redrive, ..fifo() }).await;
    house.send("dead.fifo", vec![in_group("g", "id", "x")]).await;
    let work = queue_arn(&scope(), &name("work.fifo"));
    house.flow.queues.start_move(&dead, Some(work), None).await.unwrap();
    until("the end of the move", || house.flow.queues.moves(&dead).unwrap()[0].status == MoveStatus::Completed).await;
    assert_eq!(house.visible("work.fifo").await, 1);
    house.stop().await;
    let house = world.open().await;
    // A moved message is none that was sent here: before a restart it kept no other from being taken either.
    house.send("work.fifo", vec![in_group("g", "id", "y")]).await;
    assert_eq!(house.visible("work.fifo").await, 2);
    house.stop().await;
}
