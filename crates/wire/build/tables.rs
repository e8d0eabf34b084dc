//! The static tables of a service: shapes with their constraints, operations, errors.

use std::fmt::Write;

use crate::access;
use crate::model::{Member, Model, Shape};
use crate::names::{camel, upper};

pub fn write(model: &Model, access: &access::Table, out: &mut String) -> Result<(), String> {
    write_service(model, access, out)?;
    out.push_str("/// The shapes as tables.\npub mod shapes {\n    use crate::model::*;\n\n");
    for (name, shape) in &model.shapes {
        write_shape(model, name, shape, out).map_err(|e| format!("shape {name}: {e}"))?;
    }
    out.push_str("}\n");
    Ok(())
}

fn write_service(model: &Model, access: &access::Table, out: &mut String) -> Result<(), String> {
    let protocol = match model.protocol.as_str() {
        "json" => "AwsJson",
        "query" => "Query",
        "rest-json" => "RestJson",
        other => return Err(format!("protocol {other} is not spoken yet")),
    };
    let id = camel(&model.service);
    let _ = writeln!(
        out,
        "/// The service's model.\npub static SERVICE: crate::model::Service = crate::model::Service {{\n    \
         id: crate::ServiceId::{id},\n    name: {:?},\n    signing_name: {:?},\n    \
         protocol: crate::model::Protocol::{protocol},\n    json_version: {:?},\n    target_prefix: {:?},\n    \
         api_version: {:?},\n    xml_namespace: {:?},\n    query_compatible: {},\n    operations: &OPERATIONS,\n    errors: &ERRORS,\n    shapes: &SHAPES,\n}};\n",
        model.service,
        model.signing_name,
        model.json_version,
        model.target_prefix,
        model.api_version,
        model.xml_namespace,
        model.query_compatible,
    );
    let _ = writeln!(
        out,
        "static OPERATIONS: [crate::model::Operation; {}] = {{\n    use crate::access::{{Access, Ask, How, Template}};\n    use crate::model::Operation;\n    [",
        model.operations.len()
    );
    for (name, operation) in &model.operations {
        let asks = if operation.done { access.of(model, name)? } else { "Access::NotDone".to_owned() };
        let (method, uri) = operation.http.split_once(' ').ok_or("http without path")?;
        let wrapped = model.query_compatible && operation.output.is_some();
        let wrapper = operation.result_wrapper.clone().or_else(|| wrapped.then(|| format!("{name}Result")));
        let _ = writeln!(
            out,
            "        Operation {{ service: crate::ServiceId::{id}, name: {name:?}, method: {method:?}, uri: {uri:?}, \
             done: {}, status: {}, result_wrapper: {:?}, access: {asks} }},",
            operation.done,
            operation.status.unwrap_or(200),
            wrapper,
        );
    }
    out.push_str("    ]\n};\n\n");
    write_errors(model, out);
    let shapes: Vec<_> = model.shapes.keys().map(|name| format!("&shapes::{}", upper(name))).collect();
    let _ = writeln!(
        out,
        "static SHAPES: [&crate::model::Shape; {}] = [\n    {},\n];\n",
        shapes.len(),
        shapes.join(",\n    ")
    );
    Ok(())
}

fn write_errors(model: &Model, out: &mut String) {
    let _ = writeln!(
        out,
        "static ERRORS: [crate::model::ErrorShape; {}] = {{\n    use crate::model::ErrorShape;\n    [",
        model.errors.len()
    );
    for (name, error) in &model.errors {
        let status = error.status.unwrap_or(if error.server_fault { 500 } else { 400 });
        let message = error.members.iter().find(|m| m.eq_ignore_ascii_case("message")).map_or("message", |m| m);
        let _ = writeln!(
            out,
            "        ErrorShape {{ name: {name:?}, code: {:?}, status: {status}, message_member: {message:?}, has_type: {}, query: {:?} }},",
            error.code.as_deref().unwrap_or(name),
            error.members.iter().any(|m| m == "Type"),
            error.query_code.as_deref().zip(error.query_status),
        );
    }
    out.push_str("    ]\n};\n\n");
}

