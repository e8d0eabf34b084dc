//! One call of an API destination, and what its answer means.
//!
//! Owns the request: path, query, headers and body from the destination, its connection and the rule's target; and the
//! judgement of the answer. Must not know when a call is repeated.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::PoisonError;
use std::time::Duration;

use base::{Arn, ErrorKind, Kinded, Scope, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TE, TRANSFER_ENCODING, UPGRADE,
    USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::authorization::{Authorization, Credentials, Parameter};
use super::token::NoToken;
use super::{ApiDestination, Destinations};
use crate::FlowError;
use crate::bus::path::Path;
use crate::spool::Attempted;

/// An endpoint has to answer within this.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// A wait that an endpoint asks for is not longer than an event may be old.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// What a rule's target adds to calls. A value that begins with `$` is a path into the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpParameters {
    /// What stands for the `*` of the endpoint, one after the other.
    #[serde(default)]
    pub path: Vec<String>,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Of the query string.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
}

/// Why a call cannot be made as it is configured.
pub(super) struct Misfit(String);

impl From<Misfit> for FlowError {
    fn from(Misfit(why): Misfit) -> Self {
        Self::Invalid(why)
    }
}

impl HttpParameters {
    /// Refuses what no call could carry, at a destination of this endpoint.
    pub(crate) fn check(&self, endpoint: &str) -> Result<(), FlowError> {
        let (wildcards, values) = (endpoint.matches('*').count(), self.path.len());
        if wildcards != values {
            return Err(FlowError::Invalid(format!(
                "PathParameterValues has {values} values, but the endpoint has {wildcards} *"
            )));
        }
        let literal = |value: &'_ str| if value.starts_with("$.") { String::new() } else { value.to_owned() };
        let mut headers = HeaderMap::new();
        self.headers.iter().try_for_each(|(name, value)| set(&mut headers, name, &literal(value)))?;
        Ok(())
    }
}

impl Authorization {
    /// Refuses headers that no call could carry.
    pub(super) fn check(&self) -> Result<(), FlowError> {
        let mut headers = HeaderMap::new();
        let mut all: Vec<&Parameter> = self.parameters.headers.iter().collect();
        match &self.credentials {
            Credentials::ApiKey { name, value } => set(&mut headers, name, value.reveal())?,
            Credentials::Oauth { parameters, .. } => all.extend(&parameters.headers),
            Credentials::Basic { .. } => {}
        }
        all.iter().try_for_each(|header| set(&mut headers, &header.key, header.value.reveal()))?;
        Ok(())
    }
}

fn failed(code: &str, reason: impl std::fmt::Display) -> Attempted {
    Attempted::Failed(format!("{code}: {reason}"))
}

fn refused(code: &str, reason: impl std::fmt::Display) -> Attempted {
    Attempted::Refused(format!("{code}: {reason}"))
}

