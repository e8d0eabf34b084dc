//! The digests by which SDKs check that a message came as it was sent.
//!
//! "Calculating the MD5 message digest for message attributes" (SQS Developer Guide): of every attribute, by name, the
//! name, the data type, a byte for the kind of value and the value, each text with its length in 4 bytes, big-endian.
//! Must not know who is told.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use super::message::Attribute;

const STRING: u8 = 1;
const BINARY: u8 = 2;

/// The digest of a body, in hexadecimal digits.
pub fn of_body(body: &[u8]) -> String {
    hex(Md5::digest(body).as_slice())
}

/// The digest of attributes, in hexadecimal digits; none without attributes.
pub fn of_attributes(attributes: &BTreeMap<String, Attribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    let add = |part: &[u8], digest: &mut Md5| {
        digest.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        digest.update(part);
    };
    for (name, Attribute { data_type, value }) in attributes {
        add(name.as_bytes(), &mut digest);
        add(data_type.as_bytes(), &mut digest);
        if is_binary(data_type) {
            digest.update([BINARY]);
            // It was encoded by us.
            add(&STANDARD.decode(value).unwrap_or_default(), &mut digest);
        } else {
            digest.update([STRING]);
            add(value.as_bytes(), &mut digest);
        }
    }
    Some(hex(digest.finalize().as_slice()))
}

/// Whether a data type is `Binary`, with a label or without.
pub fn is_binary(data_type: &str) -> bool {
    data_type.split('.').next() == Some("Binary")
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
