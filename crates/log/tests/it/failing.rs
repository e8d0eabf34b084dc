//! The nth call fails, for every n until a run is clean: no false acknowledgement, and the log recovers by itself.

use base::fs::sim::{Call, Fault, SimFs};
use tidegate_log::LogError;

use crate::crash::{Model, Story, look, run};
use crate::lifecycle::Lifecycle;
use crate::world::*;

/// Fails the nth call of the second life, which then goes on as a server would: what failed is tried again.
fn fail_at<S: Story>(seed: u64, nth: u64, fault: Fault) -> bool {
    let (fs, mut story) = (SimFs::new(seed), S::default());
    run(&fs, seed, &mut story).unwrap();
    let before = fs.calls(Call::ALL);
    fs.fail(Call::ALL, nth, fault);
    let mut attempts = 0;
    while let Err(error) = run(&fs, seed ^ 1, &mut story) {
        let failed = matches!(error, LogError::Poisoned(_) | LogError::Io { .. });
        assert!(failed, "call {nth} with {fault:?}: {error}");
        attempts += 1;
        assert!(attempts < 3, "one failing call must not fail run after run");
    }
    let reached = fs.calls(Call::ALL) - before >= nth;
    fs.power_cut();
    look(&fs, seed ^ 2, &story);
    reached
}

fn fail_everywhere(fault: Fault) {
    fail_story::<Model>(fault);
    fail_story::<Lifecycle>(fault);
}

fn fail_story<S: Story>(fault: Fault) {
    let mut nth = 1;
    while fail_at::<S>(nth, nth, fault) {
        nth += 1;
    }
    assert!(nth > 100, "only {nth} calls were failed");
}

#[test]
fn every_call_failing_with_eio() {
    fail_everywhere(Fault::Eio);
}

#[test]
fn every_call_failing_with_enospc() {
    fail_everywhere(Fault::Enospc);
}

#[test]
fn every_call_cut_short() {
    fail_everywhere(Fault::Short);
}

#[test]
fn every_call_torn() {
    fail_everywhere(Fault::Torn);
}

/// The same log goes on after each failure, without being opened again.
#[test]
fn one_log_survives_one_failure_after_the_other() {
    for seed in 0..30 {
        let fs = SimFs::new(seed);
        let mut acknowledged = Vec::new();
        let (slot, mut sent) = (std::cell::Cell::new(None), Vec::new());
        life(&fs, seed, async |world| {
            let log = world.open_small().await;
            let shard = stream(&log, "s", 1).await.shards[0].slot;
            slot.set(Some(shard));
            for n in 0..60_u64 {
                if n % 5 == 0 {
                    let fault = [Fault::Eio, Fault::Enospc, Fault::Short, Fault::Torn][(n / 5 % 4) as usize];
                    fs.fail(Call::CHANGES, 1 + (n + seed) % 3, fault);
                }
                let text = eventually(&world, async || {
                    let text = format!("{:04}/{n}/{}", sent.len(), "y".repeat(100));
                    sent.push(text.clone());
                    try_put(&log, shard, &text).await.ok().map(|_| text)
                })
                .await;
                acknowledged.push(text);
            }
            assert_eq!(texts(&read_all(&log, shard).await), acknowledged, "a failed append is never seen");
        });
        fs.power_cut();
        life(&fs, seed, async |world| {
            let log = world.open_small().await;
            let found = texts(&read_all(&log, slot.get().unwrap()).await);
            let mut all = sent.iter();
            assert!(found.iter().all(|text| all.any(|s| s == text)), "order is kept");
            assert!(acknowledged.iter().all(|text| found.contains(text)), "nothing acknowledged is lost");
        });
    }
}
