//! What an operator may set.

/// Settings of the embedded index.
#[derive(Debug, Clone)]
pub struct IndexConfig {
    /// Memory in bytes that one index's writer may fill before it writes a segment.
    pub writer_bytes: usize,
    /// Indices that may exist at once, over all accounts and regions.
    pub max_indices: usize,
    /// Searches and document lookups that run at once; further ones wait.
    pub search_threads: usize,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self { writer_bytes: 32 << 20, max_indices: 1_000, search_threads: 2 }
    }
}
