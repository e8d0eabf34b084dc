//! One search: its request, the best hits over all indices it names, and what of each is shown.
//!
//! Owns sorting, paging and source filtering. Promises that an answer is computed on one commit of each index and that
//! ties are broken the same way each time. Must not know HTTP.

mod collect;
mod request;
mod run;
mod sort;
mod source;

pub use request::{SearchRequest, TrackTotal, parse_search};
pub use run::{Hit, Hits, RunError, Searched, count, search};
pub use sort::SortValue;
pub use source::{Pattern, SourceFilter};
