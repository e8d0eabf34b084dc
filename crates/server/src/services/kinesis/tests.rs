use std::time::Duration;

use base::fs::sim::SimFs;
use base::{Principal, SeededRng, TestClock, Timestamp};
use bytes::Bytes;
use log::LogConfig;

use super::*;
use crate::config;

mod consumers;
mod quotas;
mod settings;
mod shards;
mod subscribe;
mod tags;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct World {
    service: Arc<DataStreams>,
    clock: Arc<TestClock>,
    env: Env,
}

impl World {
    async fn new() -> Self {
        Self::with(LogConfig::default()).await
    }

    async fn with(config: LogConfig) -> Self {
        Self::of(config, |_| {}).await
    }

    /// With the service's quotas.
    async fn limited() -> Self {
        Self::of(LogConfig::default(), |config| config.aws_limits = true).await
    }

    async fn of(config: LogConfig, change: impl FnOnce(&mut config::Streams)) -> Self {
        let clock = Arc::new(TestClock::at(NOW));
        let fs = SimFs::new(1);
        let env = Env { clock: clock.clone(), rng: Arc::new(SeededRng::new(1)), fs: Arc::new(fs) };
        let state = state::Store::open(&env, "/state.redb".as_ref()).await.unwrap();
        let log = Log::open(&env, "/journal".as_ref(), config).await.unwrap();
        let state: Arc<dyn StateStore> = Arc::new(state);
        let mut settings = config::Streams {
            max_shards: 10_000,
            aws_limits: false,
            split_bytes_per_second: 1_000_000,
            merge_bytes_per_second: 250_000,
            merge_after_seconds: 900,
        };
        change(&mut settings);
        let streams = Streams::open(&env, &state, &log, &settings).await.unwrap();
        Self { service: DataStreams::new(log, streams, state, env.clone()), clock, env }
    }

    fn call(&self) -> Call {
        self.call_in("eu-central-1")
    }

    fn call_in(&self, region: &str) -> Call {
        let scope = Scope { account: "000000000000".parse().unwrap(), region: region.parse().unwrap() };
        Call {
            scope,
            principal: Principal::Root,
            request_id: "r".into(),
            now: self.env.clock.now(),
            endpoint: String::new(),
            trace: None,
            source_ip: None,
            secure: false,
            user_agent: None,
            access_key_id: None,
            left: Default::default(),
        }
    }

    async fn create(&self, name: &str, shards: i32) {
        let input = CreateStreamInput { stream_name: name.into(), shard_count: Some(shards), ..Default::default() };
        self.service.create_stream(&self.call(), input).await.unwrap();
    }

    async fn put(&self, name: &str, data: &str) -> PutRecordOutput {
        let (stream_name, partition_key) = (Some(name.into()), Some("key".into()));
        let data = Bytes::from(data.to_owned());
        let input = PutRecordInput { stream_name, partition_key, data, ..Default::default() };
        self.service.put_record(&self.call(), input).await.unwrap()
    }

    async fn iterate(&self, name: &str, kind: &str, sequence: Option<&str>) -> Result<String, ServiceError> {
        let input = GetShardIteratorInput {
            stream_name: Some(name.into()),
            shard_id: "shardId-000000000000".into(),
            shard_iterator_type: kind.into(),
            starting_sequence_number: sequence.map(str::to_owned),
            ..Default::default()
        };
        Ok(self.service.get_shard_iterator(&self.call(), input).await?.shard_iterator.unwrap())
    }

    async fn at(&self, name: &str, timestamp: Timestamp) -> Result<String, ServiceError> {
        let input = GetShardIteratorInput {
            stream_name: Some(name.into()),
            shard_id: "shardId-000000000000".into(),
            shard_iterator_type: "AT_TIMESTAMP".into(),
            timestamp: Some(timestamp),
            ..Default::default()
        };
        Ok(self.service.get_shard_iterator(&self.call(), input).await?.shard_iterator.unwrap())
    }

    async fn get(&self, iterator: &str) -> Result<GetRecordsOutput, ServiceError> {
        let input = GetRecordsInput { shard_iterator: iterator.into(), ..Default::default() };
        self.service.get_records(&self.call(), input).await
    }
}

