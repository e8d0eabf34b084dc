use std::sync::Arc;
use std::time::Duration;

use base::fs::sim::SimFs;
use base::{Clock, Env, Scope, SeededRng, StateError, StateStore, TestClock, Timestamp};
use log::{Log, LogConfig, Stream, StreamKey, StreamKind, StreamSpec};

use super::*;

struct World {
    state: Arc<dyn StateStore>,
    log: Log,
}

impl World {
    async fn new() -> Self {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_700_000_000_000)));
        let env = Env { clock, rng: Arc::new(SeededRng::new(1)), fs: Arc::new(SimFs::new(1)) };
        let state = state::Store::open(&env, "/state.redb".as_ref()).await.unwrap();
        let log = Log::open(&env, "/journal".as_ref(), LogConfig::default()).await.unwrap();
        Self { state: Arc::new(state), log }
    }

    async fn open(&self) -> SettingsTable {
        SettingsTable::open(Arc::clone(&self.state), self.log.clone()).await.unwrap()
    }

    async fn create(&self, name: &str) -> Arc<Stream> {
        let spec = StreamSpec { shards: 1, retention: Duration::from_secs(86_400) };
        self.log.create_stream(&key(name), spec).await.unwrap()
    }
}

fn key(name: &str) -> StreamKey {
    let scope = Scope { account: "000000000000".parse().unwrap(), region: "eu-central-1".parse().unwrap() };
    StreamKey { kind: StreamKind::Kinesis, scope, name: name.into() }
}

fn on_demand() -> Settings {
    Settings { mode: Mode::OnDemand, ..Settings::default() }
}

