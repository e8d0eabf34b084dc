//! The order of hits: what is asked for, and how two hits compare.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::query::{Options, ParseError};

/// Fields of one sort.
const MAX_FIELDS: usize = 16;

/// What hits are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// How well they match.
    Score,
    /// The order in which they are stored.
    Doc,
    /// A field's value.
    Field {
        /// Its full name.
        name: String,
        /// Whether an index without the field is fine.
        unmapped: bool,
    },
}

/// One step of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortField {
    /// By what.
    pub key: SortKey,
    /// Greatest first. Of several values the greatest counts then, else the least.
    pub descending: bool,
    /// Whether documents without a value come first.
    pub missing_first: bool,
}

/// A hit's value of a sort field.
#[derive(Debug, Clone, PartialEq)]
pub enum SortValue {
    /// None.
    Missing,
    /// Integers, dates and the storage order.
    Int(i64),
    /// Booleans.
    Bool(bool),
    /// Floats and scores.
    Float(f64),
    /// Keywords and addresses.
    Str(String),
}

impl SortValue {
    /// As shown in a hit.
    pub fn render(&self) -> Value {
        match self {
            Self::Missing => Value::Null,
            Self::Int(n) => json!(n),
            Self::Bool(b) => json!(i32::from(*b)),
            Self::Float(n) => json!(n),
            Self::Str(s) => json!(s),
        }
    }

    /// A total order, also where two indices have the field as different types: by number, then by type, then exactly.
    fn ascending(&self, other: &Self) -> Ordering {
        let exactly = match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Str(a), Self::Str(b)) => a.cmp(b),
            _ => Ordering::Equal,
        };
        let ((a, kind), (b, other_kind)) = (self.number(), other.number());
        a.total_cmp(&b).then(kind.cmp(&other_kind)).then(exactly)
    }

    /// The value as a number, and a place for its type among equal ones.
    fn number(&self) -> (f64, u8) {
        match self {
            Self::Bool(b) => (f64::from(u8::from(*b)), 0),
            Self::Int(n) => (*n as f64, 1),
            Self::Float(n) => (*n, 2),
            Self::Str(_) => (f64::INFINITY, 3),
            Self::Missing => (f64::INFINITY, 4),
        }
    }
}

impl SortField {
    /// The order of two hits by this field.
    pub fn compare(&self, a: &SortValue, b: &SortValue) -> Ordering {
        let missing = if self.missing_first { Ordering::Less } else { Ordering::Greater };
        match (a, b) {
            (SortValue::Missing, SortValue::Missing) => Ordering::Equal,
            (SortValue::Missing, _) => missing,
            (_, SortValue::Missing) => missing.reverse(),
            (a, b) if self.descending => b.ascending(a),
            (a, b) => a.ascending(b),
        }
    }

    /// By score, best first: the order when none is asked for.
    pub fn by_score() -> Self {
        Self { key: SortKey::Score, descending: true, missing_first: false }
    }
}

/// Reads `sort` of a request's body.
pub fn parse_sort(value: &Value) -> Result<Vec<SortField>, ParseError> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    if items.len() > MAX_FIELDS {
        return Err(ParseError::new(format!("[sort] has {} fields; the most are {MAX_FIELDS}", items.len())));
    }
    let mut fields = Vec::new();
    for item in items {
        match item {
            // `name` or, as in `?sort=`, `name:desc`.
            Value::String(text) => {
                let (name, order) = text.split_once(':').unzip();
                fields.push(field(name.unwrap_or(text), order, None, false)?);
            }
            Value::Object(map) => {
                for (name, options) in map {
                    fields.push(with_options(name, options)?);
                }
            }
            _ => return Err(ParseError::new("[sort] must hold names or objects")),
        }
    }
    Ok(fields)
}

fn with_options(name: &str, value: &Value) -> Result<SortField, ParseError> {
    if let Value::String(order) = value {
        return field(name, Some(order), None, false);
    }
    let mut options = Options::new("sort", value)?;
    let order = options.text("order")?;
    let missing = options.text("missing")?;
    let unmapped = options.text("unmapped_type")?.is_some();
    if let Some(mode) = options.text("mode")? {
        let natural = if order == Some("desc") { "max" } else { "min" };
        if mode != natural {
            return Err(ParseError::new(format!(
                "[sort] mode [{mode}] is not supported: ascending sorts take the least value, descending the greatest"
            )));
        }
    }
    // Dates are always shown as milliseconds; a format would change only that.
    options.finish()?;
    field(name, order, missing, unmapped)
}

fn field(name: &str, order: Option<&str>, missing: Option<&str>, unmapped: bool) -> Result<SortField, ParseError> {
    let key = match name {
        "_score" => SortKey::Score,
        "_doc" => SortKey::Doc,
        name => SortKey::Field { name: name.to_owned(), unmapped },
    };
    let descending = match order {
        None => key == SortKey::Score,
        Some("asc") => false,
        Some("desc") => true,
        Some(other) => return Err(ParseError::new(format!("[sort] order must be asc or desc but is [{other}]"))),
    };
    let missing_first = match missing {
        None | Some("_last") => false,
        Some("_first") => true,
        Some(other) => {
            return Err(ParseError::new(format!("[sort] missing must be _first or _last but is [{other}]")));
        }
    };
    Ok(SortField { key, descending, missing_first })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_sort() {
        let by = |name: &str, descending| SortField {
            key: SortKey::Field { name: name.into(), unmapped: false },
            descending,
            missing_first: false,
        };
        let value = json!(["a", {"b": "desc"}, {"c": {"order": "asc", "missing": "_first"}}, "d:desc", "_score"]);
        let parsed = parse_sort(&value).unwrap();
        let expected = vec![
            by("a", false),
            by("b", true),
            SortField { missing_first: true, ..by("c", false) },
            by("d", true),
            SortField::by_score(),
        ];
        assert_eq!(parsed, expected);
        for refused in [json!({"a": "up"}), json!({"a": {"mode": "avg"}}), json!({"a": {"nested": {}}}), json!(5)] {
            assert!(parse_sort(&refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn values_of_different_types_have_one_order() {
        // 2^53 and its neighbour are the same float: the order must hold all the same.
        let big = 1_i64 << 53;
        let ordered = [
            SortValue::Bool(true),
            SortValue::Int(big),
            SortValue::Int(big + 1),
            SortValue::Float(big as f64),
            SortValue::Int(big + 2),
            SortValue::Str("a".into()),
            SortValue::Str("b".into()),
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(a.ascending(b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn missing_values_come_where_asked() {
        let last = SortField { missing_first: false, descending: true, ..SortField::by_score() };
        let first = SortField { missing_first: true, ..last.clone() };
        let (none, one) = (SortValue::Missing, SortValue::Int(1));
        assert_eq!(last.compare(&none, &one), Ordering::Greater);
        assert_eq!(first.compare(&none, &one), Ordering::Less);
        assert_eq!(last.compare(&SortValue::Int(2), &one), Ordering::Less);
    }
}
