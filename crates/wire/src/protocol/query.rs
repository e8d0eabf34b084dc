//! Forms: `Attributes.entry.1.key=…` becomes the JSON document that decoding reads.
//!
//! A parameter has a place only where the shape has one: what names anything else is left out before it costs memory, as
//! the services ignore it.
//!
//! Lists are written `Name.member.1`, flattened ones `Name.1`; maps `Name.entry.1.key`, flattened ones `Name.1.key`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::Split;

use bytes::Bytes;
use http::{Method, Request};
use percent_encoding::percent_decode;
use serde_json::{Map, Value};

use crate::model::{Element, Kind, Member, Shape};
use crate::{ServiceError, ServiceId};

/// Dots in a parameter's name; the deepest name of any model has half as many.
const MAX_DEPTH: usize = 16;
/// Parameters of a request. The largest that makes sense, a batch of ten messages with ten attributes each, has some
/// five hundred.
const MAX_PARAMETERS: usize = 2_000;
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
pub(super) fn to_json(
    service: ServiceId,
    shape: &'static Shape,
    request: &Request<Bytes>,
) -> Result<Vec<u8>, ServiceError> {
    let refuse = |message: String| ServiceError::serialization(service, message);
    let mut root = tree(shape, pairs(request)).map_err(refuse)?;
    if let Kind::Structure(members) = &shape.kind
        && members.iter().any(|member| member.name == QUEUE_URL)
    {
        // A queue can be named by the path that its URL has.
        let path = root.children.entry(Part::Name(QUEUE_URL)).or_default();
        path.value.get_or_insert_with(|| request.uri().path().to_owned());
    }
    let value = structure(&root, shape).map_err(refuse)?;
    Ok(value.to_string().into_bytes())
}

fn tree<'a>(shape: &'static Shape, pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Result<Node, String> {
    let mut root = Node::default();
    for (nth, (name, value)) in pairs.enumerate() {
        if nth == MAX_PARAMETERS {
            return Err(format!("the request has more than {MAX_PARAMETERS} parameters"));
        }
        if name.matches('.').count() > MAX_DEPTH {
            return Err("a parameter's name has too many parts".to_owned());
        }
        root.insert(shape, false, &mut name.split('.'), value)?;
    }
    Ok(root)
}

/// The parameters as a tree by the dots in their names.
#[derive(Default)]
struct Node {
    value: Option<String>,
    children: BTreeMap<Part, Node>,
}

/// One part of a parameter's name, as its shape has it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Name(&'static str),
    Number(u32),
}

impl Node {
    /// Puts a value where the rest of its name leads from here; nowhere when the shape has no such place.
    fn insert(
        &mut self,
        shape: &'static Shape,
        flattened: bool,
        parts: &mut Split<'_, char>,
        value: Cow<'_, str>,
    ) -> Result<(), String> {
        let Some(part) = parts.next() else {
            self.value = Some(value.into_owned());
            return Ok(());
        };
        match &shape.kind {
            Kind::Structure(members) => {
                let Some(member) = members.iter().find(|member| written(member) == part) else { return Ok(()) };
                let child = self.children.entry(Part::Name(written(member))).or_default();
                child.insert(member.shape, member.flattened, parts, value)
            }
            Kind::List { member, flattened: own } => {
                let prefix = (!(flattened || *own)).then(|| member.name.unwrap_or("member"));
                let Some(item) = self.item(prefix, part, parts)? else { return Ok(()) };
                item.insert(member.shape, false, parts, value)
            }
            Kind::Map { key, value: value_of, flattened: own, .. } => {
                let prefix = (!(flattened || *own)).then_some("entry");
                let Some(entry) = self.item(prefix, part, parts)? else { return Ok(()) };
                let (key_name, value_name) = (key.name.unwrap_or("key"), value_of.name.unwrap_or("value"));
                let (name, element) = match parts.next() {
                    Some(name) if name == key_name => (key_name, key),
                    Some(name) if name == value_name => (value_name, value_of),
                    _ => return Ok(()),
                };
                let child = entry.children.entry(Part::Name(name)).or_default();
                child.insert(element.shape, false, parts, value)
            }
            _ => Ok(()),
        }
    }

