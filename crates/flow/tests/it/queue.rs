//! Queues: what is sent is received until it is deleted, on time, in order where that is promised, and once from targets.

use std::sync::Arc;
use std::time::Duration;

use base::{Delivery, Position, ProducerId, QueueName, Target};
use bytes::Bytes;
use flow::queue::{
    Created, Fifo, Head, Message, MoveStatus, QueueAttributes, QueueTarget, Receive, Received, Redrive, Settled,
    queue_arn,
};
use log::{StreamKey, StreamKind};

use crate::world::{House, World, scope, until};

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
        attempt: None,
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
    let ungrouped = [Delivery { partition_key: None, ..deliveries[0].clone() }];
    assert!(target.deliver(&queue_arn(&scope(), &name("f.fifo")), ProducerId(8), &ungrouped).await.is_err());
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
