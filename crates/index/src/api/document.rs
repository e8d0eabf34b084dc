//! One document at a time: `_doc`, `_create`, `_update`, `_source`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Scope;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::names;
use super::route::Service;
use super::search::{run, shown_source};
use crate::engine::{Action, Condition, CreateError, CreateRequest, Entry, Operation, Outcome, Update, find_document};
use crate::error::EngineError;
use crate::http::{ApiError, Parameters, Reply, Request};
use crate::mapping::{Mapping, Settings};
use crate::metrics;
use crate::query::{Options, ParseError};
use crate::search::{RunError, SourceFilter, parse_search};

/// An id in bytes, as in Elasticsearch.
const MAX_ID: usize = 512;

/// Checks an id that a caller gave.
pub fn check_id(id: &str) -> Result<(), ApiError> {
    if id.is_empty() {
        return Err(ApiError::argument("if _id is specified it must not be empty"));
    }
    if id.len() > MAX_ID {
        return Err(ApiError::argument(format!(
            "id [{}…] is too long, must be no longer than {MAX_ID} bytes but was: {}",
            id.chars().take(40).collect::<String>(),
            id.len()
        )));
    }
    Ok(())
}

/// The index of this name, made when it does not exist.
pub async fn ensure(service: &Service, scope: &Scope, name: &str) -> Result<Arc<Entry>, ApiError> {
    let index = names::valid(name)?;
    loop {
        if let Some(entry) = service.registry.get(scope, &index) {
            return Ok(entry);
        }
        let wanted = CreateRequest { settings: Settings::default(), mapping: Mapping::new() };
        match service.registry.create(scope, &index, wanted).await {
            Ok(entry) => return Ok(entry),
            // Somebody else made it meanwhile.
            Err(CreateError::Exists) => {}
            Err(other) => return Err(super::indices::failed(other)),
        }
    }
}

/// The options of a write in a request's parameters.
struct WriteOptions {
    condition: Option<Condition>,
    create: bool,
}

/// Refuses what only an alias could satisfy: there are none.
pub fn check_alias(required: Option<bool>) -> Result<(), ApiError> {
    match required {
        Some(true) => Err(ApiError::argument("[require_alias] cannot be [true]: aliases are not supported")),
        _ => Ok(()),
    }
}

/// Takes `refresh` and others that change nothing: an answered write is visible.
pub fn pass_write_parameters(parameters: &mut Parameters) -> Result<(), ApiError> {
    match parameters.take("refresh").as_deref() {
        None | Some("" | "true" | "false" | "wait_for") => {}
        Some(other) => return Err(ApiError::argument(format!("Unknown value for refresh: [{other}]."))),
    }
    parameters.pass(&["timeout", "wait_for_active_shards", "retry_on_conflict"]);
    check_alias(parameters.take_flag("require_alias")?)
}

/// A condition from its two parts, of which both or none are needed.
pub fn condition(seq_no: Option<u64>, primary_term: Option<u64>) -> Result<Option<Condition>, ApiError> {
    match (seq_no, primary_term) {
        (None, None) => Ok(None),
        (Some(seq_no), Some(primary_term)) => Ok(Some(Condition { seq_no, primary_term })),
        _ => Err(ApiError::argument("if_seq_no and if_primary_term must both be given")),
    }
}

fn write_options(request: &Request) -> Result<WriteOptions, ApiError> {
    let mut parameters = request.parameters.clone();
    pass_write_parameters(&mut parameters)?;
    let mut number = |name: &str| -> Result<Option<u64>, ApiError> {
        let refused = |v: &str| ApiError::argument(format!("Failed to parse long parameter [{name}] with value [{v}]"));
        parameters.take(name).map(|v| v.parse().map_err(|_| refused(&v))).transpose()
    };
    let condition = condition(number("if_seq_no")?, number("if_primary_term")?)?;
    let create = match parameters.take("op_type").as_deref() {
        None | Some("index") => false,
        Some("create") => true,
        Some(other) => {
            return Err(ApiError::argument(format!("opType must be 'create' or 'index', found: [{other}]")));
        }
    };
    parameters.finish(&request.path)?;
    Ok(WriteOptions { condition, create })
}

