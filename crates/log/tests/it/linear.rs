//! Histories of concurrent puts, gets, splits and merges, on real threads and through crashes, checked for
//! linearizability; and bugs of many kinds, each of which the checker must find.

mod check;
mod client;
mod history;

use std::sync::Arc;
use std::time::Duration;

use base::fs::sim::{Call, Fault, SimFs};
use base::{Env, Rng, SeededRng, SystemClock};
use tidegate_log::{Log, LogConfig, LogError};

use crate::world::*;
use check::Element;
use client::{Bug, Client, KEYS};
use history::History;

const CLIENTS: u64 = 8;
const OPERATIONS: usize = 200;
const LIVES: usize = 4;
/// Long enough for any machine; a reader that is not woken waits for ever.
const DEADLINE: Duration = Duration::from_secs(120);

fn histories() -> u64 {
    std::env::var("TIDEGATE_SOAK_HISTORIES").ok().and_then(|v| v.parse().ok()).unwrap_or(200)
}

/// Segments and caches so small that reads come from memory, from the active segment and from sealed ones.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 8_192, tail_cache_bytes: 2_048, index_cache_bytes: 4_096, ..small() }
}

/// Reads everything twice from the first parents on: what was read once is read again.
async fn look(log: &Log, history: &History, seed: u64) -> Result<(), String> {
    let unreadable = |error: LogError| format!("the stream cannot be read: {error}");
    for again in 0..2 {
        let mut reader = Client::new(log, history, seed + again, None).map_err(unreadable)?;
        for key in 0..KEYS {
            reader.get(key).await.map_err(unreadable)?;
        }
        reader.describe().map_err(unreadable)?;
    }
    Ok(())
}

/// A history on real threads, with a reader a key that waits for what comes.
fn on_threads(seed: u64, bug: Option<Bug>) -> Result<History, String> {
    let history = History::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async {
        let (clock, rng) = (Arc::new(SystemClock::new()), Arc::new(SeededRng::new(seed)));
        let env = Env { clock, rng, fs: Arc::new(SimFs::new(seed)) };
        let log = Log::open(&env, "/journal".as_ref(), config()).await.unwrap();
        stream(&log, "s", 2).await;
        let client = |n: u64, bug| Client::new(&log, &history, seed * 1_000 + n, bug).unwrap();
        let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(client(n, bug).run(OPERATIONS))).collect();
        let (ends, end) = tokio::sync::watch::channel(None::<Vec<Element>>);
        let followers: Vec<_> = (0..KEYS)
            .map(|of| {
                let (follower, end) = (client(100 + of as u64, None), end.clone());
                tokio::spawn(follower.follow(of, move || Some(end.borrow().as_ref()?[of])))
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        // One more of every key, by which those who follow know that they have seen all.
        let last: Vec<_> = (0..KEYS).map(|_| history.element()).collect();
        ends.send_replace(Some(last.clone()));
        let mut closing = client(99, None);
        for (key, element) in last.into_iter().enumerate() {
            closing.put_all(&[(key, element)]).await.unwrap();
        }
        let all = futures::future::try_join_all(followers);
        tokio::time::timeout(DEADLINE, all).await.map_err(|_| "a reader waits for ever")?.unwrap();
        look(&log, &history, seed).await?;
        log.close().await.unwrap();
        drop((log, closing));
        let log = Log::open(&env, "/journal".as_ref(), config()).await.unwrap();
        look(&log, &history, seed).await?;
        Ok(history)
    })
}

/// What befalls a life.
fn plan(fs: &SimFs, rng: &SeededRng) -> Option<u64> {
    let nth = 1 + rng.below(500);
    match rng.below(4) {
        0 | 1 => fs.fail(Call::CHANGES, nth, Fault::Crash),
        2 => {
            for fault in [Fault::Eio, Fault::Enospc, Fault::Short, Fault::Torn] {
                fs.fail(Call::CHANGES, 1 + rng.below(500), fault);
            }
        }
        _ => return Some(fs.calls(Call::CHANGES) + nth),
    }
    None
}

