//! Events as frames of `application/vnd.amazon.eventstream`.
//!
//! ```text
//! frame   0  total length     4   big-endian, as every number here
//!         4  headers length   4
//!         8  prelude crc      4   CRC32 of bytes 0..8
//!        12  headers
//!            payload
//!            message crc      4   CRC32 of everything before
//! header     name length      1
//!            name
//!            type             1   7: text
//!            value length     2
//!            value
//! ```
//! Source: "Event Stream Specification" of Smithy 2.0. An answer begins with `initial-response`, which carries the
//! output: clients of RPC protocols wait for it.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::{content_type, error_document, write_document};
use crate::data::Structure;
use crate::model::Service;
use crate::{Encoding, Event, EventStream, ServiceError};

/// The media type of the frames.
pub(super) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
const TEXT: u8 = 7;
const PRELUDE_BYTES: usize = 12;
const CRC_BYTES: usize = 4;
/// Of an error's message in a header, far below the 32,767 bytes that a value may have.
const MESSAGE_BYTES: usize = 4_096;

/// The frames of an answer: its output, its events, and what ended them if it was an error.
pub(super) fn frames<O: Structure, E: Event>(
    service: &'static Service,
    encoding: Encoding,
    answer: EventStream<O, E>,
) -> BoxStream<'static, Bytes> {
    let first = event(service, encoding, "initial-response", &answer.output);
    let rest = answer.events.scan(false, move |ended, item| {
        if std::mem::replace(ended, item.is_err()) {
            return std::future::ready(None);
        }
        std::future::ready(Some(match item {
            Ok(item) => {
                let (name, content) = item.named();
                event(service, encoding, name, content)
            }
            Err(error) => failure(service, encoding, E::ERRORS, &error),
        }))
    });
    stream::iter([first]).chain(rest).boxed()
}

fn event(service: &Service, encoding: Encoding, name: &str, content: &dyn Structure) -> Bytes {
    let kind = content_type(service, encoding);
    let headers = [(":message-type", "event"), (":event-type", name), (":content-type", kind)];
    frame(&headers, |out| write_document(content, encoding, out))
}

/// An error of the stream's model has a type and a document; clients know any other by code and message only.
fn failure(service: &Service, encoding: Encoding, declared: &[&str], error: &ServiceError) -> Bytes {
    let shape = service.error(&error.code);
    let name = shape.map_or(&*error.code, |shape| shape.name);
    if declared.contains(&name) {
        let kind = content_type(service, encoding);
        let headers = [(":message-type", "exception"), (":exception-type", name), (":content-type", kind)];
        return frame(&headers, |out| out.extend_from_slice(&error_document(service, encoding, error)));
    }
    let end = error.message.floor_char_boundary(MESSAGE_BYTES);
    let headers =
        [(":message-type", "error"), (":error-code", &*error.code), (":error-message", &error.message[..end])];
    frame(&headers, |_| {})
}

fn frame(headers: &[(&str, &str)], payload: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = vec![0; PRELUDE_BYTES];
    for (name, value) in headers {
        // Names are ours; values are cut above, or names of a model.
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.push(TEXT);
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    let headers_len = (out.len() - PRELUDE_BYTES) as u32;
    payload(&mut out);
    let total = (out.len() + CRC_BYTES) as u32;
    out[..4].copy_from_slice(&total.to_be_bytes());
    out[4..8].copy_from_slice(&headers_len.to_be_bytes());
    let prelude_crc = crc32fast::hash(&out[..8]);
    out[8..12].copy_from_slice(&prelude_crc.to_be_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out.into()
}
