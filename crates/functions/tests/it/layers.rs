//! Layers: laid over each other, found by every language, kept for who uses them.

use base::{Arn, ErrorKind, Fs, Kinded, RealFs};
use functions::{FunctionError, LayerName, LayerUse, NewLayer, Settings, SettingsChange};
use serde_json::json;

use crate::support::{Room, json as parsed, scope, zip};

fn layer(text: &str) -> LayerName {
    text.to_owned().try_into().unwrap()
}

async fn publish(room: &Room, name: &str, files: &[(&str, &str)]) -> Arn {
    let files: Vec<(&str, &[u8], u32)> = files.iter().map(|(path, text)| (*path, text.as_bytes(), 0o755)).collect();
    let published = room.functions.publish_layer(&scope(), &layer(name), NewLayer::default(), zip(&files)).await;
    published.unwrap().arn()
}

fn uses(room: &Room, arns: &[&Arn]) -> Result<Vec<LayerUse>, FunctionError> {
    room.functions.layers_by_arn(&scope(), &arns.iter().map(|arn| (*arn).clone()).collect::<Vec<_>>())
}

async fn with_layers(room: &Room, name: &str, arns: &[&Arn], source: &str) {
    let layers = uses(room, arns).unwrap();
    room.python_with(name, source, |settings: &mut Settings| settings.layers = layers).await;
}

const TEXTS: &str = "import shared, only_first, subprocess\ndef handler(e, c):\n    \
    return [shared.TEXT, only_first.TEXT, subprocess.check_output(['tool'], text=True)]\n";

