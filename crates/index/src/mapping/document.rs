//! One document under a mapping: what is indexed, what is left out, what the mapping gains, or why it is refused.
//!
//! The rules are Elasticsearch's ("Dynamic field mapping", "ignore_malformed", "_ignored field"), with one addition:
//! where a value does not fit a type that was only *guessed* from an earlier document, be it another scalar or an
//! object in a scalar's place, the value is left out under that path, named in `_ignored` and still found by a search
//! over all fields. Audit logs use one name for different things, and no event may be lost to the guess.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::date::{Rounding, parse_date};
use super::fields::{Dynamic, Field, Kind, Mapping};
use super::settings::Settings;
use super::value::{Scalar, document_value, scalar_text};

/// Objects within objects (`index.mapping.depth.limit`).
const MAX_DEPTH: usize = 20;
/// A field's full name in bytes.
const MAX_PATH: usize = 1_024;
/// A keyword's bytes: the longest term that Elasticsearch takes.
const MAX_KEYWORD: usize = 32_766;
/// `ignore_above` of the multi-field that dynamic mapping gives to text.
const DYNAMIC_IGNORE_ABOVE: u32 = 256;

/// What of a document is indexed.
#[derive(Debug, Default, PartialEq)]
pub struct Analysed {
    /// Text to be cut into words, by field number.
    pub text: Vec<(u32, String)>,
    /// Whole values, by field number.
    pub keys: Vec<(u32, Scalar)>,
    /// Every scalar as text, for searches without a field.
    pub all: Vec<String>,
    /// The numbers of the fields that have a value, objects not among them.
    pub present: BTreeSet<u32>,
    /// Fields that were left out.
    pub ignored: BTreeSet<String>,
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Elasticsearch's type of the error.
    pub kind: &'static str,
    /// The message.
    pub reason: String,
}

impl Refusal {
    fn parsing(reason: impl Into<String>) -> Self {
        Self { kind: "mapper_parsing_exception", reason: reason.into() }
    }
}

/// Analyses the document `id` and adds its new fields to the mapping. After a refusal the mapping is as before.
pub fn analyse(
    mapping: &mut Mapping,
    settings: &Settings,
    id: &str,
    source: &Map<String, Value>,
) -> Result<Analysed, Refusal> {
    let count = mapping.len();
    let mut walk = Walk { mapping, settings, id, count, added: Vec::new(), out: Analysed::default() };
    let walked = walk.object("", source, 0);
    if walked.is_err() {
        for path in &walk.added {
            walk.mapping.remove(path);
        }
    }
    walked.map(|()| walk.out)
}

struct Walk<'a> {
    mapping: &'a mut Mapping,
    settings: &'a Settings,
    id: &'a str,
    count: usize,
    added: Vec<String>,
    out: Analysed,
}

