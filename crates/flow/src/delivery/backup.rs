//! The backup bucket: a folder of objects.
//!
//! Owns the names and content of what is written there. Promises that an object is whole or absent, and that the same
//! records give the same name, so that a replay of a batch overwrites it. Where a crash makes the next run cut its
//! batches elsewhere, a record can be in two objects: the bucket holds each at least once.
//! Must not know why something is written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{BucketName, Fs, SequenceNumber, ShardId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use log::Record;
use serde::Serialize;

use crate::FlowError;

const MODE: u32 = 0o600;

/// One bucket.
pub(super) struct Bucket {
    fs: Arc<dyn Fs>,
    folder: PathBuf,
}

/// A document that the index did not take, as Firehose writes it ("Understand data delivery in Amazon Data Firehose",
/// Firehose Developer Guide).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FailedDocument {
    pub attempts_made: u32,
    pub arrival_timestamp: i64,
    pub error_code: String,
    pub error_message: String,
    pub attempt_ending_timestamp: i64,
    pub raw_data: String,
    pub es_document_id: String,
    pub es_index_name: String,
    pub es_type_name: &'static str,
}

impl FailedDocument {
    pub fn raw(data: &[u8]) -> String {
        BASE64.encode(data)
    }
}

/// `YYYY/MM/DD/HH/NAME-SHARD-FIRST-LAST` for these records, by the arrival of the first.
pub(super) fn object_name(prefix: &str, stream: &str, shard: ShardId, records: &[&Record]) -> Option<String> {
    let (first, last) = (records.first()?, records.last()?);
    let number = |r: &Record| SequenceNumber::new(r.position, shard, r.arrival);
    let hour = first.arrival.format("%Y/%m/%d/%H");
    Some(format!("{prefix}{hour}/{stream}-{shard}-{}-{}", number(first), number(last)))
}

impl Bucket {
    pub fn new(fs: Arc<dyn Fs>, objects: &Path, bucket: &BucketName) -> Self {
        Self { fs, folder: objects.join(bucket.as_str()) }
    }

    /// Writes an object durably.
    pub async fn put(&self, name: &str, content: Vec<u8>) -> Result<(), FlowError> {
        let (fs, path) = (Arc::clone(&self.fs), self.folder.join(name));
        let shown = path.display().to_string();
        let written = tokio::task::spawn_blocking(move || {
            let folder = path.parent().unwrap_or(&path);
            fs.create_dir_all(folder)?;
            fs.write_atomic(&path, &content, MODE)?;
            // The folders above may be new too.
            folder.ancestors().skip(1).take(6).try_for_each(
                |above| {
                    if fs.exists(above)? { fs.sync_dir(above) } else { Ok(()) }
                },
            )
        });
        let result = written.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        result.map_err(|source| FlowError::Backup { path: shown, source })
    }
}
