use base::fs::sim::{Call, Fault, SimFs};
use base::{Clock, PartitionKey, Scope, SeededRng, StateError, StateStore, TestClock, Timestamp};
use log::{LogConfig, StreamKind, StreamSpec};

use super::*;
use crate::config;
use crate::streams::{Mode, ShardMetric, prometheus, traffic_report};

struct World {
    fs: SimFs,
    clock: Arc<TestClock>,
    log: Log,
    streams: Streams,
    scaler: Scaler,
}

fn key() -> StreamKey {
    let scope = Scope { account: "000000000000".parse().unwrap(), region: "eu-central-1".parse().unwrap() };
    StreamKey { kind: StreamKind::Kinesis, scope, name: "s".into() }
}

impl World {
    /// A stream of four shards whose traffic decides over them.
    async fn new(max_shards: usize) -> Self {
        let (clock, fs) = (Arc::new(TestClock::at(Timestamp::from_millis(1_700_000_000_000))), SimFs::new(1));
        let env = Env { clock: clock.clone(), rng: Arc::new(SeededRng::new(1)), fs: Arc::new(fs.clone()) };
        let state = state::Store::open(&env, "/state.redb".as_ref()).await.unwrap();
        let state: Arc<dyn StateStore> = Arc::new(state);
        let log = Log::open(&env, "/journal".as_ref(), LogConfig::default()).await.unwrap();
        let config = config::Streams {
            max_shards,
            aws_limits: false,
            split_bytes_per_second: 1_000_000,
            merge_bytes_per_second: 250_000,
            merge_after_seconds: 900,
        };
        let streams = Streams::open(&env, &state, &log, &config).await.unwrap();
        let spec = StreamSpec { shards: 4, retention: Duration::from_secs(86_400) };
        let stream = log.create_stream(&key(), spec).await.unwrap();
        let on_demand = streams.settings.update(&stream, |settings| {
            settings.mode = Mode::OnDemand;
            settings.monitored = ShardMetric::ALL.into();
            Ok::<(), StateError>(())
        });
        on_demand.await.unwrap();
        let scaler = Scaler::new(env, log.clone(), streams.clone());
        Self { fs, clock, log, streams, scaler }
    }

    fn stream(&self) -> Arc<Stream> {
        self.log.stream(&key()).unwrap()
    }

    fn open(&self) -> usize {
        self.stream().shards.iter().filter(|shard| shard.closed_at.is_none()).count()
    }

    /// So many bytes a second of so many keys for a time; the scaler looks every ten seconds.
    async fn run(&self, seconds: u64, bytes: usize, keys: u64) {
        for second in 0..seconds {
            let stream = self.stream();
            let meter = self.streams.traffic.meter(&stream);
            for n in 0..keys {
                let key: PartitionKey = format!("key-{n}").parse().unwrap();
                let (shard, hash) = stream.route(&key, None);
                meter.put(shard.id, key.as_str(), hash.0, bytes / keys as usize).unwrap();
            }
            self.clock.sleep(Duration::from_secs(1)).await;
            if second % 10 == 9 {
                self.scaler.reconcile().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_on_demand_stream_follows_its_traffic_up_and_down() {
    let world = World::new(100).await;
    world.run(300, 8_000_000, 200).await;
    let grown = world.open();
    assert!((9..=24).contains(&grown), "{grown} shards for 8 MB/s");
    world.run(4 * 3_600, 1_000, 1).await;
    assert_eq!(world.open(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_account_s_limit_holds_and_a_provisioned_stream_is_left_alone() {
    let world = World::new(6).await;
    world.run(300, 8_000_000, 200).await;
    assert_eq!(world.open(), 6);
    let world = World::new(100).await;
    let stream = world.stream();
    let provisioned = world.streams.settings.update(&stream, |settings| {
        settings.mode = Mode::Provisioned;
        Ok::<(), StateError>(())
    });
    provisioned.await.unwrap();
    world.run(300, 8_000_000, 200).await;
    assert_eq!(world.open(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_overtaken_looks_again_at_once() {
    let world = World::new(100).await;
    let stream = world.stream();
    for _ in 0..60 {
        let meter = world.streams.traffic.meter(&stream);
        for n in 0..200 {
            let key: PartitionKey = format!("key-{n}").parse().unwrap();
            let (shard, hash) = stream.route(&key, None);
            meter.put(shard.id, key.as_str(), hash.0, 40_000).unwrap();
        }
        world.clock.sleep(Duration::from_secs(1)).await;
    }
    // Somebody else's split is on its way when the scaler has made up its mind to split all four.
    let first = stream.shards[0].id;
    let split = vec![Reshard::Split { shard: first, at: base::HashKey(500) }];
    let (split, ()) = tokio::join!(world.log.reshard(&stream.key, split), world.scaler.reconcile());
    split.unwrap();
    assert_eq!(world.open(), 5 + 3, "the other three are split in the same look");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_puts_scaling_off() {
    let world = World::new(100).await;
    world.run(55, 8_000_000, 200).await;
    world.fs.fail(&[Call::SyncData], 1, Fault::Eio);
    world.run(10, 8_000_000, 200).await;
    world.run(300, 8_000_000, 200).await;
    assert!(world.open() > 8, "{} shards", world.open());
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_is_named_and_monitoring_shows_each_shard() {
    let world = World::new(100).await;
    world.run(240, 3_000_000, 1).await;
    let report = traffic_report(&world.streams, &world.stream());
    let shards = report["shards"].as_array().unwrap();
    let hot = shards.iter().find(|shard| shard["share"].as_f64() > Some(0.9)).unwrap();
    assert_eq!(hot["heaviestKeys"][0]["key"], "key-0");
    assert_eq!(hot["heaviestKeys"][0]["share"], 1.0);
    assert!(hot["hint"].as_str().unwrap().contains("a split cannot help"), "{hot}");
    assert!((hot["in"]["bytesPerSecond"].as_f64().unwrap() - 3e6).abs() < 3e5, "{hot}");
    assert_eq!(world.open(), 4, "and it is not split");
    let text = prometheus(&world.streams, &world.log);
    let shard = hot["shardId"].as_str().unwrap();
    let line =
        format!("tidegate_shard_in_bytes_total{{region=\"eu-central-1\",stream=\"s\",shard=\"{shard}\"}} 720000000\n");
    assert!(text.contains(&line), "{text}");
    assert_eq!(text.matches("# TYPE tidegate_shard_in_bytes_total counter").count(), 1);
    world.log.delete_stream(&key()).await.unwrap();
    assert_eq!(prometheus(&world.streams, &world.log), "");
}
