//! What a target gets of an event: the event, a part of it, a constant, or a text made from its parts.
//!
//! Owns `Input`, `InputPath` and `InputTransformer` as "Amazon EventBridge input transformation" (EventBridge User
//! Guide) describes them. Promises that a template accepted here always renders. Must not know the targets.
//!
//! A placeholder inside a JSON string takes the value's text, escaped: strings bare, lists and objects without the
//! quotes around their strings; elsewhere the value as JSON. A path that finds nothing gives nothing inside a string and
//! an empty string elsewhere.

use std::collections::BTreeMap;

use base::{Arn, RuleName, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::path::Path;
use crate::FlowError;

/// Variables of one transformer, at most.
const MAX_VARIABLES: usize = 100;
/// Bytes that a template may render to: its placeholders can name large parts of an event again and again.
const MAX_RENDERED: usize = 1 << 20;
/// Characters of a template or constant, at most.
const MAX_INPUT: usize = 8_192;

/// How a target's input is made, as it was configured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSpec {
    /// The whole event.
    #[default]
    Event,
    /// This JSON text, whatever the event.
    Constant(String),
    /// The part of the event at this path.
    Path(String),
    /// A template filled with parts of the event.
    Transformer {
        /// Variable → path.
        paths: BTreeMap<String, String>,
        /// The text with `<variable>` placeholders.
        template: String,
    },
}

/// The same, ready to use.
#[derive(Debug)]
pub(crate) enum Input {
    Event,
    Constant(Bytes),
    Path(Path),
    Transformer { paths: BTreeMap<String, Path>, parts: Vec<Part> },
}

#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    Variable { name: String, in_string: bool },
}

/// What a transformer may name beside the event's own fields.
pub(crate) struct Surroundings<'a> {
    pub rule: &'a RuleName,
    pub rule_arn: &'a Arn,
    pub ingested: Timestamp,
}

const RESERVED: [&str; 5] = [
    "aws.events.rule-arn",
    "aws.events.rule-name",
    "aws.events.event.ingestion-time",
    "aws.events.event",
    "aws.events.event.json",
];

impl InputSpec {
    /// Checks and prepares it, for the target of this id.
    pub(crate) fn compile(&self, target: &str) -> Result<Input, FlowError> {
        let invalid = |message: String| Err(FlowError::Invalid(message));
        match self {
            Self::Event => Ok(Input::Event),
            Self::Constant(text) | Self::Transformer { template: text, .. } if text.len() > MAX_INPUT => {
                invalid(format!("an input or template has at most {MAX_INPUT} characters"))
            }
            Self::Constant(text) => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Ok(_) => Ok(Input::Constant(Bytes::from(text.clone()))),
                Err(error) => invalid(format!("JSON syntax error in input: {error}")),
            },
            Self::Path(path) => Ok(Input::Path(Path::parse(path)?)),
            Self::Transformer { paths, .. } if paths.len() > MAX_VARIABLES => {
                invalid(format!("an input transformer has at most {MAX_VARIABLES} variables"))
            }
            Self::Transformer { paths, template } => compile_template(target, paths, template),
        }
    }
}

fn compile_template(target: &str, paths: &BTreeMap<String, String>, template: &str) -> Result<Input, FlowError> {
    let mut compiled = BTreeMap::new();
    for (name, path) in paths {
        if name.starts_with("aws.") || name.is_empty() || !name.chars().all(is_name) {
            return Err(FlowError::Invalid(format!("'{name}' is not a valid name of an input path variable")));
        }
        compiled.insert(name.clone(), Path::parse(path)?);
    }
    let parts = split(template);
    for part in &parts {
        if let Part::Variable { name, .. } = part
            && !compiled.contains_key(name)
            && !RESERVED.contains(&name.as_str())
        {
            return Err(FlowError::Invalid(format!(
                "InputTemplate for target {target} contains invalid placeholder {name}."
            )));
        }
    }
    // Whatever the values, the result is JSON exactly when it is with a sample.
    let sample: String = parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Variable { in_string: true, .. } => "x",
            Part::Variable { in_string: false, .. } => "null",
        })
        .collect();
    for value in serde_json::Deserializer::from_str(&sample).into_iter::<serde::de::IgnoredAny>() {
        value.map_err(|e| FlowError::Invalid(format!("the input template does not give JSON: {e}")))?;
    }
    Ok(Input::Transformer { paths: compiled, parts })
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-.".contains(c)
}

