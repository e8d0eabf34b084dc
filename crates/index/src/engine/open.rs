//! An index opened for reading, and its writer.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use base::{Env, Fs};
use tantivy::indexer::IndexWriterOptions;
use tantivy::merge_policy::LogMergePolicy;
use tantivy::{IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument};

use super::meta::IndexMeta;
use super::physical::Physical;
use crate::error::EngineError;
use crate::storage::FsDirectory;

/// Decoded blocks of stored documents that a reader keeps, 16 KiB each.
const STORE_CACHE_BLOCKS: usize = 32;
/// Segments of similar size that are merged into one.
const MERGE_FACTOR: usize = 8;

/// An index, open. Searches share it with the owner, who commits through it.
pub struct OpenIndex {
    index: tantivy::Index,
    reader: IndexReader,
    directory: FsDirectory,
    /// The physical fields.
    pub physical: Physical,
    meta: RwLock<Arc<IndexMeta>>,
}

impl OpenIndex {
    /// Makes an empty index in the folder `dir`, durable when this returns.
    pub fn create(fs: &Arc<dyn Fs>, dir: &Path, meta: &IndexMeta) -> Result<(), EngineError> {
        fs.create_dir_all(dir)?;
        let mut root = tantivy::IndexMeta::with_schema(Physical::schema());
        root.payload = Some(meta.encode().map_err(io::Error::from)?);
        let bytes = serde_json::to_vec_pretty(&root).map_err(io::Error::from)?;
        fs.write_atomic(&dir.join(crate::storage::META), &bytes, 0o600)?;
        Ok(())
    }

    /// Opens the index in the folder `dir`.
    pub fn open(env: &Env, dir: &Path) -> Result<Self, EngineError> {
        let directory = FsDirectory::open(Arc::clone(&env.fs), dir)?;
        let index = tantivy::Index::open(directory.clone())?;
        Physical::register(&index);
        let payload = index.load_metas()?.payload.unwrap_or_default();
        let meta = IndexMeta::decode(&payload).map_err(|reason| EngineError::Corrupt {
            file: dir.join(crate::storage::META).display().to_string(),
            reason,
        })?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(STORE_CACHE_BLOCKS)
            .try_into()?;
        let physical = Physical::of(&index.schema())?;
        Ok(Self { index, reader, directory, physical, meta: RwLock::new(Arc::new(meta)) })
    }

    /// Mapping, settings and counters as of the last commit.
    pub fn meta(&self) -> Arc<IndexMeta> {
        Arc::clone(&self.meta.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The documents as of the last commit.
    pub fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// Opens the writer: one thread that indexes, one that merges.
    pub fn writer(&self, memory_bytes: usize) -> Result<IndexWriter<TantivyDocument>, EngineError> {
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .memory_budget_per_thread(memory_bytes)
            .num_merge_threads(1)
            .build();
        let writer = self.index.writer_with_options(options)?;
        let mut merges = LogMergePolicy::default();
        merges.set_min_num_segments(MERGE_FACTOR);
        writer.set_merge_policy(Box::new(merges));
        // A commit that a crash or failure cut off leaves files. Theirs are the names that this writer gives when it
        // does the same again, so they must be gone.
        writer.garbage_collect_files().wait()?;
        Ok(writer)
    }

    /// Makes everything that the writer was given durable, with `meta`, then visible.
    pub fn commit(&self, writer: &mut IndexWriter<TantivyDocument>, meta: IndexMeta) -> Result<(), EngineError> {
        let payload = meta.encode().map_err(io::Error::from)?;
        let mut prepared = writer.prepare_commit()?;
        prepared.set_payload(&payload);
        prepared.commit()?;
        self.reader.reload()?;
        *self.meta.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(meta);
        Ok(())
    }

    /// Lets no change through this handle any more; what is open for reading stays readable.
    pub fn retire(&self) {
        self.directory.retire();
    }
}
