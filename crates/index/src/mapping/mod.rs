//! The logical mapping: which fields an index has, of which types, and what a document's JSON becomes under them.
//!
//! Owns Elasticsearch's rules of dynamic mapping, type conversion and refusal. Promises that the same document under
//! the same mapping always becomes the same terms, and that a refused document leaves the mapping as it was. Pure: it
//! knows neither tantivy nor the disk nor HTTP.

mod date;
mod document;
mod explicit;
mod fields;
mod settings;
mod value;

pub use date::{Rounding, resolve_date_math};
pub use document::{Analysed, analyse};
pub use explicit::{merge_mapping, render_mapping};
pub use fields::{Kind, Mapping, Resolved};
pub use settings::Settings;
pub use value::{Scalar, ip_key, query_value, scalar_text};
