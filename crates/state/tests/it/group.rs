//! Many callers at once.

use std::sync::Arc;

use base::fs::sim::{Call, Fault, SimFs};
use base::{Batch, Precondition, StateError, StateStore};
use futures::future::join_all;

use crate::bed::{LEFT, RIGHT, open};

fn pair(key: usize) -> Batch {
    let key = format!("{key:05}");
    Batch::new().put(LEFT, key.as_str(), key.as_str()).put(RIGHT, key.as_str(), "")
}

#[tokio::test]
async fn concurrent_batches_share_syncs() {
    let fs = SimFs::new(1);
    let store = open(&fs).await.unwrap();
    let before = fs.calls(&[Call::SyncData]);
    let answers = join_all((0..1_000).map(|key| store.commit(pair(key)))).await;
    assert!(answers.iter().all(Result::is_ok));
    let syncs = fs.calls(&[Call::SyncData]) - before;
    assert!(syncs < 100, "{syncs} syncs for 1,000 concurrent batches");
    assert_eq!(store.scan(RIGHT, b"", None, usize::MAX).unwrap().len(), 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_counter_raised_by_many_counts_each_once() {
    const CALLERS: u64 = 16;
    const RAISES: u64 = 20;
    let store = Arc::new(open(&SimFs::new(2)).await.unwrap());
    store.commit(Batch::new().put(LEFT, "count", 0u64.to_be_bytes())).await.unwrap();
    let caller = |store: Arc<state::Store>| async move {
        let (mut raised, mut conflicts) = (0, 0);
        while raised < RAISES {
            let seen = store.get(LEFT, b"count").unwrap().unwrap();
            let next = u64::from_be_bytes(seen.clone().try_into().unwrap()) + 1;
            let batch =
                Batch::new().require(LEFT, "count", Precondition::Equals(seen)).put(LEFT, "count", next.to_be_bytes());
            match store.commit(batch).await {
                Ok(()) => {
                    raised += 1;
                    let now = store.get(LEFT, b"count").unwrap().unwrap();
                    assert!(u64::from_be_bytes(now.try_into().unwrap()) >= next, "a read missed a committed batch");
                }
                Err(StateError::Conflict { table: "left" }) => conflicts += 1,
                Err(error) => panic!("{error}"),
            }
        }
        conflicts
    };
    let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(caller(Arc::clone(&store)))).collect();
    let conflicts: u64 = join_all(callers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(store.get(LEFT, b"count").unwrap(), Some((CALLERS * RAISES).to_be_bytes().to_vec()));
    assert!(conflicts > 0, "the callers never met");
}

#[tokio::test]
async fn a_conflict_rejects_its_own_batch_only() {
    let store = open(&SimFs::new(3)).await.unwrap();
    let create = |owner: &str| {
        Batch::new().require(LEFT, "name", Precondition::Absent).put(LEFT, "name", owner).put(RIGHT, owner, "")
    };
    let other = Batch::new().put(RIGHT, "other", "");
    let present = Batch::new().require(LEFT, "name", Precondition::Present).delete(LEFT, "name");
    // All four wait before the committer runs, so they are one transaction.
    let (first, second, third, fourth) = futures::join!(
        store.commit(create("a")),
        store.commit(create("b")),
        store.commit(other),
        store.commit(present)
    );
    assert!(first.is_ok() && third.is_ok() && fourth.is_ok());
    assert!(matches!(second, Err(StateError::Conflict { table: "left" })));
    let keys: Vec<_> = store.scan(RIGHT, b"", None, 10).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"a".to_vec(), b"other".to_vec()]);
    assert_eq!(store.get(LEFT, b"name").unwrap(), None);
}

#[tokio::test]
async fn a_failed_sync_answers_the_whole_group_unavailable() {
    let fs = SimFs::new(4);
    let store = open(&fs).await.unwrap();
    fs.fail(&[Call::SyncData], 1, Fault::Eio);
    let answers = join_all((0..50).map(|key| store.commit(pair(key)))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(StateError::Unavailable(_)))));
    drop(store);
    fs.kill();
    let store = open(&fs).await.unwrap();
    let (left, right) = (store.scan(LEFT, b"", None, 100).unwrap(), store.scan(RIGHT, b"", None, 100).unwrap());
    assert_eq!(left.len(), right.len(), "a batch is there in part");
}

#[tokio::test]
async fn closing_answers_what_was_sent_and_takes_no_more() {
    let store = Arc::new(open(&SimFs::new(5)).await.unwrap());
    let sent: Vec<_> = (0..20)
        .map(|key| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(pair(key)).await })
        })
        .collect();
    // The spawned calls run first, then the close.
    tokio::task::yield_now().await;
    assert!(store.close().await);
    for call in sent {
        call.await.unwrap().unwrap();
    }
    assert!(matches!(store.commit(pair(99)).await, Err(StateError::Unavailable(_))));
    assert!(matches!(store.get(LEFT, b"00000"), Err(StateError::Unavailable(_))));
}
