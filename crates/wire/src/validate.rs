//! Checking input against its model: every violation of a call, in AWS's words.

pub mod pattern;

use crate::data::{Missing, Structure, View};
use crate::model::{Kind, Location, Shape};
use crate::{ServiceError, ServiceId};

/// Longer values are cut in messages, so that an answer never carries a payload back.
const SHOWN_CHARS: usize = 1_024;
/// More violations than this are counted, not shown.
const SHOWN_VIOLATIONS: usize = 50;

/// Refuses a structure that violates its model.
pub fn check(service: ServiceId, input: &dyn Structure) -> Result<(), ServiceError> {
    let Violations { shown, count, missing } = violations(input);
    if count == 0 {
        return Ok(());
    }
    if let (ServiceId::Sqs, Some(parameter)) = (service, missing) {
        // In its own words, which name one.
        let message = format!("The request must contain the parameter {parameter}.");
        return Err(ServiceError::validation(service, message));
    }
    let plural = if count == 1 { "" } else { "s" };
    let shown = shown.join("; ");
    Err(ServiceError::validation(service, format!("{count} validation error{plural} detected: {shown}")))
}

/// What is wrong with a structure.
#[derive(Default)]
struct Violations {
    /// The first ones, in the order of the members.
    shown: Vec<String>,
    /// All of them.
    count: usize,
    /// The first member that must be there and is not.
    missing: Option<&'static str>,
}

impl Violations {
    /// Adds one. Those that are not shown are not written: a body of millions of wrong values costs a number.
    fn add(&mut self, write: impl FnOnce() -> String) {
        if self.count < SHOWN_VIOLATIONS {
            self.shown.push(write());
        }
        self.count += 1;
    }
}

fn violations(input: &dyn Structure) -> Violations {
    let mut out = Violations::default();
    structure(input, &mut Path::default(), &mut out);
    out
}

/// Where a value is, such as `records.1.member.partitionKey`. Built only when something is wrong there.
#[derive(Default)]
struct Path(Vec<Step>);

enum Step {
    Member(&'static str),
    Item(usize),
    Entry(String),
}

impl Path {
    fn within<T>(&mut self, step: Step, then: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(step);
        let out = then(self);
        self.0.pop();
        out
    }

