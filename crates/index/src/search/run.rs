//! Runs a search on the indices it names, one after the other, on the thread it is called on.

use std::sync::Arc;

use tantivy::Searcher;
use tantivy::collector::Count;

use super::collect::{Collected, Found, Source, TopHits, compare};
use super::request::SearchRequest;
use super::sort::{SortField, SortKey};
use crate::engine::{OpenIndex, Physical, StoredDocument, fetch_document};
use crate::error::EngineError;
use crate::mapping::{Kind, Mapping};
use crate::query::{Lowering, Query};

/// An index of a search.
pub struct Searched {
    /// Its name.
    pub name: String,
    /// The index.
    pub open: Arc<OpenIndex>,
    /// Its documents as of one commit.
    pub searcher: Searcher,
}

/// A hit to show.
pub struct Hit {
    /// Which index it is of.
    pub index: String,
    /// The document.
    pub document: StoredDocument,
    /// Its values of the sort fields, when sorted by some.
    pub found: Found,
}

/// What a search found.
pub struct Hits {
    /// The hits of the wanted page, in order.
    pub hits: Vec<Hit>,
    /// All hits.
    pub total: u64,
    /// The best score, when scores were computed and there is a hit.
    pub max_score: Option<f32>,
}

/// Why a search failed.
#[derive(Debug)]
pub enum RunError {
    /// The query cannot be done on an index.
    Query {
        /// Which.
        index: String,
        /// Elasticsearch's type of the error.
        kind: &'static str,
        /// The message.
        reason: String,
    },
    /// The engine failed.
    Engine(EngineError),
}

impl From<tantivy::TantivyError> for RunError {
    fn from(error: tantivy::TantivyError) -> Self {
        Self::Engine(error.into())
    }
}

fn lower(index: &Searched, query: &Query, now_ms: i64) -> Result<Box<dyn tantivy::query::Query>, RunError> {
    let meta = index.open.meta();
    let mut lowering = Lowering::new(&index.name, &meta.mapping, index.open.physical, now_ms);
    lowering.lower(query).map_err(|error| RunError::Query {
        index: index.name.clone(),
        kind: "query_shard_exception",
        reason: error.reason,
    })
}

/// Counts the hits of a query.
pub fn count(indices: &[Searched], query: &Query, now_ms: i64) -> Result<u64, RunError> {
    let mut total = 0;
    for index in indices {
        total += index.searcher.search(&lower(index, query, now_ms)?, &Count)? as u64;
    }
    Ok(total)
}

/// Runs a search.
pub fn search(indices: &[Searched], request: &SearchRequest, now_ms: i64) -> Result<Hits, RunError> {
    let order = request.order();
    let limit = if request.size == 0 { 0 } else { request.from + request.size };
    let (mut all, mut total): (Vec<(usize, Found)>, u64) = (Vec::new(), 0);
    for (i, index) in indices.iter().enumerate() {
        let mapping = &index.open.meta().mapping;
        let sources = sources(&index.name, mapping, &order)?;
        let collector = TopHits { order: &order, sources, limit, scored: request.scored() };
        let Collected { hits, total: found } =
            index.searcher.search(&lower(index, &request.query, now_ms)?, &collector)?;
        total += found;
        all.extend(hits.into_iter().map(|hit| (i, hit)));
    }
    if indices.len() > 1 {
        // Stable, and the hits of each index are in order already.
        all.sort_by(|(i, a), (j, b)| compare_across(&order, (*i, a), (*j, b)));
    }
    let best = all.iter().map(|(_, hit)| hit.score).reduce(f32::max);
    let max_score = if request.scored() { best } else { None };
    let mut hits = Vec::new();
    for (i, found) in all.into_iter().skip(request.from).take(request.size) {
        let index = &indices[i];
        let document = fetch_document(&index.searcher, &index.open.physical, found.at)?;
        hits.push(Hit { index: index.name.clone(), document, found });
    }
    Ok(Hits { hits, total, max_score })
}

fn compare_across(order: &[SortField], a: (usize, &Found), b: (usize, &Found)) -> std::cmp::Ordering {
    if a.0 == b.0 {
        return compare(order, a.1, b.1);
    }
    let by_value = order.iter().zip(a.1.values.iter().zip(&b.1.values)).map(|(field, (a, b))| field.compare(a, b));
    by_value.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).then(a.0.cmp(&b.0))
}

/// Where each value of an order comes from in an index.
fn sources(index: &str, mapping: &Mapping, order: &[SortField]) -> Result<Vec<Source>, RunError> {
    let refused = |kind, reason| RunError::Query { index: index.to_owned(), kind, reason };
    let source = |field: &SortField| {
        let (name, unmapped) = match &field.key {
            SortKey::Score => return Ok(Source::Score),
            SortKey::Doc => return Ok(Source::Doc),
            SortKey::Field { name, unmapped } => (name, *unmapped),
        };
        match mapping.resolve(name) {
            Some(found) if found.kind == Kind::Text => Err(refused(
                "illegal_argument_exception",
                format!(
                    "Text fields are not optimised for operations that require per-document field data like \
                     aggregations and sorting, so these operations are disabled by default. Please use a keyword \
                     field instead, such as [{name}.keyword]"
                ),
            )),
            Some(found) if !matches!(found.kind, Kind::Object | Kind::Disabled) => {
                Ok(Source::Column(Physical::column(found.id)))
            }
            _ if unmapped => Ok(Source::None),
            _ => Err(refused("query_shard_exception", format!("No mapping found for [{name}] in order to sort on"))),
        }
    };
    order.iter().map(source).collect()
}
