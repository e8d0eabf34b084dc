//! What an operator may set.

/// Settings of the embedded index.
#[derive(Debug, Clone)]
pub struct IndexConfig {
    /// Memory in bytes that one index's writer may fill before it writes a segment; tantivy's least is 15 MB.
    pub writer_bytes: usize,
    /// Groups of changes that are written at once, over all indices; further ones wait.
    pub write_threads: usize,
    /// Writers that stay open between groups; those of further indices are opened for each group.
    pub kept_writers: usize,
    /// Searches that run at once; further ones wait.
    pub search_threads: usize,
    /// Bytes of documents that may be on their way in; requests beyond are refused with 429.
    pub intake_bytes: usize,
    /// Indices that may exist at once, over all accounts and regions.
    pub max_indices: usize,
}

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            writer_bytes: 48 << 20,
            write_threads: 2,
            kept_writers: 16,
            search_threads: 2,
            intake_bytes: 256 << 20,
            max_indices: 1_000,
        }
    }
}