#[tokio::test(flavor = "multi_thread")]
async fn later_layers_lie_over_earlier_ones_and_the_package_over_all() {
    let room = Room::new().await;
    let first = publish(
        &room,
        "first",
        &[
            ("python/shared.py", "TEXT = 'first'"),
            ("python/only_first.py", "TEXT = 'only first'"),
            ("bin/tool", "#!/bin/sh\nprintf tool"),
        ],
    )
    .await;
    let inner = "python/lib/python3.9/site-packages/only_first.py";
    let second = publish(&room, "second", &[("python/shared.py", "TEXT = 'second'"), (inner, "TEXT = 'unseen'")]).await;
    with_layers(&room, "f", &[&first, &second], TEXTS).await;
    assert_eq!(parsed(&room.call("f", "{}").await.payload), json!(["second", "only first", "tool"]));
    let change = SettingsChange { layers: Some(uses(&room, &[&second, &first]).unwrap()), ..Default::default() };
    room.functions.update_settings(&scope(), &"f".parse().unwrap(), change, None).await.unwrap();
    assert_eq!(parsed(&room.call("f", "{}").await.payload)[0], "first");
    // What the package has itself comes first.
    let own = zip(&[("app.py", TEXTS.as_bytes(), 0o644), ("shared.py", b"TEXT = 'own'", 0o644)]);
    let layers = uses(&room, &[&first]).unwrap();
    room.create("own", "python3.12", "app.handler", own, |settings| settings.layers = layers).await.unwrap();
    assert_eq!(parsed(&room.call("own", "{}").await.payload)[0], "own");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_and_bootstraps_find_what_layers_bring() {
    let room = Room::new().await;
    let modules = publish(
        &room,
        "modules",
        &[
            ("nodejs/node_modules/plain/index.js", "module.exports = 'plain';"),
            ("nodejs/node18/node_modules/versioned/index.js", "module.exports = 'versioned';"),
        ],
    )
    .await;
    let source = "exports.handler = async () => [require('plain'), require('versioned')];";
    let layers = uses(&room, &[&modules]).unwrap();
    let archive = zip(&[("index.js", source.as_bytes(), 0o644)]);
    let node = room.create("node", "nodejs20.x", "index.handler", archive, |s| s.layers = layers).await;
    node.unwrap();
    assert_eq!(parsed(&room.call("node", "{}").await.payload), json!(["plain", "versioned"]));

    // A package without a bootstrap runs that of its layers.
    let empty = zip(&[("data", b"d", 0o644)]);
    let refused = room.create("own", "provided.al2023", "x", empty.clone(), |_| {}).await;
    assert!(refused.is_ok(), "as on the service, the missing bootstrap is told by the first call");
    let outcome = room.call("own", "{}").await;
    assert_eq!(parsed(&outcome.payload)["errorType"], "Runtime.InvalidEntrypoint");
    let bootstrap = "#!/bin/sh\n\
        API=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation\n\
        while :; do\n  ID=$(curl -sSi $API/next | tr -d '\\r' | sed -n 's/^[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: //p')\n  \
        curl -sS -d '\"layered\"' $API/$ID/response >/dev/null\ndone\n";
    let runtime = publish(&room, "runtime", &[("bootstrap", bootstrap)]).await;
    let layers = uses(&room, &[&runtime]).unwrap();
    room.create("layered", "provided.al2023", "x", empty, |s| s.layers = layers).await.unwrap();
    assert_eq!(room.call("layered", "{}").await.payload, "\"layered\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_with_extensions_is_refused_by_name() {
    let room = Room::new().await;
    let publish = async |path: &str| {
        let archive = zip(&[(path, b"#!/bin/sh\n", 0o755)]);
        room.functions.publish_layer(&scope(), &layer("beside"), NewLayer::default(), archive).await
    };
    let error = publish("extensions/agent").await.unwrap_err();
    assert!(error.to_string().starts_with("extensions/agent: this server does not run Lambda extensions"), "{error}");
    assert!(room.functions.layers(&scope()).is_empty());
    // The service looks at files right in that folder, of layers only.
    publish("extensions/parts/data").await.unwrap();
    publish("python/extensions/__init__.py").await.unwrap();
    let source = b"import extensions.own\ndef handler(e, c):\n    return extensions.own.__name__\n";
    let own = zip(&[("app.py", source, 0o644), ("extensions/own.py", b"", 0o644)]);
    room.create("own", "python3.12", "app.handler", own, |_| {}).await.unwrap();
    assert_eq!(room.call("own", "{}").await.payload, "\"extensions.own\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_count_up_and_a_deleted_one_stays_with_who_uses_it() {
    let room = Room::new().await;
    let files =
        |text: &'static str| [("python/shared.py", text), ("python/only_first.py", text), ("bin/tool", "#!/bin/sh")];
    let first = publish(&room, "l", &files("TEXT = 1")).await;
    let second = publish(&room, "l", &files("TEXT = 2")).await;
    assert!(first.to_string().ends_with(":layer:l:1") && second.to_string().ends_with(":layer:l:2"));
    with_layers(&room, "f", &[&first], TEXTS).await;
    for number in [1, 1, 2] {
        room.functions.delete_layer(&scope(), &layer("l"), number).await.unwrap();
    }
    assert_eq!(room.functions.layer(&scope(), &layer("l"), 1).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(room.functions.layers(&scope()).is_empty());
    // Also after a restart, which finds its folder gone.
    RealFs.remove_dir_all(&room.dir.join("opt")).unwrap();
    room.reopened().await;
    assert_eq!(parsed(&room.call("f", "{}").await.payload)[0], 1);
    let third = publish(&room, "l", &files("TEXT = 3")).await;
    assert!(third.to_string().ends_with(":3"), "a number is given once");
    // When nobody uses it any more, its files go.
    room.functions.delete(&scope(), &"f".parse().unwrap()).await.unwrap();
    let left = room.until(|| {
        let left: Vec<String> = RealFs
            .read_dir(&room.dir.join("layers/000000000000/eu-central-1/l"))
            .ok()?
            .into_iter()
            .map(|e| e.name)
            .collect();
        (left.len() == 2).then_some(left)
    });
    assert!(left.await.iter().any(|name| name.ends_with(".zip")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_laid_is_refused_by_name() {
    let room = Room::new().await;
    let mut all = Vec::new();
    for name in ["a", "b", "c", "d", "e", "g"] {
        all.push(publish(&room, name, &[("x", "x")]).await);
    }
    let message = |arns: &[&Arn]| uses(&room, arns).unwrap_err().to_string();
    assert_eq!(message(&all.iter().collect::<Vec<_>>()), "Cannot reference more than 5 layers.");
    let again = publish(&room, "a", &[("x", "y")]).await;
    assert!(message(&[&all[0], &again]).starts_with("Two different versions of the same layer are not allowed"));
    let missing: Arn = format!("{}9", all[0]).parse().unwrap();
    assert_eq!(message(&[&missing]), format!("Layer version {missing} does not exist."));
    let folder = publish(&room, "folder", &[("x/y", "z")]).await;
    let layers = uses(&room, &[&all[0], &folder]).unwrap();
    let archive = zip(&[("app.py", b"def handler(e, c): pass", 0o644)]);
    let refused = room.create("f", "python3.12", "app.handler", archive, |s| s.layers = layers).await.unwrap_err();
    assert!(refused.to_string().contains("is a file in one layer and a folder in another"), "{refused}");
    assert!(room.functions.publish_layer(&scope(), &layer("bad"), NewLayer::default(), "no zip".into()).await.is_err());
    assert!(LayerName::try_from("a layer".to_owned()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_deleted_while_a_function_is_made_is_refused() {
    let room = Room::new().await;
    let first = publish(&room, "l", &[("python/a.py", "A = 1")]).await;
    let layers = uses(&room, &[&first]).unwrap();
    // Between what the call looked up and what it stores.
    room.functions.delete_layer(&scope(), &layer("l"), 1).await.unwrap();
    let archive = zip(&[("app.py", b"def handler(e, c): pass", 0o644)]);
    let made = room.create("f", "python3.12", "app.handler", archive, |s| s.layers = layers).await;
    assert_eq!(made.unwrap_err().to_string(), format!("Layer version {first} does not exist."));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_a_layer_that_are_published_at_once_have_a_number_each() {
    let room = Room::new().await;
    let all = (0..8).map(|n| {
        let (functions, archive) = (room.functions.clone(), zip(&[("x", format!("{n}").as_bytes(), 0o644)]));
        tokio::spawn(async move {
            functions.publish_layer(&scope(), &layer("l"), NewLayer::default(), archive).await.map(|made| made.number)
        })
    });
    let mut numbers = Vec::new();
    for published in all.collect::<Vec<_>>() {
        numbers.push(published.await.unwrap().unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_layers_that_is_refused_leaves_nothing_on_disk() {
    let room = Room::new().await;
    room.python("f", "def handler(e, c): return 1\n").await;
    let of = publish(&room, "a", &[("x", "y")]).await;
    let layers = Some(uses(&room, &[&of]).unwrap());
    // Laid before it is found out that nothing runs such a package.
    let change = SettingsChange { layers, runtime: Some("ruby3.2".parse().unwrap()), ..Default::default() };
    let refused = room.functions.update_settings(&scope(), &"f".parse().unwrap(), change, None).await.unwrap_err();
    assert!(refused.to_string().starts_with("the package cannot run as ruby3.2"), "{refused}");
    assert_eq!(RealFs.read_dir(&room.dir.join("opt")).unwrap(), []);
    assert_eq!(room.call("f", "{}").await.payload, "1");
}
