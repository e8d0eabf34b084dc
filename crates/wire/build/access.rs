//! The access table: `models/access.toml` checked against the models, and written as statics.
//!
//! Promises that every operation that is done has an entry, that no entry is of another, and that every member that a
//! template names is in the operation's input.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

use crate::model::{Model, Shape};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    #[serde(default)]
    resources: BTreeMap<String, Vec<String>>,
    access: BTreeMap<String, Entry>,
    #[serde(default)]
    also: Vec<Also>,
    #[serde(default)]
    context: BTreeMap<String, Vec<String>>,
    /// Where it has no regions.
    #[serde(default)]
    global: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    One(String),
    Several(Vec<String>),
    Other { action: String, resource: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Also {
    of: Vec<String>,
    action: String,
    resource: OneOrMore,
    #[serde(default)]
    context: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// The whole table, by service.
pub fn parse(text: &str) -> Result<BTreeMap<String, Table>, String> {
    toml::from_str(text).map_err(|e| e.to_string())
}

impl Table {
    /// What an operation's row of the table is, as an expression.
    pub fn of(&self, model: &Model, operation: &str) -> Result<String, String> {
        let entry = self.access.get(operation).ok_or_else(|| {
            format!(
                "{operation} has no entry in models/access.toml: say which action and resource it asks policies for"
            )
        })?;
        let (action, names): (&str, Vec<&str>) = match entry {
            Entry::One(word) if word == "anybody" => return Ok("Access::Anybody".to_owned()),
            Entry::One(word) if word == "itself" => return Ok("Access::Itself".to_owned()),
            Entry::One(name) => (operation, vec![name]),
            Entry::Several(names) => (operation, names.iter().map(String::as_str).collect()),
            Entry::Other { action, resource } => (action, vec![resource]),
        };
        let mut templates = Vec::new();
        for name in names.into_iter().filter(|name| *name != "*") {
            let named = self.resources.get(name).ok_or_else(|| format!("{operation}: there is no resource {name}"))?;
            let found = self.templates(model, operation, named)?;
            if found.is_empty() {
                return Err(format!("{operation} has none of the members of {name}"));
            }
            templates.extend(found);
        }
        let mut asks = String::new();
        self.ask(&format!("{}:{action}", model.signing_name), &templates, true, &BTreeMap::new(), &mut asks);
        for also in self.also.iter().filter(|also| also.of.iter().any(|of| of == operation)) {
            let texts = match &also.resource {
                OneOrMore::One(text) => std::slice::from_ref(text),
                OneOrMore::More(texts) => texts,
            };
            let templates = self.templates(model, operation, texts)?;
            if templates.is_empty() {
                return Err(format!("{operation} has none of the members of what it also asks, {}", also.action));
            }
            self.ask(&also.action, &templates, false, &also.context, &mut asks);
        }
        let mut context = String::new();
        for (key, texts) in &self.context {
            for template in self.templates(model, operation, texts)? {
                let _ = write!(context, "({key:?}, {template}), ");
            }
        }
        Ok(format!("Access::Policies {{ asks: &[{asks}], context: &[{context}] }}"))
    }

    /// Entries and additions of what is not done.
    pub fn check(&self, model: &Model) -> Result<(), String> {
        let also = self.also.iter().flat_map(|also| &also.of);
        match self.access.keys().chain(also).find(|name| !model.operations.get(*name).is_some_and(|o| o.done)) {
            Some(name) => Err(format!("models/access.toml has an entry of {name}, which is not done")),
            None => Ok(()),
        }
    }

    fn ask(
        &self,
        action: &str,
        templates: &[String],
        always: bool,
        context: &BTreeMap<String, String>,
        out: &mut String,
    ) {
        let context: String = context.iter().map(|(key, value)| format!("({key:?}, {value:?}), ")).collect();
        let _ = write!(
            out,
            "Ask {{ action: {action:?}, templates: &[{}], always: {always}, context: &[{context}] }}, ",
            templates.join(", ")
        );
    }

    /// The templates whose members the operation's input has.
    fn templates(&self, model: &Model, operation: &str, texts: &[String]) -> Result<Vec<String>, String> {
        let input = model.operations[operation].input.as_deref().map(|name| model.shape(name)).transpose()?;
        let mut found = Vec::new();
        for text in texts {
            let (own, rest) = text.strip_prefix('@').map_or((false, text.as_str()), |rest| (true, rest));
            let (before, members) = rest.split_once('$').ok_or_else(|| format!("{text}: no member"))?;
            let (members, how) = members.split_once('|').unwrap_or((members, ""));
            let paths: Vec<Option<Vec<usize>>> = members
                .split(',')
                .map(|path| input.map_or(Ok(None), |input| find(model, input, path)))
                .collect::<Result<_, _>>()?;
            if paths.iter().all(Option::is_none) {
                continue;
            }
            let paths: Vec<String> = paths.into_iter().map(|path| format!("&{:?}", path.unwrap_or_default())).collect();
            let how: String = match how {
                "" => "AsItIs".to_owned(),
                how => how.split('_').map(crate::names::camel).collect(),
            };
            let global = self.global;
            found.push(format!(
                "Template {{ own: {own}, global: {global}, service: {:?}, text: {before:?}, members: &[{}], how: How::{how} }}",
                model.signing_name,
                paths.join(", ")
            ));
        }
        Ok(found)
    }
}

/// The places of a path's members, through lists; none where the input lacks one.
fn find(model: &Model, input: &Shape, path: &str) -> Result<Option<Vec<usize>>, String> {
    let (mut shape, mut places) = (input, Vec::new());
    for name in path.split('.') {
        while shape.kind == "list" {
            shape = model.shape(&shape.member.as_ref().ok_or("a list of nothing")?.shape)?;
        }
        let Some(place) = shape.members.keys().position(|member| member == name) else { return Ok(None) };
        places.push(place);
        shape = model.shape(&shape.members[name].shape)?;
    }
    Ok(Some(places))
}
