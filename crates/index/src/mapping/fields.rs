//! The fields of an index: their types, and the number under which each is indexed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A field's type. The names are Elasticsearch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Text cut into words.
    Text,
    /// Text as a whole.
    Keyword,
    /// 64-bit integer.
    Long,
    /// 32-bit integer.
    Integer,
    /// 16-bit integer.
    Short,
    /// 8-bit integer.
    Byte,
    /// 64-bit floating point.
    Double,
    /// Floating point; kept in 64 bits.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A point in time, to the millisecond.
    Date,
    /// An IPv4 or IPv6 address.
    Ip,
    /// Has fields of its own.
    Object,
    /// An object that is kept in `_source` and not looked into (`"enabled": false`).
    Disabled,
}

impl Kind {
    const NAMES: [(&'static str, Self); 12] = [
        ("text", Self::Text),
        ("keyword", Self::Keyword),
        ("long", Self::Long),
        ("integer", Self::Integer),
        ("short", Self::Short),
        ("byte", Self::Byte),
        ("double", Self::Double),
        ("float", Self::Float),
        ("boolean", Self::Boolean),
        ("date", Self::Date),
        ("ip", Self::Ip),
        ("object", Self::Object),
    ];

    /// The type of this name in a mapping.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind)
    }

    /// The type's name in mappings and messages.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("object", |(name, _)| name)
    }

    /// The names of all types that a mapping may use.
    pub fn names() -> String {
        Self::NAMES.map(|(name, _)| name).join(", ")
    }

    /// The range of an integer type.
    pub fn integer_range(self) -> Option<(i64, i64)> {
        match self {
            Self::Long => Some((i64::MIN, i64::MAX)),
            Self::Integer => Some((i32::MIN.into(), i32::MAX.into())),
            Self::Short => Some((i16::MIN.into(), i16::MAX.into())),
            Self::Byte => Some((i8::MIN.into(), i8::MAX.into())),
            _ => None,
        }
    }
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The field's number in this index: its values are indexed under it, and it is never given again.
    pub id: u32,
    /// Its type.
    pub kind: Kind,
    /// Whether a caller declared it; else it was guessed from the first document that had it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explicit: bool,
    /// Keywords longer than this many characters are not indexed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_above: Option<u32>,
    /// Overrides the index's `ignore_malformed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_malformed: Option<bool>,
    /// Multi-fields: other ways in which the same value is indexed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subs: BTreeMap<String, Field>,
}

/// What happens to a field that the mapping does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dynamic {
    /// It is added.
    #[default]
    True,
    /// It is kept in `_source` and not indexed.
    False,
    /// The document is refused.
    Strict,
}

/// The fields of one index by their full path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mapping {
    fields: BTreeMap<String, Field>,
    next_id: u32,
    /// What happens to new fields.
    #[serde(default)]
    pub dynamic: Dynamic,
    /// Whether text that reads as a date makes a date field.
    #[serde(default = "yes")]
    pub date_detection: bool,
}

fn yes() -> bool {
    true
}

/// A name in a query, found in the mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// The field's number.
    pub id: u32,
    /// Its type.
    pub kind: Kind,
}

impl Mapping {
    /// A mapping without fields.
    pub fn new() -> Self {
        Self { date_detection: true, ..Self::default() }
    }

    /// The field at this path, multi-fields left out.
    pub fn get(&self, path: &str) -> Option<&Field> {
        self.fields.get(path)
    }

    /// Fields counted as `index.mapping.total_fields.limit` does: objects and multi-fields too.
    pub fn len(&self) -> usize {
        self.fields.values().map(|f| 1 + f.subs.len()).sum()
    }

    /// A new number.
    pub fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Adds or replaces a field.
    pub fn insert(&mut self, path: String, field: Field) {
        self.fields.insert(path, field);
    }

    /// Takes back an addition.
    pub fn remove(&mut self, path: &str) {
        self.fields.remove(path);
    }

    /// The field or multi-field that a query names.
    pub fn resolve(&self, name: &str) -> Option<Resolved> {
        if let Some(field) = self.fields.get(name) {
            return Some(Resolved { id: field.id, kind: field.kind });
        }
        let (path, sub) = name.rsplit_once('.')?;
        let field = self.fields.get(path)?.subs.get(sub)?;
        Some(Resolved { id: field.id, kind: field.kind })
    }

    /// The fields whose path starts with `prefix`.
    pub fn starting_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Field)> {
        self.fields.range(prefix.to_owned()..).take_while(move |(path, _)| path.starts_with(prefix))
    }

    /// All fields and multi-fields with their full names.
    pub fn resolve_all(&self) -> impl Iterator<Item = (String, Resolved)> {
        self.fields.iter().flat_map(|(path, field)| {
            let own = std::iter::once((path.clone(), Resolved { id: field.id, kind: field.kind }));
            own.chain(
                field
                    .subs
                    .iter()
                    .map(move |(name, sub)| (format!("{path}.{name}"), Resolved { id: sub.id, kind: sub.kind })),
            )
        })
    }
}