/// What a shape is, as an expression.
fn kind(model: &Model, shape: &Shape) -> Result<String, String> {
    Ok(match shape.kind.as_str() {
        "string" | "character" => "Kind::String".to_owned(),
        "integer" | "long" => "Kind::Integer".to_owned(),
        "float" | "double" => "Kind::Float".to_owned(),
        "boolean" => "Kind::Boolean".to_owned(),
        "blob" => "Kind::Blob".to_owned(),
        "timestamp" => format!("Kind::Timestamp({})", time_format(shape.timestamp_format.as_deref())?),
        "list" => {
            format!("Kind::List {{ member: {}, flattened: {} }}", element(shape.member.as_ref())?, shape.flattened)
        }
        "map" => format!(
            "Kind::Map {{ key: {}, value: {}, flattened: {}, entry: {:?} }}",
            element(shape.key.as_ref())?,
            element(shape.value.as_ref())?,
            shape.flattened,
            shape.location_name,
        ),
        "structure" => {
            let mut members = String::from("Kind::Structure(&[\n");
            for (name, member) in &shape.members {
                let line = structure_member(model, shape, name, member).map_err(|e| format!("member {name}: {e}"))?;
                let _ = writeln!(members, "            {line},");
            }
            members + "        ])"
        }
        other => return Err(format!("type {other} is not known")),
    })
}

fn write_shape(model: &Model, name: &str, shape: &Shape, out: &mut String) -> Result<(), String> {
    let kind = kind(model, shape)?;
    let pattern = shape.pattern.as_ref().map_or("None".to_owned(), |text| {
        let _ = writeln!(out, "    static {}_PATTERN: Pattern = Pattern::new({text:?});", upper(name));
        format!("Some(&{}_PATTERN)", upper(name))
    });
    let _ = writeln!(
        out,
        "    pub static {}: Shape = Shape {{\n        name: {name:?},\n        kind: {kind},\n        min: {:?}, max: {:?}, \
         pattern: {pattern}, values: &{:?}, sensitive: {},\n    }};",
        upper(name),
        shape.min.map(|v| v as i64),
        shape.max.map(|v| v as i64),
        shape.values,
        shape.sensitive,
    );
    Ok(())
}

fn element(member: Option<&Member>) -> Result<String, String> {
    let member = member.ok_or("no element")?;
    Ok(format!("Element {{ shape: &{}, name: {:?} }}", upper(&member.shape), member.location_name))
}

fn structure_member(model: &Model, shape: &Shape, name: &str, member: &Member) -> Result<String, String> {
    let location = match member.location.as_deref() {
        None if shape.payload.as_deref() == Some(name) => {
            if model.shape(&member.shape)?.kind != "blob" {
                return Err("only a blob can be the payload so far".to_owned());
            }
            "Payload"
        }
        None => "Body",
        Some("uri") => "Uri",
        Some("querystring") => "Query",
        Some("header") => "Header",
        Some("headers") => "HeaderPrefix",
        Some("statusCode") => "Status",
        Some(other) => return Err(format!("location {other} is not known")),
    };
    Ok(format!(
        "Member {{ name: {name:?}, wire: {:?}, shape: &{}, required: {}, location: Location::{location}, flattened: {}, \
         time: {} }}",
        member.location_name.as_deref().unwrap_or(name),
        upper(&member.shape),
        shape.required.contains(name),
        member.flattened,
        time_format(member.timestamp_format.as_deref())?,
    ))
}

fn time_format(format: Option<&str>) -> Result<&'static str, String> {
    match format {
        None => Ok("None"),
        Some("iso8601") => Ok("Some(TimeFormat::Iso8601)"),
        Some("unixTimestamp") => Ok("Some(TimeFormat::Epoch)"),
        Some("rfc822") => Ok("Some(TimeFormat::Http)"),
        Some(other) => Err(format!("time format {other} is not known")),
    }
}