async fn write(service: &Service, entry: &Entry, operation: Operation, size: usize) -> Result<Reply, ApiError> {
    let _intake = intake(service, size)?;
    let id = operation.id.clone();
    let outcome = entry.write(vec![operation]).await?.pop().ok_or(EngineError::Lost)?;
    let (status, body) = render(entry.name.as_str(), &id, &outcome);
    match outcome {
        Outcome::Refused(refused) => {
            metrics::documents_refused(refused.kind);
            let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::BAD_REQUEST);
            Err(ApiError::new(status, refused.kind, refused.reason))
        }
        _ => {
            metrics::documents_in(1);
            Ok(Reply::json(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), &body))
        }
    }
}

/// Admits documents of this many bytes, or says that too many are on their way.
pub fn intake(service: &Service, bytes: usize) -> Result<tokio::sync::OwnedSemaphorePermit, ApiError> {
    let kib = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX);
    Arc::clone(&service.intake)
        .try_acquire_many_owned(kib)
        .map_err(|_| ApiError::busy("too many bytes of documents are on their way in"))
}

/// Status and answer of a change that was not refused.
pub fn render(index: &str, id: &str, outcome: &Outcome) -> (u16, Value) {
    let (status, result, version, seq_no) = match outcome {
        Outcome::Created { version, seq_no } => (201, "created", *version, Some(*seq_no)),
        Outcome::Updated { version, seq_no } => (200, "updated", *version, Some(*seq_no)),
        Outcome::Deleted { version, seq_no } => (200, "deleted", *version, Some(*seq_no)),
        Outcome::Noop { version, seq_no } => (200, "noop", *version, Some(*seq_no)),
        Outcome::NotFound => (404, "not_found", 1, None),
        Outcome::Refused(refused) => (refused.status, "refused", 0, None),
    };
    let mut body = json!({
        "_index": index,
        "_id": id,
        "_version": version,
        "result": result,
        "_shards": {"total": 1, "successful": 1, "failed": 0},
        "_primary_term": 1,
    });
    if let Some(seq_no) = seq_no {
        body["_seq_no"] = json!(seq_no);
    }
    (status, body)
}

/// A new random id.
pub fn new_id(service: &Service) -> String {
    service.env.rng.uuid().replace('-', "")
}

/// `PUT /index/_doc/id` and `POST /index/_doc`.
pub async fn index(
    service: &Service,
    scope: &Scope,
    request: &Request,
    index: &str,
    id: Option<&str>,
) -> Result<Reply, ApiError> {
    let options = write_options(request)?;
    let body = Bytes::clone(&request.body);
    let (id, action) = match id {
        None => (new_id(service), Action::Create(body)),
        Some(id) if options.create => (id.to_owned(), Action::Create(body)),
        Some(id) => (id.to_owned(), Action::Index(body)),
    };
    check_id(&id)?;
    let entry = ensure(service, scope, index).await?;
    write(service, &entry, Operation { id, action, condition: options.condition }, request.body.len()).await
}

/// `PUT /index/_create/id`.
pub async fn create(
    service: &Service,
    scope: &Scope,
    request: &Request,
    index: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let options = write_options(request)?;
    check_id(id)?;
    let entry = ensure(service, scope, index).await?;
    let action = Action::Create(Bytes::clone(&request.body));
    let operation = Operation { id: id.to_owned(), action, condition: options.condition };
    write(service, &entry, operation, request.body.len()).await
}

/// `DELETE /index/_doc/id`.
pub async fn delete(
    service: &Service,
    scope: &Scope,
    request: &Request,
    index: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let options = write_options(request)?;
    let entry = names::one(&service.registry, scope, index)?;
    let operation = Operation { id: id.to_owned(), action: Action::Delete, condition: options.condition };
    write(service, &entry, operation, 0).await
}

