//! Mappings as callers write and read them: the `mappings` of an index, `PUT` and `GET _mapping`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fields::{Dynamic, Field, Kind, Mapping};

/// Merges a `mappings` object into a mapping: adds fields, and refuses to change the type of one that is there.
/// `limit` is the greatest number of fields. After an error the mapping may hold part of the change.
pub fn merge_mapping(mapping: &mut Mapping, value: &Value, limit: u32) -> Result<(), String> {
    let Value::Object(map) = value else { return Err("mappings must be an object".into()) };
    for (key, value) in map {
        match key.as_str() {
            "properties" => properties(mapping, "", value)?,
            "dynamic" => mapping.dynamic = dynamic(value)?,
            "date_detection" => {
                mapping.date_detection = value.as_bool().ok_or("[date_detection] must be true or false")?;
            }
            "_source" if *value == json!({"enabled": true}) || *value == json!({}) => {}
            other => {
                return Err(format!(
                    "unsupported mapping parameter [{other}]: supported are properties, dynamic and date_detection"
                ));
            }
        }
    }
    if mapping.len() > limit as usize {
        return Err(format!("Limit of total fields [{limit}] has been exceeded"));
    }
    Ok(())
}

fn dynamic(value: &Value) -> Result<Dynamic, String> {
    match value {
        Value::Bool(true) => Ok(Dynamic::True),
        Value::Bool(false) => Ok(Dynamic::False),
        Value::String(s) if s == "true" => Ok(Dynamic::True),
        Value::String(s) if s == "false" => Ok(Dynamic::False),
        Value::String(s) if s == "strict" => Ok(Dynamic::Strict),
        other => Err(format!("unsupported value {other} for [dynamic]: supported are true, false and strict")),
    }
}

fn properties(mapping: &mut Mapping, parent: &str, value: &Value) -> Result<(), String> {
    let Value::Object(map) = value else { return Err(format!("[properties] of [{parent}] must be an object")) };
    for (name, definition) in map {
        if name.split('.').any(|part| part.trim().is_empty()) {
            return Err(format!("field name [{name}] has an empty part"));
        }
        let Value::Object(definition) = definition else {
            return Err(format!("expected an object for the definition of field [{name}]"));
        };
        let mut path = parent.to_owned();
        let parts: Vec<&str> = name.split('.').collect();
        for (i, part) in parts.iter().enumerate() {
            path = if path.is_empty() { (*part).to_owned() } else { format!("{path}.{part}") };
            if i + 1 < parts.len() {
                put(mapping, &path, plain(Kind::Object))?;
            }
        }
        define(mapping, &path, definition)?;
    }
    Ok(())
}

fn plain(kind: Kind) -> Field {
    Field { id: 0, kind, explicit: true, ignore_above: None, ignore_malformed: None, subs: BTreeMap::new() }
}

/// Adds a field or agrees with the one there.
fn put(mapping: &mut Mapping, path: &str, mut field: Field) -> Result<(), String> {
    let existing = mapping.get(path).cloned();
    if let Some(existing) = &existing {
        if existing.kind != field.kind {
            return Err(format!(
                "mapper [{path}] cannot be changed from type [{}] to [{}]",
                existing.kind.name(),
                field.kind.name()
            ));
        }
        field.id = existing.id;
    } else {
        field.id = mapping.take_id();
    }
    let mut subs = existing.map(|e| e.subs).unwrap_or_default();
    for (name, mut sub) in std::mem::take(&mut field.subs) {
        match subs.get(&name) {
            Some(old) if old.kind != sub.kind => {
                return Err(format!(
                    "mapper [{path}.{name}] cannot be changed from type [{}] to [{}]",
                    old.kind.name(),
                    sub.kind.name()
                ));
            }
            Some(old) => sub.id = old.id,
            None => sub.id = mapping.take_id(),
        }
        subs.insert(name, sub);
    }
    field.subs = subs;
    mapping.insert(path.to_owned(), field);
    Ok(())
}

