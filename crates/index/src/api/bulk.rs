//! `_bulk`: many changes in one request, each with an outcome of its own.

use std::collections::BTreeMap;

use base::Scope;
use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Map, Value, json};

use super::document::{
    check_alias, check_id, condition, ensure, intake, new_id, parse_update, pass_write_parameters, render,
};
use super::route::Service;
use crate::engine::{Action, Operation, Outcome};
use crate::http::{ApiError, Reply, Request};
use crate::metrics;
use crate::query::Options;

/// Changes of one request.
const MAX_ITEMS: usize = 50_000;
/// Indices that one request may name.
const MAX_INDICES: usize = 256;

/// One change as it was asked for.
struct Item {
    verb: &'static str,
    index: String,
    id: String,
    operation: Result<Operation, ApiError>,
}

/// `POST _bulk` and `POST /index/_bulk`.
pub async fn bulk(
    service: &Service,
    scope: &Scope,
    request: &Request,
    default_index: Option<&str>,
) -> Result<Reply, ApiError> {
    let started = service.env.clock.instant();
    let mut parameters = request.parameters.clone();
    pass_write_parameters(&mut parameters)?;
    parameters.finish(&request.path)?;
    let _intake = intake(service, request.body.len())?;
    let mut items = parse(service, &request.body, default_index)?;
    let outcomes = write(service, scope, &mut items).await?;
    let mut errors = false;
    let (mut shown, mut written) = (Vec::with_capacity(items.len()), 0);
    for (item, outcome) in items.iter().zip(outcomes) {
        let (status, mut body) = match outcome {
            Ok(Outcome::Refused(refused)) => {
                metrics::documents_refused(refused.kind);
                failure(item, refused.status, json!({"type": refused.kind, "reason": refused.reason}))
            }
            Ok(outcome) => {
                written += 1;
                render(&item.index, &item.id, &outcome)
            }
            Err(error) => {
                metrics::documents_refused(error.kind);
                failure(item, error.status.as_u16(), error.cause())
            }
        };
        errors |= body.get("error").is_some();
        body["status"] = json!(status);
        shown.push(json!({ item.verb: body }));
    }
    metrics::documents_in(written);
    let took = service.env.clock.instant().saturating_sub(started);
    metrics::bulk(took);
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Ok(Reply::ok(&json!({"took": took, "errors": errors, "items": shown})))
}

fn failure(item: &Item, status: u16, error: Value) -> (u16, Value) {
    (status, json!({"_index": item.index, "_id": item.id, "error": error}))
}

/// Writes what can be written, every index on its own; outcomes in the order of the items.
async fn write(
    service: &Service,
    scope: &Scope,
    items: &mut [Item],
) -> Result<Vec<Result<Outcome, ApiError>>, ApiError> {
    let mut by_index: BTreeMap<String, (Vec<usize>, Vec<Operation>)> = BTreeMap::new();
    let mut outcomes: Vec<Option<Result<Outcome, ApiError>>> = Vec::with_capacity(items.len());
    for (place, item) in items.iter_mut().enumerate() {
        let taken = std::mem::replace(&mut item.operation, Err(ApiError::argument("taken")));
        match taken {
            Ok(operation) => {
                let (places, operations) = by_index.entry(item.index.clone()).or_default();
                places.push(place);
                operations.push(operation);
                outcomes.push(None);
            }
            Err(error) => outcomes.push(Some(Err(error))),
        }
    }
    if by_index.len() > MAX_INDICES {
        return Err(ApiError::argument(format!("the request names more than {MAX_INDICES} indices")));
    }
    let writes = by_index.into_iter().map(|(index, (places, operations))| async move {
        let written = async { Ok(ensure(service, scope, &index).await?.write(operations).await?) };
        (places, written.await)
    });
    for (places, written) in join_all(writes).await {
        match written {
            Ok(written) => {
                for (place, outcome) in places.into_iter().zip(written) {
                    outcomes[place] = Some(Ok(outcome));
                }
            }
            Err(error) => {
                let error: ApiError = error;
                for place in places {
                    outcomes[place] = Some(Err(error.clone()));
                }
            }
        }
    }
    let lost = || Err(crate::error::EngineError::Lost.into());
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect())
}

