//! Compact service models: the facts of botocore's models that `wire` is generated from, without their documentation.
//!
//! Of every service all operations are kept by name, so that one that Tidegate does not do is refused by name; shapes
//! are kept for the operations that `operations.toml` lists. The same input gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::render::render;

/// What is kept of a service, a shape and a member, besides what has its own code below.
const SERVICE_FACTS: &[&str] = &["apiVersion", "jsonVersion", "protocol", "targetPrefix", "xmlNamespace"];
const SHAPE_FACTS: &[&str] = &[
    "type",
    "required",
    "min",
    "max",
    "pattern",
    "enum",
    "sensitive",
    "payload",
    "flattened",
    "locationName",
    "timestampFormat",
    "eventstream",
    "event",
    "document",
    "union",
];
const MEMBER_FACTS: &[&str] = &[
    "shape",
    "location",
    "locationName",
    "queryName",
    "flattened",
    "timestampFormat",
    "jsonvalue",
    "xmlAttribute",
    "xmlNamespace",
    "streaming",
    "eventpayload",
    "eventheader",
];

/// One service of `operations.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    /// The operations that Tidegate does.
    operations: BTreeSet<String>,
    /// Members, as `Shape.Member`, that the model calls required and the service leaves out.
    #[serde(default)]
    optional: BTreeSet<String>,
    /// Shapes whose values the service itself checks, with an error of its own.
    #[serde(default)]
    open: BTreeSet<String>,
    /// The XML namespace of a service that is awsJson now and can still be spoken by the query protocol.
    query_namespace: Option<String>,
    /// What such a service's lists and maps are called there, by shape: `Entry`, or `Entry.Key.Value` for a map.
    #[serde(default)]
    query_names: BTreeMap<String, String>,
    /// The codes and statuses of its errors there, by shape.
    #[serde(default)]
    query_errors: BTreeMap<String, (String, u16)>,
}

/// Rewrites `models/SERVICE.json` for every service that `models/operations.toml` lists.
pub fn refresh(botocore: &Path, models: &Path) -> anyhow::Result<()> {
    let list = models.join("operations.toml");
    let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let services: BTreeMap<String, Listed> =
        toml::from_str(&text).with_context(|| format!("{} is not valid", list.display()))?;
    for (service, listed) in services {
        let source = read(botocore, &service)?;
        let mut model =
            compact(&service, &source, &listed.operations).with_context(|| format!("model of {service}"))?;
        for member in &listed.optional {
            loosen(&mut model, member).with_context(|| format!("{member} of {service}"))?;
        }
        for shape in &listed.open {
            let facts = model["shapes"][shape].as_object_mut().with_context(|| format!("no shape {shape}"))?;
            for fact in ["enum", "min", "max"] {
                facts.remove(fact);
            }
        }
        speak_query(&mut model, &listed).with_context(|| format!("query protocol of {service}"))?;
        let path = models.join(format!("{service}.json"));
        fs::write(&path, render(&model)).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}: {} operations done", path.display(), listed.operations.len());
    }
    Ok(())
}

/// The newest version of a service's model.
fn read(botocore: &Path, service: &str) -> anyhow::Result<Value> {
    let folder = botocore.join("data").join(service);
    let versions = fs::read_dir(&folder).with_context(|| format!("no service model in {}", folder.display()))?;
    let mut names = versions.map(|entry| Ok(entry?.file_name())).collect::<anyhow::Result<Vec<_>>>()?;
    names.sort();
    for version in names.iter().rev().map(|name| folder.join(name)) {
        let (plain, packed) = (version.join("service-2.json"), version.join("service-2.json.gz"));
        let mut text = String::new();
        if plain.exists() {
            text = fs::read_to_string(plain)?;
        } else if packed.exists() {
            flate2::read::GzDecoder::new(fs::File::open(packed)?).read_to_string(&mut text)?;
        } else {
            continue;
        }
        return serde_json::from_str(&text).with_context(|| format!("{} is not JSON", version.display()));
    }
    bail!("no service-2.json in {}", folder.display())
}