fn texts(output: &GetRecordsOutput) -> Vec<String> {
    output.records.iter().map(|r| String::from_utf8(r.data.to_vec()).unwrap()).collect()
}

fn entry(key: &str, data: Vec<u8>) -> PutRecordsRequestEntry {
    PutRecordsRequestEntry { data: data.into(), partition_key: Some(key.into()), ..Default::default() }
}

fn puts(name: &str, records: Vec<PutRecordsRequestEntry>) -> PutRecordsInput {
    PutRecordsInput { stream_name: Some(name.into()), records, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_created_shown_and_deleted() {
    let world = World::new().await;
    world.create("one", 3).await;
    let again = CreateStreamInput { stream_name: "one".into(), shard_count: Some(1), ..Default::default() };
    let error = world.service.create_stream(&world.call(), again).await.unwrap_err();
    assert_eq!(error.code, "ResourceInUseException");
    assert_eq!(error.message, "Stream one under account 000000000000 already exists.");
    let arn = "arn:aws:kinesis:eu-central-1:000000000000:stream/one";
    let by_arn = DescribeStreamSummaryInput { stream_arn: Some(arn.into()), ..Default::default() };
    let summary = world.service.describe_stream_summary(&world.call(), by_arn.clone()).await.unwrap();
    let summary = summary.stream_description_summary;
    assert_eq!((summary.open_shard_count, summary.retention_period_hours, &*summary.stream_status), (3, 24, "ACTIVE"));
    let elsewhere = world.service.describe_stream_summary(&world.call_in("us-east-1"), by_arn).await.unwrap_err();
    assert_eq!(elsewhere.code, "ResourceNotFoundException");
    let delete = DeleteStreamInput { stream_name: Some("one".into()), ..Default::default() };
    world.service.delete_stream(&world.call(), delete.clone()).await.unwrap();
    let error = world.service.delete_stream(&world.call(), delete).await.unwrap_err();
    assert_eq!(error.message, "Stream one under account 000000000000 not found.");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_refused() {
    let world = World::new().await;
    let new = |shards| CreateStreamInput { stream_name: "s".into(), shard_count: shards, ..Default::default() };
    let mode = |mode: &str| Some(StreamModeDetails { stream_mode: mode.into(), ..Default::default() });
    let on_demand = || CreateStreamInput { stream_mode_details: mode("ON_DEMAND"), ..new(None) };
    for (input, code) in [
        (CreateStreamInput { stream_mode_details: mode("PROVISIONED"), ..new(None) }, "InvalidArgumentException"),
        (new(Some(10_001)), "LimitExceededException"),
        (CreateStreamInput { shard_count: Some(1), ..on_demand() }, "ValidationException"),
        (CreateStreamInput { warm_throughput_mibps: Some(5), ..on_demand() }, "ValidationException"),
        (CreateStreamInput { warm_throughput_mibps: Some(5), ..new(Some(1)) }, "ValidationException"),
        (CreateStreamInput { record_distribution_strategy: Some("AUTO".into()), ..on_demand() }, "NotImplemented"),
        (
            CreateStreamInput { tags: Some([("aws:k".to_owned(), "v".to_owned())].into()), ..new(Some(1)) },
            "InvalidArgumentException",
        ),
    ] {
        let error = world.service.create_stream(&world.call(), input).await.unwrap_err();
        assert_eq!(error.code, code, "{}", error.message);
    }
    assert!(world.service.log.streams(log::StreamKind::Kinesis, &world.call().scope).is_empty());
}

#[tokio::test(start_paused = true)]
async fn listings_go_on_where_they_stopped() {
    let world = World::new().await;
    for n in 0..5 {
        world.create(&format!("s{n}"), 4).await;
    }
    let (mut names, mut next) = (Vec::new(), None);
    loop {
        let input = ListStreamsInput { limit: Some(2), next_token: next, ..Default::default() };
        let page = world.service.list_streams(&world.call(), input).await.unwrap();
        names.extend(page.stream_names);
        next = page.next_token;
        assert_eq!(page.has_more_streams, next.is_some());
        if next.is_none() {
            break;
        }
    }
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4"]);
    let streams = async |region: &str, token: &str, start: Option<&str>| {
        let (next_token, limit) = (Some(token.to_owned()), Some(2));
        let exclusive_start_stream_name = start.map(str::to_owned);
        let input = ListStreamsInput { next_token, limit, exclusive_start_stream_name };
        world.service.list_streams(&world.call_in(region), input).await
    };
    let first = ListStreamsInput { limit: Some(2), ..Default::default() };
    let old = world.service.list_streams(&world.call(), first).await.unwrap().next_token.unwrap();
    assert_eq!(streams("eu-central-1", &old, None).await.unwrap().stream_names, ["s2", "s3"]);
    for (region, token, start) in
        [("eu-central-1", "s1", None), ("us-east-1", &old, None), ("eu-central-1", &old, Some("s1"))]
    {
        let error = streams(region, token, start).await.unwrap_err();
        assert_eq!(error.code, "InvalidArgumentException", "{region} {token} {start:?}");
    }
    let first = ListShardsInput { stream_name: Some("s1".into()), max_results: Some(3), ..Default::default() };
    let page = world.service.list_shards(&world.call(), first).await.unwrap();
    assert_eq!(page.shards.unwrap().len(), 3);
    let token = page.next_token.unwrap();
    let rest = ListShardsInput { next_token: Some(token.clone()), ..Default::default() };
    let page = world.service.list_shards(&world.call(), rest.clone()).await.unwrap();
    assert_eq!((page.shards.unwrap()[0].shard_id.as_str(), page.next_token), ("shardId-000000000003", None));
    let error = streams("eu-central-1", rest.next_token.as_deref().unwrap(), None).await.unwrap_err();
    assert_eq!(error.code, "InvalidArgumentException", "a token of another listing");
    let both = ListShardsInput { stream_name: Some("s1".into()), ..rest.clone() };
    assert_eq!(world.service.list_shards(&world.call(), both).await.unwrap_err().code, "InvalidArgumentException");
    world.clock.shift_wall(301_000);
    assert_eq!(world.service.list_shards(&world.call(), rest).await.unwrap_err().code, "ExpiredNextTokenException");
    assert_eq!(streams("eu-central-1", &old, None).await.unwrap_err().code, "ExpiredNextTokenException");
    let describe = DescribeStreamInput {
        stream_name: Some("s1".into()),
        limit: Some(2),
        exclusive_start_shard_id: Some("shardId-000000000000".into()),
        ..Default::default()
    };
    let shown = world.service.describe_stream(&world.call(), describe).await.unwrap().stream_description;
    assert_eq!((shown.shards[0].shard_id.as_str(), shown.shards.len()), ("shardId-000000000001", 2));
    assert!(shown.has_more_shards);
}

#[tokio::test(start_paused = true)]
async fn all_five_iterators_start_where_they_say() {
    let world = World::new().await;
    world.create("s", 1).await;
    let mut put = Vec::new();
    for n in 0..4 {
        put.push(world.put("s", &n.to_string()).await.sequence_number);
        world.env.clock.sleep(Duration::from_secs(1)).await;
    }
    let read = async |iterator: Result<String, ServiceError>| texts(&world.get(&iterator.unwrap()).await.unwrap());
    assert_eq!(read(world.iterate("s", "TRIM_HORIZON", None).await).await, ["0", "1", "2", "3"]);
    assert_eq!(read(world.iterate("s", "AT_SEQUENCE_NUMBER", Some(&put[2])).await).await, ["2", "3"]);
    assert_eq!(read(world.iterate("s", "AFTER_SEQUENCE_NUMBER", Some(&put[2])).await).await, ["3"]);
    assert_eq!(read(world.at("s", NOW + Duration::from_secs(2)).await).await, ["2", "3"]);
    assert_eq!(world.at("s", NOW + Duration::from_secs(60)).await.unwrap_err().code, "InvalidArgumentException");
    let latest = world.iterate("s", "LATEST", None).await.unwrap();
    let empty = world.get(&latest).await.unwrap();
    assert_eq!((texts(&empty).len(), empty.millis_behind_latest), (0, Some(0)));
    world.put("s", "new").await;
    assert_eq!(read(Ok(latest)).await, ["new"]);
    for bad in ["", "1", "49590338271490256608559692538361571095921575989136588898", &"9".repeat(56)] {
        let error = world.iterate("s", "AT_SEQUENCE_NUMBER", Some(bad)).await.unwrap_err();
        assert_eq!(error.code, "InvalidArgumentException", "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_iterator_is_of_its_stream_for_five_minutes_and_cannot_be_made_up() {
    let world = World::new().await;
    world.create("s", 1).await;
    world.put("s", "x").await;
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    let mut changed = iterator.clone().into_bytes();
    for place in 0..changed.len() {
        let kept = changed[place];
        changed[place] = if kept == b'A' { b'B' } else { b'A' };
        let error = world.get(std::str::from_utf8(&changed).unwrap()).await.unwrap_err();
        assert_eq!(error.code, "InvalidArgumentException");
        changed[place] = kept;
    }
    let elsewhere = GetRecordsInput { shard_iterator: iterator.clone(), ..Default::default() };
    let elsewhere = world.service.get_records(&world.call_in("us-east-1"), elsewhere).await.unwrap_err();
    assert_eq!(elsewhere.code, "ResourceNotFoundException");
    world.clock.shift_wall(299_000);
    assert_eq!(world.get(&iterator).await.unwrap().records.len(), 1);
    world.clock.shift_wall(2_000);
    assert_eq!(world.get(&iterator).await.unwrap_err().code, "ExpiredIteratorException");
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    let delete = DeleteStreamInput { stream_name: Some("s".into()), ..Default::default() };
    world.service.delete_stream(&world.call(), delete).await.unwrap();
    world.create("s", 1).await;
    world.put("s", "another stream's").await;
    assert!(world.get(&iterator).await.is_err(), "a stream of the same name is another stream");
}

#[tokio::test(start_paused = true)]
async fn records_have_the_service_s_limits() {
    let world = World::new().await;
    world.create("s", 1).await;
    let put = async |records| world.service.put_records(&world.call(), puts("s", records)).await;
    let (fits, exceeds) = (vec![b'x'; (1 << 20) - 3], vec![b'x'; (1 << 20) - 2]);
    assert_eq!(put(vec![entry("key", fits.clone())]).await.unwrap().records.len(), 1);
    let error = put(vec![entry("key", vec![]), entry("key", exceeds)]).await.unwrap_err();
    assert!(error.code == "ValidationException" && error.message.contains("'records.2.member.data'"), "{error}");
    let error = put((0..11).map(|_| entry("key", fits.clone())).collect()).await.unwrap_err();
    assert_eq!(error.code, "InvalidArgumentException");
    let hash = |hash: &str| PutRecordsRequestEntry { explicit_hash_key: Some(hash.into()), ..entry("key", vec![]) };
    assert!(put(vec![hash(&u128::MAX.to_string())]).await.is_ok());
    for bad in ["340282366920938463463374607431768211456", "-1", "01", "x"] {
        assert_eq!(put(vec![hash(bad)]).await.unwrap_err().code, "InvalidArgumentException", "{bad}");
    }
    let missing = PutRecordsRequestEntry { partition_key: None, ..entry("key", vec![]) };
    assert_eq!(put(vec![missing]).await.unwrap_err().code, "ValidationException");
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    let input = GetRecordsInput { shard_iterator: iterator, limit: Some(1), ..Default::default() };
    assert_eq!(world.service.get_records(&world.call(), input).await.unwrap().records.len(), 1);
}

#[test]
fn an_overloaded_log_refuses_record_by_record() {
    // The log writes on the one thread for what blocks.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).max_blocking_threads(1);
    runtime.build().unwrap().block_on(overload());
}

async fn overload() {
    let world = World::with(LogConfig { queue_bytes: 50_000, ..LogConfig::default() }).await;
    world.create("s", 1).await;
    // Taken once the log has left it, until `held` is dropped.
    let (held, dropped) = std::sync::mpsc::channel::<()>();
    let (taken, is_taken) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        taken.send(()).unwrap();
        dropped.recv().is_err()
    });
    is_taken.await.unwrap();
    let records = || vec![entry("key", vec![0; 10_000]), entry("key", vec![0; 10_000])];
    let calls = futures::future::join_all((0..50).map(|_| {
        let (service, call) = (Arc::clone(&world.service), world.call());
        async move { service.put_records(&call, puts("s", records())).await.unwrap() }
    }));
    // All of them have come before the log can write any.
    let (answers, ()) = futures::join!(calls, async { drop(held) });
    let (refused, taken): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.failed_record_count == Some(2));
    assert_eq!((refused.len(), taken.len()), (48, 2), "the queue has room for two");
    assert!(taken.iter().all(|a| a.failed_record_count == Some(0)));
    let entry = &refused[0].records[1];
    assert_eq!(entry.error_code.as_deref(), Some("ProvisionedThroughputExceededException"));
    let message = entry.error_message.as_deref().unwrap();
    assert_eq!(message, "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000.");
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    assert_eq!(world.get(&iterator).await.unwrap().records.len(), 2 * taken.len());
}

#[tokio::test(start_paused = true)]
async fn records_past_their_retention_are_gone_and_lag_is_told() {
    let world = World::new().await;
    world.create("s", 1).await;
    world.put("s", "old").await;
    world.env.clock.sleep(Duration::from_secs(23 * 3_600)).await;
    world.put("s", "young").await;
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    let input = GetRecordsInput { shard_iterator: iterator.clone(), limit: Some(1), ..Default::default() };
    let first = world.service.get_records(&world.call(), input).await.unwrap();
    assert_eq!((texts(&first), first.millis_behind_latest), (vec!["old".to_owned()], Some(23 * 3_600_000)));
    world.env.clock.sleep(Duration::from_secs(2 * 3_600)).await;
    let iterator = world.iterate("s", "TRIM_HORIZON", None).await.unwrap();
    assert_eq!(texts(&world.get(&iterator).await.unwrap()), ["young"]);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_was_not_given_out_is_refused() {
    let world = World::new().await;
    world.create("s", 1).await;
    let old = world.put("s", "old").await.sequence_number;
    let delete = DeleteStreamInput { stream_name: Some("s".into()), ..Default::default() };
    world.service.delete_stream(&world.call(), delete).await.unwrap();
    world.create("s", 1).await;
    let last = world.put("s", "new").await.sequence_number;
    let last: base::SequenceNumber = last.parse().unwrap();
    let next = base::SequenceNumber::new(last.position().next(), last.shard(), NOW).to_string();
    for bad in [old, next] {
        let error = world.iterate("s", "AFTER_SEQUENCE_NUMBER", Some(&bad)).await.unwrap_err();
        assert_eq!(error.code, "InvalidArgumentException");
    }
    let describe = DescribeStreamInput { stream_name: Some("s".into()), ..Default::default() };
    let shard =
        world.service.describe_stream(&world.call(), describe).await.unwrap().stream_description.shards.remove(0);
    let start = shard.sequence_number_range.starting_sequence_number;
    let iterator = world.iterate("s", "AFTER_SEQUENCE_NUMBER", Some(&start)).await.unwrap();
    assert_eq!(texts(&world.get(&iterator).await.unwrap()), ["new"]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_on_with_the_same_stream_only() {
    let world = World::new().await;
    world.create("s", 3).await;
    let list = async |name: Option<&str>, next_token: Option<String>| {
        let stream_name = name.map(str::to_owned);
        let input = ListShardsInput { stream_name, next_token, max_results: Some(2), ..Default::default() };
        world.service.list_shards(&world.call(), input).await
    };
    let first = list(Some("s"), None).await.unwrap();
    assert_eq!(first.shards.unwrap().len(), 2);
    let rest = list(None, first.next_token.clone()).await.unwrap();
    assert_eq!((rest.shards.unwrap().len(), rest.next_token), (1, None));
    let delete = DeleteStreamInput { stream_name: Some("s".into()), ..Default::default() };
    world.service.delete_stream(&world.call(), delete).await.unwrap();
    world.create("s", 3).await;
    assert_eq!(list(None, first.next_token).await.unwrap_err().code, "InvalidArgumentException");
}