/// The lines of a body: an action, and for all but `delete` a document after it.
fn parse(service: &Service, body: &Bytes, default_index: Option<&str>) -> Result<Vec<Item>, ApiError> {
    if !body.ends_with(b"\n") {
        return Err(ApiError::argument("The bulk request must be terminated by a newline [\\n]"));
    }
    let mut lines = body.split(|b| *b == b'\n').enumerate().map(|(n, line)| (n + 1, body.slice_ref(line)));
    let mut items = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if items.len() == MAX_ITEMS {
            return Err(ApiError::argument(format!("the request has more than {MAX_ITEMS} items")));
        }
        let (verb, options) = action(number, &line)?;
        let document = if verb == "delete" {
            Bytes::new()
        } else {
            let document = lines.next().map(|(_, line)| line).filter(|line| !line.is_empty());
            document.ok_or_else(|| ApiError::argument(format!("a document is missing after line [{number}]")))?
        };
        items.push(item(service, verb, &options, document, default_index));
    }
    if items.is_empty() {
        return Err(ApiError::new(
            http::StatusCode::BAD_REQUEST,
            "action_request_validation_exception",
            "Validation Failed: 1: no requests added;",
        ));
    }
    Ok(items)
}

fn action(number: usize, line: &[u8]) -> Result<(&'static str, Value), ApiError> {
    let malformed = |what: String| ApiError::argument(format!("Malformed action/metadata line [{number}], {what}"));
    let map: Map<String, Value> = serde_json::from_slice(line).map_err(|e| malformed(e.to_string()))?;
    let mut entries = map.into_iter();
    let (Some((verb, options)), None) = (entries.next(), entries.next()) else {
        return Err(malformed("expected an object with one action".into()));
    };
    let known = ["index", "create", "delete", "update"].into_iter().find(|known| *known == verb);
    let verb = known
        .ok_or_else(|| malformed(format!("expected one of [create, delete, index, update] but found [{verb}]")))?;
    Ok((verb, options))
}

fn item(service: &Service, verb: &'static str, options: &Value, document: Bytes, default_index: Option<&str>) -> Item {
    let text = |key: &str| options.get(key).and_then(Value::as_str);
    let index = text("_index").or(default_index).unwrap_or_default().to_owned();
    let id = text("_id").map(str::to_owned);
    let given = id.is_some();
    let id = id.unwrap_or_else(|| new_id(service));
    let operation = operation(verb, options, document, &id, given, &index);
    Item { verb, index, id, operation }
}

fn operation(
    verb: &'static str,
    options: &Value,
    document: Bytes,
    id: &str,
    given: bool,
    index: &str,
) -> Result<Operation, ApiError> {
    let mut options = Options::new(verb, options)?;
    options.text("_index")?;
    options.text("_id")?;
    options.count("retry_on_conflict")?;
    check_alias(options.flag("require_alias")?)?;
    let seq_no = options.get("if_seq_no").and_then(Value::as_u64);
    let primary_term = options.get("if_primary_term").and_then(Value::as_u64);
    let condition = condition(seq_no, primary_term)?;
    options.finish()?;
    if index.is_empty() {
        return Err(ApiError::argument("an index is missing: give [_index] or name it in the path"));
    }
    check_id(id)?;
    if !given && matches!(verb, "delete" | "update") {
        return Err(ApiError::argument(format!("[{verb}] requires [_id]")));
    }
    let action = match verb {
        "delete" => Action::Delete,
        "create" => Action::Create(document),
        "update" => {
            let body: Value = serde_json::from_slice(&document)
                .map_err(|e| ApiError::argument(format!("failed to parse the update of [{id}]: {e}")))?;
            Action::Update(Box::new(parse_update(&body)?))
        }
        _ => Action::Index(document),
    };
    Ok(Operation { id: id.to_owned(), action, condition })
}