/// A history over several lives of one disk: power cuts, kills and failing calls, and what nobody knows stays open.
fn through_crashes(seed: u64, lying: bool) -> Result<History, String> {
    let (fs, rng, history) = (SimFs::new(seed), SeededRng::new(seed), History::default());
    life(&fs, seed, async |world| {
        let log = world.open_with(config()).await;
        stream(&log, "s", 3).await;
        log.close().await.unwrap();
    });
    for life_number in 0..LIVES as u64 {
        fs.set_lying_sync(lying);
        let killed_at = plan(&fs, &rng);
        life(&fs, seed + life_number, async |world| {
            let Ok(log) = Log::open(&world.env, &world.dir, config()).await else { return };
            if let Err(error) = log.stream(&key("s")) {
                return history.fault(format!("the stream is lost: {error}"));
            }
            let clients = (0..CLIENTS).map(|n| {
                let seed = seed * 1_000 + life_number * 100 + n;
                let client = Client::new(&log, &history, seed, None).unwrap();
                tokio::spawn(client.patient(Arc::clone(&world.env.clock)).run(OPERATIONS / LIVES))
            });
            let all = futures::future::join_all(clients.collect::<Vec<_>>());
            let killed = async {
                // Virtual time stands still while this looks on; nobody who lives until he is killed waits for it.
                let Some(at) = killed_at else { return std::future::pending().await };
                while fs.calls(Call::CHANGES) < at {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                results = all => results.into_iter().for_each(|r| r.unwrap()),
                () = killed => {}
            }
        });
        // Whether power was cut or the process killed; both, when the power went by itself.
        let cut = fs.is_off() || (killed_at.is_none() && rng.below(2) == 0);
        if cut {
            fs.power_cut()
        } else {
            fs.kill()
        }
        fs.set_lying_sync(false);
        history.decided();
    }
    life(&fs, seed + 99, async |world| {
        let log = Log::open(&world.env, &world.dir, config()).await.map_err(|e| format!("the journal is lost: {e}"))?;
        look(&log, &history, seed).await?;
        Ok(history.clone())
    })
}

/// What is checked, and that it was worth it.
fn verify(what: &str, run: impl Fn(u64) -> Result<History, String>) -> String {
    let mut sum = [0; 4];
    for seed in 0..histories() {
        let history = run(seed).unwrap_or_else(|fault| panic!("{what} {seed}: {fault}"));
        history.verdict().unwrap_or_else(|fault| panic!("{what} {seed}: {fault}"));
        history.counts().iter().zip(&mut sum).for_each(|(count, sum)| *sum += count);
    }
    let [done, refused, unknown, gets] = sum;
    assert!(done > 200 * histories() as usize && gets > 200 * histories() as usize, "too little happened");
    format!("{} histories {what}: {done} puts done, {refused} refused, {unknown} unknown, {gets} gets", histories())
}

#[test]
fn concurrent_histories_are_linearizable() {
    println!("{}", verify("on threads", |seed| on_threads(seed, None)));
}

#[test]
fn histories_through_crashes_are_linearizable() {
    println!("{}", verify("through crashes", |seed| through_crashes(seed, false)));
}

#[test]
fn the_checker_finds_every_seeded_bug() {
    for bug in Bug::ALL {
        let found = (0..10).find_map(|seed| match on_threads(seed, Some(bug)) {
            Ok(history) => history.verdict().err(),
            hung => hung.err(),
        });
        println!("{bug:?}: {}", found.unwrap_or_else(|| panic!("{bug:?} was not found")));
    }
}

#[test]
fn the_checker_finds_a_disk_that_lies() {
    // What the checker says counts, not that a test fails by itself.
    let found = (0..10).filter(|seed| through_crashes(*seed, true).and_then(|history| history.verdict()).is_err());
    let found = found.count();
    assert!(found >= 3, "{found} of 10 were found");
}
