//! Dead letters: how messages come to another queue and back, also while something happens to either.

use std::time::Duration;

use flow::queue::{MoveStatus, QueueAttributes, Receive, Received, Redrive, Settled, queue_arn};

use crate::queue::{message, name};
use crate::world::{House, World, scope, until};

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
    pub async fn reopen(&self, house: House) -> House {
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