fn compact(service: &str, source: &Value, done: &BTreeSet<String>) -> anyhow::Result<Value> {
    let metadata = &source["metadata"];
    let mut model = pick(metadata, SERVICE_FACTS);
    let signing = metadata.get("signingName").unwrap_or(&metadata["endpointPrefix"]);
    model.insert("signingName".into(), signing.clone());
    model.insert("service".into(), service.into());
    let known = source["operations"].as_object().context("no operations")?;
    if let Some(name) = done.iter().find(|name| !known.contains_key(*name)) {
        bail!("operations.toml lists {name}, which the model does not have");
    }
    let (mut operations, mut shapes, mut errors) = (Map::new(), Map::new(), Map::new());
    for (name, operation) in known {
        operations.insert(name.clone(), compact_operation(operation, done.contains(name)));
        if !done.contains(name) {
            continue;
        }
        for end in ["input", "output"] {
            if let Some(shape) = operation[end]["shape"].as_str() {
                collect(source, shape, &mut shapes)?;
            }
        }
        for error in operation["errors"].as_array().into_iter().flatten() {
            let shape = error["shape"].as_str().context("error without shape")?;
            errors.insert(shape.to_owned(), compact_error(shape, &source["shapes"][shape]));
        }
    }
    for name in shapes.values().flat_map(exceptions) {
        errors.insert(name.clone(), compact_error(&name, &source["shapes"][&name]));
    }
    model.insert("operations".into(), operations.into());
    model.insert("shapes".into(), shapes.into());
    model.insert("errors".into(), errors.into());
    Ok(model.into())
}

/// Takes a member off its shape's required ones.
fn loosen(model: &mut Value, member: &str) -> anyhow::Result<()> {
    let (shape, name) = member.split_once('.').context("it is not written as Shape.Member")?;
    let required = model["shapes"][shape]["required"].as_array_mut().context("the shape requires nothing")?;
    let before = required.len();
    required.retain(|required| required != name);
    if required.len() == before {
        bail!("it is not required");
    }
    Ok(())
}

/// Adds what only the query protocol needs to the model of a service that can be spoken by it as well.
fn speak_query(model: &mut Value, listed: &Listed) -> anyhow::Result<()> {
    let Some(namespace) = &listed.query_namespace else { return Ok(()) };
    model["queryCompatible"] = true.into();
    model["xmlNamespace"] = namespace.as_str().into();
    for (shape, names) in &listed.query_names {
        let target = model["shapes"].get_mut(shape).with_context(|| format!("no shape {shape}"))?;
        let names: Vec<&str> = names.split('.').collect();
        match names[..] {
            [member] => target["member"]["locationName"] = member.into(),
            [entry, key, value] => {
                target["locationName"] = entry.into();
                target["key"]["locationName"] = key.into();
                target["value"]["locationName"] = value.into();
            }
            _ => bail!("{shape} is named by one word, or by three with dots between them"),
        }
    }
    for (shape, (code, status)) in &listed.query_errors {
        // Of the operations that are not done, errors are not kept.
        if let Some(error) = model["errors"].get_mut(shape) {
            error["queryCode"] = code.as_str().into();
            error["queryStatus"] = (*status).into();
        }
    }
    Ok(())
}

fn compact_operation(operation: &Value, done: bool) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let http = &operation["http"];
    let mut out = Map::new();
    out.insert("http".into(), format!("{} {}", text(&http["method"]), text(&http["requestUri"])).into());
    if !done {
        return out.into();
    }
    out.insert("done".into(), true.into());
    if let Some(status) = http.get("responseCode").filter(|status| **status != json!(200)) {
        out.insert("status".into(), status.clone());
    }
    for (key, value) in [
        ("input", &operation["input"]["shape"]),
        ("output", &operation["output"]["shape"]),
        ("resultWrapper", &operation["output"]["resultWrapper"]),
    ] {
        if !value.is_null() {
            out.insert(key.into(), value.clone());
        }
    }
    out.into()
}

/// Code, status, whose fault it is and what the member with the message is called.
fn compact_error(name: &str, shape: &Value) -> Value {
    let error = &shape["error"];
    let mut out = Map::new();
    if let Some(code) = error["code"].as_str().filter(|code| *code != name) {
        out.insert("code".into(), code.into());
    }
    if let Some(status) = error.get("httpStatusCode") {
        out.insert("status".into(), status.clone());
    }
    if shape["fault"] == json!(true) {
        out.insert("serverFault".into(), true.into());
    }
    let members: Vec<_> = shape["members"].as_object().into_iter().flat_map(|m| m.keys()).cloned().collect();
    out.insert("members".into(), members.into());
    out.into()
}

