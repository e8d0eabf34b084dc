//! Queues: what is sent is received until it is deleted, on time, in order where that is promised, and once from targets.

use std::sync::Arc;
use std::time::Duration;

use base::{Delivery, Position, ProducerId, QueueName, Target};
use bytes::Bytes;
use flow::bus::RuleState;
use flow::queue::{
    Created, Fifo, Head, Message, MoveStatus, QueueAttributes, QueueTarget, Receive, Received, Redrive, Settled,
    queue_arn,
};
use log::{StreamKey, StreamKind};

use crate::world::{House, World, event, scope, target as rule_target, until};

pub fn name(text: &str) -> QueueName {
    text.parse().unwrap()
}

pub fn message(id: &str, body: &str) -> Message {
    let head = Head { id: id.into(), sender: "s".into(), ..Head::default() };
    Message { head, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn in_group(group: &str, dedup: &str, body: &str) -> Message {
    let mut message = message(dedup, body);
    (message.head.group, message.head.dedup) = (Some(group.into()), Some(dedup.into()));
    message
}

pub fn fifo() -> QueueAttributes {
    QueueAttributes { fifo: Some(Fifo::default()), ..QueueAttributes::default() }
}

pub fn body(received: &Received) -> String {
    String::from_utf8(received.message.body.to_vec()).unwrap()
}

impl House {
    pub async fn queue(&self, queue: &str, attributes: QueueAttributes) {
        let made = self.flow.queues.create(&scope(), &name(queue), attributes, Default::default()).await.unwrap();
        assert!(matches!(made, Created::Made(_)));
    }

    pub async fn send(&self, queue: &str, messages: Vec<Message>) {
        self.flow.queues.send(&scope(), &name(queue), messages).await.unwrap();
    }

    /// At most ten, invisible for a minute.
    pub async fn receive(&self, queue: &str) -> Vec<Received> {
        let ask = Receive { max: 10, visibility: Some(Duration::from_secs(60)), ..Receive::default() };
        self.flow.queues.receive(&scope(), &name(queue), &ask).await.unwrap()
    }

    async fn bodies(&self, queue: &str) -> Vec<String> {
        self.receive(queue).await.iter().map(body).collect()
    }

    pub async fn delete(&self, queue: &str, received: &Received) -> Settled {
        let handles = [received.handle.clone()];
        self.flow.queues.settle(&scope(), &name(queue), &handles).await.unwrap()[0]
    }

    async fn visible(&self, queue: &str) -> usize {
        self.flow.queues.counts(&scope(), &name(queue)).await.unwrap().visible
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_brings_back_what_was_there_as_it_was() {
    let world = World::new(1);
    let house = world.open().await;
    house.queue("q", QueueAttributes { delay_s: 0, ..QueueAttributes::default() }).await;
    house.send("q", (0..5).map(|n| message(&n.to_string(), &format!("m{n}"))).collect()).await;
    let mut late = message("late", "late");
    late.head.delay_ms = 600_000;
    house.send("q", vec![late]).await;
    let received = house.receive("q").await;
    assert_eq!(house.delete("q", &received[0]).await, Settled::Done);
    house.stop().await;

    let house = world.open().await;
    assert_eq!(house.bodies("q").await, [] as [&str; 0]);
    // The receipts are good after a restart, too, and only in their own queue.
    assert_eq!(house.delete("q", &received[1]).await, Settled::Done);
    house.queue("other", QueueAttributes::default()).await;
    assert_eq!(house.delete("other", &received[2]).await, Settled::NoHandle);
    world.pass(Duration::from_secs(60)).await;
    let again = house.receive("q").await;
    assert_eq!(again.iter().map(body).collect::<Vec<_>>(), ["m2", "m3", "m4"]);
    assert!(again.iter().all(|received| received.receives == 2));
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(house.bodies("q").await.len(), 4);
    house.flow.queues.delete(&scope(), &name("q")).await.unwrap();
    house.queue("q", QueueAttributes::default()).await;
    assert_eq!(house.visible("q").await, 0);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_a_message_a_visibility_or_its_time() {
    let world = World::new(2);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let wait = |seconds: u64| Receive {
        max: 1,
        visibility: Some(Duration::from_secs(5)),
        wait: Some(Duration::from_secs(seconds)),
        ..Receive::default()
    };
    let (scope, q, began) = (scope(), name("q"), world.clock.clone());
    let start = base::Clock::instant(&*began);
    let elapsed = || (base::Clock::instant(&*began) - start).as_secs();
    assert!(house.flow.queues.receive(&scope, &q, &wait(20)).await.unwrap().is_empty());
    assert_eq!(elapsed(), 20);
    let ask = wait(20);
    let both = futures::future::join(house.flow.queues.receive(&scope, &q, &ask), async {
        world.pass(Duration::from_secs(1)).await;
        house.send("q", vec![message("1", "x")]).await;
    });
    assert_eq!(both.await.0.unwrap().len(), 1);
    assert_eq!(elapsed(), 21);
    // It comes back when its time is up.
    assert_eq!(house.flow.queues.receive(&scope, &q, &wait(20)).await.unwrap()[0].receives, 2);
    assert_eq!(elapsed(), 26);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_went_away_while_waiting_takes_nothing() {
    let world = World::new(16);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    let (scope, q, start) = (scope(), name("q"), base::Clock::instant(&*world.clock));
    let ask = Receive { max: 1, wait: Some(Duration::from_secs(20)), ..Receive::default() };
    let (received, ()) = futures::join!(house.flow.queues.receive(&scope, &q, &ask), async {
        world.pass(Duration::from_secs(1)).await;
        ask.left.cancel();
        house.send("q", vec![message("1", "x")]).await;
    });
    assert_eq!(received.unwrap(), []);
    assert_eq!((base::Clock::instant(&*world.clock) - start).as_secs(), 1);
    assert_eq!(house.receive("q").await[0].receives, 1);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_message_is_taken_once_for_five_minutes_also_across_a_restart() {
    let world = World::new(3);
    let house = world.open().await;
    house.queue("f.fifo", fifo()).await;
    let send = async |house: &House, text: &str| {
        let messages = vec![in_group("g", "same", text), in_group("g", "same", text)];
        house.flow.queues.send(&scope(), &name("f.fifo"), messages).await.unwrap()
    };
    let first = send(&house, "one").await;
    assert_eq!(first[0], first[1]);
    assert_eq!(house.delete("f.fifo", &house.receive("f.fifo").await[0]).await, Settled::Done);
    assert_eq!(send(&house, "two").await[0].sequence, first[0].sequence);
    house.stop().await;
    let house = world.open().await;
    world.pass(Duration::from_secs(200)).await;
    assert_eq!(send(&house, "three").await[0].sequence, first[0].sequence);
    assert_eq!(house.bodies("f.fifo").await, [] as [&str; 0]);
    world.pass(Duration::from_secs(101)).await;
    send(&house, "four").await;
    assert_eq!(house.bodies("f.fifo").await, ["four"]);
    house.stop().await;
}

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

#[tokio::test(start_paused = true)]
async fn dead_letters_move_and_a_task_moves_them_back() {
    let world = World::new(5);
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    let dead = queue_arn(&scope(), &name("dead"));
    let redrive = Some(Redrive { target: dead.clone(), max_receives: 1 });
    house.queue("work", QueueAttributes { redrive, visibility_s: 1, ..QueueAttributes::default() }).await;
    house.send("work", (0..25).map(|n| message(&n.to_string(), "x")).collect()).await;
    let at_most = Receive { max: 10, ..Receive::default() };
    for _ in 0..6 {
        house.flow.queues.receive(&scope(), &name("work"), &at_most).await.unwrap();
        world.pass(Duration::from_secs(1)).await;
    }
    while !house.flow.queues.receive(&scope(), &name("work"), &at_most).await.unwrap().is_empty() {}
    assert_eq!((house.visible("work").await, house.visible("dead").await), (0, 25));
    assert_eq!(house.flow.queues.sources(&scope(), &name("dead")).unwrap()[0].name, name("work"));
    house.flow.queues.start_move(&dead, None, Some(10)).await.unwrap();
    world.pass(Duration::from_millis(900)).await;
    house.stop().await;
    // It goes on after a restart.
    let house = world.open().await;
    let completed = || house.flow.queues.moves(&dead).unwrap()[0].status == MoveStatus::Completed;
    for _ in 0..100 {
        world.pass(Duration::from_secs(1)).await;
        if completed() {
            break;
        }
    }
    until("the end of the move", completed).await;
    assert_eq!((house.visible("work").await, house.visible("dead").await), (25, 0));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn messages_expire_and_the_log_lets_go_of_what_nobody_needs() {
    let world = World::new(6);
    let house = world.open().await;
    house.queue("q", QueueAttributes { retention_s: 3_600, ..QueueAttributes::default() }).await;
    let key = StreamKey { kind: StreamKind::Queue, scope: scope(), name: "q".into() };
    let text = "x".repeat(100_000);
    for n in 0..40 {
        house.send("q", vec![message(&n.to_string(), &text)]).await;
        let received = house.receive("q").await;
        if n > 0 {
            assert_eq!(house.delete("q", &received[0]).await, Settled::Done);
        }
    }
    let records = house.records(&key).await.len();
    world.pass(Duration::from_secs(11)).await;
    house.log.enforce_retention().await.unwrap();
    assert_eq!(house.records(&key).await.len(), records, "the first message is still there");
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(house.visible("q").await, 1);
    world.pass(Duration::from_secs(3_600)).await;
    assert_eq!(house.visible("q").await, 0);
    world.pass(Duration::from_secs(11)).await;
    house.log.enforce_retention().await.unwrap();
    let left = house.records(&key).await.len();
    assert!(left < records / 2, "{left} of {records} records are left");
    house.stop().await;
    let house = world.open().await;
    assert_eq!(house.visible("q").await, 0);
    house.stop().await;
}

fn delivery(position: u64, payload: String, group: Option<&str>) -> Delivery {
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

/// The queue `work`, whose messages are dead after one receive, and a message that was received once; its handle.
async fn received_once(world: &World) -> (House, Received) {
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    let redrive = Some(Redrive { target: queue_arn(&scope(), &name("dead")), max_receives: 1 });
    house.queue("work", QueueAttributes { redrive, visibility_s: 0, ..QueueAttributes::default() }).await;
    house.send("work", vec![message("1", "x")]).await;
    let at_most = Receive { max: 10, ..Receive::default() };
    let received = house.flow.queues.receive(&scope(), &name("work"), &at_most).await.unwrap().pop().unwrap();
    house.go_far_away().await;
    (world.reopen(house).await, received)
}

impl House {
    /// What is there is in a sealed segment then. After a restart it is read from the disk, which takes a moment.
    async fn go_far_away(&self) {
        self.queue("filler", QueueAttributes::default()).await;
        let text = "x".repeat(500_000);
        for _ in 0..5 {
            self.send("filler", vec![message("1", &text)]).await;
        }
    }
}

impl World {
    async fn reopen(&self, house: House) -> House {
        house.stop().await;
        self.open().await
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_or_purged_while_it_is_being_taken_is_no_dead_letter() {
    for seed in 0..10 {
        let (world, purges) = (World::new(300 + seed), seed % 2 == 0);
        let (house, received) = received_once(&world).await;
        assert_eq!(house.visible("work").await, 1);
        let (scope, work, queues) = (scope(), name("work"), &house.flow.queues);
        let ask = Receive { max: 10, ..Receive::default() };
        let (taken, before) = futures::join!(queues.receive(&scope, &work, &ask), async {
            if purges {
                queues.purge(&scope, &work).await.unwrap();
            } else {
                assert_eq!(house.delete("work", &received).await, Settled::Done);
            }
            house.visible("dead").await
        });
        assert_eq!(taken.unwrap(), [], "purges: {purges}");
        // It was a dead letter before that, or never is.
        assert_eq!((house.visible("work").await, house.visible("dead").await), (0, before), "purges: {purges}");
        house.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_while_it_is_being_moved_is_gone() {
    let world = World::new(10);
    let house = world.open().await;
    house.queue("dead", QueueAttributes { visibility_s: 0, ..QueueAttributes::default() }).await;
    let dead = queue_arn(&scope(), &name("dead"));
    let redrive = Some(Redrive { target: dead.clone(), max_receives: 1 });
    house.queue("work", QueueAttributes { redrive, ..QueueAttributes::default() }).await;
    house.send("dead", vec![message("1", "x")]).await;
    let ask = Receive { max: 10, ..Receive::default() };
    let received = house.flow.queues.receive(&scope(), &name("dead"), &ask).await.unwrap();
    house.go_far_away().await;
    let house = world.reopen(house).await;
    assert_eq!(house.visible("dead").await, 1);
    let work = queue_arn(&scope(), &name("work"));
    house.flow.queues.start_move(&dead, Some(work), None).await.unwrap();
    // The task begins to read.
    tokio::task::yield_now().await;
    assert_eq!(house.delete("dead", &received[0]).await, Settled::Done);
    // It was moved before that, or never is.
    let moved = house.visible("work").await;
    until("the end of the move", || house.flow.queues.moves(&dead).unwrap()[0].status == MoveStatus::Completed).await;
    let visible = (house.visible("work").await, house.visible("dead").await);
    assert_eq!((visible, house.flow.queues.moves(&dead).unwrap()[0].moved), ((moved, 0), moved as u64));
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn receives_elsewhere_do_not_count_towards_a_queue_s_own_limit() {
    let world = World::new(11);
    let house = world.open().await;
    house.queue("a", QueueAttributes::default()).await;
    let redrive = |to: &str| Some(Redrive { target: queue_arn(&scope(), &name(to)), max_receives: 2 });
    house.queue("b", QueueAttributes { redrive: redrive("a"), ..QueueAttributes::default() }).await;
    let to_b = redrive("b");
    let change = |info: &mut flow::queue::QueueInfo| {
        info.attributes.redrive.clone_from(&to_b);
        Ok(())
    };
    house.flow.queues.update(&scope(), &name("a"), change).await.unwrap();
    house.send("a", vec![message("1", "x")]).await;
    for (queue, receives) in [("a", 1), ("a", 2), ("b", 3), ("b", 4), ("a", 5)] {
        let mut received = house.receive(queue).await;
        if received.is_empty() {
            // It left this queue with that.
            received = house.receive(queue).await;
        }
        if received.is_empty() {
            let other = if queue == "a" { "b" } else { "a" };
            assert!(house.receive(other).await.is_empty());
            received = house.receive(queue).await;
        }
        assert_eq!(received.iter().map(|one| one.receives).collect::<Vec<_>>(), [receives], "{queue}");
        world.pass(Duration::from_secs(61)).await;
        // A dead letter leaves when it is asked for.
        if receives % 2 == 0 {
            assert!(house.receive(queue).await.is_empty());
        }
    }
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_move_task_ends_with_its_queue() {
    let world = World::new(12);
    let house = world.open().await;
    let make = async |house: &House| {
        house.queue("dead", QueueAttributes::default()).await;
        house.send("dead", (0..50).map(|n| message(&n.to_string(), "x")).collect()).await;
    };
    make(&house).await;
    let dead = queue_arn(&scope(), &name("dead"));
    let redrive = Some(Redrive { target: dead.clone(), max_receives: 1 });
    house.queue("work", QueueAttributes { redrive, ..QueueAttributes::default() }).await;
    let work = queue_arn(&scope(), &name("work"));
    house.flow.queues.start_move(&dead, Some(work.clone()), Some(1)).await.unwrap();
    world.pass(Duration::from_secs(2)).await;
    let moved = house.visible("work").await;
    assert!((1..10).contains(&moved), "{moved}");
    house.flow.queues.delete(&scope(), &name("dead")).await.unwrap();
    make(&house).await;
    assert_eq!(house.flow.queues.moves(&dead).unwrap(), []);
    let task = house.flow.queues.start_move(&dead, Some(work.clone()), Some(1)).await.unwrap();
    let cancelled = house.flow.queues.cancel_move(&task.id).await.unwrap();
    assert_eq!(cancelled.status, MoveStatus::Cancelling);
    until("the end of the task", || house.flow.queues.moves(&dead).unwrap()[0].status == MoveStatus::Cancelled).await;
    // The queue with its row is deleted while the task is not there to see it.
    house.flow.queues.start_move(&dead, Some(work), Some(1)).await.unwrap();
    house.stop().await;
    let house = world.open().await;
    house.flow.queues.delete(&scope(), &name("dead")).await.unwrap();
    make(&house).await;
    house.stop().await;
    let house = world.open().await;
    world.pass(Duration::from_secs(10)).await;
    assert_eq!(house.visible("dead").await, 50);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_move_task_outlives_a_disk_that_fails_a_call() {
    use base::fs::sim::{Call, Fault};
    let world = World::new(13);
    let house = world.open().await;
    house.queue("dead", QueueAttributes::default()).await;
    let dead = queue_arn(&scope(), &name("dead"));
    let redrive = Some(Redrive { target: dead.clone(), max_receives: 1 });
    house.queue("work", QueueAttributes { redrive, ..QueueAttributes::default() }).await;
    let work = queue_arn(&scope(), &name("work"));
    house.send("dead", (0..40).map(|n| message(&n.to_string(), "x")).collect()).await;
    house.flow.queues.start_move(&dead, Some(work), None).await.unwrap();
    world.fs.fail(&[Call::SyncData], 2, Fault::Eio);
    for _ in 0..100 {
        world.pass(Duration::from_secs(1)).await;
        if house.flow.queues.moves(&dead).unwrap()[0].status != MoveStatus::Running {
            break;
        }
    }
    assert_eq!(house.flow.queues.moves(&dead).unwrap()[0].status, MoveStatus::Completed);
    assert_eq!((house.visible("dead").await, house.visible("work").await), (0, 40));
    house.stop().await;
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

#[tokio::test(start_paused = true)]
async fn an_attempt_is_repeated_until_one_of_its_messages_is_dealt_with() {
    let world = World::new(15);
    let house = world.open().await;
    house.queue("f.fifo", fifo()).await;
    let (scope, queue) = (scope(), name("f.fifo"));
    house.send("f.fifo", vec![in_group("g", "1", "a"), in_group("g", "2", "b")]).await;
    let visibility = Some(Duration::from_secs(60));
    let ask = Receive { max: 10, visibility, attempt: Some("once".into()), ..Receive::default() };
    let attempt = async || house.flow.queues.receive(&scope, &queue, &ask).await.unwrap();
    let first = attempt().await;
    assert_eq!(first.len(), 2);
    world.pass(Duration::from_secs(50)).await;
    assert_eq!(attempt().await, first);
    world.pass(Duration::from_secs(50)).await;
    assert_eq!(attempt().await, first, "the repetition held them for as long again");
    let later = [(first[0].handle.clone(), Duration::from_secs(30))];
    assert_eq!(house.flow.queues.defer(&scope, &queue, &later).await.unwrap(), [Settled::Done]);
    assert_eq!(attempt().await, [], "the visibility of one was changed");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_queue_that_is_deleted_meanwhile_costs_no_message() {
    use base::Kinded;
    for moments in (0..30).step_by(3) {
        let world = World::new(200 + moments);
        let (house, _) = received_once(&world).await;
        assert_eq!(house.visible("work").await, 1);
        let (scope, work, dead, queues) = (scope(), name("work"), name("dead"), &house.flow.queues);
        let ask = Receive { max: 10, visibility: Some(Duration::ZERO), ..Receive::default() };
        let (deleted, received) = futures::join!(queues.delete(&scope, &dead), async {
            for _ in 0..moments {
                tokio::task::yield_now().await;
            }
            queues.receive(&scope, &work, &ask).await
        });
        deleted.unwrap();
        let died = match received {
            Ok(received) => received.is_empty(),
            Err(error) => {
                assert!(error.kind().is_transient(), "after {moments}: {error}");
                false
            }
        };
        assert_eq!(house.visible("work").await, usize::from(!died), "after {moments}");
        house.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn sends_are_throttled_while_all_queues_together_take_too_much_memory() {
    use base::Kinded;
    let world = World::new(17);
    let house = world.open().await;
    house.queue("q", QueueAttributes::default()).await;
    house.queue("other", QueueAttributes::default()).await;
    // The world allows two mebibytes.
    let mut sent = 0;
    let refused = loop {
        let messages = (0..500).map(|n| message(&n.to_string(), "x")).collect();
        match house.flow.queues.send(&scope(), &name("q"), messages).await {
            Ok(answers) => sent += answers.len(),
            Err(error) => break error,
        }
        assert!(sent < 20_000);
    };
    assert!(refused.kind() == base::ErrorKind::Throttled && sent > 5_000, "{sent} {refused}");
    assert!(house.flow.queues.send(&scope(), &name("other"), vec![message("1", "x")]).await.is_err());
    let target = QueueTarget::new(house.flow.queues.clone());
    let to = queue_arn(&scope(), &name("other"));
    assert!(
        target.deliver(&to, ProducerId(1), &[delivery(1, "x".into(), None)]).await.unwrap_err().kind.is_transient()
    );
    // What is there is received all the same, also after a restart.
    let house = world.reopen(house).await;
    assert_eq!((house.visible("q").await, house.receive("q").await.len()), (sent, 10));
    assert!(house.flow.queues.send(&scope(), &name("other"), vec![message("1", "x")]).await.is_err());
    house.flow.queues.purge(&scope(), &name("q")).await.unwrap();
    house.send("other", vec![message("1", "x")]).await;
    house.stop().await;
}
