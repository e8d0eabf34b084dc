//! Documents with any term that fits a pattern: walks the sorted terms of one field from the pattern's fixed start.

use tantivy::query::{BitSetDocSet, ConstScorer, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{BitSet, DocId, Score, SegmentReader, Term};

use super::column::explain;
use super::glob::Glob;

/// The query.
#[derive(Debug, Clone)]
pub struct TermScan {
    field: Field,
    /// The bytes of every candidate up to where its text begins.
    path: Vec<u8>,
    /// The bytes that every fitting term starts with.
    prefix: Vec<u8>,
    glob: Glob,
}

impl TermScan {
    /// Of the terms that start with `empty`, the term of the empty text, those whose text fits.
    pub fn new(empty: &Term, glob: Glob) -> Self {
        let path = empty.serialized_value_bytes().to_vec();
        let mut prefix = path.clone();
        prefix.extend_from_slice(glob.literal_prefix().as_bytes());
        Self { field: empty.field(), path, prefix, glob }
    }

    fn matching(&self, reader: &SegmentReader) -> tantivy::Result<BitSet> {
        let mut found = BitSet::with_max_value(reader.max_doc());
        let index = reader.inverted_index(self.field)?;
        let mut terms = index.terms().range().ge(&self.prefix).into_stream()?;
        while terms.advance() {
            if !terms.key().starts_with(&self.prefix) {
                break;
            }
            let text = std::str::from_utf8(&terms.key()[self.path.len()..]).unwrap_or_default();
            if !self.glob.matches(text) {
                continue;
            }
            let mut postings = index.read_block_postings_from_terminfo(terms.value(), IndexRecordOption::Basic)?;
            while !postings.docs().is_empty() {
                for &doc in postings.docs() {
                    found.insert(doc);
                }
                postings.advance();
            }
        }
        Ok(found)
    }
}

impl Query for TermScan {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for TermScan {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let docs = BitSetDocSet::from(self.matching(reader)?);
        Ok(Box::new(ConstScorer::new(docs, boost)))
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        explain("TermScan", self.scorer(reader, 1.0)?, doc)
    }
}
