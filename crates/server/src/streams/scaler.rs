//! On-demand streams follow their traffic: a reconciler that looks every ten seconds at what each shard took in the
//! last minute, and splits and merges by [`super::ondemand::step`].
//!
//! Promises that its last run and error are in the metrics and the log, that one stream's failure keeps it from no
//! other, and that the account's shard limit holds together with the calls that open shards. It also frees the counters
//! of shards that are gone. Must not know the wire.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Env, OnError, RetryPolicy, ShardId, TaskGroup};
use log::{Log, LogError, Reshard, Stream, StreamId, StreamKey};

use super::ondemand::{Bounds, Calm, LEAST, Observed, step};
use super::rates::WINDOW;
use super::scale::{PLANS, is_outdated};
use super::traffic::ShardTraffic;
use super::{Mode, Settings, Streams};
use crate::metrics;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Scaler {
    env: Env,
    log: Log,
    streams: Streams,
    calm: Mutex<HashMap<StreamId, Calm>>,
}

impl Scaler {
    /// Over these streams.
    pub fn new(env: Env, log: Log, streams: Streams) -> Self {
        Self { env, log, streams, calm: Mutex::default() }
    }

    /// Reconciles in this group until it stops.
    pub fn start(self, group: &TaskGroup) {
        let (this, stopping) = (Arc::new(self), group.stopping());
        let again = RetryPolicy { first_delay: PERIOD, max_delay: PERIOD, max_attempts: None, max_age: None };
        group.spawn("on-demand streams", OnError::Restart(again), move || {
            let (this, stopping) = (Arc::clone(&this), stopping.clone());
            async move {
                loop {
                    tokio::select! {
                        () = stopping.cancelled() => return Ok::<(), Infallible>(()),
                        () = this.env.clock.sleep(PERIOD) => this.reconcile().await,
                    }
                }
            }
        });
    }

    /// Looks once at every on-demand stream.
    pub async fn reconcile(&self) {
        self.streams.traffic.sweep(&self.log);
        let keys = self.streams.settings.on_demand();
        let mut looked = Vec::with_capacity(keys.len());
        for key in keys {
            // One that was deleted has nothing to scale.
            let Ok(stream) = self.log.stream(&key) else { continue };
            looked.push(stream.id);
            self.follow(stream).await;
        }
        self.calm().retain(|id, _| looked.contains(id));
        metrics::reconciled("on_demand", self.env.clock.now());
    }

    /// Scales a stream, at once again when somebody else changed its shards meanwhile.
    async fn follow(&self, mut stream: Arc<Stream>) {
        let mut plans = 1;
        while let Err(error) = self.scale(&stream).await {
            match self.log.stream(&stream.key) {
                Ok(now) if is_outdated(&error) && now.id == stream.id && plans < PLANS => stream = now,
                Err(LogError::StreamNotFound(_)) => return,
                _ => {
                    metrics::scaling_failed();
                    let key = &stream.key;
                    tracing::warn!(stream = %key, %error, "an on-demand stream could not be scaled; trying again");
                    return;
                }
            }
            plans += 1;
        }
    }

    async fn scale(&self, stream: &Stream) -> Result<(), LogError> {
        let observed = observe(stream, &self.streams.traffic.of(stream));
        let rates: Vec<(ShardId, f64)> = observed.iter().map(|shard| (shard.shard, shard.rate)).collect();
        let scope = &stream.key.scope;
        let bounds = Bounds {
            least: least(&self.streams.settings.of(stream.id)),
            room: self.streams.budget.limit().saturating_sub(self.streams.budget.open(scope)),
        };
        let now = self.env.clock.instant();
        let steps = step(self.calm().entry(stream.id).or_default(), now, &self.streams.scaling, bounds, observed);
        if steps.is_empty() {
            return Ok(());
        }
        let splits = steps.iter().filter(|step| matches!(step, Reshard::Split { .. })).count();
        // Calls that open shards may have taken the room meanwhile; then the next look finds less.
        let Ok(_reserved) = self.streams.budget.reserve(scope, splits) else { return Ok(()) };
        // Its owner may have taken the shards over since the look began.
        if self.streams.settings.of(stream.id).mode != Mode::OnDemand {
            return Ok(());
        }
        tell(&stream.key, &steps, &rates);
        let merges = steps.len() - splits;
        self.log.reshard(&stream.key, steps).await?;
        metrics::scaled(splits, merges);
        Ok(())
    }

    fn calm(&self) -> MutexGuard<'_, HashMap<StreamId, Calm>> {
        self.calm.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The fewest shards of an on-demand stream: one for each warm MiB a second.
fn least(settings: &Settings) -> usize {
    LEAST.max(settings.warm_mibps.unwrap_or(0) as usize)
}

/// The open shards with their traffic.
pub(super) fn observe(stream: &Stream, traffic: &[ShardTraffic]) -> Vec<Observed> {
    let open = stream.shards.iter().filter(|shard| shard.closed_at.is_none());
    let with_traffic = open.filter_map(|shard| {
        let traffic = traffic.binary_search_by_key(&shard.id, |traffic| traffic.shard).ok().map(|at| &traffic[at])?;
        Some((shard, traffic))
    });
    with_traffic
        .map(|(shard, traffic)| Observed {
            shard: shard.id,
            range: shard.hash_range.clone(),
            rate: traffic.into.bytes as f64 / WINDOW.as_secs_f64(),
            one_key: traffic.heavy.first().map_or(0.0, |key| key.share - key.error).max(0.0),
            border: traffic.border,
        })
        .collect()
}

fn tell(key: &StreamKey, steps: &[Reshard], rates: &[(ShardId, f64)]) {
    let rate = |id| rates.iter().find(|(shard, _)| *shard == id).map_or(0.0, |(_, rate)| rate.round());
    for step in steps {
        match step {
            Reshard::Split { shard, .. } => {
                tracing::info!(stream = %key, %shard, bytes_per_second = rate(*shard), "an on-demand stream's shard is split");
            }
            Reshard::Merge { shard, adjacent } => {
                let together = rate(*shard) + rate(*adjacent);
                tracing::info!(stream = %key, %shard, %adjacent, bytes_per_second = together, "an on-demand stream's shards are merged");
            }
        }
    }
}

#[cfg(test)]
mod tests;
