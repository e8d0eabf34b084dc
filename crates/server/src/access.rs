//! `/_tidegate/access`: why somebody may or may not do something, and what a role has used.
//!
//! ```text
//! GET /_tidegate/access/explain?principal=ARN&action=A&resource=R[&KEY=VALUE…]   the decision, and what made it
//! GET /_tidegate/access/used?role=ARN                                            what the role was allowed to do
//! ```
//!
//! A principal is the ARN of a user, a role or the account's root, or a service such as `events.amazonaws.com`; what
//! else is in the query are condition keys. Owns the JSON. Must not decide.

use base::{Access, Arn, Principal};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::auth::Authority;
use crate::refusal::json as answer_json;

/// What a path asks for, as permissions name it.
pub(crate) fn operation(path: &str) -> &'static str {
    if path == USED { "DescribeUsedAccess" } else { "ExplainAccess" }
}

const EXPLAIN: &str = "/_tidegate/access/explain";
const USED: &str = "/_tidegate/access/used";

/// Whether a path is one of these.
pub(crate) fn is_access(path: &str) -> bool {
    matches!(path, EXPLAIN | USED)
}

/// Answers a request that is permitted.
pub(crate) fn answer(authority: &Authority, request: &Request<Bytes>) -> Response<Bytes> {
    let query = request.uri().query().unwrap_or_default();
    let text = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut given: Vec<(String, String)> = pairs.map(|(key, value)| (text(key), text(value))).collect();
    let mut take = |name: &str| {
        let at = given.iter().position(|(key, _)| key == name)?;
        Some(given.remove(at).1)
    };
    let body = if request.uri().path() == USED {
        used(authority, take("role"))
    } else {
        let (principal, action, resource) = (take("principal"), take("action"), take("resource"));
        explain(authority, (principal, action, resource), &given)
    };
    match body {
        Ok(body) => answer_json(StatusCode::OK, &body),
        Err(reason) => answer_json(StatusCode::BAD_REQUEST, &json!({"message": reason})),
    }
}

fn explain(
    authority: &Authority,
    (principal, action, resource): (Option<String>, Option<String>, Option<String>),
    context: &[(String, String)],
) -> Result<serde_json::Value, String> {
    let text = principal.ok_or("say who: principal is missing")?;
    let principal = principal_of(&text)?;
    let action = action.ok_or("say what: action is missing, such as kinesis:PutRecord")?;
    if !action.contains(':') {
        return Err(format!("'{action}' is not an action such as kinesis:PutRecord"));
    }
    let resource = resource.unwrap_or_else(|| "*".to_owned());
    let context: Vec<(&str, &str)> = context.iter().map(|(key, value)| (&**key, &**value)).collect();
    let access = Access { principal: &principal, action: &action, resource: &resource, context: &context };
    Ok(json!(authority.explain(&access)))
}

fn used(authority: &Authority, role: Option<String>) -> Result<serde_json::Value, String> {
    let text = role.ok_or("say whose: role is missing")?;
    let role: Arn = text.parse().map_err(|_| format!("'{text}' is not the ARN of a role"))?;
    let uses = authority.used(&role);
    let uses: Vec<_> = uses
        .iter()
        .map(|used| json!({"action": used.action, "resource": used.resource, "last": used.last.to_iso_secs()}))
        .collect();
    Ok(json!({"role": text, "uses": uses}))
}

fn principal_of(text: &str) -> Result<Principal, String> {
    let refused = || {
        format!(
            "'{text}' is not the ARN of a user, a role or the account's root, nor a service such as \
             events.amazonaws.com"
        )
    };
    if text.ends_with(".amazonaws.com") {
        return Ok(Principal::Service { name: text.to_owned() });
    }
    let arn: Arn = text.parse().map_err(|_| refused())?;
    let (id, role_id) = (String::new(), String::new());
    match arn.resource().split('/').next() {
        Some("root") if arn.service() == "iam" => Ok(Principal::Root),
        Some("user") if arn.service() == "iam" => Ok(Principal::User { arn, id }),
        Some("role") if arn.service() == "iam" => {
            Ok(Principal::Session { role: arn, role_id, name: "session".to_owned() })
        }
        _ => Err(refused()),
    }
}