fn define(mapping: &mut Mapping, path: &str, definition: &Map<String, Value>) -> Result<(), String> {
    let mut field = plain(kind_of(path, definition)?);
    let mut inner = None;
    for (key, value) in definition {
        match (key.as_str(), field.kind) {
            ("type", _) => {}
            ("properties", Kind::Object) => inner = Some(value),
            ("enabled", Kind::Object | Kind::Disabled) => {
                if value.as_bool().ok_or_else(|| format!("[enabled] of [{path}] must be true or false"))? {
                    continue;
                }
                field.kind = Kind::Disabled;
            }
            ("fields", kind) if kind != Kind::Object => field.subs = multi_fields(path, value)?,
            _ => parameter(path, &mut field, key, value)?,
        }
    }
    put(mapping, path, field)?;
    inner.map_or(Ok(()), |inner| properties(mapping, path, inner))
}

fn kind_of(path: &str, definition: &Map<String, Value>) -> Result<Kind, String> {
    match definition.get("type") {
        None => Ok(Kind::Object),
        Some(Value::String(name)) => Kind::from_name(name).ok_or_else(|| {
            format!("No handler for type [{name}] declared on field [{path}]: supported are {}", Kind::names())
        }),
        Some(_) => Err(format!("[type] of field [{path}] must be a string")),
    }
}

fn parameter(path: &str, field: &mut Field, key: &str, value: &Value) -> Result<(), String> {
    match (key, field.kind) {
        ("ignore_above", Kind::Keyword) => {
            let above = value.as_u64().and_then(|n| u32::try_from(n).ok());
            field.ignore_above = Some(above.ok_or_else(|| format!("[ignore_above] of [{path}] must be a number"))?);
        }
        ("ignore_malformed", kind) if !matches!(kind, Kind::Text | Kind::Keyword | Kind::Object) => {
            let ignore = value.as_bool();
            field.ignore_malformed =
                Some(ignore.ok_or_else(|| format!("[ignore_malformed] of [{path}] must be true or false"))?);
        }
        // These name what is done anyway.
        ("analyzer", Kind::Text) if value == "standard" => {}
        ("index" | "coerce", _) | ("doc_values", _) if *value == json!(true) => {}
        ("norms" | "store", _) if value.is_boolean() => {}
        ("format", Kind::Date) if date_format_is_known(value) => {}
        _ => {
            return Err(format!(
                "unsupported parameter [{key}] with value {value} on field [{path}] of type [{}]",
                field.kind.name()
            ));
        }
    }
    Ok(())
}

/// Formats that the one date parser reads.
fn date_format_is_known(value: &Value) -> bool {
    const KNOWN: [&str; 5] =
        ["strict_date_optional_time", "date_optional_time", "epoch_millis", "strict_date", "strict_date_time"];
    value.as_str().is_some_and(|s| s.split("||").all(|format| KNOWN.contains(&format)))
}

fn multi_fields(path: &str, value: &Value) -> Result<BTreeMap<String, Field>, String> {
    let Value::Object(map) = value else { return Err(format!("[fields] of [{path}] must be an object")) };
    let mut subs = BTreeMap::new();
    for (name, definition) in map {
        let full = format!("{path}.{name}");
        let Value::Object(definition) = definition else {
            return Err(format!("expected an object for the definition of field [{full}]"));
        };
        let mut field = plain(kind_of(&full, definition)?);
        if field.kind == Kind::Object || name.contains('.') {
            return Err(format!("Type [object] cannot be used in multi field [{full}], nor can a dot in its name"));
        }
        for (key, value) in definition.iter().filter(|(key, _)| *key != "type") {
            parameter(&full, &mut field, key, value)?;
        }
        subs.insert(name.clone(), field);
    }
    Ok(subs)
}