async fn tag(table: &SettingsTable, stream: &Stream, key: &str) {
    let set = |settings: &mut Settings| {
        settings.tags.insert(key.to_owned(), String::new());
        Ok::<_, StateError>(())
    };
    table.update(stream, set).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_before_a_creation_ended_stands_beside_what_was_intended() {
    let world = World::new().await;
    let table = world.open().await;
    table.intend(&key("s"), &on_demand()).await.unwrap();
    let stream = world.create("s").await;
    tag(&table, &stream, "between").await;
    table.fulfil(&stream, on_demand()).await.unwrap();
    for table in [&table, &world.open().await] {
        let settings = table.of(stream.id);
        assert_eq!((settings.mode, settings.tags.len()), (Mode::OnDemand, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_intention_left_behind_goes_with_its_stream() {
    let world = World::new().await;
    let table = world.open().await;
    let stream = world.create("s").await;
    table.intend(&key("s"), &on_demand()).await.unwrap();
    world.log.delete_stream(&key("s")).await.unwrap();
    table.forget(&stream).await.unwrap();
    let stream = world.create("s").await;
    assert_eq!(world.open().await.of(stream.id).mode, Mode::Provisioned);
}

#[tokio::test(start_paused = true)]
async fn changes_survive_and_those_made_at_once_all_happen() {
    let world = World::new().await;
    let (table, stream) = (world.open().await, world.create("s").await);
    assert_eq!(*table.of(stream.id), Settings::default());
    let keys: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    futures::future::join_all(keys.iter().map(|key| tag(&table, &stream, key))).await;
    assert_eq!(table.of(stream.id).tags.len(), 20);
    assert_eq!(world.open().await.of(stream.id).tags.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_today_is_known_after_a_restart() {
    let world = World::new().await;
    let (table, stream) = (world.open().await, world.create("s").await);
    let now = Timestamp::from_millis(1_700_000_000_000);
    let change = async |table: &SettingsTable| {
        table.update(&stream, |settings| Ok::<_, StateError>(settings.changes.take(Daily::UpdateStreamMode, now))).await
    };
    assert!(change(&table).await.unwrap() && change(&table).await.unwrap());
    assert!(!change(&world.open().await).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_sampled_share_is_true_to_within_a_few_percent() {
    let world = World::new().await;
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_700_000_000_000)));
    let traffic = Traffic::new(clock.clone(), false);
    let stream = world.create("s").await;
    // The rate at which a sample says least: 448 records in five seconds, a fifth of them of one key.
    for n in 0..448 * 11_u64 {
        if n > 0 && n.is_multiple_of(448) {
            clock.sleep(Duration::from_secs(5)).await;
        }
        let key = if n % 5 == 0 { "heavy".to_owned() } else { format!("key-{n}") };
        let (shard, hash) = stream.route(&key.parse().unwrap(), None);
        traffic.meter(&stream).put(shard.id, &key, hash.0, 200).unwrap();
    }
    let shard = traffic.of(&stream).remove(0);
    let heavy = shard.heavy.first().unwrap();
    assert_eq!(heavy.key, "heavy");
    // Four standard deviations of 1.4 percent; the sketch may be too high, and says by how much.
    let (least, most) = (heavy.share - heavy.error - 0.056, heavy.share + 0.056);
    assert!((least..=most).contains(&0.2), "{heavy:?}");
    assert_eq!(shard.totals.into, Amount { records: 448 * 11, bytes: 448 * 11 * 200 });
    assert_eq!(shard.into.records, 448 * 11);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_the_same_name_begins_anew() {
    let world = World::new().await;
    let (table, stream) = (world.open().await, world.create("s").await);
    tag(&table, &stream, "old").await;
    // The delete that a crash cut short left its settings behind.
    world.log.delete_stream(&stream.key).await.unwrap();
    let again = world.create("s").await;
    assert_eq!(*table.of(again.id), Settings::default());
    let table = world.open().await;
    assert_eq!(*table.of(again.id), Settings::default());
    assert!(world.state.scan(base::Table("streams.settings"), b"", None, 10).unwrap().is_empty());
    // A change that comes after the delete leaves nothing.
    tag(&table, &stream, "late").await;
    assert!(world.state.scan(base::Table("streams.settings"), b"", None, 10).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_creation_cut_short_is_ended_at_the_next_start() {
    let world = World::new().await;
    let table = world.open().await;
    table.intend(&key("came"), &on_demand()).await.unwrap();
    let came = world.create("came").await;
    table.intend(&key("never"), &on_demand()).await.unwrap();
    let table = world.open().await;
    assert_eq!(table.of(came.id).mode, Mode::OnDemand);
    assert_eq!(table.on_demand(), [key("came")]);
    let never = world.create("never").await;
    assert_eq!(world.open().await.of(never.id).mode, Mode::Provisioned);
    assert!(world.state.scan(base::Table("streams.intended"), b"", None, 10).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_creation_sets_the_stream_and_a_delete_forgets_it() {
    let world = World::new().await;
    let table = world.open().await;
    table.intend(&key("s"), &on_demand()).await.unwrap();
    let stream = world.create("s").await;
    table.fulfil(&stream, on_demand()).await.unwrap();
    assert_eq!(table.of(stream.id).mode, Mode::OnDemand);
    assert_eq!(world.open().await.on_demand(), [key("s")]);
    table.intend(&key("t"), &on_demand()).await.unwrap();
    table.drop_intention(&key("t")).await.unwrap();
    table.forget(&stream).await.unwrap();
    assert_eq!(table.of(stream.id).mode, Mode::Provisioned);
    for name in ["streams.settings", "streams.intended"] {
        assert!(world.state.scan(base::Table(name), b"", None, 10).unwrap().is_empty());
    }
}

async fn scaled(world: &World, stream: &Stream, target: u32) -> Arc<Stream> {
    world.log.reshard(&stream.key, super::steps_to(stream, target)).await.unwrap()
}

fn ranges(stream: &Stream) -> Vec<(u128, u128)> {
    let mut ranges: Vec<_> =
        stream.open_shards().map(|shard| (*shard.hash_range.start(), *shard.hash_range.end())).collect();
    ranges.sort_unstable();
    ranges
}

#[tokio::test(start_paused = true)]
async fn a_stream_scales_to_the_shards_that_a_new_one_has() {
    let world = World::new().await;
    let mut stream = world.create("s").await;
    for (n, target) in [2, 4, 3, 5, 8, 4, 7, 100, 1, 1, 1_000, 777].into_iter().enumerate() {
        stream = scaled(&world, &stream, target).await;
        let name = format!("new-{n}");
        let spec = StreamSpec { shards: target, retention: Duration::from_secs(86_400) };
        let new = world.log.create_stream(&key(&name), spec).await.unwrap();
        assert_eq!(ranges(&stream), ranges(&new), "{target}");
        assert!(super::steps_to(&stream, target).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn doubling_splits_each_shard_once_and_halving_merges_each_pair_once() {
    let world = World::new().await;
    let stream = scaled(&world, &*world.create("s").await, 4).await;
    assert_eq!(super::steps_to(&stream, 8).len(), 4);
    assert_eq!(super::steps_to(&stream, 2).len(), 2);
    assert_eq!(super::steps_to(&stream, 5).len(), 4 + 3);
}

#[tokio::test(start_paused = true)]
async fn shards_that_are_being_opened_count() {
    let world = World::new().await;
    world.create("s").await;
    let budget = ShardBudget::new(world.log.clone(), 5);
    let scope = key("s").scope;
    let three = budget.reserve(&scope, 3).unwrap_or_else(|_| panic!("it fits"));
    let Err(exceeded) = budget.reserve(&scope, 2) else { panic!("it does not fit") };
    assert_eq!(exceeded, Exceeded { in_use: 4, limit: 5, additional: 2 });
    let other = Scope { region: "us-east-1".parse().unwrap(), ..scope.clone() };
    assert!(budget.reserve(&other, 5).is_ok());
    drop(three);
    assert!(budget.reserve(&scope, 4).is_ok());
}
