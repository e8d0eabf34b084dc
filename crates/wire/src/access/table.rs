//! The table of all operations, walked: whoever lacks one permission is denied, whoever has exactly them is allowed.

use std::fmt::Write;

use auth::{Context, Outcome, Policies, Policy, PolicyKind, Principal, Request};
use base::Scope;
use serde_json::{Value, json};

use super::{Access, Asked, Named, Names, asked};
use crate::ServiceId;
use crate::data::Structure;
use crate::model::{Kind, Location, Member, Operation, Shape};

/// Where the table is shown; a test holds it against what it is made from.
const SHOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/permissions.md");

struct Tokens;

impl Names for Tokens {
    fn arn_of(&self, scope: &Scope, named: Named<'_>) -> Option<String> {
        let kind = match named {
            Named::Iterator(_) | Named::Shards(_) => "kinesis:{R}:{A}:stream/of-the-token",
            Named::Consumer(..) => "kinesis:{R}:{A}:stream/s/consumer/c:1",
            Named::MoveTask(_) => "sqs:{R}:{A}:of-the-task",
            Named::User(_) => "iam::{A}:user/path/u",
            Named::Group(_) => "iam::{A}:group/path/g",
            Named::Role(_) => "iam::{A}:role/path/r",
        };
        Some(format!("arn:aws:{}", kind.replace("{R}", scope.region.as_str()).replace("{A}", scope.account.as_str())))
    }
}

fn scope() -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: "eu-central-1".parse().unwrap() }
}

/// A document that has every member, two of everything that there may be several of.
fn full(shape: &Shape, name: &str) -> Value {
    match &shape.kind {
        Kind::String
            if name.to_ascii_lowercase().ends_with("arn") || matches!(name, "Resource" | "Arn" | "Layers" | "Role") =>
        {
            json!(format!("arn:aws:sns:eu-central-1:000000000000:{name}"))
        }
        Kind::String => json!(name),
        Kind::Integer => json!(7),
        Kind::Float | Kind::Timestamp(_) => json!(7.0),
        Kind::Boolean => json!(true),
        Kind::Blob => json!("AAAA"),
        Kind::List { member, .. } => json!([full(member.shape, name), full(member.shape, name)]),
        Kind::Map { value, .. } => json!({"key": full(value.shape, name)}),
        Kind::Structure(members) => {
            members.iter().filter(|m| has_text(m)).map(|m| (m.wire, full(m.shape, m.name))).collect()
        }
    }
}

/// Bodies that are no documents are not named by any template.
fn has_text(member: &Member) -> bool {
    !matches!(member.location, Location::Payload | Location::HeaderPrefix | Location::Status)
}

fn input_of(service: ServiceId, operation: &Operation) -> Box<dyn Structure> {
    let model = service.model();
    // Its input has the shape that its blank form says.
    let blank = crate::services::input_of(service, operation.name, b"{}").unwrap();
    let document = full(blank.shape(), model.name).to_string();
    crate::services::input_of(service, operation.name, document.as_bytes())
        .unwrap_or_else(|error| panic!("{}: {error}: {document}", operation.name))
}

fn allowed(policy: &str, context: &[(&str, &str)], access: &Asked) -> bool {
    let account = scope().account;
    let principal = Principal::user(&account, "/", "bob", "AIDABOB");
    let policy = Policy::parse(PolicyKind::Inline, policy).unwrap_or_else(|error| panic!("{error}: {policy}"));
    let identity = [auth::Attached { name: "exact".into(), policy: policy.into() }];
    let mut told = Context::of(&principal);
    for (key, value) in context {
        told.set(key, *value);
    }
    let request = Request {
        principal: &principal,
        action: access.action,
        resource: &access.resource,
        owner: Some(&account),
        context: &told,
    };
    Policies { identity: &identity, ..Policies::default() }.decide(&request).outcome == Outcome::Allowed
}

