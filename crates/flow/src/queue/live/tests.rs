use std::path::Path;

use base::fs::sim::SimFs;
use base::{Clock, QueueName, SeededRng, StateError, TestClock};
use log::{LogConfig, StreamKey, StreamKind, StreamSpec};

use super::super::config::{Attributes, queue_arn};
use super::*;

/// Keeps nothing: these queues have no keeper.
struct Nothing;

#[async_trait::async_trait]
impl StateStore for Nothing {
    fn get(&self, _: base::Table, _: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(None)
    }

    fn scan(&self, _: base::Table, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Vec<base::Entry>, StateError> {
        Ok(Vec::new())
    }

    async fn commit(&self, _: base::Batch) -> Result<(), StateError> {
        Ok(())
    }
}

/// A queue that is open and that nobody keeps, so that only calls pass its time.
async fn unkept(clock: &Arc<TestClock>) -> Arc<Live> {
    let rng = Arc::new(SeededRng::new(1));
    let env = Env { clock: clock.clone(), rng: rng.clone(), fs: Arc::new(SimFs::new(1)) };
    let log = Log::open(&env, Path::new("/journal"), LogConfig::default()).await.unwrap();
    let scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
    let key = StreamKey { kind: StreamKind::Queue, scope: scope.clone(), name: "q".into() };
    let spec = StreamSpec { shards: 1, retention: Duration::from_secs(86_400) };
    let stream = log.create_stream(&key, spec).await.unwrap();
    let state: Arc<dyn StateStore> = Arc::new(Nothing);
    let handles = Handles::open(&env, &*state).await.unwrap();
    let shared = Shared {
        opened: (clock.now(), clock.instant()),
        env,
        log,
        state,
        handles,
        no_waiting: CancellationToken::new(),
        loads: Semaphore::new(1),
        memory: Memory::new(1 << 20),
    };
    let (name, now): (QueueName, _) = ("q".parse().unwrap(), clock.now());
    let arn = queue_arn(&scope, &name);
    let info = QueueInfo {
        name,
        stream: stream.id.number(),
        created: now,
        modified: now,
        attributes: Attributes::default(),
        tags: Default::default(),
    };
    let group = TaskGroup::new(clock.clone(), rng);
    let (live, _) = Live::new(Arc::new(shared), (scope, arn), (stream.id, stream.shards[0].slot), group, info);
    live.lock().open = true;
    live.phase.send_replace(Phase::Open);
    live
}

fn later(live: &Live, by: u64) -> Arrival {
    let sent = live.shared.now();
    let until = Some(sent + Duration::from_secs(by));
    Arrival { sent, until, group: None, receives: 0, first_received: None }
}

#[tokio::test(start_paused = true)]
async fn who_passes_the_time_tells_those_who_wait() {
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_000_000)));
    let live = unkept(&clock).await;
    let mut waiting = {
        let mut inner = live.lock();
        inner.shelf.arrive(Position::new(1), later(&live, 5));
        live.wait(&mut inner)
    };
    clock.sleep(Duration::from_secs(5)).await;
    live.pass(&mut live.lock());
    assert!(waiting.waiting.try_recv().is_ok(), "nobody was told of the message that became visible");
}

#[tokio::test(start_paused = true)]
async fn who_waited_in_vain_leaves_nothing_behind() {
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_000_000)));
    let live = unkept(&clock).await;
    for _ in 0..1_000 {
        let waiting = live.wait(&mut live.lock());
        drop(waiting);
    }
    assert!(live.lock().waiters.is_empty());
    // One who was told and went away tells the next.
    let first = live.wait(&mut live.lock());
    let mut second = live.wait(&mut live.lock());
    let mut inner = live.lock();
    inner.shelf.arrive(Position::new(1), Arrival { until: None, ..later(&live, 0) });
    inner.wake_one();
    drop(inner);
    drop(first);
    assert!(second.waiting.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_being_read_is_waited_for_but_not_for_long() {
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_000_000)));
    let live = unkept(&clock).await;
    live.phase.send_replace(Phase::Loading);
    let begun = clock.instant();
    let error = live.ready().await.unwrap_err();
    assert!(error.to_string().contains("is still being read from the log; try again"), "{error}");
    assert_eq!(clock.instant() - begun, Duration::from_secs(3));
    let open = async {
        clock.sleep(Duration::from_secs(1)).await;
        live.phase.send_replace(Phase::Open);
    };
    let (ready, ()) = tokio::join!(live.ready(), open);
    ready.unwrap();
    assert_eq!(clock.instant() - begun, Duration::from_secs(4), "no longer than it takes");
    // What cannot be read is waited for by nobody.
    live.phase.send_replace(Phase::Failing);
    assert!(live.ready().await.unwrap_err().to_string().contains("cannot be read from the log now"));
    assert_eq!(clock.instant() - begun, Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_call_forgets_only_so_many_messages_that_are_too_old() {
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_000_000)));
    let live = unkept(&clock).await;
    let old = EXPIRED_AT_ONCE as u64 + 500;
    for message in 1..=old {
        live.lock().shelf.arrive(Position::new(message), Arrival { until: None, ..later(&live, 0) });
    }
    clock.sleep(live.info().attributes.retention() + Duration::from_secs(60)).await;
    let mut inner = live.lock();
    live.pass(&mut inner);
    assert_eq!(inner.shelf.len(), 500, "the others wait for the next call, or the keeper");
    live.pass(&mut inner);
    assert_eq!(inner.shelf.len(), 0);
}
