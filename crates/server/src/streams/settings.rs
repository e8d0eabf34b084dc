//! One stream's settings: what the service obeys and the log need not know.
//!
//! What the log obeys (shards, retention, encryption) is in its own catalogue, so that both change in one durable step
//! each. Must not know where settings are kept.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::daily::Changes;

/// Who decides how many shards a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Mode {
    /// Its owner.
    #[default]
    Provisioned,
    /// Its traffic.
    OnDemand,
}

impl Mode {
    /// As the service writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioned => "PROVISIONED",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// A metric that can be asked for shard by shard ("enhanced monitoring").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum ShardMetric {
    IncomingBytes,
    IncomingRecords,
    OutgoingBytes,
    OutgoingRecords,
    WriteProvisionedThroughputExceeded,
    ReadProvisionedThroughputExceeded,
    IteratorAgeMilliseconds,
}

impl ShardMetric {
    /// Every metric.
    pub const ALL: [Self; 7] = [
        Self::IncomingBytes,
        Self::IncomingRecords,
        Self::OutgoingBytes,
        Self::OutgoingRecords,
        Self::WriteProvisionedThroughputExceeded,
        Self::ReadProvisionedThroughputExceeded,
        Self::IteratorAgeMilliseconds,
    ];

    /// As the service writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IncomingBytes => "IncomingBytes",
            Self::IncomingRecords => "IncomingRecords",
            Self::OutgoingBytes => "OutgoingBytes",
            Self::OutgoingRecords => "OutgoingRecords",
            Self::WriteProvisionedThroughputExceeded => "WriteProvisionedThroughputExceeded",
            Self::ReadProvisionedThroughputExceeded => "ReadProvisionedThroughputExceeded",
            Self::IteratorAgeMilliseconds => "IteratorAgeMilliseconds",
        }
    }
}

/// A registered consumer: a reader with a connection of its own to each shard ("enhanced fan-out").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Consumer {
    /// Seconds since 1970 of its registration, which its ARN carries.
    pub epoch: i64,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Who may use it, as its owner wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl Consumer {
    /// When it was registered.
    pub const fn created(&self) -> Timestamp {
        Timestamp::from_millis(self.epoch.saturating_mul(1_000))
    }
}

/// See the module. A stream without stored settings has the default ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Who decides over its shards.
    pub mode: Mode,
    /// KiB (1,024 bytes) of a record's data and partition key, at most.
    pub max_record_kib: u32,
    /// MiB a second that an on-demand stream must always be able to take: it keeps at least as many open shards.
    pub warm_mibps: Option<u32>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Who may use it, as its owner wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What is measured shard by shard.
    pub monitored: BTreeSet<ShardMetric>,
    /// Its registered consumers, by name.
    pub consumers: BTreeMap<String, Consumer>,
    /// The greatest epoch of a consumer that was deregistered: one of the same name gets another ARN.
    pub last_epoch: i64,
    /// The key that encryption was started with, as it was named.
    pub key_id: Option<String>,
    /// When it was changed by what may be done only so often in a day; kept only while quotas hold.
    #[serde(skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
}

impl Settings {
    /// KiB of a record, when nothing else is said; also the least that can be set.
    pub const DEFAULT_RECORD_KIB: u32 = 1_024;

    /// Takes over what was intended wherever these are still the default ones.
    pub fn complete(&mut self, intended: &Self) {
        let untouched = Self::default();
        if self.mode == untouched.mode {
            self.mode = intended.mode;
        }
        if self.max_record_kib == untouched.max_record_kib {
            self.max_record_kib = intended.max_record_kib;
        }
        self.warm_mibps = self.warm_mibps.or(intended.warm_mibps);
        for (key, value) in &intended.tags {
            self.tags.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            max_record_kib: Self::DEFAULT_RECORD_KIB,
            warm_mibps: None,
            tags: BTreeMap::new(),
            policy: None,
            monitored: BTreeSet::new(),
            consumers: BTreeMap::new(),
            last_epoch: 0,
            key_id: None,
            changes: Changes::default(),
        }
    }
}
