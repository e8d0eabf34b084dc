//! What the log can be told.

/// The log's bounds. Every one limits memory or files, never durability.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A segment that has reached this size is followed by a new one.
    pub segment_bytes: u64,
    /// Bytes waiting for the writer; a batch that does not fit is refused.
    pub queue_bytes: usize,
    /// Bytes that one group (one fsync) takes at most, unless a single batch is larger.
    pub group_bytes: usize,
    /// Bytes of recent batches kept in memory, so that readers at the tail touch no disk.
    pub tail_cache_bytes: usize,
    /// Bytes of sealed segments' indexes kept in memory.
    pub index_cache_bytes: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            queue_bytes: 64 << 20,
            group_bytes: 16 << 20,
            tail_cache_bytes: 64 << 20,
            index_cache_bytes: 64 << 20,
        }
    }
}
