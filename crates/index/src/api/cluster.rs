//! What the service says about itself: `GET /`, `_cluster/health`, `_cat/indices`.

use base::Scope;
use serde_json::{Value, json};

use super::names::{self, Lenience};
use super::route::Service;
use crate::http::{ApiError, Reply, Request};

/// The version whose API this is, as far as it goes. Clients ask for it to choose what they send.
const VERSION: &str = "2.19.0";

/// `GET /`.
pub fn root(request: &Request) -> Result<Reply, ApiError> {
    request.parameters.clone().finish(&request.path)?;
    Ok(Reply::ok(&json!({
        "name": "tidegate",
        "cluster_name": "tidegate",
        "cluster_uuid": "tidegate",
        "version": {
            "distribution": "opensearch",
            "number": VERSION,
            "build_type": "tidegate",
            "build_hash": env!("CARGO_PKG_VERSION"),
            "build_snapshot": false,
            "lucene_version": "9.12.1",
            "minimum_wire_compatibility_version": "7.10.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "The OpenSearch Project: https://opensearch.org/",
    })))
}

/// `GET _cluster/health`: there is one node, and what is open works.
pub fn health(service: &Service, scope: &Scope, request: &Request) -> Result<Reply, ApiError> {
    let mut parameters = request.parameters.clone();
    parameters.pass(&["timeout", "wait_for_status", "local", "master_timeout", "cluster_manager_timeout", "level"]);
    parameters.finish(&request.path)?;
    let shards = service.registry.list(scope).len();
    Ok(Reply::ok(&json!({
        "cluster_name": "tidegate",
        "status": "green",
        "timed_out": false,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": shards,
        "active_shards": shards,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": 100.0,
    })))
}

const COLUMNS: [&str; 7] = ["health", "status", "index", "uuid", "pri", "rep", "docs.count"];

/// `GET _cat/indices`, as text or with `format=json`.
pub async fn cat_indices(
    service: &Service,
    scope: &Scope,
    request: &Request,
    list: Option<&str>,
) -> Result<Reply, ApiError> {
    let mut parameters = request.parameters.clone();
    let lenience = Lenience::take(&mut parameters)?;
    let format = parameters.take("format");
    let heading = parameters.take_flag("v")?.unwrap_or(false);
    let columns = columns(parameters.take("h").as_deref())?;
    parameters.pass(&["s", "bytes", "local", "master_timeout", "cluster_manager_timeout"]);
    parameters.finish(&request.path)?;
    let mut rows = Vec::new();
    for entry in names::several(&service.registry, scope, list, lenience)? {
        let (open, searcher) = entry.reading().await?;
        let row = [
            "green".to_owned(),
            "open".to_owned(),
            entry.name.to_string(),
            open.meta().uuid.clone(),
            "1".to_owned(),
            "0".to_owned(),
            searcher.num_docs().to_string(),
        ];
        rows.push(columns.iter().map(|column| row[*column].clone()).collect::<Vec<_>>());
    }
    let names: Vec<&str> = columns.iter().map(|column| COLUMNS[*column]).collect();
    match format.as_deref() {
        Some("json") => {
            let object = |row: Vec<String>| names.iter().map(|n| (*n).to_owned()).zip(row).collect();
            let rows: Vec<std::collections::BTreeMap<String, String>> = rows.into_iter().map(object).collect();
            Ok(Reply::ok(&rows))
        }
        None | Some("text") => {
            if heading {
                rows.insert(0, names.iter().map(|name| (*name).to_owned()).collect());
            }
            Ok(Reply::text(table(&rows)))
        }
        Some(other) => Err(ApiError::argument(format!("format [{other}] is not supported: supported are text, json"))),
    }
}

fn columns(wanted: Option<&str>) -> Result<Vec<usize>, ApiError> {
    let Some(wanted) = wanted else { return Ok((0..COLUMNS.len()).collect()) };
    let find = |name: &str| {
        COLUMNS.iter().position(|column| *column == name).ok_or_else(|| {
            ApiError::argument(format!("column [{name}] is not supported: supported are {}", COLUMNS.join(", ")))
        })
    };
    wanted.split(',').map(find).collect()
}

/// Rows as aligned columns.
fn table(rows: &[Vec<String>]) -> String {
    let mut widths = vec![0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join(" ").trim_end());
        out.push('\n');
    }
    out
}

/// The `_shards` of an answer: one shard an index, none failed.
pub fn shards(count: usize) -> Value {
    json!({"total": count, "successful": count, "skipped": 0, "failed": 0})
}