impl Destinations {
    /// Calls a destination for an event, once it is its turn.
    pub(crate) async fn call(
        &self,
        scope: &Scope,
        to: &Arn,
        parameters: &HttpParameters,
        (event, payload): (&Bytes, &Bytes),
    ) -> Attempted {
        let configured = self.destination_of(scope, to).and_then(|destination| {
            let (connection, authorization) = self.authorization(scope, &destination)?;
            Ok((destination, connection, authorization))
        });
        let (destination, connection, authorization) = match configured {
            Ok(configured) => configured,
            Err(error) if error.kind() == ErrorKind::NotFound => return refused("NO_RESOURCE", error),
            Err(error) if error.kind().is_transient() => return Attempted::Later(error.to_string()),
            Err(error) => return failed("NO_PERMISSIONS", error),
        };
        self.turn(&destination).await;
        let token = match &authorization.credentials {
            credentials @ Credentials::Oauth { .. } => match self.token(&connection, credentials).await {
                Ok(token) => Some(token),
                Err(NoToken { reason, wait }) => {
                    return Attempted::FailedFor(format!("NO_PERMISSIONS: {reason}"), wait);
                }
            },
            _ => None,
        };
        let bearer = token.as_ref().map(|token| token.reveal());
        let request = match request(&destination, &authorization, bearer, parameters, (event, payload)) {
            Ok(request) => request,
            Err(Misfit(why)) => return refused("INVALID_PARAMETER", why),
        };
        let answer = match self.inner.ports.http.send(request, TIMEOUT).await {
            Ok(answer) => answer,
            Err(error) if error.message.contains("no answer within") => return failed("TIMEOUT", error),
            Err(error) => return failed("CONNECTION_FAILURE", error),
        };
        if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
            let now = self.inner.ports.env.clock.instant();
            self.inner.tokens.refused(&connection, token.as_ref(), now);
        } else {
            self.inner.tokens.accepted(&connection, token.as_ref());
        }
        judge(&answer, self.inner.ports.env.clock.now())
    }

    /// Waits until the destination may be called again: calls are spread evenly over each second.
    async fn turn(&self, destination: &ApiDestination) {
        let clock = &self.inner.ports.env.clock;
        let wait = {
            let mut turns = self.inner.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let now = clock.instant();
            turns.retain(|_, next| *next > now);
            let next = turns.get(&destination.id).copied().unwrap_or(now);
            turns.insert(destination.id.clone(), next + Duration::from_secs(1) / destination.rate.max(1));
            next.saturating_sub(now)
        };
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }
}

/// "Error codes" of API destinations: 401, 407, 409, 429 and 5xx are tried again, no sooner than `Retry-After` says; a
/// negative one, and every other code, ends it.
fn judge(answer: &Response<Bytes>, now: Timestamp) -> Attempted {
    let status = answer.status();
    if status.is_success() {
        return Attempted::Done;
    }
    let is_retried = status.is_server_error() || matches!(status.as_u16(), 401 | 407 | 409 | 429);
    let code = if status == StatusCode::TOO_MANY_REQUESTS { "THROTTLING" } else { "ERROR_FROM_TARGET" };
    let reason = format!("{code}: the endpoint answered {status}");
    match answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value, now)) {
        _ if !is_retried => Attempted::Refused(reason),
        Some(RetryAfter::Never) => Attempted::Refused(reason),
        Some(RetryAfter::Wait(wait)) => Attempted::FailedFor(reason, wait.min(LONGEST_WAIT)),
        None => Attempted::Failed(reason),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum RetryAfter {
    Never,
    Wait(Duration),
}

/// Seconds, or an HTTP date (RFC 9110, section 10.2.3).
fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<RetryAfter> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(u64::try_from(seconds).map_or(RetryAfter::Never, |s| RetryAfter::Wait(Duration::from_secs(s))));
    }
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let [_, day, month, year, time, "GMT"] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let at: Timestamp = format!("{year}-{month:02}-{day}T{time}Z").parse().ok()?;
    Some(RetryAfter::Wait(at.since(now)))
}

