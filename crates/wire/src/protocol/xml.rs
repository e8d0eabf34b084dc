//! Query answers and errors as XML.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::query::written;
use super::{json, members};
use crate::data::{Structure, View};
use crate::model::{Element, Kind, Operation, Service, Shape, TimeFormat};

/// `<XResponse><XResult>…</XResult><ResponseMetadata>…`.
pub(super) fn answer(service: &Service, operation: &Operation, output: &dyn Structure, request_id: &str) -> String {
    let mut out = String::from("<?xml version=\"1.0\"?>\n");
    let root = format!("{}Response", operation.name);
    out.push_str(&format!("<{root} xmlns=\"{}\">", service.xml_namespace));
    if let Some(wrapper) = operation.result_wrapper {
        element(wrapper, &mut out, |out| write_members(output, out));
    }
    element("ResponseMetadata", &mut out, |out| leaf("RequestId", request_id, out));
    out.push_str(&format!("</{root}>"));
    out
}

/// `<ErrorResponse><Error>…`.
pub(super) fn error(service: &Service, code: &str, message: &str, server_fault: bool, request_id: &str) -> String {
    let mut out = format!("<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"{}\">", service.xml_namespace);
    element("Error", &mut out, |out| {
        leaf("Type", if server_fault { "Receiver" } else { "Sender" }, out);
        leaf("Code", code, out);
        leaf("Message", message, out);
    });
    leaf("RequestId", request_id, &mut out);
    out.push_str("</ErrorResponse>");
    out
}

fn element(name: &str, out: &mut String, content: impl FnOnce(&mut String)) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    content(out);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

fn leaf(name: &str, text: &str, out: &mut String) {
    element(name, out, |out| escape(text, out));
}

fn write_members(structure: &dyn Structure, out: &mut String) {
    for (member, view) in members(structure) {
        let flattened = member.flattened
            || matches!(member.shape.kind, Kind::List { flattened: true, .. } | Kind::Map { flattened: true, .. });
        match (&member.shape.kind, view) {
            (Kind::List { member: item, .. }, View::List(items)) if flattened => {
                write_items(written(member), item, items, out);
            }
            (Kind::Map { key, value, .. }, View::Map(entries)) if flattened => {
                write_entries(written(member), key, value, entries, out);
            }
            _ => element(member.wire, out, |out| write_value(view, member.shape, member.time, out)),
        }
    }
}

fn write_items(name: &str, item: &Element, items: &dyn crate::data::Items, out: &mut String) {
    for i in 0..items.count() {
        element(name, out, |out| write_value(items.at(i), item.shape, None, out));
    }
}

fn write_entries(name: &str, key: &Element, value: &Element, entries: &dyn crate::data::Entries, out: &mut String) {
    entries.each(&mut |entry_key, view| {
        element(name, out, |out| {
            leaf(key.name.unwrap_or("key"), entry_key, out);
            element(value.name.unwrap_or("value"), out, |out| write_value(view, value.shape, None, out));
        });
    });
}

fn write_value(view: View<'_>, shape: &Shape, time: Option<TimeFormat>, out: &mut String) {
    match (view, &shape.kind) {
        (View::Str(v), _) => escape(v, out),
        (View::Int(v), _) => out.push_str(&v.to_string()),
        (View::Float(v), _) => out.push_str(&v.to_string()),
        (View::Bool(v), _) => out.push_str(if v { "true" } else { "false" }),
        (View::Blob(v), _) => STANDARD.encode_string(v, out),
        (View::Time(v), kind) => {
            let own = if let Kind::Timestamp(own) = kind { *own } else { None };
            out.push_str(&match time.or(own).unwrap_or(TimeFormat::Iso8601) {
                TimeFormat::Iso8601 => v.to_iso_millis(),
                TimeFormat::Epoch => json::epoch(v),
                TimeFormat::Http => v.format("%a, %d %b %Y %H:%M:%S GMT"),
            });
        }
        (View::List(items), Kind::List { member, .. }) => {
            write_items(member.name.unwrap_or("member"), member, items, out);
        }
        (View::Map(entries), Kind::Map { key, value, .. }) => write_entries("entry", key, value, entries, out),
        (View::Structure(v), _) => write_members(v, out),
        (View::Absent | View::List(_) | View::Map(_), _) => {}
    }
}

/// Text as XML 1.0 carries it. Characters that it cannot carry at all become U+FFFD.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}
