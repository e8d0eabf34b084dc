//! Rows that an earlier version wrote: they are read as they were.

use base::{Batch, StateStore, Table};
use functions::{AliasChange, AliasName, LayerName, NewFunction, NewLayer, Permission, Publication, Version, Weighted};
use serde_json::{Value, json};

use crate::support::{Room, scope, settings, zip};

/// One of each kind, as version 0.1 wrote them.
const WRITTEN: &str = include_str!("../fixtures/rows.json");

const TABLES: [&str; 8] = [
    "functions",
    "functions.versions",
    "functions.numbers",
    "functions.aliases",
    "functions.concurrency",
    "functions.policies",
    "functions.layers",
    "functions.layer_numbers",
];
/// What rows did not have from the start on.
const LATER: [&str; 6] = ["tags", "version", "temporary", "dead_letters", "layers", "other"];

fn layer() -> LayerName {
    "l".to_owned().try_into().unwrap()
}

fn live() -> AliasName {
    "live".to_owned().try_into().unwrap()
}

/// Makes one of each kind.
async fn make(room: &Room) {
    let (functions, name) = (&room.functions, "f".parse().unwrap());
    let content = || zip(&[("app.py", b"def handler(e, c): pass\n", 0o644)]);
    let new = NewLayer { description: "d".into(), runtimes: vec!["python3.12".into()], ..NewLayer::default() };
    let version = functions.publish_layer(&scope(), &layer(), new, content()).await.unwrap();
    let mut settings = settings("python3.12", "app.handler");
    settings.layers = functions.layers_by_arn(&scope(), &[version.arn()]).unwrap();
    settings.variables = std::collections::BTreeMap::from([("STAGE".to_owned(), "b".to_owned())]).try_into().unwrap();
    settings.dead_letters = Some("arn:aws:sqs:eu-central-1:000000000000:dead".parse().unwrap());
    settings.temporary = 1_024.try_into().unwrap();
    let tags = [("k".to_owned(), "v".to_owned())].into();
    let new = NewFunction { name: "f".parse().unwrap(), settings, tags, publish: true };
    functions.create(&scope(), new, content()).await.unwrap();
    let other = Some(Some(Weighted { version: Version::Number(1), weight: 0.25 }));
    functions.update_settings(&scope(), &name, Default::default(), None).await.unwrap();
    let timeout = functions::SettingsChange { timeout: Some(9.try_into().unwrap()), ..Default::default() };
    functions.update_settings(&scope(), &name, timeout, None).await.unwrap();
    functions.publish(&scope(), &name, Publication::default()).await.unwrap();
    let change = AliasChange { version: Some(Version::Number(2)), other, ..Default::default() };
    functions.create_alias(&scope(), &name, live(), change).await.unwrap();
    functions.reserve(&scope(), &name, Some(3)).await.unwrap();
    let permission = Permission {
        id: "s".into(),
        action: "lambda:InvokeFunction".into(),
        principal: "sns.amazonaws.com".into(),
        source_arn: None,
        source_account: Some("000000000000".into()),
        organisation: None,
        token: None,
    };
    functions.permit(&scope(), &name, None, permission, None).await.unwrap();
}

/// Run by hand when rows change so that those of earlier versions need a fixture of their own.
#[ignore = "writes the fixture"]
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "the fixture is in the real file system")]
async fn write_the_fixture() {
    let room = Room::new().await;
    make(&room).await;
    let of = |table: &&'static str| {
        let rows = room.state.scan(Table(table), b"", None, 1_000).unwrap();
        let row = |(key, value): (Vec<u8>, Vec<u8>)| {
            let value: Value = serde_json::from_slice(&value).unwrap();
            json!({"table": table, "key": String::from_utf8(key).unwrap(), "value": value})
        };
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    let rows: Vec<Value> = TABLES.iter().flat_map(of).collect();
    let written = serde_json::to_string_pretty(&rows).unwrap();
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rows.json"), written + "\n").unwrap();
}

/// A room that finds these rows.
async fn found(rows: &[Value]) -> (Room, functions::Functions) {
    let room = Room::new().await;
    let batch = rows.iter().fold(Batch::new(), |batch, row| {
        let table = TABLES.iter().find(|table| **table == row["table"]).unwrap();
        batch.put(Table(table), row["key"].as_str().unwrap(), serde_json::to_vec(&row["value"]).unwrap())
    });
    room.state.commit(batch).await.unwrap();
    let functions = room.reopened().await;
    (room, functions)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_every_kind_are_read_as_they_were_written() {
    let written: Vec<Value> = serde_json::from_str(WRITTEN).unwrap();
    assert!(TABLES.iter().all(|table| written.iter().any(|row| row["table"] == *table)));
    let (_room, functions) = found(&written).await;
    let name = "f".parse().unwrap();
    let function = functions.get(&scope(), &name).unwrap();
    let settings = &function.settings;
    assert_eq!((settings.runtime.as_str(), settings.handler.as_str()), ("python3.12", "app.handler"));
    assert_eq!((settings.timeout.secs(), settings.memory.mb(), settings.temporary.mb()), (9, 256, 1_024));
    assert_eq!(settings.variables.iter().collect::<Vec<_>>(), [("STAGE", "b")]);
    assert_eq!(settings.dead_letters.as_ref().unwrap().resource(), "dead");
    assert_eq!(settings.layers[0].arn.resource(), "layer:l:1");
    assert_eq!(function.tags["k"], "v");
    let versions = functions.versions(&scope(), &name).unwrap();
    let versions: Vec<_> = versions.iter().map(|v| (v.version.to_string(), v.settings.timeout.secs())).collect();
    assert_eq!(versions, [("$LATEST", 9), ("1", 3), ("2", 9)].map(|(v, t)| (v.to_owned(), t)));
    let alias = functions.alias(&scope(), &name, &live()).unwrap();
    assert_eq!((alias.version, alias.other.unwrap().weight), (Version::Number(2), 0.25));
    assert_eq!(functions.reserved(&scope(), &name).unwrap(), Some(3));
    assert!(functions.policy(&scope(), &name, None).unwrap().0.contains(r#""Sid":"s""#));
    let layers = functions.layer_versions(&scope(), &layer());
    assert_eq!((layers.len(), layers[0].description.as_str(), layers[0].runtimes.len()), (1, "d", 1));
    // A number that was given is not given again.
    let archive = zip(&[("python/m.py", b"", 0o644)]);
    assert_eq!(functions.publish_layer(&scope(), &layer(), NewLayer::default(), archive).await.unwrap().number, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_what_came_later_are_read() {
    let mut written: Vec<Value> = serde_json::from_str(WRITTEN).unwrap();
    for row in written.iter_mut().filter(|row| row["table"] == "functions" || row["table"] == "functions.aliases") {
        let is_alias = row["table"] == "functions.aliases";
        let value = row["value"].as_object_mut().unwrap();
        // An alias always had a version.
        value.retain(|name, _| !LATER.contains(&name.as_str()) || (is_alias && name == "version"));
        if let Some(settings) = value.get_mut("settings") {
            settings.as_object_mut().unwrap().retain(|name, _| !LATER.contains(&name.as_str()));
        }
    }
    let (_room, functions) = found(&written).await;
    let name = "f".parse().unwrap();
    let function = functions.get(&scope(), &name).unwrap();
    assert!(function.version == Version::Latest && function.tags.is_empty());
    assert!(function.settings.dead_letters.is_none() && function.settings.layers.is_empty());
    assert_eq!(function.settings.temporary.mb(), 512);
    assert!(functions.alias(&scope(), &name, &live()).unwrap().other.is_none());
}
