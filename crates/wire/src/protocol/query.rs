//! Forms: `Attributes.entry.1.key=…` becomes the JSON document that decoding reads.
//!
//! Lists are written `Name.member.1`, flattened ones `Name.1`; maps `Name.entry.1.key`, flattened ones `Name.1.key`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request};
use percent_encoding::percent_decode;
use serde_json::{Map, Value};

use crate::model::{Element, Kind, Member, Shape};
use crate::{ServiceError, ServiceId};

/// Dots in a parameter's name; the deepest name of any model has half as many. A tree of any depth could not be
/// dropped without overflowing the stack.
const MAX_DEPTH: usize = 16;
/// The member that SQS also takes from the path of a request.
const QUEUE_URL: &str = "QueueUrl";

/// A parameter of a request in this protocol: of the form, or of the query string of a GET.
pub(crate) fn parameter(request: &Request<Bytes>, name: &str) -> Option<String> {
    pairs(request).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn pairs(request: &Request<Bytes>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let body: &[u8] = if request.method() == Method::POST { request.body() } else { &[] };
    let all = query.split(|b| *b == b'&').chain(body.split(|b| *b == b'&'));
    all.filter(|pair| !pair.is_empty()).map(|pair| {
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        (decode(&pair[..at]), decode(pair.get(at + 1..).unwrap_or_default()))
    })
}

/// Form decoding: `+` is a space.
fn decode(text: &[u8]) -> Cow<'_, str> {
    if text.contains(&b'+') {
        let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        return Cow::Owned(percent_decode(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode(text).decode_utf8_lossy()
}

/// The parameters as the JSON document of `shape`.
pub(super) fn to_json(service: ServiceId, shape: &Shape, request: &Request<Bytes>) -> Result<Vec<u8>, ServiceError> {
    let refuse = |message: String| ServiceError::serialization(service, message);
    let mut root = Node::default();
    for (key, value) in pairs(request) {
        if key.matches('.').count() > MAX_DEPTH {
            return Err(refuse("a parameter's name has too many parts".to_owned()));
        }
        root.insert(&key, value.into_owned());
    }
    if let Kind::Structure(members) = &shape.kind
        && members.iter().any(|member| member.name == QUEUE_URL)
    {
        // A queue can be named by the path that its URL has.
        let path = root.children.entry(QUEUE_URL.to_owned()).or_default();
        path.value.get_or_insert_with(|| request.uri().path().to_owned());
    }
    let value = structure(&root, shape).map_err(refuse)?;
    Ok(value.to_string().into_bytes())
}

/// The parameters as a tree by the dots in their names.
#[derive(Default)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn insert(&mut self, path: &str, value: String) {
        let mut node = self;
        for part in path.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.value = Some(value);
    }

    /// The numbered children, by number.
    fn numbered(&self) -> Result<Vec<&Node>, String> {
        let mut out = Vec::with_capacity(self.children.len());
        for (name, node) in &self.children {
            let number: u32 = name.parse().map_err(|_| format!("{name} is not the number of a list's member"))?;
            out.push((number, node));
        }
        out.sort_by_key(|(number, _)| *number);
        Ok(out.into_iter().map(|(_, node)| node).collect())
    }
}

fn structure(node: &Node, shape: &Shape) -> Result<Value, String> {
    let Kind::Structure(members) = &shape.kind else { return Err(format!("{} is not a structure", shape.name)) };
    let mut out = Map::new();
    for member in *members {
        if let Some(child) = node.children.get(written(member)) {
            out.insert(member.wire.to_owned(), value(child, member.shape, member.flattened)?);
        }
    }
    Ok(Value::Object(out))
}

/// What a member is called here: its own name, but for a flattened list or map whose elements have one.
pub(super) fn written(member: &Member) -> &'static str {
    let own = match &member.shape.kind {
        Kind::List { member: item, flattened } if member.flattened || *flattened => item.name,
        Kind::Map { entry, flattened, .. } if member.flattened || *flattened => *entry,
        _ => None,
    };
    own.unwrap_or(member.wire)
}

fn value(node: &Node, shape: &Shape, flattened: bool) -> Result<Value, String> {
    match &shape.kind {
        Kind::Structure(_) => structure(node, shape),
        Kind::List { member, flattened: own } => list(node, member, flattened || *own),
        Kind::Map { key, value, flattened: own, .. } => map(node, key, value, flattened || *own),
        kind => scalar(node.value.as_deref().unwrap_or_default(), kind),
    }
}

fn list(node: &Node, member: &Element, flattened: bool) -> Result<Value, String> {
    let node = if flattened { Some(node) } else { node.children.get(member.name.unwrap_or("member")) };
    let items = node.map(Node::numbered).transpose()?.unwrap_or_default();
    items.into_iter().map(|item| value(item, member.shape, false)).collect()
}

fn map(node: &Node, key: &Element, value_of: &Element, flattened: bool) -> Result<Value, String> {
    let node = if flattened { Some(node) } else { node.children.get("entry") };
    let mut out = Map::new();
    for entry in node.map(Node::numbered).transpose()?.unwrap_or_default() {
        let name = entry.children.get(key.name.unwrap_or("key")).and_then(|n| n.value.clone());
        let name = name.ok_or("an entry of a map has no key")?;
        if let Some(child) = entry.children.get(value_of.name.unwrap_or("value")) {
            out.insert(name, value(child, value_of.shape, false)?);
        }
    }
    Ok(Value::Object(out))
}

/// A scalar's text as JSON of its kind; what cannot be one stays text, for decoding to refuse by its type.
pub(super) fn scalar(text: &str, kind: &Kind) -> Result<Value, String> {
    let number = |text: &str| text.parse().ok().map(Value::Number);
    Ok(match kind {
        Kind::Integer | Kind::Float => number(text).unwrap_or_else(|| text.into()),
        Kind::Timestamp(_) => number(text).unwrap_or_else(|| text.into()),
        Kind::Boolean if text.eq_ignore_ascii_case("true") => true.into(),
        Kind::Boolean if text.eq_ignore_ascii_case("false") => false.into(),
        _ => text.into(),
    })
}
