//! Generates the services' types, traits and dispatch from `models/SERVICE.json` into `OUT_DIR/SERVICE.rs`.
//!
//! A service is a module of: `shapes` (static tables that validation, XML, query and REST are driven by), one struct a
//! structure with a view and a builder on it, the trait, and the dispatch. What can be table-driven is; only what the
//! type system needs is generated, so that the crate stays quick to build.
#![allow(clippy::disallowed_methods, reason = "a build script reads its models and writes its output")]
#![allow(clippy::print_stdout, reason = "so does a build script speak to cargo")]

mod access;
mod model;
mod names;
mod service;
mod structures;
mod tables;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use model::Model;

/// Every generated service, in the order of `ServiceId`.
const SERVICES: &[&str] =
    &["cloudtrail", "events", "firehose", "iam", "kinesis", "lambda", "scheduler", "sns", "sqs", "sts"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=models");
    println!("cargo::rerun-if-changed=build");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let text = std::fs::read_to_string("models/access.toml")?;
    let access = access::parse(&text).map_err(|e| format!("models/access.toml: {e}"))?;
    for service in SERVICES {
        let path = Path::new("models").join(format!("{service}.json"));
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let model = Model::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        std::fs::write(
            out.join(format!("{service}.rs")),
            generate(
                &model,
                access.get(*service).ok_or_else(|| format!("models/access.toml says nothing of {service}"))?,
            )?,
        )?;
    }
    std::fs::write(out.join("services.rs"), services())?;
    Ok(())
}

fn generate(model: &Model, access: &access::Table) -> Result<String, String> {
    let mut out = String::new();
    service::write(model, &mut out)?;
    structures::write(model, &mut out)?;
    access.check(model)?;
    tables::write(model, access, &mut out)?;
    Ok(out)
}

/// `ServiceId` and the list of all services.
fn services() -> String {
    let mut out = String::from(
        "/// A service that Tidegate speaks.\n#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]\npub enum ServiceId {\n",
    );
    for service in SERVICES {
        let _ = writeln!(out, "    /// `{service}`.\n    {},", names::camel(service));
    }
    out.push_str("}\n\nimpl ServiceId {\n    /// Every service.\n    pub const ALL: &'static [Self] = &[");
    for service in SERVICES {
        let _ = write!(out, "Self::{}, ", names::camel(service));
    }
    out.push_str("];\n\n    /// The service's model.\n    pub fn model(self) -> &'static crate::model::Service {\n        match self {\n");
    for service in SERVICES {
        let _ = writeln!(out, "            Self::{} => &crate::{service}::SERVICE,", names::camel(service));
    }
    out.push_str("        }\n    }\n}\n");
    out.push_str("\n/// The input of an operation of a service, from its JSON form.\n#[cfg(test)]\n");
    out.push_str("pub(crate) fn input_of(service: ServiceId, operation: &str, document: &[u8]) -> serde_json::Result<Box<dyn crate::data::Structure>> {\n    match service {\n");
    for service in SERVICES {
        let _ = writeln!(
            out,
            "        ServiceId::{} => crate::{service}::input_of(operation, document),",
            names::camel(service)
        );
    }
    out.push_str("    }\n}\n");
    out
}
