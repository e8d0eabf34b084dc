//! Power cuts at every change of the disk, and every call failing: nothing acknowledged is lost, nothing is there in
//! part.

use base::fs::sim::{Call, Fault, SimFs};
use base::{Batch, StateError, StateStore};

use crate::bed::{RIGHT, mark, marks, open, runtime};

/// Batches of the script, before and after the store is closed and opened in its middle.
const HALF: u32 = 6;

/// Commits marks until the first failure, and says how many were acknowledged.
async fn script(fs: &SimFs) -> u32 {
    let mut acknowledged = 0;
    for end in [HALF, 2 * HALF] {
        let Ok(store) = open(fs).await else { return acknowledged };
        while acknowledged < end {
            match store.commit(mark(acknowledged + 1)).await {
                Ok(()) => acknowledged += 1,
                Err(error) => {
                    assert!(matches!(error, StateError::Unavailable(_)), "{error}");
                    expect_poisoned(&store).await;
                    return acknowledged;
                }
            }
        }
        store.close().await;
    }
    acknowledged
}

async fn expect_poisoned(store: &dyn StateStore) {
    let unavailable = |answer: &Result<(), StateError>| matches!(answer, Err(StateError::Unavailable(_)));
    assert!(unavailable(&store.commit(mark(9_999)).await));
    assert!(unavailable(&store.get(RIGHT, b"last").map(drop)));
    assert!(unavailable(&store.scan(RIGHT, b"", None, 1).map(drop)));
}

/// Opens what is left and holds it against what was acknowledged. One batch more may be there: the one that was on
/// its way. Then the store must work on.
async fn check(fs: &SimFs, acknowledged: u32) -> Result<(), String> {
    let store =
        open(fs).await.map_err(|e| format!("{e} ({:?})", std::error::Error::source(&e).map(|s| s.to_string())))?;
    let found = marks(&store)?;
    if found != acknowledged && found != acknowledged + 1 {
        return Err(format!("{acknowledged} acknowledged, {found} found"));
    }
    store.commit(mark(found + 1)).await.map_err(|e| e.to_string())?;
    let now = marks(&store)?;
    store.close().await;
    if now == found + 1 { Ok(()) } else { Err(format!("{found} found, {now} after one more")) }
}

fn calls_of_script(calls: &[Call]) -> u64 {
    let fs = SimFs::new(0);
    assert_eq!(runtime().block_on(script(&fs)), 2 * HALF);
    fs.calls(calls)
}

#[test]
fn a_power_cut_at_any_change_loses_nothing_acknowledged() {
    let runtime = runtime();
    let mut cuts = 0;
    for nth in 1..=calls_of_script(Call::CHANGES) {
        for seed in 0..4 {
            let fs = SimFs::new(nth * 1_000 + seed);
            fs.fail(Call::CHANGES, nth, Fault::Crash);
            let acknowledged = runtime.block_on(script(&fs));
            cuts += u32::from(fs.is_off());
            fs.power_cut();
            let checked = runtime.block_on(check(&fs, acknowledged));
            assert!(checked.is_ok(), "cut at change {nth}, seed {seed}: {checked:?}");
        }
    }
    assert!(cuts > 200, "only {cuts} cuts");
}

#[test]
fn a_power_cut_during_recovery_loses_nothing_acknowledged() {
    let runtime = runtime();
    let changes = calls_of_script(Call::CHANGES);
    for first in (1..=changes).step_by(3) {
        for second in 1..12 {
            let fs = SimFs::new(first * 1_000 + second);
            fs.fail(Call::CHANGES, first, Fault::Crash);
            let acknowledged = runtime.block_on(script(&fs));
            fs.power_cut();
            fs.fail(Call::CHANGES, second, Fault::Crash);
            // Reopening may or may not get as far as the second cut.
            let _ = runtime.block_on(open(&fs)).map(|store| runtime.block_on(store.close()));
            fs.power_cut();
            let checked = runtime.block_on(check(&fs, acknowledged));
            assert!(checked.is_ok(), "cut at change {first}, then {second}: {checked:?}");
        }
    }
}

#[test]
fn any_call_failing_acknowledges_nothing_falsely() {
    let runtime = runtime();
    let calls = calls_of_script(Call::ALL);
    let mut failed = 0;
    for fault in [Fault::Eio, Fault::Enospc, Fault::Torn, Fault::Short] {
        for nth in 1..=calls {
            let fs = SimFs::new(nth);
            fs.fail(Call::ALL, nth, fault);
            let acknowledged = runtime.block_on(script(&fs));
            failed += u32::from(acknowledged < 2 * HALF);
            // Half of the runs restart the process only, half lose power too.
            if nth % 2 == 0 {
                fs.power_cut()
            } else {
                fs.kill()
            }
            let checked = runtime.block_on(check(&fs, acknowledged));
            assert!(checked.is_ok(), "{fault:?} at call {nth}: {checked:?}");
        }
    }
    assert!(failed > 200, "only {failed} runs were disturbed");
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let runtime = runtime();
    let fs = SimFs::new(1);
    let store = runtime.block_on(open(&fs)).unwrap();
    for number in 1..=5 {
        runtime.block_on(store.commit(mark(number))).unwrap();
    }
    fs.kill();
    runtime.block_on(check(&fs, 5)).unwrap();
}

#[test]
fn a_disk_that_fills_up_poisons_and_the_store_works_again_with_room() {
    let runtime = runtime();
    let fs = SimFs::new(2);
    let store = runtime.block_on(open(&fs)).unwrap();
    runtime.block_on(store.commit(mark(1))).unwrap();
    fs.set_capacity(Some(2 << 20));
    let big = |n: u32| Batch::new().put(RIGHT, format!("big/{n}"), vec![n as u8; 100_000]);
    let failed = (0..100).find_map(|n| runtime.block_on(store.commit(big(n))).err());
    assert!(matches!(failed, Some(StateError::Unavailable(_))), "{failed:?}");
    drop(store);
    fs.set_capacity(None);
    fs.power_cut();
    runtime.block_on(check(&fs, 1)).unwrap();
}

/// The tests above can fail: syncs that do not sync are found out.
#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let runtime = runtime();
    let lost = |seed| {
        let fs = SimFs::new(seed);
        let store = runtime.block_on(open(&fs)).unwrap();
        fs.set_lying_sync(true);
        for number in 1..=5 {
            runtime.block_on(store.commit(mark(number))).unwrap();
        }
        fs.power_cut();
        fs.set_lying_sync(false);
        drop(store);
        runtime.block_on(check(&fs, 5)).is_err()
    };
    assert!((0..20).any(lost));
}
