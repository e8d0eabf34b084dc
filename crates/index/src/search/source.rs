//! Which part of a document's source is shown.

use serde_json::{Map, Value};

use crate::query::{Glob, ParseError};

/// The option `_source`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceFilter {
    /// All of it, byte for byte.
    All,
    /// Nothing.
    Nothing,
    /// The fields that an included pattern fits and no excluded one does; no included pattern means all.
    Fields {
        /// Shown.
        include: Vec<Pattern>,
        /// Left out.
        exclude: Vec<Pattern>,
    },
}

/// A pattern of a field's full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    glob: Glob,
}

impl Pattern {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), glob: Glob::new(text, false) }
    }

    /// Whether a field below the object `path` may fit.
    fn may_fit_below(&self, path: &str) -> bool {
        match self.text.find(['*', '?']) {
            Some(at) => {
                let fixed = &self.text[..at];
                fixed.starts_with(path) || path.starts_with(fixed)
            }
            None => self.text.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')),
        }
    }
}

/// Reads `_source` of a request's body.
pub fn parse_source(value: &Value) -> Result<SourceFilter, ParseError> {
    let refused =
        || ParseError::new("[_source] must be true, false, a name, an array of names or {includes, excludes}");
    let list = |value: Option<&Value>| -> Result<Vec<Pattern>, ParseError> {
        match value {
            None => Ok(Vec::new()),
            Some(Value::String(name)) => Ok(vec![Pattern::new(name)]),
            Some(Value::Array(names)) => {
                names.iter().map(|n| n.as_str().map(Pattern::new).ok_or_else(refused)).collect()
            }
            Some(_) => Err(refused()),
        }
    };
    match value {
        Value::Bool(true) => Ok(SourceFilter::All),
        Value::Bool(false) => Ok(SourceFilter::Nothing),
        Value::String(_) | Value::Array(_) => Ok(SourceFilter::Fields { include: list(Some(value))?, exclude: vec![] }),
        Value::Object(map) => {
            let known = ["includes", "include", "excludes", "exclude"];
            if map.keys().any(|key| !known.contains(&key.as_str())) {
                return Err(refused());
            }
            let include = list(map.get("includes").or_else(|| map.get("include")))?;
            let exclude = list(map.get("excludes").or_else(|| map.get("exclude")))?;
            Ok(SourceFilter::Fields { include, exclude })
        }
        _ => Err(refused()),
    }
}

impl SourceFilter {
    /// The part of an object that is shown.
    pub fn apply(&self, source: Map<String, Value>) -> Map<String, Value> {
        match self {
            Self::All => source,
            Self::Nothing => Map::new(),
            Self::Fields { include, exclude } => filter(source, "", include, exclude, include.is_empty()),
        }
    }
}

fn filter(
    map: Map<String, Value>,
    parent: &str,
    include: &[Pattern],
    exclude: &[Pattern],
    included: bool,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in map {
        let path = if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") };
        if exclude.iter().any(|p| p.glob.matches(&path)) {
            continue;
        }
        let included = included || include.iter().any(|p| p.glob.matches(&path));
        if !included && !include.iter().any(|p| p.may_fit_below(&path)) {
            continue;
        }
        if let Some(value) = filter_value(value, &path, include, exclude, included) {
            out.insert(key, value);
        }
    }
    out
}

fn filter_value(value: Value, path: &str, include: &[Pattern], exclude: &[Pattern], included: bool) -> Option<Value> {
    match value {
        Value::Object(map) => {
            let inner = filter(map, path, include, exclude, included);
            (included || !inner.is_empty()).then_some(Value::Object(inner))
        }
        Value::Array(items) => {
            let items: Vec<Value> =
                items.into_iter().filter_map(|item| filter_value(item, path, include, exclude, included)).collect();
            (included || !items.is_empty()).then_some(Value::Array(items))
        }
        scalar => included.then_some(scalar),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_pick_fields() {
        let document = json!({"a": {"b": 1, "c": {"d": 2}}, "ab": 3, "list": [{"x": 1, "y": 2}, 5]});
        for (filter, expected) in [
            (json!(["a.b"]), json!({"a": {"b": 1}})),
            (json!("a"), json!({"a": {"b": 1, "c": {"d": 2}}})),
            (json!("a.*"), json!({"a": {"b": 1, "c": {"d": 2}}})),
            (json!("*.d"), json!({"a": {"c": {"d": 2}}})),
            (json!({"includes": ["a*"], "excludes": ["a.c"]}), json!({"a": {"b": 1}, "ab": 3})),
            (json!({"excludes": ["a", "list.y"]}), json!({"ab": 3, "list": [{"x": 1}, 5]})),
            (json!("list.x"), json!({"list": [{"x": 1}]})),
            (json!("none"), json!({})),
            (json!(false), json!({})),
            (json!(true), document.clone()),
        ] {
            let shown = parse_source(&filter).unwrap().apply(document.as_object().unwrap().clone());
            assert_eq!(Value::Object(shown), expected, "{filter}");
        }
        assert!(parse_source(&json!({"incl": []})).is_err());
    }
}
