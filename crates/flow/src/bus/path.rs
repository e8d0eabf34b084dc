//! Paths into an event, as `InputPath` and `PartitionKeyPath` write them.
//!
//! Owns the part of JSONPath that EventBridge documents for inputs: `$`, `.name`, `['name']` and `[index]`. Anything
//! else is refused. Must not know what a path is used for.

use serde_json::Value;

use crate::FlowError;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

/// The service's limit for one path.
const MAX_LENGTH: usize = 256;

impl Path {
    /// Reads a path, refusing what is not one.
    pub fn parse(text: &str) -> Result<Self, FlowError> {
        let invalid = |why: &str| FlowError::Invalid(format!("'{text}' is not a supported JSON path: {why}"));
        if text.len() > MAX_LENGTH {
            return Err(FlowError::Invalid(format!("a JSON path has at most {MAX_LENGTH} characters")));
        }
        let mut rest = text.strip_prefix('$').ok_or_else(|| invalid("it must start with $"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let name = &after[..end];
                if name.is_empty() || name.contains('*') {
                    return Err(invalid("names must be plain, as in $.detail.eventName"));
                }
                steps.push(Step::Name(name.to_owned()));
                rest = &after[end..];
            } else if let Some(after) = rest.strip_prefix('[') {
                let (inside, after) = after.split_once(']').ok_or_else(|| invalid("a bracket is not closed"))?;
                let quoted = inside.strip_prefix('\'').and_then(|s| s.strip_suffix('\''));
                steps.push(match (quoted, inside.parse()) {
                    (Some(name), _) => Step::Name(name.to_owned()),
                    (None, Ok(index)) => Step::Index(index),
                    _ => return Err(invalid("brackets hold an index or a name in single quotes")),
                });
                rest = after;
            } else {
                return Err(invalid("expected . or ["));
            }
        }
        Ok(Self(steps))
    }

    /// The value at this path.
    pub fn find<'a>(&self, event: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(event, |value, step| match step {
            Step::Name(name) => value.get(name),
            Step::Index(index) => value.get(index),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_names() {
        let event = serde_json::json!({"detail": {"a.b": [{"c": 7}]}, "detail-type": "x"});
        let find = |path: &str| Path::parse(path).unwrap().find(&event).cloned();
        assert_eq!(find("$.detail['a.b'][0].c"), Some(Value::from(7)));
        assert_eq!(find("$.detail-type"), Some(Value::from("x")));
        assert_eq!(find("$"), Some(event.clone()));
        assert_eq!(find("$.detail.none"), None);
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        for path in ["", "detail", "$detail", "$..a", "$.a[*]", "$.*", "$.a[0", "$.a[?(@.b)]"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