/// Cuts a template at its placeholders, noting which stand inside a JSON string.
fn split(template: &str) -> Vec<Part> {
    let (mut parts, mut text) = (Vec::new(), String::new());
    let (mut in_string, mut rest) = (false, template);
    while let Some(c) = rest.chars().next() {
        let placeholder = rest
            .strip_prefix('<')
            .and_then(|r| r.split_once('>'))
            .filter(|(name, _)| !name.is_empty() && name.chars().all(is_name));
        if let Some((name, after)) = placeholder {
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Variable { name: name.to_owned(), in_string });
            rest = after;
            continue;
        }
        let mut taken = c.len_utf8();
        if c == '\\' && in_string {
            // An escaped < is a plain one; other escapes stay JSON's.
            let escaped = rest[1..].chars().next();
            taken += escaped.map_or(0, char::len_utf8);
            if escaped == Some('<') {
                text.push('<');
            } else {
                text.push_str(&rest[..taken]);
            }
        } else {
            in_string ^= c == '"';
            text.push(c);
        }
        rest = &rest[taken..];
    }
    parts.push(Part::Text(text));
    parts
}

impl Input {
    /// What the target gets of `event`, whose text is `raw`; `None` when that would be too large.
    pub fn apply(&self, event: &Value, raw: &Bytes, around: &Surroundings<'_>) -> Option<Bytes> {
        Some(match self {
            Self::Event => raw.clone(),
            Self::Constant(text) => text.clone(),
            Self::Path(path) => path.find(event).map_or_else(|| Bytes::from_static(b"null"), |v| v.to_string().into()),
            Self::Transformer { paths, parts } => {
                let mut out = String::new();
                for part in parts {
                    match part {
                        Part::Text(text) => out.push_str(text),
                        Part::Variable { name, in_string } => {
                            push(&mut out, value(name, paths, event, around).as_ref(), *in_string);
                        }
                    }
                    if out.len() > MAX_RENDERED {
                        return None;
                    }
                }
                out.into()
            }
        })
    }
}

fn value(name: &str, paths: &BTreeMap<String, Path>, event: &Value, around: &Surroundings<'_>) -> Option<Value> {
    match name {
        "aws.events.rule-arn" => Some(around.rule_arn.to_string().into()),
        "aws.events.rule-name" => Some(around.rule.as_str().into()),
        "aws.events.event.ingestion-time" => Some(around.ingested.to_iso_secs().into()),
        "aws.events.event.json" => Some(event.clone()),
        "aws.events.event" => {
            let mut event = event.clone();
            if let Some(fields) = event.as_object_mut() {
                fields.remove("detail");
                // So the service writes it here, and only here.
                let kind = fields.remove("detail-type");
                fields.extend(kind.map(|kind| ("detailType".to_owned(), kind)));
            }
            Some(event)
        }
        _ => paths.get(name).and_then(|path| path.find(event)).cloned(),
    }
}

