//! One struct a structure, with a view on its members and a builder for them; one enum an event stream.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::{Model, Shape};
use crate::names::{camel, snake, upper};

pub fn write(model: &Model, out: &mut String) -> Result<(), String> {
    let names = model.struct_names();
    for (shape, name) in &names {
        write_structure(model, &names, shape, name, out)?;
    }
    for (name, stream) in &model.streams {
        write_stream(&names, name, stream, out);
    }
    for (operation, ends) in model.done() {
        for (end, suffix) in [(&ends.input, "Input"), (&ends.output, "Output")] {
            let wanted = format!("{operation}{suffix}");
            match end {
                Some(end) if names[end.as_str()] != wanted => {
                    let _ =
                        writeln!(out, "/// What `{operation}` shares.\npub type {wanted} = {};\n", names[end.as_str()]);
                }
                Some(_) => {}
                None => {
                    let _ = writeln!(out, "/// `{operation}` has none.\npub type {wanted} = crate::data::Empty;\n");
                }
            }
        }
    }
    Ok(())
}

fn write_structure(
    model: &Model,
    names: &BTreeMap<&str, String>,
    shape_name: &str,
    name: &str,
    out: &mut String,
) -> Result<(), String> {
    let shape = model.shape(shape_name)?;
    // `Missing` has a bit a member.
    if shape.members.len() > 64 {
        return Err(format!("{shape_name} has {} members; teach data::Missing to count them", shape.members.len()));
    }
    let has_required = !shape.required.is_empty();
    let _ = writeln!(out, "/// `{shape_name}`.\n#[derive(Clone, Default, PartialEq)]\npub struct {name} {{");
    let (mut views, mut sets, mut payload) = (String::new(), String::new(), String::new());
    for (i, (member_name, member)) in shape.members.iter().enumerate() {
        let (field, ty) = (snake(member_name), rust_type(model, names, &member.shape)?);
        let required = shape.required.contains(member_name);
        let ty = if required { ty } else { format!("Option<{ty}>") };
        let _ = writeln!(out, "    /// {}\n    pub {field}: {ty},", describe(model, shape, member_name)?);
        let _ = writeln!(views, "            {i} => crate::data::Viewed::view(&self.{field}),");
        let how = if required { "required" } else { "optional" };
        let _ = writeln!(sets, "            {i} => crate::data::{how}(&mut self.{field}, map),");
        if shape.payload.as_deref() == Some(member_name) {
            let value = if required { "payload" } else { "Some(payload)" };
            let _ =
                writeln!(payload, "    fn set_payload(&mut self, payload: bytes::Bytes) {{ self.{field} = {value}; }}");
        }
    }
    let (mut missing_read, mut missing_set) = (String::new(), String::new());
    if has_required {
        out.push_str("    /// The required members that a request lacked: set by decoding, refused by validation.\n");
        out.push_str("    pub missing: crate::data::Missing,\n");
        missing_read.push_str("    fn missing(&self) -> crate::data::Missing { self.missing }\n");
        missing_set
            .push_str("    fn set_missing(&mut self, missing: crate::data::Missing) { self.missing = missing; }\n");
    }
    let table = upper(shape_name);
    let _ = write!(
        out,
        "}}\n\nimpl crate::data::Structure for {name} {{\n    \
         fn shape(&self) -> &'static crate::model::Shape {{ &shapes::{table} }}\n    \
         fn member(&self, index: usize) -> crate::data::View<'_> {{\n        match index {{\n{views}            \
         _ => crate::data::View::Absent,\n        }}\n    }}\n{missing_read}}}\n\n\
         impl crate::data::Build for {name} {{\n    \
         const SHAPE: &'static crate::model::Shape = &shapes::{table};\n    \
         fn set<'de, A: serde::de::MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<bool, A::Error> {{\n        \
         match index {{\n{sets}            _ => crate::data::skip(map),\n        }}\n    }}\n{missing_set}{payload}}}\n\n\
         crate::data::structure!({name});\n\n"
    );
    Ok(())
}

/// The events of a stream as an enum.
fn write_stream(names: &BTreeMap<&str, String>, name: &str, stream: &Shape, out: &mut String) {
    let (mut variants, mut arms) = (String::new(), String::new());
    for (event, member) in &stream.members {
        let (variant, ty) = (camel(event), &names[member.shape.as_str()]);
        let _ = writeln!(variants, "    /// `{event}`.\n    {variant}({ty}),");
        let _ = writeln!(arms, "            Self::{variant}(event) => ({event:?}, event),");
    }
    let _ = writeln!(
        out,
        "/// The events of `{name}`.\n#[derive(Debug, Clone, PartialEq)]\npub enum {name} {{\n{variants}}}\n\n\
         impl crate::Event for {name} {{\n    const ERRORS: &'static [&'static str] = &{:?};\n\n    \
         fn named(&self) -> (&'static str, &dyn crate::data::Structure) {{\n        match self {{\n{arms}        }}\n    }}\n}}\n",
        stream.exceptions,
    );
}

/// A member's facts in words.
fn describe(model: &Model, shape: &Shape, name: &str) -> Result<String, String> {
    let member = &shape.members[name];
    let target = model.shape(&member.shape)?;
    let mut out = format!("`{name}`: {}", target.kind);
    if shape.required.contains(name) {
        out.push_str(", required");
    }
    match (target.min, target.max) {
        (Some(min), Some(max)) => {
            let _ = write!(out, ", {min} to {max}");
        }
        (Some(min), None) => {
            let _ = write!(out, ", at least {min}");
        }
        (None, Some(max)) => {
            let _ = write!(out, ", at most {max}");
        }
        (None, None) => {}
    }
    if !target.values.is_empty() {
        let values: Vec<_> = target.values.iter().map(|v| format!("`{v}`")).collect();
        let _ = write!(out, ", one of {}", values.join(", "));
    }
    out.push('.');
    Ok(out)
}

fn rust_type(model: &Model, names: &BTreeMap<&str, String>, shape_name: &str) -> Result<String, String> {
    let shape = model.shape(shape_name)?;
    let of = |member: &Option<crate::model::Member>| {
        let member = member.as_ref().ok_or_else(|| format!("{shape_name} has no element"))?;
        rust_type(model, names, &member.shape)
    };
    Ok(match shape.kind.as_str() {
        "string" | "character" => "String".to_owned(),
        "integer" => "i32".to_owned(),
        "long" => "i64".to_owned(),
        "float" | "double" => "f64".to_owned(),
        "boolean" => "bool".to_owned(),
        "blob" => "bytes::Bytes".to_owned(),
        "timestamp" => "base::Timestamp".to_owned(),
        "list" => format!("Vec<{}>", of(&shape.member)?),
        "map" => format!("std::collections::BTreeMap<String, {}>", of(&shape.value)?),
        "structure" => names.get(shape_name).cloned().unwrap_or_else(|| camel(shape_name)),
        other => return Err(format!("type {other} is not known")),
    })
}