/// A mapping as `GET _mapping` shows it.
pub fn render_mapping(mapping: &Mapping) -> Value {
    let mut root = Map::new();
    match mapping.dynamic {
        Dynamic::True => {}
        Dynamic::False => _ = root.insert("dynamic".into(), "false".into()),
        Dynamic::Strict => _ = root.insert("dynamic".into(), "strict".into()),
    }
    if !mapping.date_detection {
        root.insert("date_detection".into(), false.into());
    }
    let top = render_below(mapping, "");
    if !top.is_empty() {
        root.insert("properties".into(), Value::Object(top));
    }
    Value::Object(root)
}

/// The definitions of the fields right below the object whose path with a dot is `prefix`.
fn render_below(mapping: &Mapping, prefix: &str) -> Map<String, Value> {
    let mut out = Map::new();
    for (path, field) in mapping.starting_with(prefix) {
        let name = &path[prefix.len()..];
        if name.contains('.') {
            continue;
        }
        let mut definition = Map::new();
        describe(&mut definition, field);
        if field.kind == Kind::Object {
            definition.insert("properties".into(), Value::Object(render_below(mapping, &format!("{path}."))));
        }
        out.insert(name.to_owned(), Value::Object(definition));
    }
    out
}

fn describe(out: &mut Map<String, Value>, field: &Field) {
    match field.kind {
        Kind::Object => return,
        Kind::Disabled => {
            out.insert("type".into(), "object".into());
            out.insert("enabled".into(), false.into());
            return;
        }
        kind => out.insert("type".into(), kind.name().into()),
    };
    if let Some(above) = field.ignore_above {
        out.insert("ignore_above".into(), above.into());
    }
    if let Some(ignore) = field.ignore_malformed {
        out.insert("ignore_malformed".into(), ignore.into());
    }
    if !field.subs.is_empty() {
        let mut fields = Map::new();
        for (name, sub) in &field.subs {
            let mut definition = Map::new();
            describe(&mut definition, sub);
            fields.insert(name.clone(), Value::Object(definition));
        }
        out.insert("fields".into(), Value::Object(fields));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_reads_back_as_written() {
        let written = json!({
            "dynamic": "strict",
            "properties": {
                "at": {"type": "date"},
                "blob": {"type": "object", "enabled": false},
                "who": {"properties": {
                    "ip": {"type": "ip", "ignore_malformed": true},
                    "name": {"type": "text", "fields": {"raw": {"type": "keyword", "ignore_above": 10}}},
                }},
            },
        });
        let mut mapping = Mapping::new();
        merge_mapping(&mut mapping, &written, 100).unwrap();
        assert_eq!(render_mapping(&mapping), written);
        let stored = serde_json::to_string(&mapping).unwrap();
        assert_eq!(serde_json::from_str::<Mapping>(&stored).unwrap(), mapping);
        let ids: std::collections::BTreeSet<u32> = mapping.resolve_all().map(|(_, r)| r.id).collect();
        assert_eq!(ids.len(), mapping.resolve_all().count(), "every field has its own number");
    }

    #[test]
    fn what_cannot_be_is_named() {
        let refused = |value| merge_mapping(&mut Mapping::new(), &value, 3).unwrap_err();
        assert!(refused(json!({"properties": {"v": {"type": "dense_vector"}}})).contains("[dense_vector]"));
        assert!(refused(json!({"dynamic_templates": []})).contains("[dynamic_templates]"));
        assert!(refused(json!({"properties": {"v": {"type": "text", "analyzer": "french"}}})).contains("[analyzer]"));
        assert!(refused(json!({"properties": {"a": {"type": "date", "format": "dd.MM."}}})).contains("[format]"));
        let many = json!({"properties": {"a.b": {"type": "long"}, "c.d": {"type": "long"}}});
        assert!(refused(many).contains("Limit of total fields [3]"));
        let mut mapping = Mapping::new();
        merge_mapping(&mut mapping, &json!({"properties": {"a": {"type": "long"}}}), 9).unwrap();
        let error = merge_mapping(&mut mapping, &json!({"properties": {"a": {"type": "text"}}}), 9).unwrap_err();
        assert_eq!(error, "mapper [a] cannot be changed from type [long] to [text]");
    }
}
