//! The trait of a service and its dispatch.

use std::fmt::Write;

use crate::model::Model;
use crate::names::{camel, snake};

pub fn write(model: &Model, out: &mut String) -> Result<(), String> {
    let service = camel(&model.service);
    let _ = writeln!(
        out,
        "/// The operations of `{}` that Tidegate does. A method that is not implemented refuses its operation by name.\n\
         #[async_trait::async_trait]\npub trait {service}: Send + Sync {{",
        model.service
    );
    for (name, operation) in model.done() {
        let answer = operation
            .events
            .as_ref()
            .map_or_else(|| format!("{name}Output"), |events| format!("crate::EventStream<{name}Output, {events}>"));
        let _ = writeln!(
            out,
            "    /// `{name}`.\n    #[allow(unused_variables)]\n    \
             async fn {}(&self, call: &crate::Call, input: {name}Input) -> Result<{answer}, crate::ServiceError> {{\n        \
             Err(crate::ServiceError::not_done(crate::ServiceId::{service}, {name:?}))\n    }}",
            snake(name)
        );
    }
    let _ = writeln!(
        out,
        "}}\n\n/// Decodes the request, validates it, asks the guard, calls the operation's method and encodes its answer or error.\n\
         pub async fn dispatch(\n    service: &dyn {service},\n    guard: &dyn crate::Guard,\n    call: &crate::Call,\n    \
         operation: &'static crate::model::Operation,\n    request: &http::Request<bytes::Bytes>,\n\
         ) -> http::Response<crate::Body> {{\n    use crate::guard::through;\n    use crate::protocol::{{stream, write}};\n    let encoding = crate::Encoding::of(request.headers());\n    \
         let outcome = match operation.name {{"
    );
    for (name, operation) in model.done() {
        let write = if operation.events.is_some() {
            "stream(operation, encoding, call, output)"
        } else {
            "write(operation, encoding, call, &output).map(Into::into)"
        };
        let _ = writeln!(
            out,
            "        {name:?} => through(guard, call, operation, request, |input: {name}Input| service.{}(call, input))\n            \
             .await\n            .map(|output| {write}),",
            snake(name)
        );
    }
    let _ = writeln!(
        out,
        "        name => Err(crate::ServiceError::not_done(crate::ServiceId::{service}, name)),\n    }};\n    \
         outcome.unwrap_or_else(|error| crate::protocol::refuse(&SERVICE, encoding, &error, &call.request_id).map(Into::into))\n}}\n"
    );
    write_inputs(model, out);
    Ok(())
}

/// For tests that walk all operations.
fn write_inputs(model: &Model, out: &mut String) {
    out.push_str("/// An operation's input from its JSON form, whether it is valid or not.\n#[cfg(test)]\n");
    out.push_str(
        "pub(crate) fn input_of(operation: &str, document: &[u8]) -> serde_json::Result<Box<dyn crate::data::Structure>> {\n    \
         use crate::data::{Accept, decode_json};\n    match operation {\n",
    );
    for (name, _) in model.done() {
        let _ = writeln!(
            out,
            "        {name:?} => {{ let mut input = {name}Input::default(); for accept in [Accept::Body, Accept::Bound] {{ decode_json(&mut input, document, accept)?; }} Ok(Box::new(input)) }}"
        );
    }
    out.push_str("        other => panic!(\"{other} is not done\"),\n    }\n}\n\n");
}