    /// The numbered child that the next parts name, after the prefix that a list has which is not flattened.
    fn item(
        &mut self,
        prefix: Option<&'static str>,
        part: &str,
        parts: &mut Split<'_, char>,
    ) -> Result<Option<&mut Self>, String> {
        let number = match prefix {
            None => Some(part),
            Some(prefix) if prefix == part => parts.next(),
            Some(_) => None,
        };
        let Some(number) = number else { return Ok(None) };
        let number = number.parse().map_err(|_| format!("{number} is not the number of a list's member"))?;
        Ok(Some(self.children.entry(Part::Number(number)).or_default()))
    }

    /// The numbered children, by number.
    fn numbered(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|(part, node)| matches!(part, Part::Number(_)).then_some(node))
    }

    fn child(&self, name: &'static str) -> Option<&Self> {
        self.children.get(&Part::Name(name))
    }
}

fn structure(node: &Node, shape: &Shape) -> Result<Value, String> {
    let Kind::Structure(members) = &shape.kind else { return Err(format!("{} is not a structure", shape.name)) };
    let mut out = Map::new();
    for member in *members {
        if let Some(child) = node.child(written(member)) {
            out.insert(member.wire.to_owned(), value(child, member.shape)?);
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

fn value(node: &Node, shape: &Shape) -> Result<Value, String> {
    match &shape.kind {
        Kind::Structure(_) => structure(node, shape),
        Kind::List { member, .. } => node.numbered().map(|item| value(item, member.shape)).collect(),
        Kind::Map { key, value, .. } => map(node, key, value),
        kind => scalar(node.value.as_deref().unwrap_or_default(), kind),
    }
}

fn map(node: &Node, key: &Element, value_of: &Element) -> Result<Value, String> {
    let mut out = Map::new();
    for entry in node.numbered() {
        let name = entry.child(key.name.unwrap_or("key")).and_then(|node| node.value.clone());
        let name = name.ok_or("an entry of a map has no key")?;
        if let Some(child) = entry.child(value_of.name.unwrap_or("value")) {
            out.insert(name, value(child, value_of.shape)?);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Build;
    use crate::{sns, sqs};

    fn nodes(node: &Node) -> usize {
        1 + node.children.values().map(nodes).sum::<usize>()
    }

    fn of(shape: &'static Shape, names: &[&'static str]) -> Result<usize, String> {
        let pairs = names.iter().map(|name| (Cow::Borrowed(*name), Cow::Borrowed("x")));
        tree(shape, pairs).map(|root| nodes(&root))
    }

    #[test]
    fn a_name_costs_only_where_the_shape_has_a_place_for_it() {
        let (batch, create) = (sqs::SendMessageBatchInput::SHAPE, sns::CreateTopicInput::SHAPE);
        let entry = "SendMessageBatchRequestEntry.1";
        let deep: &'static str = "SendMessageBatchRequestEntry.1.MessageAttribute.2.Value.DataType";
        assert_eq!(of(batch, &["QueueUrl", deep]), Ok(8));
        for nowhere in ["0001.1.1.1.1.1.1.1", "1", "Entries.1.Id", "QueueUrl2", "SendMessageBatchRequestEntryX.1"] {
            assert_eq!(of(batch, &[nowhere]), Ok(1), "{nowhere}");
        }
        assert_eq!(of(batch, &[entry, "SendMessageBatchRequestEntry.0001.None.1.1.1.1"]), Ok(3));
        assert_eq!(of(batch, &["QueueUrl.1.1.1.1"]), Ok(2));
        assert_eq!(of(create, &["Attributes.entry.1.key", "Attributes.entry.1.other.1.1", "Attributes.1.key"]), Ok(4));
        assert!(of(batch, &["SendMessageBatchRequestEntry.first.Id"]).is_err());
        assert!(of(batch, &["a"; MAX_PARAMETERS]).is_ok() && of(batch, &["a"; MAX_PARAMETERS + 1]).is_err());
        assert!(of(batch, &["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r"]).is_err());
    }
}
