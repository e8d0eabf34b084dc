//! `/_tidegate/mappings`: how event-source mappings get on, and what is done about what they are stuck on.
//!
//! ```text
//! GET  /_tidegate/mappings              how all mappings of the account and region get on
//! GET  /_tidegate/mappings/ID           one of them, with the first records of its quarantine
//! POST /_tidegate/mappings/ID/skip      {"shard":"shardId-…","sequence":"49…"}: sets a record aside
//! POST /_tidegate/mappings/ID/redrive   {"after":place}: hands a batch of the quarantine to the function again
//! ```
//!
//! Owns the JSON. Must not know how mappings work.

use base::{ErrorKind, Kinded, Position, Scope, SequenceNumber, ShardId};
use bytes::Bytes;
use flow::mapping::{Kept, MappingStatus, Stuck};
use flow::{FlowError, Mappings};
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::refusal::{Refusal, json as answer_json};
use crate::route::mapping_of;

/// Records of a quarantine that are listed one by one.
const LISTED: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    shard: ShardId,
    sequence: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redrive {
    after: Option<Position>,
}

/// What a request asks for, as permissions name it.
pub(crate) fn operation(request: &Request<Bytes>) -> &'static str {
    match mapping_of(request.uri().path()) {
        Some((Some(_), "skip")) => "SkipMappingRecord",
        Some((Some(_), "redrive")) => "RedriveMapping",
        _ => "DescribeMappings",
    }
}

/// Answers a request that is permitted.
pub(crate) async fn answer(
    mappings: &Mappings,
    scope: &Scope,
    request: &Request<Bytes>,
) -> Result<Response<Bytes>, Refusal> {
    let path = request.uri().path();
    let done = match (request.method(), mapping_of(path)) {
        (&Method::GET, Some((None, ""))) => all(mappings, scope).await,
        (&Method::GET, Some((Some(id), ""))) => mappings.status(scope, id).await.map(|status| shown(&status, LISTED)),
        (&Method::POST, Some((Some(id), "skip"))) => skip(mappings, scope, id, request.body()).await,
        (&Method::POST, Some((Some(id), "redrive"))) => redrive(mappings, scope, id, request.body()).await,
        _ => return Err(Refusal::NotFound(format!("there is nothing at {path}"))),
    };
    Ok(match done {
        Ok(body) => answer_json(StatusCode::OK, &body),
        Err(error) => {
            tracing::warn!(path, %error, "a request about a mapping is not done");
            answer_json(status_of(error.kind()), &json!({"message": error.to_string()}))
        }
    })
}

fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Throttled => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn all(mappings: &Mappings, scope: &Scope) -> Result<Value, FlowError> {
    let mut all = Vec::new();
    for view in mappings.list(scope, None, None)? {
        match mappings.status(scope, &view.mapping.id).await {
            Ok(status) => all.push(shown(&status, 0)),
            // Deleted meanwhile.
            Err(FlowError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(json!({ "mappings": all }))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, FlowError> {
    serde_json::from_slice(body).map_err(|error| FlowError::Invalid(format!("the body cannot be read: {error}")))
}

async fn skip(mappings: &Mappings, scope: &Scope, id: &str, body: &[u8]) -> Result<Value, FlowError> {
    let Skip { shard, sequence } = read(body)?;
    let sequence: SequenceNumber =
        sequence.parse().map_err(|_| FlowError::Invalid(format!("'{sequence:.60}' is not a sequence number")))?;
    mappings.skip(scope, id, shard, sequence).await?;
    Ok(json!({ "shard": shard.to_string(), "sequence": sequence.to_string() }))
}

async fn redrive(mappings: &Mappings, scope: &Scope, id: &str, body: &[u8]) -> Result<Value, FlowError> {
    let redriven = mappings.redrive(scope, id, read::<Redrive>(body)?.after).await?;
    let failed = redriven.failed.iter().map(|(record, error)| {
        let mut shown = kept(record);
        shown["error"] = Value::from(error.as_str());
        shown
    });
    Ok(json!({
        "succeeded": redriven.succeeded,
        "failed": failed.collect::<Vec<_>>(),
        "next": redriven.next,
        "interrupted": redriven.interrupted,
    }))
}

fn shown(status: &MappingStatus, listed: usize) -> Value {
    let (mapping, quarantine) = (&status.view.mapping, &status.quarantine);
    json!({
        "id": mapping.id,
        "source": mapping.source.to_string(),
        "function": mapping.function.to_string(),
        "on_failure": mapping.on_failure.as_ref().map(ToString::to_string),
        "state": status.view.state,
        "last_result": status.view.last_result,
        "denied": status.view.denied,
        "age_s": status.age.map(|age| age.as_secs_f64()),
        "stuck": status.stuck.iter().map(stuck).collect::<Vec<_>>(),
        "quarantine": {
            "records": quarantine.len(),
            "bytes": quarantine.iter().map(|record| record.bytes).sum::<usize>(),
            "error": status.unreadable,
            "oldest": quarantine.first().map(|record| record.at.to_iso_millis()),
            "first": quarantine.iter().take(listed).map(kept).collect::<Vec<_>>(),
        },
    })
}

fn stuck(stuck: &Stuck) -> Value {
    json!({
        "shard": stuck.shard.to_string(),
        "first": stuck.first.map(|number| number.to_string()),
        "last": stuck.last.map(|number| number.to_string()),
        "window": stuck.window.map(|of| json!({ "start": of.start.to_iso_millis(), "end": of.end.to_iso_millis() })),
        "records": stuck.records,
        "since": stuck.since.to_iso_millis(),
        "failures": stuck.failures,
        "postponed": stuck.postponed,
        "error": stuck.error,
        "held": stuck.held,
        "log": stuck.log,
        "expires": stuck.expires.map(|time| time.to_iso_millis()),
    })
}

fn kept(record: &Kept) -> Value {
    json!({
        "shard": record.origin.shard.to_string(),
        "sequence": record.sequence().to_string(),
        "arrived": record.arrival.to_iso_millis(),
        "at": record.at.to_iso_millis(),
        "why": record.why,
        "reason": record.reason,
        "attempts": record.attempts,
        "bytes": record.bytes,
    })
}
