//! The `_bulk` protocol: requests from records, fates from answers. Pure.

use base::{Event, SequenceNumber, ShardId};
use bytes::{BufMut, Bytes, BytesMut};
use log::Record;
use serde::Deserialize;
use serde_json::json;

use super::config::Destination;

/// One record as a document.
pub(super) struct Document {
    pub record: Record,
    pub id: String,
    pub index: String,
    /// The document on one line, or why it is none.
    pub source: Result<Bytes, String>,
}

/// What became of a document in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Indexed,
    /// It may be taken later.
    Later {
        code: String,
        message: String,
    },
    /// It will never be taken.
    Refused {
        code: String,
        message: String,
    },
}

impl Document {
    pub fn new(destination: &Destination, shard: ShardId, record: &Record) -> Self {
        let number = SequenceNumber::new(record.position, shard, record.arrival);
        Self {
            id: format!("{shard}.{number}"),
            index: destination.rotation.index(&destination.index, record.arrival),
            source: one_line(&record.data),
            record: record.clone(),
        }
    }
}

/// Lines matter in `_bulk`: a document must be a JSON object without line ends between its tokens.
fn one_line(data: &Bytes) -> Result<Bytes, String> {
    let text = std::str::from_utf8(data).map_err(|_| "the record is not UTF-8 text".to_owned())?;
    if !text.trim_start().starts_with('{') {
        return Err("the record is not a JSON object".to_owned());
    }
    match Event::compact(text) {
        Ok(compact) if compact.get().len() == data.len() => Ok(data.clone()),
        Ok(compact) => Ok(Bytes::copy_from_slice(compact.get().as_bytes())),
        Err(error) => Err(format!("the record is not a JSON object: {error}")),
    }
}

/// The body that indexes these documents. Those that are none must not be among them.
pub(super) fn body(documents: &[&Document]) -> Bytes {
    let mut body = BytesMut::new();
    for document in documents {
        if let Ok(source) = &document.source {
            let action = json!({"index": {"_index": document.index, "_id": document.id}});
            body.put_slice(action.to_string().as_bytes());
            body.put_u8(b'\n');
            body.put_slice(source);
            body.put_u8(b'\n');
        }
    }
    body.freeze()
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: ItemResult,
}

#[derive(Deserialize)]
struct ItemResult {
    status: u16,
    error: Option<ItemError>,
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
}

fn fate(status: u16, message: impl FnOnce() -> String) -> Fate {
    match status {
        200..=299 => Fate::Indexed,
        429 | 500.. => Fate::Later { code: status.to_string(), message: message() },
        _ => Fate::Refused { code: status.to_string(), message: message() },
    }
}

/// What an answer says about each of `count` documents, in their order.
pub(super) fn fates(status: http::StatusCode, answer: &[u8], count: usize) -> Vec<Fate> {
    if !status.is_success() {
        let text: String = String::from_utf8_lossy(answer).chars().take(500).collect();
        return vec![fate(status.as_u16(), || text); count];
    }
    let unclear = |why: String| Fate::Later { code: "UnknownAnswer".to_owned(), message: why };
    match serde_json::from_slice::<Answer>(answer) {
        Ok(answer) if answer.items.len() == count => answer
            .items
            .into_iter()
            .map(|Item { index }| {
                let error = index.error;
                fate(index.status, || error.map_or_else(String::new, |e| format!("{}: {}", e.kind, e.reason)))
            })
            .collect(),
        Ok(answer) => vec![unclear(format!("{} items instead of {count}", answer.items.len())); count],
        Err(error) => vec![unclear(error.to_string()); count],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn documents_are_objects_on_one_line() {
        let line = |text: &'static str| one_line(&Bytes::from_static(text.as_bytes()));
        assert_eq!(line("{\n \"a b\": 1 }\n").unwrap(), "{\"a b\":1}");
        assert_eq!(line("{\"a\":1}").unwrap(), "{\"a\":1}");
        for text in ["", "[1]", "text", "{\"a\":1} {\"b\":2}", "{"] {
            assert!(line(text).is_err(), "{text}");
        }
    }

    #[test]
    fn answers_are_read_item_by_item() {
        let answer = br#"{"took":1,"errors":true,"items":[{"index":{"status":201}},
            {"index":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"no"}}},
            {"index":{"status":429,"error":{"type":"busy","reason":"later"}}}]}"#;
        let fates = fates(StatusCode::OK, answer, 3);
        assert_eq!(fates[0], Fate::Indexed);
        assert_eq!(fates[1], Fate::Refused { code: "400".into(), message: "mapper_parsing_exception: no".into() });
        assert_eq!(fates[2], Fate::Later { code: "429".into(), message: "busy: later".into() });
    }

    #[test]
    fn an_answer_for_all_counts_for_each() {
        assert!(matches!(fates(StatusCode::SERVICE_UNAVAILABLE, b"", 2)[..], [Fate::Later { .. }, Fate::Later { .. }]));
        assert!(matches!(fates(StatusCode::PAYLOAD_TOO_LARGE, b"", 1)[..], [Fate::Refused { .. }]));
        assert!(matches!(fates(StatusCode::OK, br#"{"items":[]}"#, 1)[..], [Fate::Later { .. }]));
        assert!(matches!(fates(StatusCode::OK, b"<html>", 1)[..], [Fate::Later { .. }]));
    }
}
