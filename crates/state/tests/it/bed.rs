//! What the tests stand on.

use std::path::Path;
use std::sync::Arc;

use base::fs::sim::SimFs;
use base::{Batch, Env, SeededRng, StateStore, SystemClock, Table};
use state::{OpenError, Store};

pub const LEFT: Table = Table("left");
pub const RIGHT: Table = Table("right");

pub fn env(fs: &SimFs) -> Env {
    Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SeededRng::new(1)), fs: Arc::new(fs.clone()) }
}

pub async fn open(fs: &SimFs) -> Result<Store, OpenError> {
    Store::open(&env(fs), Path::new("/data/state.redb")).await
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A batch that leaves its mark in both tables: one of its own and one that all share.
pub fn mark(number: u32) -> Batch {
    let value = number.to_be_bytes();
    Batch::new()
        .put(LEFT, format!("own/{number:04}"), value)
        .put(LEFT, "last", value)
        .put(RIGHT, "last", value)
        .delete(RIGHT, format!("own/{:04}", number.wrapping_sub(1)))
        .put(RIGHT, format!("own/{number:04}"), vec![number as u8; 100 + (number as usize * 977) % 6_000])
}

/// Which marks the store has. Fails when one is there in part, or when they are not the first ones.
pub fn marks(store: &dyn StateStore) -> Result<u32, String> {
    let own = store.scan(LEFT, b"own/", None, usize::MAX).map_err(|e| e.to_string())?;
    let count = own.len() as u32;
    for (at, (key, value)) in own.iter().enumerate() {
        let number = at as u32 + 1;
        if key != format!("own/{number:04}").as_bytes() || *value != number.to_be_bytes() {
            return Err(format!("mark {number} is missing or wrong"));
        }
    }
    let expected = (count > 0).then(|| count.to_be_bytes().to_vec());
    for table in [LEFT, RIGHT] {
        let last = store.get(table, b"last").map_err(|e| e.to_string())?;
        if last != expected {
            return Err(format!("{count} marks, but the last one in table {} is {last:?}", table.0));
        }
    }
    let right = store.scan(RIGHT, b"own/", None, usize::MAX).map_err(|e| e.to_string())?;
    let whole = vec![count as u8; 100 + (count as usize * 977) % 6_000];
    match (count, right.as_slice()) {
        (0, []) => Ok(0),
        (_, [(key, value)]) if *key == format!("own/{count:04}").into_bytes() && *value == whole => Ok(count),
        _ => Err(format!("{count} marks, but {} entries in the other table", right.len())),
    }
}
