//! `_search` and `_count`.

use std::sync::Arc;
use std::time::Duration;

use base::Scope;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::cluster::shards;
use super::names::{self, Lenience};
use super::route::Service;
use crate::engine::blocking;
use crate::http::{ApiError, Reply, Request};
use crate::metrics;
use crate::query::ParseError;
use crate::search::{Hit, Hits, RunError, SearchRequest, Searched, SortValue, SourceFilter, TrackTotal};
use crate::{search as engine, search::parse_search};

/// Opens what a search looks at.
async fn opened(
    service: &Service,
    scope: &Scope,
    list: Option<&str>,
    lenience: Lenience,
) -> Result<Vec<Searched>, ApiError> {
    let mut out = Vec::new();
    for entry in names::several(&service.registry, scope, list, lenience)? {
        let (open, searcher) = entry.reading().await?;
        out.push(Searched { name: entry.name.to_string(), open, searcher });
    }
    Ok(out)
}

/// Runs a search where it may block.
pub async fn run<T: Send + 'static>(
    service: &Service,
    work: impl FnOnce(i64) -> Result<T, RunError> + Send + 'static,
) -> Result<T, ApiError> {
    let Ok(_admitted) = Arc::clone(&service.admitted).try_acquire_owned() else {
        return Err(ApiError::busy("too many searches are waiting"));
    };
    let Ok(_running) = service.searches.acquire().await else {
        return Err(crate::error::EngineError::Stopping.into());
    };
    let now = service.env.clock.now().millis();
    Ok(blocking(move || work(now)).await??)
}

/// `_search`.
pub async fn search(
    service: &Service,
    scope: &Scope,
    request: &Request,
    list: Option<&str>,
) -> Result<Reply, ApiError> {
    let started = service.env.clock.instant();
    let mut parameters = request.parameters.clone();
    let lenience = Lenience::take(&mut parameters)?;
    let total_as_number = parameters.take_flag("rest_total_hits_as_int")?.unwrap_or(false);
    let search = parse_search(&request.json()?, &parameters.rest())?;
    let indices = opened(service, scope, list, lenience).await?;
    let count = indices.len();
    let (search, hits) =
        run(service, move |now| engine::search(&indices, &search, now).map(|hits| (search, hits))).await?;
    let took = service.env.clock.instant().saturating_sub(started);
    metrics::search(took);
    respond(&search, &hits, count, took, total_as_number)
}

#[derive(Serialize)]
struct ShownHit<'a> {
    _index: &'a str,
    _id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    _version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _seq_no: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _primary_term: Option<u64>,
    _score: Option<f32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    _ignored: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    _source: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sort: Vec<Value>,
}

/// The part of a source that is shown; `None` when none is.
pub fn shown_source(filter: &SourceFilter, source: &[u8]) -> Result<Option<Box<RawValue>>, serde_json::Error> {
    match filter {
        SourceFilter::Nothing => Ok(None),
        SourceFilter::All => serde_json::from_slice(source).map(Some),
        SourceFilter::Fields { .. } => {
            let map: Map<String, Value> = serde_json::from_slice(source)?;
            serde_json::value::to_raw_value(&filter.apply(map)).map(Some)
        }
    }
}

fn show<'a>(search: &SearchRequest, hit: &'a Hit) -> Result<ShownHit<'a>, ApiError> {
    let document = &hit.document;
    let source = shown_source(&search.source, &document.source).map_err(|error| {
        crate::error::EngineError::Corrupt { file: format!("document [{}]", document.id), reason: error.to_string() }
    })?;
    Ok(ShownHit {
        _index: &hit.index,
        _id: &document.id,
        _version: search.version.then_some(document.version),
        _seq_no: search.seq_no_primary_term.then_some(document.seq_no),
        _primary_term: search.seq_no_primary_term.then_some(1),
        _score: search.scored().then_some(hit.found.score),
        _ignored: &document.ignored,
        _source: source,
        sort: if search.sort.is_empty() {
            Vec::new()
        } else {
            hit.found.values.iter().map(SortValue::render).collect()
        },
    })
}

fn respond(
    search: &SearchRequest,
    hits: &Hits,
    indices: usize,
    took: Duration,
    total_as_number: bool,
) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    struct ShownHits<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<Value>,
        max_score: Option<f32>,
        hits: Vec<ShownHit<'a>>,
    }
    #[derive(Serialize)]
    struct Shown<'a> {
        took: u64,
        timed_out: bool,
        _shards: Value,
        hits: ShownHits<'a>,
    }
    let (value, relation) = match search.track_total {
        TrackTotal::UpTo(most) if hits.total > most => (most, "gte"),
        _ => (hits.total, "eq"),
    };
    let total = match search.track_total {
        TrackTotal::No => None,
        _ if total_as_number => Some(json!(value)),
        _ => Some(json!({"value": value, "relation": relation})),
    };
    let shown = Shown {
        took: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        timed_out: false,
        _shards: shards(indices),
        hits: ShownHits {
            total,
            max_score: hits.max_score,
            hits: hits.hits.iter().map(|hit| show(search, hit)).collect::<Result<_, _>>()?,
        },
    };
    Ok(Reply::ok(&shown))
}

/// `_count`.
pub async fn count(service: &Service, scope: &Scope, request: &Request, list: Option<&str>) -> Result<Reply, ApiError> {
    let mut parameters = request.parameters.clone();
    let lenience = Lenience::take(&mut parameters)?;
    let body = request.json()?;
    if let Some(key) = body.as_object().and_then(|map| map.keys().find(|key| *key != "query")) {
        return Err(ParseError::new(format!("request does not support [{key}]: supported is query")).into());
    }
    let query = parse_search(&body, &parameters.rest())?.query;
    let indices = opened(service, scope, list, lenience).await?;
    let searched = indices.len();
    let count = run(service, move |now| engine::count(&indices, &query, now)).await?;
    Ok(Reply::ok(&json!({"count": count, "_shards": shards(searched)})))
}