/// The body of an update.
pub fn parse_update(body: &Value) -> Result<Update, ParseError> {
    let mut options = Options::new("update", body)?;
    let doc = options.get("doc").filter(|doc| doc.is_object());
    let doc = doc.ok_or_else(|| ParseError::new("[update] requires [doc], an object; scripts are not supported"))?;
    let as_upsert = options.flag("doc_as_upsert")?.unwrap_or(false);
    let upsert = options.get("upsert").cloned();
    if options.flag("detect_noop")? == Some(false) {
        return Err(ParseError::new("[update] option [detect_noop] can only be true"));
    }
    options.finish()?;
    Ok(Update { doc: doc.clone(), upsert: if as_upsert { Some(doc.clone()) } else { upsert } })
}

/// `POST /index/_update/id`.
pub async fn update(
    service: &Service,
    scope: &Scope,
    request: &Request,
    index: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let options = write_options(request)?;
    let update = parse_update(&request.json()?)?;
    check_id(id)?;
    let entry = ensure(service, scope, index).await?;
    let action = Action::Update(Box::new(update));
    let operation = Operation { id: id.to_owned(), action, condition: options.condition };
    write(service, &entry, operation, request.body.len()).await
}

/// The `_source` parameters of a request for one document.
fn source_filter(request: &Request) -> Result<SourceFilter, ApiError> {
    let mut parameters = request.parameters.clone();
    parameters.pass(&["realtime", "refresh", "preference"]);
    let mut picked = BTreeMap::new();
    for name in ["_source", "_source_includes", "_source_excludes"] {
        picked.extend(parameters.take(name).map(|value| (name.to_owned(), value)));
    }
    parameters.finish(&request.path)?;
    Ok(parse_search(&json!({}), &picked)?.source)
}

async fn find(
    service: &Service,
    scope: &Scope,
    index: &str,
    id: &str,
) -> Result<Option<crate::engine::StoredDocument>, ApiError> {
    let entry = names::one(&service.registry, scope, index)?;
    let (open, searcher) = entry.reading().await?;
    let id = id.to_owned();
    run(service, move |_| find_document(&searcher, &open.physical, &id).map_err(RunError::from)).await
}

fn corrupt(id: &str, error: &serde_json::Error) -> EngineError {
    EngineError::Corrupt { file: format!("document [{id}]"), reason: error.to_string() }
}

/// `GET /index/_doc/id`.
pub async fn get(
    service: &Service,
    scope: &Scope,
    request: &Request,
    index: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let filter = source_filter(request)?;
    let Some(document) = find(service, scope, index, id).await? else {
        let body = json!({"_index": index, "_id": id, "found": false});
        return Ok(Reply::json(StatusCode::NOT_FOUND, &body));
    };
    let source = shown_source(&filter, &document.source).map_err(|e| corrupt(id, &e))?;
    #[derive(serde::Serialize)]
    struct Shown<'a> {
        _index: &'a str,
        _id: &'a str,
        _version: u64,
        _seq_no: u64,
        _primary_term: u64,
        found: bool,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        _ignored: &'a [String],
        #[serde(skip_serializing_if = "Option::is_none")]
        _source: Option<Box<serde_json::value::RawValue>>,
    }
    Ok(Reply::ok(&Shown {
        _index: index,
        _id: id,
        _version: document.version,
        _seq_no: document.seq_no,
        _primary_term: 1,
        found: true,
        _ignored: &document.ignored,
        _source: source,
    }))
}

/// `GET /index/_source/id`.
pub async fn source(
    service: &Service,
    scope: &Scope,
    request: &Request,
    index: &str,
    id: &str,
) -> Result<Reply, ApiError> {
    let filter = source_filter(request)?;
    let document = find(service, scope, index, id).await?;
    let document = document.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "resource_not_found_exception",
            format!("Document not found [{index}]/[{id}]"),
        )
    })?;
    let source = shown_source(&filter, &document.source).map_err(|e| corrupt(id, &e))?;
    Ok(Reply::ok(&source))
}
