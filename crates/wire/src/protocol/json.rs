//! Writing structures as JSON text.

use base::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{members, size};
use crate::data::{Structure, View};
use crate::model::{Kind, Location, Shape, TimeFormat};

/// The JSON document of a structure's body members.
pub(super) fn write(structure: &dyn Structure) -> Vec<u8> {
    let mut out = Vec::new();
    write_to(structure, &mut out);
    out
}

/// The same after what `out` holds already.
pub(super) fn write_to(structure: &dyn Structure, out: &mut Vec<u8>) {
    out.reserve(size::of(structure));
    write_structure(structure, out);
}

fn write_structure(structure: &dyn Structure, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (member, view) in members(structure).filter(|(member, _)| member.location == Location::Body) {
        separate(&mut first, out);
        // A model's names are plain.
        out.push(b'"');
        out.extend_from_slice(member.wire.as_bytes());
        out.extend_from_slice(b"\":");
        write_value(view, member.shape, member.time, out);
    }
    out.push(b'}');
}

fn separate(first: &mut bool, out: &mut Vec<u8>) {
    if !*first {
        out.push(b',');
    }
    *first = false;
}

fn write_value(view: View<'_>, shape: &Shape, time: Option<TimeFormat>, out: &mut Vec<u8>) {
    match view {
        View::Absent => out.extend_from_slice(b"null"),
        View::Str(v) => string(v, out),
        View::Int(v) => int(v, out),
        View::Float(v) => float(v, out),
        View::Bool(v) => out.extend_from_slice(if v { b"true" } else { b"false" }),
        View::Blob(v) => base64(v, out),
        View::Time(v) => write_time(v, shape, time, out),
        View::Structure(v) => write_structure(v, out),
        View::List(items) => {
            let Kind::List { member, .. } = &shape.kind else { return };
            out.push(b'[');
            for i in 0..items.count() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(items.at(i), member.shape, None, out);
            }
            out.push(b']');
        }
        View::Map(entries) => {
            let Kind::Map { value, .. } = &shape.kind else { return };
            out.push(b'{');
            let mut first = true;
            entries.each(&mut |key, view| {
                separate(&mut first, out);
                string(key, out);
                out.push(b':');
                write_value(view, value.shape, None, out);
            });
            out.push(b'}');
        }
    }
}

fn write_time(time: Timestamp, shape: &Shape, format: Option<TimeFormat>, out: &mut Vec<u8>) {
    let own = if let Kind::Timestamp(own) = shape.kind { own } else { None };
    match format.or(own).unwrap_or(TimeFormat::Epoch) {
        TimeFormat::Epoch => write_epoch(time, out),
        TimeFormat::Iso8601 => string(&time.to_iso_millis(), out),
        TimeFormat::Http => string(&time.format("%a, %d %b %Y %H:%M:%S GMT"), out),
    }
}

/// Seconds with milliseconds as fraction, exactly: `1518456789.123`.
fn write_epoch(time: Timestamp, out: &mut Vec<u8>) {
    if time.millis() < 0 {
        out.push(b'-');
    }
    let (seconds, fraction) = (time.millis().unsigned_abs() / 1_000, time.millis().unsigned_abs() % 1_000);
    decimal(seconds, out);
    if fraction > 0 {
        let digit = |n: u64| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
    }
}

pub(super) fn epoch(time: Timestamp) -> String {
    let mut out = Vec::new();
    write_epoch(time, &mut out);
    out.into_iter().map(char::from).collect()
}

fn int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    decimal(value.unsigned_abs(), out);
}

fn decimal(mut value: u64, out: &mut Vec<u8>) {
    // 2^64 has 20 digits.
    let (mut digits, mut at) = ([0; 20], 20);
    while at == 20 || value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

fn float(value: f64, out: &mut Vec<u8>) {
    match serde_json::Number::from_f64(value) {
        Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
        // JSON has no word for these; the services write them as text.
        None if value.is_nan() => string("NaN", out),
        None => string(if value > 0.0 { "Infinity" } else { "-Infinity" }, out),
    }
}

/// Encodes straight into the answer: a record's bytes are copied once.
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The slice has the encoded length, so this cannot fail.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}

fn must_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// A JSON string. Most have nothing to escape and are copied whole: a look at all their bytes without a branch is
/// quicker than a search for the first.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    if !rest.iter().fold(false, |found, byte| found | must_escape(*byte)) {
        out.extend_from_slice(rest);
        out.push(b'"');
        return;
    }
    while let Some(at) = rest.iter().position(|byte| must_escape(*byte)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
