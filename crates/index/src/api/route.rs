//! Which endpoint a request is for.

use std::sync::Arc;

use base::{Env, Scope};
use http::{Method, StatusCode};
use tokio::sync::Semaphore;

use super::{bulk, cluster, document, indices, search};
use crate::engine::Registry;
use crate::http::{ApiError, Reply, Request};

/// What the endpoints work with.
pub struct Service {
    /// Time and randomness.
    pub env: Env,
    /// The indices.
    pub registry: Registry,
    /// Searches that run at once.
    pub searches: Arc<Semaphore>,
    /// Searches that run or wait.
    pub admitted: Arc<Semaphore>,
    /// KiB of documents on their way in.
    pub intake: Arc<Semaphore>,
}

/// Answers a request.
pub async fn answer(service: &Service, scope: &Scope, request: Request) -> Result<Reply, ApiError> {
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    let get = matches!(request.method, Method::GET | Method::HEAD);
    let put_or_post = matches!(request.method, Method::PUT | Method::POST);
    let get_or_post = get || request.method == Method::POST;
    let r = &request;
    match segments.as_slice() {
        [] if get => cluster::root(r),
        ["_cluster", "health"] if get => cluster::health(service, scope, r),
        ["_cat", "indices"] if get => cluster::cat_indices(service, scope, r, None).await,
        ["_cat", "indices", list] if get => cluster::cat_indices(service, scope, r, Some(list)).await,
        ["_bulk"] if put_or_post => bulk::bulk(service, scope, r, None).await,
        [index, "_bulk"] if put_or_post => bulk::bulk(service, scope, r, Some(index)).await,
        ["_search"] if get_or_post => search::search(service, scope, r, None).await,
        [list, "_search"] if get_or_post => search::search(service, scope, r, Some(list)).await,
        ["_count"] if get_or_post => search::count(service, scope, r, None).await,
        [list, "_count"] if get_or_post => search::count(service, scope, r, Some(list)).await,
        ["_refresh"] if get_or_post => indices::refresh(service, scope, r, None),
        [list, "_refresh"] if get_or_post => indices::refresh(service, scope, r, Some(list)),
        ["_mapping"] if get => indices::get_mapping(service, scope, r, None).await,
        [list, "_mapping"] if get => indices::get_mapping(service, scope, r, Some(list)).await,
        [list, "_mapping"] if put_or_post => indices::put_mapping(service, scope, r, list).await,
        ["_settings"] if get => indices::get_settings(service, scope, r, None).await,
        [list, "_settings"] if get => indices::get_settings(service, scope, r, Some(list)).await,
        [index, "_doc", id] if get => document::get(service, scope, r, index, id).await,
        [index, "_source", id] if get => document::source(service, scope, r, index, id).await,
        [index, "_doc", id] if put_or_post => document::index(service, scope, r, index, Some(id)).await,
        [index, "_create", id] if put_or_post => document::create(service, scope, r, index, id).await,
        [index, "_doc"] if r.method == Method::POST => document::index(service, scope, r, index, None).await,
        [index, "_doc", id] if r.method == Method::DELETE => document::delete(service, scope, r, index, id).await,
        [index, "_update", id] if r.method == Method::POST => document::update(service, scope, r, index, id).await,
        [list] if r.method == Method::HEAD && is_name(list) => indices::exists(service, scope, r, list),
        [list] if get && is_name(list) => indices::get(service, scope, r, list).await,
        [index] if r.method == Method::PUT && is_name(index) => indices::create(service, scope, r, index).await,
        [list] if r.method == Method::DELETE && is_name(list) => indices::delete(service, scope, r, list).await,
        _ => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "illegal_argument_exception",
            format!("no handler found for uri [{}] and method [{}]", request.path, request.method),
        )),
    }
}

fn is_name(segment: &str) -> bool {
    !segment.starts_with('_') || segment == "_all"
}
