//! The one physical schema that every index has in tantivy. Part of the format on disk.
//!
//! ```text
//! _id       keyword           the document's id, once per index
//! _source   bytes, stored     the document as it came
//! _seq_no   u64, fast         grows with every change to the index
//! _version  u64, fast         grows with every change to the document
//! _ignored  keyword, stored   fields left out of the index
//! _fields   u64               numbers of the fields that have a value: answers `exists`
//! _all      text              every value: answers searches without a field
//! words     JSON, text        text fields by number: {"7": ["The Quick", …]}
//! keys      JSON, raw, fast   all other fields by number: {"8": ["The Quick"], "9": [443]}
//! ```
//! Fields are indexed by their number in the mapping, not by their name: names may hold any character and be long.
//! Dates are milliseconds since the epoch, addresses 32 hexadecimal digits.

use std::collections::BTreeMap;

use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, JsonObjectOptions, OwnedValue, STORED, STRING, Schema, TantivyDocument,
    TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{TantivyError, Term};

use super::text::{STANDARD, Standard};
use crate::mapping::{Analysed, Scalar};

/// The fields of the physical schema.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "drawn at the top of the module")]
pub struct Physical {
    pub id: Field,
    pub source: Field,
    pub seq_no: Field,
    pub version: Field,
    pub ignored: Field,
    pub fields: Field,
    pub all: Field,
    pub words: Field,
    pub keys: Field,
}

/// The columns' names, for readers.
pub const SEQ_NO: &str = "_seq_no";
/// See [`SEQ_NO`].
pub const VERSION: &str = "_version";
/// The tokenizer of whole values.
const RAW: &str = "raw";

impl Physical {
    /// The schema, which is the same for every index.
    pub fn schema() -> Schema {
        let text = TextFieldIndexing::default()
            .set_tokenizer(STANDARD)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions);
        let raw = TextFieldIndexing::default().set_tokenizer(RAW).set_index_option(IndexRecordOption::Basic);
        let mut schema = Schema::builder();
        schema.add_text_field("_id", STRING | STORED);
        schema.add_bytes_field("_source", STORED);
        schema.add_u64_field(SEQ_NO, FAST);
        schema.add_u64_field(VERSION, FAST);
        schema.add_text_field("_ignored", STRING | STORED);
        schema.add_u64_field("_fields", INDEXED);
        schema.add_text_field("_all", TextOptions::default().set_indexing_options(text.clone()));
        schema.add_json_field("words", JsonObjectOptions::default().set_indexing_options(text));
        schema.add_json_field("keys", JsonObjectOptions::default().set_indexing_options(raw).set_fast(RAW));
        schema.build()
    }

    /// The fields of an index that was made with [`Physical::schema`].
    pub fn of(schema: &Schema) -> Result<Self, TantivyError> {
        Ok(Self {
            id: schema.get_field("_id")?,
            source: schema.get_field("_source")?,
            seq_no: schema.get_field(SEQ_NO)?,
            version: schema.get_field(VERSION)?,
            ignored: schema.get_field("_ignored")?,
            fields: schema.get_field("_fields")?,
            all: schema.get_field("_all")?,
            words: schema.get_field("words")?,
            keys: schema.get_field("keys")?,
        })
    }

    /// Makes the tokenizer known to an index.
    pub fn register(index: &tantivy::Index) {
        index.tokenizers().register(STANDARD, TextAnalyzer::builder(Standard).build());
    }

    /// The name of the column of a field, for sorting.
    pub fn column(id: u32) -> String {
        format!("keys.{id}")
    }

    /// The term that finds a document by its id.
    pub fn id_term(&self, id: &str) -> Term {
        Term::from_field_text(self.id, id)
    }

    /// A document as tantivy takes it.
    pub fn document(&self, id: &str, source: &[u8], seq_no: u64, version: u64, analysed: Analysed) -> TantivyDocument {
        let mut document = TantivyDocument::with_capacity(source.len() * 3);
        document.add_text(self.id, id);
        document.add_bytes(self.source, source);
        document.add_u64(self.seq_no, seq_no);
        document.add_u64(self.version, version);
        for path in &analysed.ignored {
            document.add_text(self.ignored, path);
        }
        for field in analysed.present {
            document.add_u64(self.fields, field.into());
        }
        for text in &analysed.all {
            document.add_text(self.all, text);
        }
        let words = analysed.text.into_iter().map(|(field, text)| (field, OwnedValue::Str(text)));
        document.add_object(self.words, by_field(words));
        let keys = analysed.keys.into_iter().map(|(field, scalar)| (field, owned(scalar)));
        document.add_object(self.keys, by_field(keys));
        document
    }
}

fn owned(scalar: Scalar) -> OwnedValue {
    match scalar {
        Scalar::Str(s) => OwnedValue::Str(s),
        Scalar::Int(n) => OwnedValue::I64(n),
        Scalar::Float(n) => OwnedValue::F64(n),
        Scalar::Bool(b) => OwnedValue::Bool(b),
    }
}

fn by_field(values: impl Iterator<Item = (u32, OwnedValue)>) -> BTreeMap<String, OwnedValue> {
    let mut grouped: BTreeMap<u32, Vec<OwnedValue>> = BTreeMap::new();
    for (field, value) in values {
        grouped.entry(field).or_default().push(value);
    }
    grouped.into_iter().map(|(field, values)| (field.to_string(), OwnedValue::Array(values))).collect()
}

/// The term of a value of field number `id` in one of the JSON fields.
pub fn json_term(field: Field, id: u32, scalar: &Scalar) -> Term {
    let mut term = Term::from_field_json_path(field, &id.to_string(), false);
    match scalar {
        Scalar::Str(s) => term.append_type_and_str(s),
        Scalar::Int(n) => term.append_type_and_fast_value(*n),
        Scalar::Bool(b) => term.append_type_and_fast_value(*b),
        // Whole floats are indexed as integers.
        Scalar::Float(n) if n.fract() == 0.0 && n.abs() < 9.2e18 => term.append_type_and_fast_value(*n as i64),
        Scalar::Float(n) => term.append_type_and_fast_value(*n),
    }
    term
}
