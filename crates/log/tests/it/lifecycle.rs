//! A stream's whole life under power cuts and failing calls: splits, merges, encryption, retention, forgetting. What is
//! acknowledged of it must hold, for the records and for the changes themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{Fs, HashKey, MasterKey, Position, ShardId};
use tidegate_log::{Append, Log, LogConfig, LogError, NewRecord, Reshard, Shard, Stream, StreamSpec};

use crate::crash::Story;
use crate::world::*;

const KEYS: usize = 4;
const HOUR: Duration = Duration::from_secs(3_600);
const RETENTIONS: [Duration; 2] = [DAY, Duration::from_secs(36 * 3_600)];
/// Stands in every record that is put while the stream is encrypted, and nowhere else.
const SECRET: &str = "SECRET";

/// What was asked of the log, and what it promised.
pub struct Lifecycle {
    /// Per key: every text sent, in order.
    sent: [Vec<String>; KEYS],
    acknowledged: BTreeSet<String>,
    /// Shards that are closed for certain.
    closed: BTreeSet<ShardId>,
    /// What may hold now: more than one when a change failed.
    encrypted: BTreeSet<bool>,
    retention: BTreeSet<Duration>,
    /// Time goes on from life to life.
    elapsed: Duration,
    /// Closed shards may have been forgotten by now.
    forgets: bool,
    count: usize,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            sent: Default::default(),
            acknowledged: BTreeSet::new(),
            closed: BTreeSet::new(),
            encrypted: [false].into(),
            retention: [DAY].into(),
            elapsed: Duration::ZERO,
            forgets: false,
            count: 0,
        }
    }
}

fn hash_key(of: usize) -> HashKey {
    HashKey(u128::MAX / KEYS as u128 * of as u128 + 77)
}

/// The shards that a key's records went to, in the order of lineage.
fn lineage(stream: &Stream, of: usize) -> Vec<&Shard> {
    let chain: Vec<_> = stream.shards.iter().filter(|s| s.hash_range.contains(&hash_key(of).0)).collect();
    assert!(chain.windows(2).all(|w| w[1].parents.contains(&w[0].id)), "each follows the one before");
    assert_eq!(chain.iter().filter(|s| s.closed_at.is_none()).count(), 1, "one shard takes a key");
    chain
}

impl Story for Lifecycle {
    fn config() -> LogConfig {
        LogConfig { master_key: Some(MasterKey::new([7; 32])), ..small() }
    }

    fn enter(&self, world: &World) {
        world.clock.shift_wall(self.elapsed.as_millis() as i64);
    }

    async fn check(&self, log: &Log) -> Result<(), LogError> {
        let Ok(stream) = log.stream(&key("s")) else {
            assert!(self.acknowledged.is_empty() && self.closed.is_empty(), "the stream is lost");
            return Ok(());
        };
        assert!(self.encrypted.contains(&stream.encrypted), "encryption is {}", stream.encrypted);
        assert!(self.retention.contains(&stream.retention), "retention is {:?}", stream.retention);
        for id in &self.closed {
            let shard = stream.shards.iter().find(|s| s.id == *id);
            assert!(shard.map_or(self.forgets, |s| s.closed.is_some()), "{id} was closed");
        }
        for of in 0..KEYS {
            let (mut last, mut found) = (Position::ZERO, Vec::new());
            for shard in lineage(&stream, of) {
                for record in try_read_all(log, shard.slot).await? {
                    assert!(record.position > last || record.partition_key.as_str() != format!("{of}"));
                    if record.partition_key.as_str() == format!("{of}") {
                        last = record.position;
                        found.push(String::from_utf8(record.data.to_vec()).unwrap());
                    }
                }
            }
            let mut sent = self.sent[of].iter();
            assert!(found.iter().all(|text| sent.any(|s| s == text)), "order is kept, nothing twice, nothing unsent");
            for text in self.sent[of].iter().filter(|t| self.acknowledged.contains(*t)) {
                assert!(found.contains(text), "an acknowledged record of key {of} is lost: {text}");
            }
        }
        Ok(())
    }

    async fn run(&mut self, world: &World) -> Result<(), LogError> {
        let log = Log::open(&world.env, &world.dir, Self::config()).await?;
        self.check(&log).await?;
        let result = self.live(world, &log).await;
        self.elapsed += world.env.clock.instant();
        result
    }

    fn check_disk(&self, world: &World) {
        for name in world.names("") {
            let bytes = world.fs.read(&world.dir.join(&name)).unwrap();
            let found = bytes.windows(SECRET.len()).any(|w| w == SECRET.as_bytes());
            assert!(!found, "{name} holds the text of an encrypted record");
        }
    }
}

impl Lifecycle {
    async fn live(&mut self, world: &World, log: &Log) -> Result<(), LogError> {
        log.ensure_stream(&key("s"), StreamSpec { shards: 2, retention: DAY }).await?;
        self.put_all(log).await?;
        self.reshard_while_putting(log).await?;
        self.put_all(log).await?;
        self.encrypt(log).await?;
        self.put_all(log).await?;
        self.retain(log).await?;
        self.reshard_while_putting(log).await?;
        self.encrypt(log).await?;
        // Not long enough for anything to go.
        world.env.clock.sleep(HOUR).await;
        log.enforce_retention().await?;
        self.check(log).await?;
        self.put_all(log).await?;
        self.forget(world, log).await?;
        self.put_all(log).await?;
        self.check(log).await?;
        log.close().await
    }

