//! The body and the parameters of a search → a request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sort::{SortField, SortKey, parse_sort};
use super::source::{Pattern, SourceFilter, parse_source};
use crate::query::{FieldName, Operator, Options, ParseError, Query, StringQuery, parse_query, parse_query_string};

/// `from` + `size` at most (`index.max_result_window`).
pub const RESULT_WINDOW: usize = 10_000;

/// How far hits are counted in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackTotal {
    /// All.
    All,
    /// Up to this many; beyond it the answer says "at least".
    UpTo(u64),
    /// Not shown.
    No,
}

/// A search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// What to find.
    pub query: Query,
    /// Hits to pass over.
    pub from: usize,
    /// Hits to show.
    pub size: usize,
    /// Their order; empty means by score.
    pub sort: Vec<SortField>,
    /// What of each is shown.
    pub source: SourceFilter,
    /// How they are counted.
    pub track_total: TrackTotal,
    /// Whether scores are computed even when sorting by something else.
    pub track_scores: bool,
    /// Whether `_version` is shown.
    pub version: bool,
    /// Whether `_seq_no` and `_primary_term` are shown.
    pub seq_no_primary_term: bool,
}

/// The parameters of a request's address that a search takes.
const PARAMETERS: [&str; 13] = [
    "q",
    "df",
    "default_operator",
    "from",
    "size",
    "sort",
    "_source",
    "_source_includes",
    "_source_excludes",
    "track_total_hits",
    "track_scores",
    "version",
    "seq_no_primary_term",
];

/// Parameters that change nothing here: there is one shard, nothing is cached and nothing times out half-way.
const WITHOUT_EFFECT: [&str; 11] = [
    "lenient",
    "analyze_wildcard",
    "typed_keys",
    "timeout",
    "request_cache",
    "preference",
    "search_type",
    "ccs_minimize_roundtrips",
    "batched_reduce_size",
    "max_concurrent_shard_requests",
    "pre_filter_shard_size",
];

/// Reads a search. `parameters` without those that every request takes.
pub fn parse_search(body: &Value, parameters: &BTreeMap<String, String>) -> Result<SearchRequest, ParseError> {
    // A parameter has the meaning of the body's option of its name and goes before it.
    let mut merged = body.as_object().cloned().ok_or_else(|| ParseError::new("the body must be an object"))?;
    for (key, value) in parameters {
        let value = match key.as_str() {
            "q" | "df" | "default_operator" | "_source_includes" | "_source_excludes" => continue,
            "sort" => Value::Array(value.split(',').map(|s| json!(s)).collect()),
            "_source" => match value.as_str() {
                "true" => json!(true),
                "false" => json!(false),
                names => Value::Array(names.split(',').map(|s| json!(s)).collect()),
            },
            "from" | "size" => json!(value.parse::<u32>().map_err(|_| not_a_number(key, value))?),
            "track_total_hits" => value.parse::<i64>().map_or_else(|_| json!(value), |n| json!(n)),
            known if PARAMETERS.contains(&known) => json!(value),
            known if WITHOUT_EFFECT.contains(&known) => continue,
            other => {
                return Err(ParseError {
                    kind: "illegal_argument_exception",
                    reason: format!("request contains unrecognized parameter: [{other}]"),
                });
            }
        };
        merged.insert(key.clone(), value);
    }
    let merged = Value::Object(merged);
    let mut options = Options::new("search", &merged)?;
    let mut request = SearchRequest {
        query: options.get("query").map_or(Ok(Query::All), parse_query)?,
        from: options.count("from")?.unwrap_or(0) as usize,
        size: options.count("size")?.unwrap_or(10) as usize,
        sort: options.get("sort").map_or(Ok(Vec::new()), parse_sort)?,
        source: options.get("_source").map_or(Ok(SourceFilter::All), parse_source)?,
        track_total: track_total(options.get("track_total_hits"))?,
        track_scores: options.flag("track_scores")?.unwrap_or(false),
        version: options.flag("version")?.unwrap_or(false),
        seq_no_primary_term: options.flag("seq_no_primary_term")?.unwrap_or(false),
    };
    options.text("timeout")?;
    options.finish()?;
    if let Some(text) = parameters.get("q") {
        request.query = from_parameters(text, parameters)?;
    }
    patterns(&mut request.source, parameters);
    check_window(&request)?;
    Ok(request)
}

fn not_a_number(key: &str, value: &str) -> ParseError {
    ParseError {
        kind: "illegal_argument_exception",
        reason: format!("Failed to parse int parameter [{key}] with value [{value}]"),
    }
}

fn track_total(value: Option<&Value>) -> Result<TrackTotal, ParseError> {
    match value {
        None => Ok(TrackTotal::UpTo(RESULT_WINDOW as u64)),
        Some(Value::Bool(true)) => Ok(TrackTotal::All),
        Some(Value::Bool(false)) => Ok(TrackTotal::No),
        Some(Value::String(s)) if s == "true" => Ok(TrackTotal::All),
        Some(Value::String(s)) if s == "false" => Ok(TrackTotal::No),
        Some(Value::Number(n)) => match n.as_i64() {
            Some(-1) => Ok(TrackTotal::All),
            Some(n) if n >= 0 => Ok(TrackTotal::UpTo(n as u64)),
            _ => Err(ParseError::new("[track_total_hits] must be true, false or a number from 0")),
        },
        Some(_) => Err(ParseError::new("[track_total_hits] must be true, false or a number from 0")),
    }
}

fn from_parameters(text: &str, parameters: &BTreeMap<String, String>) -> Result<Query, ParseError> {
    let field = match parameters.get("df").map(String::as_str) {
        None | Some("*") => FieldName::Any,
        Some(name) => FieldName::Named(name.to_owned()),
    };
    let operator = match parameters.get("default_operator").map(|o| o.to_ascii_uppercase()).as_deref() {
        None | Some("OR") => Operator::Or,
        Some("AND") => Operator::And,
        Some(other) => {
            return Err(ParseError::new(format!("[default_operator] must be AND or OR but is [{other}]")));
        }
    };
    parse_query_string(&StringQuery { text, fields: vec![field], operator })
}

fn patterns(source: &mut SourceFilter, parameters: &BTreeMap<String, String>) {
    let list = |key: &str| -> Vec<Pattern> {
        parameters.get(key).map(|names| names.split(',').map(Pattern::new).collect()).unwrap_or_default()
    };
    let (include, exclude) = (list("_source_includes"), list("_source_excludes"));
    if !include.is_empty() || !exclude.is_empty() {
        *source = SourceFilter::Fields { include, exclude };
    }
}

fn check_window(request: &SearchRequest) -> Result<(), ParseError> {
    let window = request.from + request.size;
    if window > RESULT_WINDOW {
        return Err(ParseError {
            kind: "illegal_argument_exception",
            reason: format!(
                "Result window is too large, from + size must be less than or equal to: [{RESULT_WINDOW}] but was \
                 [{window}]"
            ),
        });
    }
    Ok(())
}

impl SearchRequest {
    /// The order that is meant.
    pub fn order(&self) -> Vec<SortField> {
        if self.sort.is_empty() { vec![SortField::by_score()] } else { self.sort.clone() }
    }

    /// Whether scores are needed.
    pub fn scored(&self) -> bool {
        self.track_scores || self.order().iter().any(|field| field.key == SortKey::Score)
    }
}
