//! A service model as `xtask models` writes it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Model {
    pub service: String,
    pub api_version: String,
    pub protocol: String,
    #[serde(default)]
    pub json_version: String,
    #[serde(default)]
    pub target_prefix: String,
    #[serde(default)]
    pub xml_namespace: String,
    #[serde(default)]
    pub query_compatible: bool,
    pub signing_name: String,
    pub operations: BTreeMap<String, Operation>,
    pub shapes: BTreeMap<String, Shape>,
    pub errors: BTreeMap<String, ErrorShape>,
    /// The shapes that are streams of events, taken out of `shapes`.
    #[serde(skip)]
    pub streams: BTreeMap<String, Shape>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    /// Method and path.
    pub http: String,
    #[serde(default)]
    pub done: bool,
    pub status: Option<u16>,
    pub input: Option<String>,
    pub output: Option<String>,
    pub result_wrapper: Option<String>,
    /// The event stream that follows the output: the output's member of that shape, taken out of it.
    #[serde(skip)]
    pub events: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErrorShape {
    pub code: Option<String>,
    pub status: Option<u16>,
    #[serde(default)]
    pub server_fault: bool,
    pub members: Vec<String>,
    pub query_code: Option<String>,
    pub query_status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shape {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub members: BTreeMap<String, Member>,
    #[serde(default)]
    pub required: BTreeSet<String>,
    pub member: Option<Member>,
    pub key: Option<Member>,
    pub value: Option<Member>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub pattern: Option<String>,
    #[serde(default, rename = "enum")]
    pub values: Vec<String>,
    #[serde(default)]
    pub sensitive: bool,
    pub payload: Option<String>,
    #[serde(default)]
    pub flattened: bool,
    pub timestamp_format: Option<String>,
    /// A flattened map's own name in query and XML.
    pub location_name: Option<String>,
    /// One member only: not enforced, the services check it.
    #[serde(default)]
    #[allow(dead_code)]
    pub union: bool,
    /// Its members are events, of which any number follows the output.
    #[serde(default)]
    pub eventstream: bool,
    /// What can end an event stream besides its end.
    #[serde(default)]
    pub exceptions: Vec<String>,
    /// It is one of the events of a stream: not enforced, the stream says so as well.
    #[serde(default)]
    #[allow(dead_code)]
    pub event: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    pub shape: String,
    pub location: Option<String>,
    pub location_name: Option<String>,
    #[serde(default)]
    pub flattened: bool,
    pub timestamp_format: Option<String>,
    /// The payload may be streamed; it is read whole.
    #[serde(default)]
    #[allow(dead_code)]
    pub streaming: bool,
}

impl Model {
    /// Reads a model; what the generator does not know is refused, so that a refreshed model cannot lose a fact.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut model: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        model.take_streams_out()?;
        for name in model.shapes.keys() {
            model.refuse_recursion(name, &mut Vec::new())?;
        }
        Ok(model)
    }

    /// Event streams are no structures: they follow the output that the model has them in.
    fn take_streams_out(&mut self) -> Result<(), String> {
        let (streams, shapes): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.shapes).into_iter().partition(|(_, shape)| shape.eventstream);
        (self.streams, self.shapes) = (streams, shapes);
        for (name, operation) in &mut self.operations {
            let Some(output) = operation.output.as_ref().and_then(|output| self.shapes.get_mut(output)) else {
                continue;
            };
            let found = output.members.iter().find(|(_, member)| self.streams.contains_key(&member.shape));
            if let Some((member, stream)) = found.map(|(name, member)| (name.clone(), member.shape.clone())) {
                output.members.remove(&member);
                output.required.remove(&member);
                operation.events = Some(stream);
            }
            if output.members.values().any(|member| self.streams.contains_key(&member.shape)) {
                return Err(format!("{name} answers with more than one event stream"));
            }
        }
        Ok(())
    }

    pub fn shape(&self, name: &str) -> Result<&Shape, String> {
        self.shapes.get(name).ok_or_else(|| format!("no shape {name}"))
    }

    /// The done operations.
    pub fn done(&self) -> impl Iterator<Item = (&String, &Operation)> {
        self.operations.iter().filter(|(_, operation)| operation.done)
    }

    /// A structure that holds itself needs a box, which no service needed so far.
    fn refuse_recursion<'a>(&'a self, name: &'a str, path: &mut Vec<&'a str>) -> Result<(), String> {
        if path.contains(&name) {
            return Err(format!("shape {name} holds itself; teach build/structures.rs to box it"));
        }
        path.push(name);
        let shape = self.shape(name)?;
        if shape.kind == "structure" {
            for member in shape.members.values() {
                self.refuse_recursion(&member.shape, path)?;
            }
        }
        path.pop();
        Ok(())
    }

    /// How the structures are named in Rust. An input or output that one operation alone uses is called after it.
    pub fn struct_names(&self) -> BTreeMap<&str, String> {
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        let ends = self.done().flat_map(|(_, o)| [&o.input, &o.output]).flatten().map(String::as_str);
        let nested = self.shapes.values().chain(self.streams.values()).flat_map(Shape::references);
        for name in ends.chain(nested) {
            *uses.entry(name).or_default() += 1;
        }
        let structures = self.shapes.iter().filter(|(_, shape)| shape.kind == "structure");
        let mut names: BTreeMap<_, _> =
            structures.map(|(name, _)| (name.as_str(), crate::names::camel(name))).collect();
        for (operation, ends) in self.done() {
            for (end, suffix) in [(&ends.input, "Input"), (&ends.output, "Output")] {
                if let Some(end) = end.as_deref().filter(|end| uses[end] == 1) {
                    names.insert(end, format!("{operation}{suffix}"));
                }
            }
        }
        names
    }
}

impl Shape {
    fn references(&self) -> impl Iterator<Item = &str> {
        let single = [&self.member, &self.key, &self.value].into_iter().flatten();
        self.members.values().chain(single).map(|member| member.shape.as_str())
    }
}
