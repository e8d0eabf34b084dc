//! A call as a CloudTrail record.
//!
//! The fields are those of "CloudTrail record contents for management, data, and network activity events" (CloudTrail
//! User Guide), with its bounds: 1 KB of error code, error message and user agent each, which are cut; 100 KB of request
//! parameters and of response elements each, which are left out beyond it. So a record stays below the 256 KB of an event.

use base::{AccountId, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};
use wire::access::Asked;
use wire::data::Structure;
use wire::model::Operation;
use wire::{Call, ServiceError, ServiceId};

use super::identity::user_identity;
use super::kinds::{Kind, event_name, event_source, has_response};
use super::render::{Rendered, render, without_values};

/// The version of the format.
const VERSION: &str = "1.11";
/// Bytes of an error's code and message and of a user agent, each.
const MAX_TEXT: usize = 1 << 10;
/// Bytes of request parameters and response elements, each.
const MAX_ELEMENTS: usize = 100 << 10;
/// Where calls of a service without regions are said to have been made.
const GLOBAL: &str = "us-east-1";

/// A record, in the order in which CloudTrail writes its fields.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record<'a> {
    event_version: &'static str,
    user_identity: Value,
    event_time: String,
    event_source: String,
    event_name: String,
    aws_region: &'a str,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: String,
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    request_parameters: Value,
    response_elements: Value,
    #[serde(rename = "requestID")]
    request_id: &'a str,
    #[serde(rename = "eventID")]
    event_id: String,
    read_only: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<Value>,
    event_type: &'static str,
    management_event: bool,
    recipient_account_id: &'a AccountId,
    event_category: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_details: Option<Value>,
}

/// What became of a call: its answer or its error.
pub(super) type Outcome<'a> = Result<&'a dyn Structure, &'a ServiceError>;

/// Makes the record of a call that ended at `now`. The input is there when it could be read.
pub(super) fn record<'a>(
    call: &'a Call,
    operation: &Operation,
    kind: Kind,
    input: Option<&dyn Structure>,
    outcome: Outcome<'_>,
    (now, event_id): (Timestamp, String),
) -> Record<'a> {
    let service = operation.service;
    let request = input.map(|input| render(service, input));
    let error = outcome.err().map(|error| failure(service, error, request.as_ref()));
    let (error_code, error_message) = error.unzip();
    let response = match outcome {
        Ok(output) if has_response(operation, kind) => Some(render(service, output)),
        _ => None,
    };
    Record {
        event_version: VERSION,
        user_identity: user_identity(&call.scope.account, &call.principal, call.access_key_id.as_deref()),
        event_time: now.to_iso_secs(),
        event_source: event_source(service),
        event_name: event_name(operation),
        aws_region: region(call, service),
        source_ip_address: call.source_ip.map_or_else(|| "AWS Internal".to_owned(), |ip| ip.to_canonical().to_string()),
        user_agent: cut(call.user_agent.as_deref().unwrap_or_default()),
        error_code,
        error_message,
        request_parameters: elements("requestParameters", request),
        response_elements: elements("responseElements", response),
        request_id: &call.request_id,
        event_id,
        read_only: kind.read_only,
        resources: Vec::new(),
        event_type: "AwsApiCall",
        management_event: !kind.data,
        recipient_account_id: &call.scope.account,
        event_category: if kind.data { "Data" } else { "Management" },
        tls_details: call.secure.then(|| json!({"clientProvidedHostHeader": host_of(&call.endpoint)})),
    }
}

impl Record<'_> {
    /// Says what a data event is about: what its operation's own action was asked on.
    pub fn names(&mut self, operation: &Operation, asked: Vec<Asked>) {
        let Some(action) = asked.first().map(|first| first.action) else { return };
        let kind = match operation.service {
            ServiceId::Events => "AWS::Events::EventBus",
            ServiceId::Firehose => "AWS::KinesisFirehose::DeliveryStream",
            ServiceId::Kinesis if operation.name == "SubscribeToShard" => "AWS::Kinesis::StreamConsumer",
            ServiceId::Kinesis => "AWS::Kinesis::Stream",
            ServiceId::Lambda => "AWS::Lambda::Function",
            ServiceId::Sns => "AWS::SNS::Topic",
            ServiceId::Sqs => "AWS::SQS::Queue",
            _ => return,
        };
        let own = asked.into_iter().filter(|asked| asked.action == action && asked.resource != "*");
        self.resources = own
            .map(|asked| json!({"accountId": self.recipient_account_id, "type": kind, "ARN": asked.resource}))
            .collect();
    }
}

/// The region that a call's record is of.
pub(super) fn region(call: &Call, service: ServiceId) -> &str {
    if service == ServiceId::Iam { GLOBAL } else { call.scope.region.as_str() }
}

/// The host, and the port, by which the caller reached the server.
fn host_of(endpoint: &str) -> &str {
    endpoint.split_once("://").map_or(endpoint, |(_, host)| host)
}

/// Code and message of an error, without secrets that it quotes. A refused call's code is the one of all services.
fn failure(service: ServiceId, error: &ServiceError, request: Option<&Rendered>) -> (String, String) {
    let known = service.model().error(&error.code);
    let code = known.map_or(&*error.code, |shape| shape.code);
    let code = if code == "AccessDeniedException" || code == "AuthorizationError" { "AccessDenied" } else { code };
    let message = match request {
        Some(request) => request.scrub(&error.message),
        None => without_values(&error.message),
    };
    (cut(code).to_owned(), cut(&message).to_owned())
}

/// A text of at most [`MAX_TEXT`] bytes.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Members as a part of a record: null when there are none, a note in their place when they are too large.
fn elements(name: &str, rendered: Option<Rendered>) -> Value {
    let members: Map<String, Value> = rendered.map(|rendered| rendered.members).unwrap_or_default();
    if members.is_empty() {
        return Value::Null;
    }
    let members = Value::Object(members);
    let size = members.to_string().len();
    if size <= MAX_ELEMENTS {
        return members;
    }
    json!({"omitted": true, "originalSize": size, "reason": format!("{name} too large")})
}
