//! From a request to an operation's input, and from its output or error to an answer.
//!
//! Owns what differs between protocols: where members are, how values are written, how errors look.
//! Must not know any operation: tables say what is where.

mod cbor;
mod event_stream;
mod json;
mod query;
mod rest;
mod size;
mod xml;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use serde_json::json;

pub(crate) use query::parameter;
pub(crate) use rest::labels;

use crate::data::{Accept, Build, Structure, View, decode_cbor, decode_json};
use crate::encoding::media_type;
use crate::model::{Operation, Protocol, Service};
use crate::{Body, Call, Encoding, Event, EventStream, ServiceError, ServiceId, validate};

/// Carries the request's id in every answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// Carries an error's code beside the body's.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// Carries an error's code in the query protocol, and whose fault it is, for SDKs that know it by that.
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// Decodes an operation's input and refuses it when it violates its model.
pub fn read<T: Build>(operation: &Operation, request: &Request<Bytes>) -> Result<T, ServiceError> {
    let service = operation.service;
    let mut input = T::default();
    let malformed = |e: serde_json::Error| ServiceError::serialization(service, in_words(&e));
    match Encoding::of(request.headers()).protocol(service.model()) {
        Protocol::AwsJson => {
            refuse_other_encodings(service, request)?;
            match Encoding::of(request.headers()) {
                Encoding::Cbor if !request.body().is_empty() => decode_cbor(&mut input, request.body())
                    .map_err(|error| ServiceError::serialization(service, error.to_string()))?,
                _ => decode_json(&mut input, or_empty(request.body()), Accept::Body).map_err(malformed)?,
            }
        }
        Protocol::Query => {
            let document = query::to_json(service, T::SHAPE, request)?;
            decode_json(&mut input, &document, Accept::Body).map_err(malformed)?;
        }
        Protocol::RestJson => {
            let bound = rest::bound(operation, T::SHAPE, request)?;
            if rest::has_payload(T::SHAPE) {
                input.set_payload(request.body().clone());
            } else {
                decode_json(&mut input, or_empty(request.body()), Accept::Body).map_err(malformed)?;
            }
            decode_json(&mut input, &bound, Accept::Bound).map_err(malformed)?;
        }
    }
    validate::check(service, &input)?;
    Ok(input)
}

/// A request without body is one without members.
fn or_empty(body: &[u8]) -> &[u8] {
    if body.is_empty() { b"{}" } else { body }
}

/// CBOR in another dress than awsJson's is refused by name, not taken for broken JSON.
fn refuse_other_encodings(service: ServiceId, request: &Request<Bytes>) -> Result<(), ServiceError> {
    let kind = media_type(request.headers());
    if !kind.contains("cbor") || Encoding::of(request.headers()) == Encoding::Cbor {
        return Ok(());
    }
    let name = service.model().name;
    let message =
        format!("{name} is spoken as application/x-amz-json-1.1 and application/x-amz-cbor-1.1 here, not as {kind}");
    Err(ServiceError::new("UnsupportedMediaTypeException", message).with_status(415))
}

/// A decoding error without the parser's position, which tells a caller nothing about a signed body of one line.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) if error.is_data() => text[..end].to_owned(),
        _ => text,
    }
}

/// Encodes an operation's output; awsJson's in the request's encoding.
pub fn write(operation: &Operation, encoding: Encoding, call: &Call, output: &dyn Structure) -> Response<Bytes> {
    let service = operation.service.model();
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status(operation.status);
    match encoding.protocol(service) {
        Protocol::AwsJson => {
            set_content_type(&mut response, service, encoding);
            let mut body = Vec::new();
            write_document(output, encoding, &mut body);
            *response.body_mut() = body.into();
        }
        Protocol::Query => {
            set_content_type(&mut response, service, encoding);
            *response.body_mut() = xml::answer(service, operation, output, &call.request_id).into();
        }
        Protocol::RestJson => rest::answer(service, output, &mut response),
    }
    set_request_id(&mut response, &call.request_id);
    response
}

/// Encodes an operation's output and the events that follow it.
pub fn stream<O: Structure, E: Event>(
    operation: &Operation,
    encoding: Encoding,
    call: &Call,
    answer: EventStream<O, E>,
) -> Response<Body> {
    let service = operation.service.model();
    let mut response = Response::new(Body::Events(event_stream::frames(service, encoding, answer)));
    *response.status_mut() = status(operation.status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(event_stream::CONTENT_TYPE));
    set_request_id(&mut response, &call.request_id);
    response
}

