//! Power cuts and failing disks at any moment: no message is lost, none comes back, counts and times hold, and a dead
//! letter is in one queue.

use std::collections::BTreeMap;
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Clock, Timestamp};
use flow::queue::{QueueAttributes, Receive, Received, Redrive, Settled, queue_arn};

use crate::queue::{body, message, name};
use crate::world::{House, Outside, World, scope};

const CHANGES: [Call; 8] =
    [Call::Write, Call::SetLen, Call::SyncData, Call::SyncDir, Call::Rename, Call::Remove, Call::CreateDir, Call::Open];
const MAX_RECEIVES: u32 = 3;

/// What is known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A call about it has not been answered well.
    Unknown,
    Sent,
    Deleted,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    fate: Fate,
    /// As answered.
    receives: u32,
    invisible_until: Timestamp,
}

#[derive(Default)]
struct Ledger {
    messages: BTreeMap<String, Known>,
    sent: usize,
    deleted: usize,
}

impl Ledger {
    /// Checks what was received against what is known.
    fn note(&mut self, seed: u64, queue: &str, received: &Received, now: Timestamp, until: Timestamp) {
        let text = body(received);
        let known = self.messages.get_mut(&text).unwrap_or_else(|| panic!("seed {seed}: {text} was never sent"));
        assert_ne!(known.fate, Fate::Deleted, "seed {seed}: {text} came back");
        assert!(known.invisible_until <= now, "seed {seed}: {text} came before its time");
        assert!(received.receives > known.receives, "seed {seed}: {text} counts {} again", received.receives);
        assert!(queue == "dead" || received.receives <= MAX_RECEIVES, "seed {seed}: {text} should be dead");
        (known.receives, known.invisible_until) = (received.receives, until);
    }
}

async fn work_until_the_end(world: &World, seed: u64, ledger: &mut Ledger) {
    let Ok(house) = world.try_open().await else { return };
    let (queues, rng) = (&house.flow.queues, &world.env.rng);
    for _ in 0..40 {
        match rng.below(8) {
            0..3 => {
                let texts: Vec<String> =
                    (0..1 + rng.below(3)).map(|n| format!("m{}", ledger.sent + n as usize)).collect();
                ledger.sent += texts.len();
                let sent = queues.send(&scope(), &name("work"), texts.iter().map(|t| message(t, t)).collect()).await;
                let fate = if sent.is_ok() { Fate::Sent } else { Fate::Unknown };
                for text in texts {
                    ledger
                        .messages
                        .insert(text, Known { fate, receives: 0, invisible_until: Timestamp::from_millis(0) });
                }
            }
            3..7 => {
                let queue = if rng.below(4) == 0 { "dead" } else { "work" };
                let visibility = Duration::from_secs([0, 1, 5, 3_600][rng.below(4) as usize]);
                let ask =
                    Receive { max: 1 + rng.below(4) as usize, visibility: Some(visibility), ..Receive::default() };
                let began = world.clock.now();
                let Ok(received) = queues.receive(&scope(), &name(queue), &ask).await else {
                    if world.fs.is_off() {
                        return;
                    }
                    continue;
                };
                for one in received {
                    ledger.note(seed, queue, &one, world.clock.now(), began + visibility);
                    if rng.below(3) == 0 {
                        let known = ledger.messages.get_mut(&body(&one)).unwrap();
                        known.fate = Fate::Unknown;
                        let handles = [one.handle.clone()];
                        if let Ok(settled) = queues.settle(&scope(), &name(queue), &handles).await {
                            assert_eq!(settled, [Settled::Done]);
                            known.fate = Fate::Deleted;
                            ledger.deleted += 1;
                        }
                    }
                }
            }
            _ => world.pass(Duration::from_secs(1 + rng.below(12))).await,
        }
        if world.fs.is_off() {
            return;
        }
    }
}

/// Everything that is left, once all that was invisible is visible again.
async fn check(world: &World, seed: u64, ledger: &mut Ledger) {
    let house = world.open().await;
    world.pass(Duration::from_secs(3_601)).await;
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    // Dead letters leave for their queue when they are asked for.
    for queue in ["work", "dead"] {
        loop {
            let received = drain(&house, queue).await;
            if received.is_empty() {
                break;
            }
            for one in received {
                ledger.note(seed, queue, &one, world.clock.now(), world.clock.now() + Duration::from_secs(43_200));
                *found.entry(body(&one)).or_default() += 1;
            }
        }
    }
    assert!(found.values().all(|count| *count == 1), "seed {seed}: {found:?}");
    for (text, known) in &ledger.messages {
        if known.fate == Fate::Sent {
            assert!(found.contains_key(text), "seed {seed}: {text} is lost");
        }
    }
    house.stop().await;
}

async fn drain(house: &House, queue: &str) -> Vec<Received> {
    let ask = Receive { max: 10, visibility: Some(Duration::from_secs(43_200)), ..Receive::default() };
    house.flow.queues.receive(&scope(), &name(queue), &ask).await.unwrap()
}

fn script(seed: u64, lives: u32, fault: Fault) -> (Ledger, u32) {
    let outside = Outside::new(seed);
    outside.life(async |world| {
        let house = world.open().await;
        house.queue("dead", QueueAttributes::default()).await;
        let redrive = Redrive { target: queue_arn(&scope(), &name("dead")), max_receives: MAX_RECEIVES };
        house.queue("work", QueueAttributes { redrive: Some(redrive), ..QueueAttributes::default() }).await;
        house.stop().await;
    });
    let (mut ledger, mut struck) = (Ledger::default(), 0);
    for _ in 0..lives {
        outside.life(async |world| {
            world.fs.fail(&CHANGES, 1 + world.env.rng.below(200), fault);
            work_until_the_end(world, seed, &mut ledger).await;
        });
        struck += u32::from(outside.fs.is_off());
        outside.fs.power_cut();
    }
    outside.life(async |world| check(world, seed, &mut ledger).await);
    (ledger, struck)
}

#[test]
fn a_power_cut_at_any_moment_loses_no_message_and_brings_none_back() {
    let (mut sent, mut deleted, mut cuts) = (0, 0, 0);
    for seed in 0..25 {
        let (ledger, struck) = script(seed, 5, Fault::Crash);
        (sent, deleted, cuts) = (sent + ledger.sent, deleted + ledger.deleted, cuts + struck);
    }
    assert!(sent > 1_000 && deleted > 100 && cuts > 50, "the script does something: {sent}, {deleted}, {cuts}");
}

#[test]
fn a_disk_that_fails_a_call_loses_no_message_and_brings_none_back() {
    let mut deleted = 0;
    for seed in 200..225 {
        deleted += script(seed, 5, Fault::Eio).0.deleted;
    }
    assert!(deleted > 100, "the script does something: {deleted}");
}
