//! Names of indices in a path: lists, patterns and exclusions.

use std::sync::Arc;

use base::{IndexName, Scope};
use http::StatusCode;

use crate::engine::{Entry, Registry};
use crate::http::{ApiError, Parameters};
use crate::query::Glob;

/// Parts of one list.
const MAX_PARTS: usize = 1_024;

/// An index name that may be made.
pub fn valid(name: &str) -> Result<IndexName, ApiError> {
    name.parse().map_err(|error: base::InvalidId| ApiError {
        index: Some(name.to_owned()),
        ..ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_index_name_exception",
            format!("Invalid index name [{name}], must be {}", error.rule),
        )
    })
}

/// The index of exactly this name.
pub fn one(registry: &Registry, scope: &Scope, name: &str) -> Result<Arc<Entry>, ApiError> {
    let parsed: Option<IndexName> = name.parse().ok();
    parsed.and_then(|name| registry.get(scope, &name)).ok_or_else(|| ApiError::no_index(name))
}

/// How lists treat names without an index, from the request's parameters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lenience {
    ignore_unavailable: bool,
}

impl Lenience {
    /// Takes the parameters about it.
    pub fn take(parameters: &mut Parameters) -> Result<Self, ApiError> {
        let ignore_unavailable = parameters.take_flag("ignore_unavailable")?.unwrap_or(false);
        // Indices are never closed or hidden, and a pattern may always fit none.
        parameters.pass(&["allow_no_indices", "expand_wildcards"]);
        Ok(Self { ignore_unavailable })
    }
}

/// The indices of a list such as `logs-*,-logs-old,audit`; `_all`, `*` and nothing mean all. By name, each once.
pub fn several(
    registry: &Registry,
    scope: &Scope,
    list: Option<&str>,
    lenience: Lenience,
) -> Result<Vec<Arc<Entry>>, ApiError> {
    let all = registry.list(scope);
    let Some(list) = list else { return Ok(all) };
    let parts: Vec<&str> = list.split(',').collect();
    if parts.len() > MAX_PARTS {
        return Err(ApiError::argument(format!("the list of indices has more than {MAX_PARTS} parts")));
    }
    let mut chosen: Vec<bool> = vec![false; all.len()];
    for part in parts {
        let (part, take) = match part.strip_prefix('-') {
            Some(rest) => (rest, false),
            None => (part, true),
        };
        let part = if part == "_all" { "*" } else { part };
        let pattern = Glob::new(part, false);
        let mut found = false;
        for (entry, chosen) in all.iter().zip(&mut chosen) {
            if pattern.matches(entry.name.as_str()) {
                *chosen = take;
                found = true;
            }
        }
        if !found && !part.contains('*') && !lenience.ignore_unavailable {
            return Err(ApiError::no_index(part));
        }
    }
    Ok(all.into_iter().zip(chosen).filter_map(|(entry, chosen)| chosen.then_some(entry)).collect())
}