/// Encodes an error, in the encoding of the request if that is awsJson. The answer's extensions hold the
/// [`ServiceError`], for logs and metrics.
pub fn refuse(service: &Service, encoding: Encoding, error: &ServiceError, request_id: &str) -> Response<Bytes> {
    let (shape, protocol) = (service.error(&error.code), encoding.protocol(service));
    let query = shape.and_then(|s| s.query).filter(|_| protocol == Protocol::Query);
    let code = query.map(|(code, _)| code).or(shape.map(|s| s.code)).unwrap_or(&*error.code);
    let status_code = error.status.or(query.map(|(_, status)| status)).or(shape.map(|s| s.status)).unwrap_or(400);
    let server_fault = status_code >= 500;
    let mut response = Response::new(match protocol {
        Protocol::AwsJson => error_document(service, encoding, error).into(),
        Protocol::RestJson => {
            let member = shape.map_or("message", |s| s.message_member);
            let fault = if server_fault { "Service" } else { "User" };
            let mut document = json!({"Type": fault, member: error.message});
            if let Some((reason, _)) = error.throttle {
                document["Reason"] = reason.into();
            }
            document.to_string().into()
        }
        Protocol::Query => xml::error(service, code, &error.message, server_fault, request_id).into(),
    });
    *response.status_mut() = status(status_code);
    set_content_type(&mut response, service, encoding);
    if let Ok(value) = HeaderValue::from_str(code)
        && protocol != Protocol::Query
    {
        response.headers_mut().insert(ERROR_TYPE, value);
    }
    if service.query_compatible && protocol == Protocol::AwsJson {
        let code = shape.and_then(|s| s.query).map_or(&*error.code, |(code, _)| code);
        let fault = if server_fault { "Receiver" } else { "Sender" };
        if let Ok(value) = HeaderValue::from_str(&format!("{code};{fault}")) {
            response.headers_mut().insert(QUERY_ERROR, value);
        }
    }
    if let Some((_, after_secs)) = error.throttle {
        response.headers_mut().insert(RETRY_AFTER, after_secs.into());
    }
    set_request_id(&mut response, request_id);
    response.extensions_mut().insert(error.clone());
    response
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A structure in awsJson.
fn write_document(structure: &dyn Structure, encoding: Encoding, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json | Encoding::Form => json::write_to(structure, out),
        Encoding::Cbor => cbor::write_to(structure, out),
    }
}

/// An error in awsJson.
fn error_document(service: &Service, encoding: Encoding, error: &ServiceError) -> Vec<u8> {
    let shape = service.error(&error.code);
    let (code, member) = shape.map_or((&*error.code, "message"), |shape| (shape.code, shape.message_member));
    match encoding {
        Encoding::Json | Encoding::Form if service.query_compatible => {
            // As the service has it: its own shapes with their name space, what all services share with another.
            let name = match shape {
                Some(shape) => format!("com.amazonaws.{}#{}", service.name, shape.name),
                None => format!("com.amazon.coral.service#{}Exception", code.trim_end_matches("Exception")),
            };
            json!({"__type": name, member: error.message}).to_string().into_bytes()
        }
        Encoding::Json | Encoding::Form => json!({"__type": code, member: error.message}).to_string().into_bytes(),
        Encoding::Cbor => cbor::error(code, member, &error.message),
    }
}

fn content_type(service: &Service, encoding: Encoding) -> &'static str {
    match encoding.protocol(service) {
        Protocol::AwsJson if encoding == Encoding::Cbor => "application/x-amz-cbor-1.1",
        Protocol::AwsJson if service.json_version == "1.0" => "application/x-amz-json-1.0",
        Protocol::AwsJson => "application/x-amz-json-1.1",
        Protocol::Query => "text/xml",
        Protocol::RestJson => "application/json",
    }
}

fn set_content_type(response: &mut Response<Bytes>, service: &Service, encoding: Encoding) {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type(service, encoding)));
}

fn set_request_id<B>(response: &mut Response<B>, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}

/// The members of a structure that are there, with their places.
fn members(structure: &dyn Structure) -> impl Iterator<Item = (&'static crate::model::Member, View<'_>)> {
    let members = match &structure.shape().kind {
        crate::model::Kind::Structure(members) => *members,
        _ => &[],
    };
    members.iter().enumerate().filter_map(|(i, member)| match structure.member(i) {
        View::Absent => None,
        view => Some((member, view)),
    })
}
