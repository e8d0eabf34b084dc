//! Writing structures as CBOR: blobs are bytes, times whole milliseconds under tag 1.
//!
//! The tag would say seconds; the services and their SDKs count milliseconds.

use base::Timestamp;

use super::{members, size};
use crate::data::{Structure, View};
use crate::model::{Kind, Location, Shape, TimeFormat};

const UNSIGNED: u8 = 0 << 5;
const NEGATIVE: u8 = 1 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const LIST: u8 = 4 << 5;
const MAP: u8 = 5 << 5;
const EPOCH: u8 = 0xc1;
const MAP_TO_BREAK: u8 = 0xbf;
const BREAK: u8 = 0xff;

/// The document of a structure's body members, after what `out` holds already.
pub(super) fn write_to(structure: &dyn Structure, out: &mut Vec<u8>) {
    out.reserve(size::of(structure));
    write_structure(structure, out);
}

fn write_structure(structure: &dyn Structure, out: &mut Vec<u8>) {
    // How many members are there is known afterwards.
    out.push(MAP_TO_BREAK);
    for (member, view) in members(structure).filter(|(member, _)| member.location == Location::Body) {
        text(member.wire, out);
        write_value(view, member.shape, member.time, out);
    }
    out.push(BREAK);
}

/// The document of an error.
pub(super) fn error(code: &str, message_member: &str, message: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + message.len());
    head(MAP, 2, &mut out);
    for part in ["__type", code, message_member, message] {
        text(part, &mut out);
    }
    out
}

fn write_value(view: View<'_>, shape: &Shape, time: Option<TimeFormat>, out: &mut Vec<u8>) {
    match view {
        View::Absent => out.push(0xf6),
        View::Str(v) => text(v, out),
        View::Int(v) => int(v, out),
        View::Float(v) => {
            out.push(0xfb);
            out.extend_from_slice(&v.to_be_bytes());
        }
        View::Bool(v) => out.push(if v { 0xf5 } else { 0xf4 }),
        View::Blob(v) => {
            head(BYTES, v.len(), out);
            out.extend_from_slice(v);
        }
        View::Time(v) => write_time(v, shape, time, out),
        View::Structure(v) => write_structure(v, out),
        View::List(items) => {
            let Kind::List { member, .. } = &shape.kind else { return };
            head(LIST, items.count(), out);
            for i in 0..items.count() {
                write_value(items.at(i), member.shape, None, out);
            }
        }
        View::Map(entries) => {
            let Kind::Map { value, .. } = &shape.kind else { return };
            head(MAP, entries.count(), out);
            entries.each(&mut |key, view| {
                text(key, out);
                write_value(view, value.shape, None, out);
            });
        }
    }
}

fn write_time(time: Timestamp, shape: &Shape, format: Option<TimeFormat>, out: &mut Vec<u8>) {
    let own = if let Kind::Timestamp(own) = shape.kind { own } else { None };
    match format.or(own).unwrap_or(TimeFormat::Epoch) {
        TimeFormat::Epoch => {
            out.push(EPOCH);
            int(time.millis(), out);
        }
        TimeFormat::Iso8601 => text(&time.to_iso_millis(), out),
        TimeFormat::Http => text(&time.format("%a, %d %b %Y %H:%M:%S GMT"), out),
    }
}

fn int(value: i64, out: &mut Vec<u8>) {
    // A negative number n is written as -1 - n.
    if value < 0 { head_u64(NEGATIVE, !value as u64, out) } else { head_u64(UNSIGNED, value as u64, out) }
}

fn text(value: &str, out: &mut Vec<u8>) {
    head(TEXT, value.len(), out);
    out.extend_from_slice(value.as_bytes());
}

fn head(major: u8, n: usize, out: &mut Vec<u8>) {
    head_u64(major, n as u64, out);
}

/// A type and its number, in the fewest bytes.
fn head_u64(major: u8, n: u64, out: &mut Vec<u8>) {
    match n {
        0..=23 => out.push(major | n as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, n as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(n as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&n.to_be_bytes());
        }
    }
}
