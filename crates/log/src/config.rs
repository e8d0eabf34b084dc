//! What the log can be told.

use std::time::Duration;

use base::MasterKey;

use crate::LogError;

/// The log's bounds. Every one limits memory or files, never durability.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A segment that has reached this size is followed by a new one. At most 2 GiB.
    pub segment_bytes: u64,
    /// Bytes waiting for the writer; a batch that does not fit is refused.
    pub queue_bytes: usize,
    /// Bytes that one group (one fsync) takes at most, unless a single batch is larger. At most 1 GiB.
    pub group_bytes: usize,
    /// Bytes of recent batches kept in memory, so that readers at the tail touch no disk.
    pub tail_cache_bytes: usize,
    /// Bytes of sealed segments' indexes kept in memory.
    pub index_cache_bytes: usize,
    /// How often retention is enforced.
    pub retention_period: Duration,
    /// From which the keys of encrypted streams come. Without it no stream can be encrypted, and a journal that has
    /// encrypted streams cannot be opened.
    pub master_key: Option<MasterKey>,
}

impl LogConfig {
    /// Places in a segment are kept in 32 bits: a full segment and one more group must fit.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        if self.segment_bytes > 2 << 30 {
            return Err(LogError::Invalid(format!("segment_bytes of {} exceeds 2 GiB", self.segment_bytes)));
        }
        if self.group_bytes > 1 << 30 {
            return Err(LogError::Invalid(format!("group_bytes of {} exceeds 1 GiB", self.group_bytes)));
        }
        Ok(())
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            queue_bytes: 64 << 20,
            group_bytes: 16 << 20,
            tail_cache_bytes: 64 << 20,
            index_cache_bytes: 64 << 20,
            retention_period: Duration::from_secs(300),
            master_key: None,
        }
    }
}
