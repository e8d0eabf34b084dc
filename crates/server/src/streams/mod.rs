//! What is known of data streams beyond their log: their settings and their traffic.
//!
//! Owns the settings that the service obeys and the log need not know, each shard's rates and heaviest partition keys,
//! the service's quotas for those who want them, and the scaling of on-demand streams. Promises that a setting is
//! durable when its change is answered, and that counting is bounded and costs a put some nanoseconds. Must not know
//! the wire.

mod account;
mod budget;
mod calls;
mod daily;
mod fanout;
mod heavy;
mod ondemand;
mod quotas;
mod rates;
mod report;
mod room;
mod scale;
mod scaler;
mod settings;
mod spread;
mod table;
#[cfg(test)]
mod tests;
mod traffic;

pub(crate) use account::{Accounts, Commitment};
pub(crate) use budget::{Exceeded, ShardBudget};
pub(crate) use daily::Daily;
pub(crate) use fanout::Fanout;
pub(crate) use quotas::Pace;
pub(crate) use rates::Amount;
pub(crate) use report::{prometheus, traffic as traffic_report};
pub(crate) use room::Streams;
pub(crate) use scale::{PLANS, is_outdated, steps as steps_to};
pub(crate) use scaler::Scaler;
pub(crate) use settings::{Consumer, Mode, Settings, ShardMetric};
pub(crate) use table::SettingsTable;
pub(crate) use traffic::{Meter, Throttled, Traffic};
