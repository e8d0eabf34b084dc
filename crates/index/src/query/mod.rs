//! The query language: parsed into one tree at the edge, lowered to tantivy under an index's mapping.
//!
//! Owns the JSON query DSL, the Lucene syntax of `query_string`, and what each means on a field of each type. Promises
//! that a query or option that it does not know is refused by name, and that every query is bounded in depth and
//! clauses. Must not know HTTP or how results are sorted and shown.

mod ast;
mod column;
mod glob;
mod lower;
mod options;
mod parse;
mod range;
mod scan;
mod string;

pub use ast::{FieldName, Query};
pub use glob::Glob;
pub use lower::Lowering;
pub use options::{Options, ParseError};
pub use parse::parse_query;
pub use string::{Operator, StringQuery, parse_query_string};