impl Walk<'_> {
    fn object(&mut self, path: &str, map: &Map<String, Value>, depth: usize) -> Result<(), Refusal> {
        for (key, value) in map {
            if value.is_null() {
                continue;
            }
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            if key.split('.').any(|part| part.trim().is_empty()) {
                if self.settings.ignore_malformed == Some(false) {
                    return Err(Refusal::parsing(format!("field name [{full}] has an empty part")));
                }
                self.ignore(&full, value);
                continue;
            }
            if key.starts_with('_') && path.is_empty() && RESERVED.contains(&key.as_str()) {
                return Err(Refusal::parsing(format!(
                    "Field [{key}] is a metadata field and cannot be added inside a document. Use the index API \
                     request parameters."
                )));
            }
            if self.parents(key, &full, value)? {
                self.value(&full, value, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Makes sure that what a dotted key such as `a.b` passes through is an object; `false` when it is left out.
    fn parents(&mut self, key: &str, full: &str, value: &Value) -> Result<bool, Refusal> {
        let base = full.len() - key.len();
        for (dot, _) in key.match_indices('.') {
            let parent = &full[..base + dot];
            match self.field(parent, Kind::Object, value)? {
                Some(Field { kind: Kind::Object, .. }) => {}
                Some(Field { kind: Kind::Disabled, .. }) | None => return Ok(false),
                Some(field) => {
                    let reason = format!(
                        "Could not dynamically add mapping for field [{full}]. Existing mapping for [{parent}] must be \
                         of type object but found [{}].",
                        field.kind.name()
                    );
                    return self.leave_out(&field, full, value, Refusal::parsing(reason)).map(|()| false);
                }
            }
        }
        Ok(true)
    }

    fn value(&mut self, path: &str, value: &Value, depth: usize) -> Result<(), Refusal> {
        match value {
            Value::Null => Ok(()),
            Value::Array(items) => items.iter().try_for_each(|item| self.value(path, item, depth)),
            Value::Object(map) => self.inner_object(path, value, map, depth),
            scalar => self.scalar(path, scalar),
        }
    }

    fn inner_object(
        &mut self,
        path: &str,
        value: &Value,
        map: &Map<String, Value>,
        depth: usize,
    ) -> Result<(), Refusal> {
        if depth > MAX_DEPTH {
            let reason = format!("Limit of mapping depth [{MAX_DEPTH}] has been exceeded due to object field [{path}]");
            if !self.settings.ignore_beyond_limit {
                return Err(Refusal { kind: "illegal_argument_exception", reason });
            }
            self.ignore(path, value);
            return Ok(());
        }
        let Some(field) = self.field(path, Kind::Object, value)? else { return Ok(()) };
        match field.kind {
            Kind::Object => self.object(path, map, depth),
            Kind::Disabled => Ok(()),
            kind => {
                let reason = format!(
                    "failed to parse field [{path}] of type [{}] in document with id '{}': expected a value but found \
                     an object",
                    kind.name(),
                    self.id
                );
                self.leave_out(&field, path, value, Refusal::parsing(reason))
            }
        }
    }

    fn scalar(&mut self, path: &str, value: &Value) -> Result<(), Refusal> {
        let guess = self.guess(value);
        let Some(field) = self.field(path, guess, value)? else { return Ok(()) };
        if field.kind == Kind::Disabled {
            return Ok(());
        }
        if field.kind == Kind::Object {
            let reason = format!(
                "object mapping for [{path}] tried to parse field [{path}] as object, but found a concrete value"
            );
            return self.leave_out(&field, path, value, Refusal::parsing(reason));
        }
        let Some(scalar) = document_value(field.kind, value) else {
            let preview: String = scalar_text(value).unwrap_or_default().chars().take(100).collect();
            let reason = format!(
                "failed to parse field [{path}] of type [{}] in document with id '{}'. Preview of field's value: \
                 '{preview}'",
                field.kind.name(),
                self.id
            );
            return self.leave_out(&field, path, value, Refusal::parsing(reason));
        };
        self.index(path, &field, scalar)?;
        for (name, sub) in &field.subs {
            let Some(scalar) = document_value(sub.kind, value) else { continue };
            self.index(&format!("{path}.{name}"), sub, scalar)?;
        }
        self.out.all.extend(scalar_text(value));
        Ok(())
    }

    fn index(&mut self, path: &str, field: &Field, scalar: Scalar) -> Result<(), Refusal> {
        match (field.kind, scalar) {
            (Kind::Text, Scalar::Str(text)) => self.out.text.push((field.id, text)),
            (Kind::Keyword, Scalar::Str(text)) => {
                if field.ignore_above.is_some_and(|max| text.chars().nth(max as usize).is_some()) {
                    self.out.ignored.insert(path.to_owned());
                    return Ok(());
                }
                if text.len() > MAX_KEYWORD {
                    return Err(Refusal {
                        kind: "illegal_argument_exception",
                        reason: format!(
                            "Document contains at least one immense term in field=\"{path}\" (whose UTF8 encoding is \
                             longer than the max length {MAX_KEYWORD})"
                        ),
                    });
                }
                self.out.keys.push((field.id, Scalar::Str(text)));
            }
            (_, scalar) => self.out.keys.push((field.id, scalar)),
        }
        self.out.present.insert(field.id);
        Ok(())
    }

    /// The field at `path`, added with the guessed type when the mapping lets it; `None` when it is not indexed.
    fn field(&mut self, path: &str, guess: Kind, value: &Value) -> Result<Option<Field>, Refusal> {
        if let Some(field) = self.mapping.get(path) {
            return Ok(Some(field.clone()));
        }
        match self.mapping.dynamic {
            Dynamic::True => {}
            Dynamic::False => return Ok(None),
            Dynamic::Strict => {
                let (parent, name) = path.rsplit_once('.').unwrap_or(("_doc", path));
                return Err(Refusal {
                    kind: "strict_dynamic_mapping_exception",
                    reason: format!(
                        "mapping set to strict, dynamic introduction of [{name}] within [{parent}] is not allowed"
                    ),
                });
            }
        }
        let added = if guess == Kind::Text { 2 } else { 1 };
        let limit = self.settings.total_fields_limit as usize;
        if self.count + added > limit || path.len() > MAX_PATH {
            if !self.settings.ignore_beyond_limit {
                return Err(Refusal {
                    kind: "illegal_argument_exception",
                    reason: format!("Limit of total fields [{limit}] has been exceeded while adding new fields [1]"),
                });
            }
            self.ignore(path, value);
            return Ok(None);
        }
        self.count += added;
        let field = self.new_field(guess);
        self.mapping.insert(path.to_owned(), field.clone());
        self.added.push(path.to_owned());
        Ok(Some(field))
    }

    fn new_field(&mut self, kind: Kind) -> Field {
        let plain = |id, kind| Field {
            id,
            kind,
            explicit: false,
            ignore_above: None,
            ignore_malformed: None,
            subs: Default::default(),
        };
        let mut field = plain(self.mapping.take_id(), kind);
        if kind == Kind::Text {
            let keyword = plain(self.mapping.take_id(), Kind::Keyword);
            field.subs.insert("keyword".into(), Field { ignore_above: Some(DYNAMIC_IGNORE_ABOVE), ..keyword });
        }
        field
    }

    fn guess(&self, value: &Value) -> Kind {
        match value {
            Value::Bool(_) => Kind::Boolean,
            Value::Number(n) if n.is_i64() => Kind::Long,
            Value::Number(_) => Kind::Float,
            // Digits alone are never a date: `2023` would be one.
            Value::String(s) if self.mapping.date_detection && s.contains('-') => {
                parse_date(s, Rounding::Down).map_or(Kind::Text, |_| Kind::Date)
            }
            _ => Kind::Text,
        }
    }

    /// Leaves a value out that does not fit its field, or refuses the document for it.
    fn leave_out(&mut self, field: &Field, path: &str, value: &Value, refusal: Refusal) -> Result<(), Refusal> {
        let ignore = field.ignore_malformed.or(self.settings.ignore_malformed).unwrap_or(!field.explicit);
        if !ignore {
            return Err(refusal);
        }
        self.ignore(path, value);
        Ok(())
    }

    fn ignore(&mut self, path: &str, value: &Value) {
        self.out.ignored.insert(path.chars().take(MAX_PATH).collect());
        gather_text(value, &mut self.out.all);
    }
}

/// Fields that a document cannot have at its top, being the service's own.
const RESERVED: [&str; 8] = ["_id", "_index", "_source", "_ignored", "_routing", "_type", "_seq_no", "_version"];

fn gather_text(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather_text(item, out)),
        Value::Object(map) => map.values().for_each(|item| gather_text(item, out)),
        scalar => out.extend(scalar_text(scalar)),
    }
}

#[cfg(test)]
mod tests;
