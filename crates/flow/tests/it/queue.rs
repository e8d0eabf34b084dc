//! Queues: what is sent is received until it is deleted, on time, and in order where that is promised.

use std::time::Duration;

use base::{ProducerId, QueueName, Target};
use bytes::Bytes;
use flow::queue::{Created, Fifo, Head, Message, QueueAttributes, QueueTarget, Receive, Received, Settled, queue_arn};
use log::{StreamKey, StreamKind};

use crate::queue_target::delivery;
use crate::world::{House, World, scope};

pub fn name(text: &str) -> QueueName {
    text.parse().unwrap()
}

pub fn message(id: &str, body: &str) -> Message {
    let head = Head { id: id.into(), sender: "s".into(), ..Head::default() };
    Message { head, body: Bytes::copy_from_slice(body.as_bytes()) }
}

pub fn in_group(group: &str, dedup: &str, body: &str) -> Message {
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

    pub async fn bodies(&self, queue: &str) -> Vec<String> {
        self.receive(queue).await.iter().map(body).collect()
    }

    pub async fn delete(&self, queue: &str, received: &Received) -> Settled {
        let handles = [received.handle.clone()];
        self.flow.queues.settle(&scope(), &name(queue), &handles).await.unwrap()[0]
    }

    pub async fn visible(&self, queue: &str) -> usize {
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
