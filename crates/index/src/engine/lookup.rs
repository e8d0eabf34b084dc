//! Finding a document by its id.

use bytes::Bytes;
use tantivy::schema::{IndexRecordOption, TantivyDocument, Value};
use tantivy::{DocAddress, DocSet, Searcher, TERMINATED, TantivyError};

use super::operation::Existing;
use super::physical::{Physical, SEQ_NO, VERSION};

/// A document as it was stored.
#[derive(Debug, Clone)]
pub struct StoredDocument {
    /// Its id.
    pub id: String,
    /// The document as it came.
    pub source: Bytes,
    /// Fields that were left out of the index.
    pub ignored: Vec<String>,
    /// Its version.
    pub version: u64,
    /// The number of its last change.
    pub seq_no: u64,
}

/// Where the document `id` is.
pub fn locate(searcher: &Searcher, physical: &Physical, id: &str) -> Result<Option<DocAddress>, TantivyError> {
    let term = physical.id_term(id);
    for (ordinal, segment) in searcher.segment_readers().iter().enumerate() {
        let index = segment.inverted_index(physical.id)?;
        let Some(mut postings) = index.read_postings(&term, IndexRecordOption::Basic)? else { continue };
        let mut doc = postings.doc();
        while doc != TERMINATED {
            if !segment.is_deleted(doc) {
                return Ok(Some(DocAddress::new(ordinal as u32, doc)));
            }
            doc = postings.advance();
        }
    }
    Ok(None)
}

/// Version and number of the last change of a document.
pub fn existing(searcher: &Searcher, at: DocAddress) -> Result<Existing, TantivyError> {
    let columns = searcher.segment_reader(at.segment_ord).fast_fields();
    let first = |name: &str| -> Result<u64, TantivyError> { Ok(columns.u64(name)?.first(at.doc_id).unwrap_or(0)) };
    Ok(Existing { version: first(VERSION)?, seq_no: first(SEQ_NO)? })
}

/// Reads a stored document.
pub fn fetch(searcher: &Searcher, physical: &Physical, at: DocAddress) -> Result<StoredDocument, TantivyError> {
    let document: TantivyDocument = searcher.doc(at)?;
    let Existing { version, seq_no } = existing(searcher, at)?;
    let text = |field| document.get_first(field).and_then(|v| v.as_str().map(str::to_owned));
    Ok(StoredDocument {
        id: text(physical.id).unwrap_or_default(),
        source: document
            .get_first(physical.source)
            .and_then(|v| v.as_bytes().map(Bytes::copy_from_slice))
            .unwrap_or_default(),
        ignored: document.get_all(physical.ignored).filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        version,
        seq_no,
    })
}

/// The document `id`, when it exists.
pub fn find_document(
    searcher: &Searcher,
    physical: &Physical,
    id: &str,
) -> Result<Option<StoredDocument>, TantivyError> {
    locate(searcher, physical, id)?.map(|at| fetch(searcher, physical, at)).transpose()
}