fn request(
    destination: &ApiDestination,
    authorization: &Authorization,
    bearer: Option<&str>,
    parameters: &HttpParameters,
    (event, payload): (&Bytes, &Bytes),
) -> Result<Request<Bytes>, Misfit> {
    let event: Value = serde_json::from_slice(event).map_err(|e| Misfit(e.to_string()))?;
    let endpoint = filled(&destination.endpoint, &parameters.path, &event)?;
    let of_connection = &authorization.parameters;
    // Where both name a key, the connection's value counts.
    let mut query = BTreeMap::new();
    for (key, value) in &parameters.query {
        query.insert(key.clone(), resolved(value, &event)?);
    }
    query.extend(of_connection.query.iter().map(|p| (p.key.clone(), p.value.reveal().to_owned())));
    let query: Vec<(&str, &str)> = query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let has_body = !matches!(destination.method.as_str(), "GET" | "HEAD");
    let body = if has_body { with_members(payload, &of_connection.body)? } else { Bytes::new() };
    let request = Request::builder().method(destination.method.as_str()).uri(with_query(&endpoint, &query));
    // What is wrong with it may quote a secret.
    let mut request = request.body(body).map_err(|_| Misfit("its address is not a URL".to_owned()))?;
    let headers = request.headers_mut();
    set(headers, USER_AGENT.as_str(), "Amazon/EventBridge/ApiDestinations")?;
    set(headers, CONTENT_TYPE.as_str(), "application/json; charset=utf-8")?;
    for (name, value) in &parameters.headers {
        set(headers, name, &resolved(value, &event)?)?;
    }
    for header in &of_connection.headers {
        set(headers, &header.key, header.value.reveal())?;
    }
    match (&authorization.credentials, bearer) {
        (Credentials::Basic { username, password }, _) => {
            let pair = BASE64.encode(format!("{username}:{}", password.reveal()));
            set(headers, AUTHORIZATION.as_str(), &format!("Basic {pair}"))?;
        }
        (Credentials::ApiKey { name, value }, _) => set(headers, name, value.reveal())?,
        (Credentials::Oauth { .. }, token) => {
            set(headers, AUTHORIZATION.as_str(), &format!("Bearer {}", token.unwrap_or_default()))?;
        }
    }
    Ok(request)
}

/// How a request is delimited and where it goes is not for its parameters to say.
const FRAMING: [HeaderName; 6] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, UPGRADE, TE];

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Misfit> {
    let misfit = |_| Misfit(format!("the value of header '{name}' is not allowed in one"));
    let mut value = HeaderValue::from_str(value).map_err(misfit)?;
    value.set_sensitive(true);
    let name: HeaderName = name.parse().map_err(|_| Misfit(format!("'{name}' is no header")))?;
    if FRAMING.contains(&name) {
        return Err(Misfit(format!("header '{name}' is made by the connection itself")));
    }
    headers.insert(name, value);
    Ok(())
}

/// A parameter's value for an event: a text as it is, of a path what it finds.
fn resolved(value: &str, event: &Value) -> Result<String, Misfit> {
    if !value.starts_with("$.") {
        return Ok(value.to_owned());
    }
    let path = Path::parse(value).map_err(|e| Misfit(e.to_string()))?;
    Ok(match path.find(event) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    })
}

/// The endpoint with its wildcards filled.
fn filled(endpoint: &str, values: &[String], event: &Value) -> Result<String, Misfit> {
    let mut parts = endpoint.split('*');
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut values = values.iter();
    for part in parts {
        let value = values.next().ok_or_else(|| Misfit("the endpoint has more * than path parameters".to_owned()))?;
        let value = resolved(value, event)?;
        if matches!(value.as_str(), "" | "." | "..") {
            return Err(Misfit(format!("'{value}' cannot stand for a * in the endpoint: it would lead elsewhere")));
        }
        encode(&mut out, &value);
        out.push_str(part);
    }
    Ok(out)
}

/// A JSON body with a connection's members.
fn with_members(payload: &Bytes, members: &[Parameter]) -> Result<Bytes, Misfit> {
    if members.is_empty() {
        return Ok(payload.clone());
    }
    let mut body: serde_json::Map<String, Value> = serde_json::from_slice(payload)
        .map_err(|_| Misfit("the connection has body parameters, but the input is not a JSON object".to_owned()))?;
    body.extend(members.iter().map(|member| (member.key.clone(), member.value.reveal().into())));
    Ok(serde_json::Value::Object(body).to_string().into())
}

/// An address with more in its query string.
pub(super) fn with_query(address: &str, query: &[(&str, &str)]) -> String {
    match (query.is_empty(), address.contains('?')) {
        (true, _) => address.to_owned(),
        (false, true) => format!("{address}&{}", encode_query(query)),
        (false, false) => format!("{address}?{}", encode_query(query)),
    }
}

/// `key=value&…`, percent-encoded.
pub(super) fn encode_query(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode(&mut out, key);
        out.push('=');
        encode(&mut out, value);
    }
    out
}

/// All but unreserved characters (RFC 3986) as `%XX`.
fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests;
