//! What an index knows about itself besides its documents. It is the payload of tantivy's `meta.json`, so that
//! documents and mapping become durable in one step.

use serde::{Deserialize, Serialize};

use crate::mapping::{Mapping, Settings};

/// The version of this format.
const FORMAT: u32 = 1;

/// Mapping, settings and counters of one index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexMeta {
    v: u32,
    /// A random id that outlives no deletion.
    pub uuid: String,
    /// When the index was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// Its settings.
    pub settings: Settings,
    /// The `_seq_no` of the next change.
    pub next_seq_no: u64,
    /// Its fields.
    pub mapping: Mapping,
}

impl IndexMeta {
    /// Of a new index.
    pub fn new(uuid: String, created_ms: i64, settings: Settings, mapping: Mapping) -> Self {
        Self { v: FORMAT, uuid, created_ms, settings, next_seq_no: 0, mapping }
    }

    /// As stored.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// From its stored form.
    pub fn decode(text: &str) -> Result<Self, String> {
        let meta: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if meta.v != FORMAT {
            return Err(format!("format version {} is not known; this build reads {FORMAT}", meta.v));
        }
        Ok(meta)
    }
}
