//! The room of the data streams: what the service, the scaler and the console share.

use std::sync::Arc;
use std::time::Duration;

use base::{Env, StateError, StateStore};
use log::Log;

use super::calls::CallQuotas;
use super::ondemand::Policy;
use super::{Accounts, Fanout, SettingsTable, ShardBudget, Traffic};
use crate::config;

/// See the module. Clones are handles to the same room.
#[derive(Clone)]
pub(crate) struct Streams {
    /// What each stream is set to.
    pub settings: SettingsTable,
    /// What accounts have committed themselves to.
    pub accounts: Accounts,
    /// How many shards may be open.
    pub budget: ShardBudget,
    /// What goes through each shard, and whether more may.
    pub traffic: Arc<Traffic>,
    /// How often the control plane may be called.
    pub calls: Arc<CallQuotas>,
    /// Which registered consumers mappings read as.
    pub fanout: Fanout,
    /// When on-demand streams change their shards.
    pub scaling: Policy,
}

impl Streams {
    /// Opens the room: ends what a crash cut short.
    pub async fn open(
        env: &Env,
        state: &Arc<dyn StateStore>,
        log: &Log,
        config: &config::Streams,
    ) -> Result<Self, StateError> {
        let clock = || Arc::clone(&env.clock);
        let settings = SettingsTable::open(Arc::clone(state), log.clone()).await?;
        Ok(Self {
            fanout: Fanout::new(log.clone(), settings.clone()),
            settings,
            accounts: Accounts::new(Arc::clone(state)),
            budget: ShardBudget::new(log.clone(), config.max_shards),
            traffic: Arc::new(Traffic::new(clock(), config.aws_limits)),
            calls: Arc::new(CallQuotas::new(clock(), config.aws_limits)),
            scaling: Policy {
                split: config.split_bytes_per_second as f64,
                merge: config.merge_bytes_per_second as f64,
                calm: Duration::from_secs(config.merge_after_seconds),
            },
        })
    }
}