fn push(out: &mut String, value: Option<&Value>, in_string: bool) {
    match value {
        None if in_string => {}
        None => out.push_str("\"\""),
        Some(value) if !in_string => out.push_str(&value.to_string()),
        Some(value) => {
            let mut text = String::new();
            bare(&mut text, value);
            let quoted = Value::from(text).to_string();
            out.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
}

/// A value as JSON, but without quotes around strings and names.
fn bare(out: &mut String, value: &Value) {
    let separate = |out: &mut String, at: usize| out.push_str(if at > 0 { "," } else { "" });
    match value {
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                separate(out, at);
                bare(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (at, (name, member)) in members.iter().enumerate() {
                separate(out, at);
                out.push_str(name);
                out.push(':');
                bare(out, member);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(spec: &InputSpec, event: &Value) -> String {
        let scope = base::Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let around = Surroundings {
            rule: &"r".parse().unwrap(),
            rule_arn: &Arn::new("events", &scope, "rule/r"),
            ingested: Timestamp::from_millis(0),
        };
        let raw = Bytes::from(event.to_string());
        String::from_utf8(spec.compile("t").unwrap().apply(event, &raw, &around).unwrap().to_vec()).unwrap()
    }

    fn template(paths: &[(&str, &str)], template: &str) -> InputSpec {
        let paths = paths.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        InputSpec::Transformer { paths, template: template.to_owned() }
    }

    #[test]
    fn templates_place_values_by_their_context() {
        let event = serde_json::json!({"detail-type": "t", "detail": {
            "id": "i-1", "n": 2, "o": {"a": "\""}, "q": "say \"x\"",
            "list": ["ACTIVE", 1, null], "nested": {"acc_id": "0a", "sf": {"id": ["baz"]}},
        }});
        let paths = ["id", "n", "o", "q", "no", "list", "nested"].map(|name| (name, format!("$.detail.{name}")));
        let paths = paths.each_ref().map(|(name, path)| (*name, path.as_str()));
        let cases = [
            (r#""<id> in <n> <no>!""#, r#""i-1 in 2 !""#),
            (r#"{"id":<id>,"n":<n>,"o":<o>,"no":<no>}"#, r#"{"id":"i-1","n":2,"o":{"a":"\""},"no":""}"#),
            (r#""<q> <o>""#, r#""say \"x\" {a:\"}""#),
            // As the service was seen to write them.
            (r#""<list> <nested>""#, r#""[ACTIVE,1,null] {acc_id:0a,sf:{id:[baz]}}""#),
            (r#"{"l":<list>}"#, r#"{"l":["ACTIVE",1,null]}"#),
            (r#"<aws.events.event>"#, r#"{"detailType":"t"}"#),
            (r#"<aws.events.event.json>"#, &event.to_string()),
            (r#""a \<id> \" <id>""#, r#""a <id> \" i-1""#),
            (r#""<aws.events.rule-name>""#, r#""r""#),
        ];
        for (text, expected) in cases {
            assert_eq!(render(&template(&paths, text), &event), expected);
        }
    }

    #[test]
    fn constants_and_paths_give_their_json() {
        let event = serde_json::json!({"detail": {"a": [1, "x"]}});
        assert_eq!(render(&InputSpec::Constant(r#"{"k":1}"#.into()), &event), r#"{"k":1}"#);
        assert_eq!(render(&InputSpec::Path("$.detail.a".into()), &event), r#"[1,"x"]"#);
        assert_eq!(render(&InputSpec::Event, &event), event.to_string());
    }

    #[test]
    fn a_template_does_not_grow_without_bound() {
        let event = serde_json::json!({"detail": {"a": "x".repeat(1 << 20)}});
        let scope = base::Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let around = Surroundings {
            rule: &"r".parse().unwrap(),
            rule_arn: &Arn::new("events", &scope, "rule/r"),
            ingested: Timestamp::from_millis(0),
        };
        let spec = template(&[("a", "$.detail.a")], &format!("\"{}\"", "<a>".repeat(2)));
        assert_eq!(spec.compile("t").unwrap().apply(&event, &Bytes::new(), &around), None);
    }

    #[test]
    fn refuses_what_would_not_render() {
        for spec in [
            InputSpec::Constant("{".into()),
            InputSpec::Path("detail".into()),
            template(&[], "\"<unknown>\""),
            template(&[("a", "$.x")], "{\"k\": <a>"),
            template(&[("aws.x", "$.x")], "\"y\""),
        ] {
            assert!(spec.compile("t").is_err(), "{spec:?}");
        }
        let error = template(&[], "\"<zz>\"").compile("t").unwrap_err().to_string();
        assert!(error.ends_with("InputTemplate for target t contains invalid placeholder zz."), "{error}");
    }
}
