//! One group of changes on its way into one commit.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use tantivy::{IndexWriter, Searcher, TantivyDocument};

use super::lookup;
use super::meta::IndexMeta;
use super::open::OpenIndex;
use super::operation::{Decision, Existing, Operation, Outcome, Refused, decide, merge};
use crate::error::EngineError;
use crate::mapping::{analyse, merge_mapping};

/// A document as earlier changes of the same group left it.
struct Pending {
    existing: Option<Existing>,
    source: Bytes,
}

/// Changes that become durable together.
pub struct Group<'a> {
    open: &'a OpenIndex,
    writer: &'a mut IndexWriter<TantivyDocument>,
    searcher: Searcher,
    meta: IndexMeta,
    pending: HashMap<String, Pending>,
    changed: bool,
}

impl<'a> Group<'a> {
    /// An empty group on what is committed.
    pub fn new(open: &'a OpenIndex, writer: &'a mut IndexWriter<TantivyDocument>) -> Self {
        let meta = Arc::unwrap_or_clone(open.meta());
        Self { open, writer, searcher: open.searcher(), meta, pending: HashMap::new(), changed: false }
    }

    /// Adds a change. An error means that the whole group has failed.
    pub fn apply(&mut self, operation: Operation) -> Result<Outcome, EngineError> {
        let existing = self.existing(&operation.id)?;
        let id = operation.id.clone();
        match decide(operation, existing) {
            Decision::Answer(outcome) => Ok(outcome),
            Decision::Write { source, version } => self.write(id, source, existing, version),
            Decision::Merge(doc, existing) => self.update(id, &doc, existing),
            Decision::Remove { version } => {
                let seq_no = self.take_seq_no();
                self.forget(&id);
                self.pending.insert(id, Pending { existing: None, source: Bytes::new() });
                Ok(Outcome::Deleted { version, seq_no })
            }
        }
    }

    /// Merges new fields into the mapping; the inner error is the caller's fault and changes nothing.
    pub fn put_mapping(&mut self, value: &Value) -> Result<(), String> {
        let mut mapping = self.meta.mapping.clone();
        merge_mapping(&mut mapping, value, self.meta.settings.total_fields_limit)?;
        self.changed |= mapping != self.meta.mapping;
        self.meta.mapping = mapping;
        Ok(())
    }

    /// Makes the group durable and visible.
    pub fn commit(self) -> Result<(), EngineError> {
        if self.changed { self.open.commit(self.writer, self.meta) } else { Ok(()) }
    }

    fn existing(&self, id: &str) -> Result<Option<Existing>, EngineError> {
        if let Some(pending) = self.pending.get(id) {
            return Ok(pending.existing);
        }
        let at = lookup::locate(&self.searcher, &self.open.physical, id)?;
        Ok(at.map(|at| lookup::existing(&self.searcher, at)).transpose()?)
    }

    fn take_seq_no(&mut self) -> u64 {
        let seq_no = self.meta.next_seq_no;
        self.meta.next_seq_no += 1;
        self.changed = true;
        seq_no
    }

    fn forget(&mut self, id: &str) {
        self.writer.delete_term(self.open.physical.id_term(id));
    }

    fn write(
        &mut self,
        id: String,
        source: Bytes,
        existing: Option<Existing>,
        version: u64,
    ) -> Result<Outcome, EngineError> {
        let object = match parse_object(&source) {
            Ok(object) => object,
            Err(refused) => return Ok(Outcome::Refused(refused)),
        };
        let analysed = match analyse(&mut self.meta.mapping, &self.meta.settings, &id, &object) {
            Ok(analysed) => analysed,
            Err(refusal) => {
                return Ok(Outcome::Refused(Refused { status: 400, kind: refusal.kind, reason: refusal.reason }));
            }
        };
        let seq_no = self.take_seq_no();
        if existing.is_some() {
            self.forget(&id);
        }
        let document = self.open.physical.document(&id, &source, seq_no, version, analysed);
        self.writer.add_document(document)?;
        self.pending.insert(id, Pending { existing: Some(Existing { version, seq_no }), source });
        Ok(match existing {
            Some(_) => Outcome::Updated { version, seq_no },
            None => Outcome::Created { version, seq_no },
        })
    }

    fn update(&mut self, id: String, doc: &Value, existing: Existing) -> Result<Outcome, EngineError> {
        let source = match self.pending.get(&id) {
            Some(pending) => pending.source.clone(),
            None => {
                lookup::find_document(&self.searcher, &self.open.physical, &id)?.map(|d| d.source).unwrap_or_default()
            }
        };
        let mut value: Value = serde_json::from_slice(&source)
            .map_err(|e| EngineError::Corrupt { file: format!("document [{id}]"), reason: e.to_string() })?;
        if !merge(&mut value, doc) {
            return Ok(Outcome::Noop { version: existing.version, seq_no: existing.seq_no });
        }
        self.write(id, Bytes::from(value.to_string()), Some(existing), existing.version + 1)
    }
}

fn parse_object(source: &[u8]) -> Result<Map<String, Value>, Refused> {
    serde_json::from_slice(source).map_err(|e| Refused {
        status: 400,
        kind: "mapper_parsing_exception",
        reason: format!("failed to parse: the document is not a JSON object: {e}"),
    })
}