    fn text(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|step| match step {
                Step::Member(name) => lower_first(name),
                Step::Item(index) => format!("{}.member", index + 1),
                Step::Entry(key) => format!("{key}.member"),
            })
            .collect();
        parts.join(".")
    }
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn structure(input: &dyn Structure, path: &mut Path, out: &mut Violations) {
    let Kind::Structure(members) = &input.shape().kind else { return };
    let missing: Missing = input.missing();
    for (i, member) in members.iter().enumerate() {
        path.within(Step::Member(member.name), |path| {
            if missing.contains(i) && member.location != Location::Payload {
                out.missing.get_or_insert(member.name);
                out.add(|| violation("null", path, "Member must not be null"));
            } else {
                value(input.member(i), member.shape, path, out);
            }
        });
    }
}

fn value(view: View<'_>, shape: &'static Shape, path: &mut Path, out: &mut Violations) {
    for constraint in broken(view, shape) {
        out.add(|| violation(&shown(view, shape), path, &constraint));
    }
    match (view, &shape.kind) {
        (View::Structure(inner), _) => structure(inner, path, out),
        (View::List(items), Kind::List { member, .. }) => {
            let simple = !matches!(member.shape.kind, Kind::Structure(_) | Kind::List { .. } | Kind::Map { .. });
            if simple {
                if (0..items.count()).any(|i| !broken(items.at(i), member.shape).is_empty()) {
                    let rule = || format!("Member must satisfy constraint: [{}]", constraints(member.shape).join(", "));
                    out.add(|| violation(&shown(view, shape), path, &rule()));
                }
                return;
            }
            for i in 0..items.count() {
                path.within(Step::Item(i), |path| value(items.at(i), member.shape, path, out));
            }
        }
        (View::Map(entries), Kind::Map { key, value: element, .. }) => {
            let (mut bad_key, mut bad_value) = (false, false);
            let simple = !matches!(element.shape.kind, Kind::Structure(_) | Kind::List { .. } | Kind::Map { .. });
            entries.each(&mut |name, view| {
                bad_key |= !broken(View::Str(name), key.shape).is_empty();
                if simple {
                    bad_value |= !broken(view, element.shape).is_empty();
                } else {
                    path.within(Step::Entry(name.to_owned()), |path| value(view, element.shape, path, out));
                }
            });
            for (bad, what, inner) in [(bad_key, "Map keys", key.shape), (bad_value, "Map value", element.shape)] {
                if bad {
                    let rule = || format!("{what} must satisfy constraint: [{}]", constraints(inner).join(", "));
                    out.add(|| violation(&shown(view, shape), path, &rule()));
                }
            }
        }
        _ => {}
    }
}

/// `Value 'x' at 'y' failed to satisfy constraint: …`; `value` is empty for what is never shown.
fn violation(value: &str, path: &Path, rule: &str) -> String {
    let space = if value.is_empty() { "" } else { " " };
    format!("Value{space}{value} at '{}' failed to satisfy constraint: {rule}", path.text())
}

/// The constraints of a shape that a value breaks. Length counts characters of text, bytes of blobs, entries else.
fn broken(view: View<'_>, shape: &Shape) -> Vec<String> {
    let mut out = Vec::new();
    let (size, is_value) = match view {
        View::Absent | View::Bool(_) | View::Time(_) | View::Structure(_) => return out,
        View::Str(v) => (length(v, shape), false),
        View::Blob(v) => (as_i64(v.len()), false),
        View::List(v) => (as_i64(v.count()), false),
        View::Map(v) => (as_i64(v.count()), false),
        View::Int(v) => (v, true),
        View::Float(v) => (v as i64, true),
    };
    let what = if is_value { "value" } else { "length" };
    if let Some(max) = shape.max.filter(|max| size > *max) {
        out.push(format!("Member must have {what} less than or equal to {max}"));
    }
    if let Some(min) = shape.min.filter(|min| size < *min) {
        out.push(format!("Member must have {what} greater than or equal to {min}"));
    }
    if let View::Str(text) = view {
        if let Some(pattern) = shape.pattern.filter(|pattern| !pattern.matches(text)) {
            out.push(format!("Member must satisfy regular expression pattern: {}", pattern.text));
        }
        if !shape.values.is_empty() && !shape.values.contains(&text) {
            out.push(format!("Member must satisfy enum value set: [{}]", shape.values.join(", ")));
        }
    }
    out
}

/// A text's length, without counting when its bytes already settle it.
fn length(text: &str, shape: &Shape) -> i64 {
    let bytes = as_i64(text.len());
    let settled = shape.max.is_none_or(|max| bytes <= max) && shape.min.is_none_or(|min| min <= 1 && bytes >= min);
    if settled { bytes } else { as_i64(text.chars().count()) }
}

fn as_i64(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// All constraints of a shape, as messages about a list's or map's content give them.
fn constraints(shape: &Shape) -> Vec<String> {
    let what = if matches!(shape.kind, Kind::Integer | Kind::Float) { "value" } else { "length" };
    let mut out = Vec::new();
    out.extend(shape.max.map(|max| format!("Member must have {what} less than or equal to {max}")));
    out.extend(shape.min.map(|min| format!("Member must have {what} greater than or equal to {min}")));
    out.extend(shape.pattern.map(|p| format!("Member must satisfy regular expression pattern: {}", p.text)));
    if !shape.values.is_empty() {
        out.push(format!("Member must satisfy enum value set: [{}]", shape.values.join(", ")));
    }
    out
}

/// A value in quotes as messages show it; empty for a sensitive one.
fn shown(view: View<'_>, shape: &Shape) -> String {
    if shape.sensitive {
        return String::new();
    }
    let mut text = String::new();
    show(view, shape, &mut text);
    if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    format!("'{text}'")
}

fn show(view: View<'_>, shape: &Shape, out: &mut String) {
    if out.len() > 4 * SHOWN_CHARS {
        return;
    }
    if shape.sensitive {
        return out.push_str("***");
    }
    match (view, &shape.kind) {
        (View::Str(v), _) => out.push_str(v),
        (View::Int(v), _) => out.push_str(&v.to_string()),
        (View::Float(v), _) => out.push_str(&v.to_string()),
        (View::Bool(v), _) => out.push_str(if v { "true" } else { "false" }),
        (View::Time(v), _) => out.push_str(&v.to_iso_millis()),
        (View::Blob(v), _) => {
            out.push_str(&format!("java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", v.len()));
        }
        (View::Structure(v), _) => out.push_str(v.shape().name),
        (View::List(items), Kind::List { member, .. }) => {
            out.push('[');
            for i in 0..items.count() {
                if out.len() > 4 * SHOWN_CHARS {
                    break;
                }
                if i > 0 {
                    out.push_str(", ");
                }
                show(items.at(i), member.shape, out);
            }
            out.push(']');
        }
        (View::Map(entries), Kind::Map { key: key_of, value, .. }) => {
            out.push('{');
            let mut first = true;
            entries.each(&mut |key, view| {
                if out.len() > 4 * SHOWN_CHARS {
                    return;
                }
                if !std::mem::take(&mut first) {
                    out.push_str(", ");
                }
                show(View::Str(key), key_of.shape, out);
                out.push('=');
                show(view, value.shape, out);
            });
            out.push('}');
        }
        (View::Absent | View::List(_) | View::Map(_), _) => {}
    }
}
