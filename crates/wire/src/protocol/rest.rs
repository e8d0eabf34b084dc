//! Members that REST carries outside the body: in the path, the query string, headers, the status.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{json, members, query, set_content_type};
use crate::data::{Structure, View};
use crate::model::{Kind, Location, Member, Operation, Service, Shape};
use crate::{Encoding, ServiceError};

/// The labels of a path template with what stands there in `path`; nothing when the path is not of the template.
/// A trailing slash means nothing, on either side.
pub(crate) fn labels<'t>(template: &'t str, path: &str) -> Option<Vec<(&'t str, String)>> {
    let template = template.split('?').next().unwrap_or_default().trim_matches('/');
    let mut rest = path.trim_matches('/').split('/');
    let mut out = Vec::new();
    for part in template.split('/') {
        let Some(label) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) else {
            if rest.next()? != part {
                return None;
            }
            continue;
        };
        let (name, raw) = match label.strip_suffix('+') {
            Some(greedy) => (greedy, rest.by_ref().collect::<Vec<_>>().join("/")),
            None => (label, rest.next()?.to_owned()),
        };
        if raw.is_empty() {
            return None;
        }
        out.push((name, percent_decode_str(&raw).decode_utf8().ok()?.into_owned()));
    }
    rest.next().is_none().then_some(out)
}

/// Whether a member of the structure is the body.
pub(super) fn has_payload(shape: &Shape) -> bool {
    table(shape).iter().any(|member| member.location == Location::Payload)
}

fn table(shape: &Shape) -> &'static [Member] {
    match &shape.kind {
        Kind::Structure(members) => members,
        _ => &[],
    }
}

/// The members outside the body as a JSON document.
pub(super) fn bound(operation: &Operation, shape: &Shape, request: &Request<Bytes>) -> Result<Vec<u8>, ServiceError> {
    let labels = labels(operation.uri, request.uri().path()).unwrap_or_default();
    let mut out = Map::new();
    for member in table(shape) {
        let values: Vec<String> = match member.location {
            Location::Uri => labels.iter().filter(|(name, _)| *name == member.wire).map(|(_, v)| v.clone()).collect(),
            Location::Query => query_values(request, member.wire),
            Location::Header => {
                let all = request.headers().get_all(member.wire);
                all.iter().filter_map(|v| v.to_str().ok().map(str::to_owned)).collect()
            }
            Location::HeaderPrefix => {
                out.insert(member.wire.to_owned(), prefixed(request, member.wire));
                continue;
            }
            Location::Body | Location::Payload | Location::Status => continue,
        };
        if let Some(value) = typed(member, values).map_err(|e| ServiceError::serialization(operation.service, e))? {
            out.insert(member.wire.to_owned(), value);
        }
    }
    Ok(Value::Object(out).to_string().into_bytes())
}

fn query_values(request: &Request<Bytes>, name: &str) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    pairs.filter(|(key, _)| decode(key) == name).map(|(_, value)| decode(value)).collect()
}

fn prefixed(request: &Request<Bytes>, prefix: &str) -> Value {
    let prefix = prefix.to_ascii_lowercase();
    let headers = request.headers().iter();
    headers
        .filter_map(|(name, value)| {
            Some((name.as_str().strip_prefix(&prefix)?.to_owned(), Value::from(value.to_str().ok()?)))
        })
        .collect::<Map<_, _>>()
        .into()
}

fn typed(member: &Member, values: Vec<String>) -> Result<Option<Value>, String> {
    if let Kind::List { member: element, .. } = &member.shape.kind {
        let items: Result<Vec<_>, _> = values.iter().map(|v| query::scalar(v, &element.shape.kind)).collect();
        return Ok(Some(items?).filter(|items| !items.is_empty()).map(Value::Array));
    }
    values.first().map(|value| query::scalar(value, &member.shape.kind)).transpose()
}

/// Writes an output's members to where they belong.
pub(super) fn answer(service: &Service, output: &dyn Structure, response: &mut Response<Bytes>) {
    let payload = has_payload(output.shape());
    for (member, view) in members(output) {
        match (member.location, view) {
            (Location::Status, View::Int(code)) => {
                if let Some(code) = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok()) {
                    *response.status_mut() = code;
                }
            }
            (Location::Payload, View::Blob(body)) => *response.body_mut() = body.clone(),
            (Location::Header, view) => set_header(response, member.wire, &text(view)),
            (Location::HeaderPrefix, View::Map(entries)) => entries.each(&mut |key, view| {
                set_header(response, &format!("{}{key}", member.wire), &text(view));
            }),
            _ => {}
        }
    }
    if !payload && response.status() != StatusCode::NO_CONTENT {
        *response.body_mut() = json::write(output).into();
    }
    if !response.body().is_empty() && !response.headers().contains_key(CONTENT_TYPE) {
        set_content_type(response, service, Encoding::Json);
    }
}

fn set_header(response: &mut Response<Bytes>, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        response.headers_mut().insert(name, value);
    }
}

fn text(view: View<'_>) -> String {
    match view {
        View::Str(v) => v.to_owned(),
        View::Int(v) => v.to_string(),
        View::Float(v) => v.to_string(),
        View::Bool(v) => v.to_string(),
        View::Time(v) => v.format("%a, %d %b %Y %H:%M:%S GMT"),
        View::Absent | View::Blob(_) | View::List(_) | View::Map(_) | View::Structure(_) => String::new(),
    }
}
