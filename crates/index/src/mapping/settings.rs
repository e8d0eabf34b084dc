//! The settings of an index that mean something here.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Settings of one index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `index.mapping.total_fields.limit`. Elasticsearch's default is 1,000; here a field costs a few bytes in the
    /// mapping and no memory of its own, and a month of CloudTrail has more than 1,000, so the default is 5,000.
    pub total_fields_limit: u32,
    /// `index.mapping.total_fields.ignore_dynamic_beyond_limit`: whether a document with a field too many is taken
    /// without it. On by default: real audit logs pass every limit and must not be lost for it.
    pub ignore_beyond_limit: bool,
    /// `index.mapping.ignore_malformed`. When absent, a value that does not fit a *guessed* type is left out of the
    /// index and named in `_ignored`, and one that does not fit a *declared* type refuses the document.
    pub ignore_malformed: Option<bool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { total_fields_limit: 5_000, ignore_beyond_limit: true, ignore_malformed: None }
    }
}

/// The greatest `index.mapping.total_fields.limit`.
const MAX_FIELDS: u32 = 20_000;

/// Settings that are taken and mean nothing: there is one shard without replicas, and what is durable is visible.
const WITHOUT_EFFECT: [&str; 5] = [
    "index.number_of_shards",
    "index.number_of_replicas",
    "index.refresh_interval",
    "index.codec",
    "index.auto_expand_replicas",
];

impl Settings {
    /// Reads the `settings` of an index creation, nested or dotted, with or without the prefix `index.`.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let mut flat = Vec::new();
        flatten("", value, &mut flat);
        let mut settings = Self::default();
        for (key, value) in flat {
            let key = if key.starts_with("index.") { key } else { format!("index.{key}") };
            match key.as_str() {
                "index.mapping.total_fields.limit" => {
                    let limit = number(&value).filter(|n| (1..=MAX_FIELDS).contains(n));
                    settings.total_fields_limit =
                        limit.ok_or_else(|| format!("setting [{key}] must be a number from 1 to {MAX_FIELDS}"))?;
                }
                "index.mapping.total_fields.ignore_dynamic_beyond_limit" => {
                    settings.ignore_beyond_limit = flag(&key, &value)?;
                }
                "index.mapping.ignore_malformed" => settings.ignore_malformed = Some(flag(&key, &value)?),
                known if WITHOUT_EFFECT.contains(&known) => {}
                _ => {
                    return Err(format!(
                        "unknown setting [{key}]: supported are index.mapping.total_fields.limit, \
                         index.mapping.total_fields.ignore_dynamic_beyond_limit and index.mapping.ignore_malformed"
                    ));
                }
            }
        }
        Ok(settings)
    }

    /// As `GET /index/_settings` shows them.
    pub fn render(&self, name: &str, uuid: &str, created_ms: i64) -> Value {
        let mut mapping = Map::new();
        mapping.insert(
            "total_fields".into(),
            json!({
                "limit": self.total_fields_limit.to_string(),
                "ignore_dynamic_beyond_limit": self.ignore_beyond_limit.to_string(),
            }),
        );
        if let Some(ignore) = self.ignore_malformed {
            mapping.insert("ignore_malformed".into(), ignore.to_string().into());
        }
        json!({"index": {
            "number_of_shards": "1",
            "number_of_replicas": "0",
            "provided_name": name,
            "uuid": uuid,
            "creation_date": created_ms.to_string(),
            "mapping": mapping,
        }})
    }
}

fn flatten(path: &str, value: &Value, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, out);
            }
        }
        other => out.push((path.to_owned(), other.clone())),
    }
}

fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

fn flag(key: &str, value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(b) => Ok(*b),
        Value::String(s) if s == "true" => Ok(true),
        Value::String(s) if s == "false" => Ok(false),
        _ => Err(format!("setting [{key}] must be true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_in_every_form() {
        for value in [
            json!({"index": {"mapping": {"total_fields": {"limit": 7}}, "number_of_shards": 1}}),
            json!({"index.mapping.total_fields.limit": "7"}),
            json!({"mapping.total_fields.limit": 7}),
        ] {
            assert_eq!(Settings::parse(&value).unwrap().total_fields_limit, 7);
        }
        let error = Settings::parse(&json!({"index.sort.field": "x"})).unwrap_err();
        assert!(error.contains("[index.sort.field]"), "{error}");
        assert!(Settings::parse(&json!({"mapping.total_fields.limit": 0})).is_err());
    }
}