/// A policy of one statement an access.
fn exactly<'a>(all: impl IntoIterator<Item = &'a Asked>) -> String {
    let statement = |access: &Asked| {
        let conditions: serde_json::Map<String, Value> =
            access.context.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let mut statement = json!({"Effect": "Allow", "Action": access.action, "Resource": access.resource});
        if !conditions.is_empty() {
            statement["Condition"] = json!({"StringEquals": conditions});
        }
        statement
    };
    let none = json!({"Effect": "Allow", "Action": "none:Nothing", "Resource": "*"});
    let statements: Vec<Value> = std::iter::once(none).chain(all.into_iter().map(statement)).collect();
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// Every operation that policies decide about, with all that it asks.
fn walk(mut see: impl FnMut(ServiceId, &'static Operation, Vec<Asked>)) {
    for service in ServiceId::ALL {
        for operation in service.model().operations.iter().filter(|operation| operation.done) {
            if matches!(operation.access, Access::Policies { .. }) {
                let input = input_of(*service, operation);
                see(*service, operation, asked(operation, &scope(), &*input, &Tokens));
            }
        }
    }
}

#[test]
fn whoever_has_exactly_what_an_operation_asks_may_and_whoever_lacks_one_of_it_may_not() {
    let mut walked = 0;
    walk(|_, operation, all| {
        assert!(!all.is_empty(), "{} asks nothing", operation.name);
        let whole = exactly(&all);
        for access in &all {
            assert!(allowed(&whole, access.context, access), "{}: {access:?} by {whole}", operation.name);
            let without = exactly(all.iter().filter(|other| *other != access));
            assert!(!allowed(&without, access.context, access), "{}: {access:?} by {without}", operation.name);
            // The same action elsewhere, and another action here, are not it.
            if access.resource != "*" {
                let elsewhere = Asked { resource: format!("{}x", access.resource), ..access.clone() };
                assert!(!allowed(&whole, access.context, &elsewhere), "{}: {elsewhere:?}", operation.name);
            }
            walked += 1;
        }
    });
    assert!(walked > 200, "{walked} accesses");
}

#[test]
fn the_table_is_shown_as_it_is() {
    let mut shown = String::from(
        "# What every operation asks for\n\n\
         Made from `crates/wire/models/access.toml`, by inputs that have every member: each action on each resource that is\n\
         listed has to be allowed. A resource that an input does not name is not asked for; where it names none, the first\n\
         action is asked on `*`. The test of a row is `access::table` in `crates/wire`: it walks all rows, allows exactly what\n\
         is listed, and takes away one after the other. Run it with `TIDEGATE_UPDATE=1` to write this file anew.\n\n\
         | service | operation | action | resource |\n|---|---|---|---|\n",
    );
    for service in ServiceId::ALL {
        for operation in service.model().operations.iter().filter(|operation| operation.done) {
            let name = format!("{} | {}", service.model().name, operation.name);
            match &operation.access {
                Access::Anybody => _ = writeln!(shown, "| {name} | — | whoever is known may |"),
                Access::Itself => {
                    _ = writeln!(
                        shown,
                        "| {name} | {}:{} | decided by the service |",
                        service.model().signing_name,
                        operation.name
                    )
                }
                Access::NotDone => {}
                Access::Policies { .. } => {
                    let input = input_of(*service, operation);
                    for Asked { action, resource, .. } in asked(operation, &scope(), &*input, &Tokens) {
                        let resource = resource.replace("eu-central-1", "REGION").replace("000000000000", "ACCOUNT");
                        let _ = writeln!(shown, "| {name} | {action} | `{resource}` |");
                    }
                }
            }
        }
    }
    let fs = base::RealFs;
    if std::env::var_os("TIDEGATE_UPDATE").is_some() {
        base::Fs::write_atomic(&fs, SHOWN.as_ref(), shown.as_bytes(), 0o644).unwrap();
    }
    let kept = base::Fs::read(&fs, SHOWN.as_ref()).unwrap_or_default();
    assert!(kept == shown.as_bytes(), "docs/permissions.md is not what the table says: TIDEGATE_UPDATE=1 writes it");
}