    fn record(&mut self, stream: &Stream, of: usize) -> (String, NewRecord) {
        self.count += 1;
        let mark = if stream.encrypted { SECRET } else { "plain" };
        let text = format!("{:05}/{of}/{mark}/{}", self.count, "x".repeat(self.count * 37 % 90));
        self.sent[of].push(text.clone());
        let partition_key = of.to_string().parse().unwrap();
        let shard = stream.shard_for(&partition_key, Some(hash_key(of))).slot;
        let data = text.clone().into();
        (text, NewRecord { shard, partition_key, explicit_hash_key: Some(hash_key(of)), data })
    }

    /// One record of every key: two alone, two in one batch.
    async fn put_all(&mut self, log: &Log) -> Result<(), LogError> {
        let stream = log.stream(&key("s"))?;
        for keys in [&[0][..], &[1], &[2, 3]] {
            let (texts, records): (Vec<_>, _) = keys.iter().map(|of| self.record(&stream, *of)).unzip();
            log.append(Append { producer: None, records }).await?;
            self.acknowledged.extend(texts);
        }
        Ok(())
    }

    /// What is put while shards change is taken before or refused whole, and then goes to the children.
    async fn reshard_while_putting(&mut self, log: &Log) -> Result<(), LogError> {
        let stream = log.stream(&key("s"))?;
        let steps = steps(&stream);
        let parents = steps.iter().flat_map(|step| match step {
            Reshard::Split { shard, .. } => vec![*shard],
            Reshard::Merge { shard, adjacent } => vec![*shard, *adjacent],
        });
        let parents: Vec<_> = parents.collect();
        let before: Vec<_> = (0..KEYS).map(|of| self.record(&stream, of)).collect();
        let appends = before.iter().map(|(_, r)| log.append(Append { producer: None, records: vec![r.clone()] }));
        let name = key("s");
        let (resharded, appended) =
            tokio::join!(log.reshard(&name, steps), futures::future::join_all(appends.collect::<Vec<_>>()));
        for ((text, _), result) in before.into_iter().zip(&appended) {
            match result {
                Ok(_) => _ = self.acknowledged.insert(text),
                Err(LogError::ShardClosed(_)) => self.sent.iter_mut().for_each(|sent| sent.retain(|s| *s != text)),
                Err(_) => {}
            }
        }
        resharded?;
        self.closed.extend(parents);
        appended
            .into_iter()
            .find(|r| r.as_ref().is_err_and(|e| !matches!(e, LogError::ShardClosed(_))))
            .map_or(Ok(()), |failed| failed.map(drop))
    }

    async fn encrypt(&mut self, log: &Log) -> Result<(), LogError> {
        let on = !log.stream(&key("s"))?.encrypted;
        self.encrypted.insert(on);
        log.set_encryption(&key("s"), on).await?;
        self.encrypted = [on].into();
        Ok(())
    }

    async fn retain(&mut self, log: &Log) -> Result<(), LogError> {
        let now = log.stream(&key("s"))?.retention;
        let other = if now == RETENTIONS[0] { RETENTIONS[1] } else { RETENTIONS[0] };
        self.retention.insert(other);
        log.set_retention(&key("s"), other).await?;
        self.retention = [other].into();
        Ok(())
    }

    /// Time passes until everything is past its retention.
    async fn forget(&mut self, world: &World, log: &Log) -> Result<(), LogError> {
        self.acknowledged.clear();
        self.forgets = true;
        world.env.clock.sleep(RETENTIONS[1] + HOUR * 2).await;
        log.enforce_retention().await?;
        let stream = log.stream(&key("s"))?;
        for shard in &stream.shards {
            assert!(shard.closed.is_none(), "{} is past its retention and still there", shard.id);
            self.closed.remove(&shard.id);
        }
        Ok(())
    }
}

/// Two splits, one of the other's child, while there are few shards; else two merges, one of the other's child.
fn steps(stream: &Stream) -> Vec<Reshard> {
    let mut open: Vec<_> = stream.shards.iter().filter(|s| s.closed_at.is_none()).collect();
    open.sort_by_key(|s| *s.hash_range.start());
    let next = stream.shards.iter().map(|s| s.id.number() + 1).max().unwrap_or_default();
    if open.len() < 4 {
        let (low, high) = (open[0].hash_range.start(), open[0].hash_range.end());
        let quarter = (high - low) / 4;
        let first = Reshard::Split { shard: open[0].id, at: HashKey(low + 2 * quarter) };
        vec![first, Reshard::Split { shard: ShardId::new(next + 1), at: HashKey(low + 3 * quarter) }]
    } else {
        let first = Reshard::Merge { shard: open[1].id, adjacent: open[0].id };
        vec![first, Reshard::Merge { shard: ShardId::new(next), adjacent: open[2].id }]
    }
}