/// Keeps a shape and everything that it refers to.
fn collect(source: &Value, name: &str, shapes: &mut Map<String, Value>) -> anyhow::Result<()> {
    if shapes.contains_key(name) {
        return Ok(());
    }
    let shape = source["shapes"].get(name).with_context(|| format!("no shape {name}"))?;
    let mut out = pick(shape, SHAPE_FACTS);
    shapes.insert(name.to_owned(), Value::Null);
    for role in ["member", "key", "value"] {
        if let Some(member) = shape.get(role) {
            out.insert(role.into(), collect_member(source, member, shapes)?);
        }
    }
    if let Some(members) = shape["members"].as_object() {
        let (mut kept, mut exceptions) = (Map::new(), Vec::new());
        for (name, member) in members {
            // What ends an event stream is an error, named as it is anywhere else.
            let target = member["shape"].as_str().unwrap_or_default();
            if shape.get("eventstream").is_some() && source["shapes"][target]["exception"] == json!(true) {
                exceptions.push(Value::from(target));
            } else {
                kept.insert(name.clone(), collect_member(source, member, shapes)?);
            }
        }
        out.insert("members".into(), kept.into());
        if shape.get("eventstream").is_some() {
            out.remove("required");
            out.insert("exceptions".into(), exceptions.into());
        }
    }
    shapes.insert(name.to_owned(), out.into());
    Ok(())
}

/// The errors that can end an event stream.
fn exceptions(shape: &Value) -> Vec<String> {
    let names = shape["exceptions"].as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn collect_member(source: &Value, member: &Value, shapes: &mut Map<String, Value>) -> anyhow::Result<Value> {
    collect(source, member["shape"].as_str().context("member without shape")?, shapes)?;
    Ok(pick(member, MEMBER_FACTS).into())
}

fn pick(source: &Value, keys: &[&str]) -> Map<String, Value> {
    let facts = keys.iter().filter_map(|key| Some(((*key).to_owned(), source.get(*key)?.clone())));
    facts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Value {
        json!({
            "metadata": {"protocol": "json", "endpointPrefix": "things", "documentation": "long"},
            "operations": {
                "Get": {"http": {"method": "POST", "requestUri": "/"}, "input": {"shape": "In"},
                        "errors": [{"shape": "GoneException"}], "documentation": "long"},
                "Put": {"http": {"method": "POST", "requestUri": "/"}, "input": {"shape": "Other"}},
            },
            "shapes": {
                "In": {"type": "structure", "members": {"Name": {"shape": "Name", "documentation": "long"}}},
                "Name": {"type": "string", "max": 3, "documentation": "long"},
                "Other": {"type": "structure", "members": {}},
                "GoneException": {"type": "structure", "members": {}, "error": {"code": "Gone", "httpStatusCode": 410}},
            },
        })
    }

    #[test]
    fn keeps_the_facts_of_done_operations_and_the_names_of_all() {
        let model = compact("things", &source(), &BTreeSet::from(["Get".to_owned()])).unwrap();
        assert_eq!(
            model,
            json!({
                "service": "things", "protocol": "json", "signingName": "things",
                "operations": {"Get": {"http": "POST /", "done": true, "input": "In"}, "Put": {"http": "POST /"}},
                "shapes": {
                    "In": {"type": "structure", "members": {"Name": {"shape": "Name"}}},
                    "Name": {"type": "string", "max": 3},
                },
                "errors": {"GoneException": {"code": "Gone", "status": 410, "members": []}},
            })
        );
    }

    #[test]
    fn an_event_stream_s_exceptions_are_errors() {
        let source = json!({
            "metadata": {"protocol": "json", "endpointPrefix": "things"},
            "operations": {"Watch": {"http": {"method": "POST", "requestUri": "/"}, "output": {"shape": "Out"}}},
            "shapes": {
                "Out": {"type": "structure", "members": {"Stream": {"shape": "Stream"}}},
                "Stream": {"type": "structure", "eventstream": true, "required": ["Seen"],
                           "members": {"Seen": {"shape": "Seen"}, "Gone": {"shape": "Gone"}}},
                "Seen": {"type": "structure", "event": true, "members": {}},
                "Gone": {"type": "structure", "exception": true, "members": {}},
            },
        });
        let model = compact("things", &source, &BTreeSet::from(["Watch".to_owned()])).unwrap();
        assert_eq!(
            model["shapes"]["Stream"],
            json!({"type": "structure", "eventstream": true, "members": {"Seen": {"shape": "Seen"}}, "exceptions": ["Gone"]})
        );
        assert_eq!(model["errors"], json!({"Gone": {"members": []}}));
    }

    #[test]
    fn an_operation_that_the_model_lacks_is_refused() {
        assert!(compact("things", &source(), &BTreeSet::from(["Fly".to_owned()])).is_err());
    }
}
