//! Versions, aliases, what is set aside, policies and tags.

use std::collections::BTreeSet;

use base::{ErrorKind, FunctionName, InvokeError, Kinded, StateStore, Table};
use functions::{
    AliasChange, AliasName, CodeChange, FunctionError, NewFunction, NewLayer, Permission, Publication, Qualifier,
    SettingsChange, Version, Weighted,
};

use crate::support::{Room, scope, settings, zip};

fn name() -> FunctionName {
    "f".parse().unwrap()
}

fn alias(text: &str) -> AliasName {
    text.to_owned().try_into().unwrap()
}

fn named(text: &str) -> Qualifier {
    text.parse().unwrap()
}

fn source(text: &str) -> bytes::Bytes {
    let source = format!(
        "import os\nstate = []\ndef handler(e, c):\n    state.append(1)\n    return ['{text}', c.function_version, \
         os.environ['AWS_LAMBDA_FUNCTION_VERSION'], c.log_stream_name.split('[')[1].split(']')[0], len(state)]\n"
    );
    zip(&[("app.py", source.as_bytes(), 0o644)])
}

async fn code(room: &Room, text: &str) {
    let change = CodeChange { archive: source(text), revision: None, dry_run: false, publish: false };
    room.functions.update_code(&scope(), &name(), change).await.unwrap();
}

async fn publish(room: &Room) -> Version {
    room.functions.publish(&scope(), &name(), Publication::default()).await.unwrap().version
}

/// Version 1 is `one`, version 2 is `two`, and what changes is `three`.
async fn three(room: &Room) {
    room.create("f", "python3.12", "app.handler", source("one"), |_| {}).await.unwrap();
    assert_eq!(publish(room).await, Version::Number(1));
    code(room, "two").await;
    assert_eq!(publish(room).await, Version::Number(2));
    code(room, "three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_stays_as_it_was_published() {
    let room = Room::new().await;
    three(&room).await;
    for (called, text, version, count) in [
        ("f:1", "one", "1", 1),
        ("f:2", "two", "2", 1),
        ("f", "three", "$LATEST", 1),
        ("f:$LATEST", "three", "$LATEST", 2),
        ("f:1", "one", "1", 2),
    ] {
        let outcome = room.call(called, "{}").await;
        let expected = format!("[\"{text}\", \"{version}\", \"{version}\", \"{version}\", {count}]");
        assert_eq!((outcome.payload, outcome.executed_version.as_str()), (expected.into(), version), "{called}");
        assert!(outcome.log_tail.unwrap().contains(&format!(" Version: {version}\n")));
    }
    // Settings, too; and what is the same is not published again.
    let change = SettingsChange { timeout: Some(9.try_into().unwrap()), ..Default::default() };
    room.functions.update_settings(&scope(), &name(), change, None).await.unwrap();
    assert_eq!((publish(&room).await, publish(&room).await), (Version::Number(3), Version::Number(3)));
    let versions = room.functions.versions(&scope(), &name()).unwrap();
    let shown: Vec<_> = versions.iter().map(|v| (v.version.to_string(), v.settings.timeout.secs())).collect();
    let expected = [("$LATEST", 9), ("1", 3), ("2", 3), ("3", 9)].map(|(v, t)| (v.to_owned(), t));
    assert_eq!(shown, expected);
    let revisions: BTreeSet<&str> = versions.iter().map(|v| v.revision.as_str()).collect();
    assert_eq!(revisions.len(), 4);
    let missing = room.try_call("f:4", "{}").await.unwrap_err();
    assert_eq!((missing.kind, missing.message.ends_with("function:f:4")), (ErrorKind::NotFound, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_asks_for_code_and_revision() {
    let room = Room::new().await;
    let made = room.create("f", "python3.12", "app.handler", source("one"), |_| {}).await.unwrap();
    let ask = async |publication| room.functions.publish(&scope(), &name(), publication).await;
    let wrong = Publication { code_sha256: Some("x".into()), ..Default::default() };
    let refused = ask(wrong).await.unwrap_err().to_string();
    assert!(refused.starts_with("CodeSHA256 (x) is different from current CodeSHA256 in $LATEST ("), "{refused}");
    let wrong = Publication { revision: Some("x".into()), ..Default::default() };
    assert!(matches!(ask(wrong).await, Err(FunctionError::RevisionMismatch { .. })));
    let right = Publication {
        code_sha256: Some(made.code.sha256.clone()),
        revision: Some(made.revision.clone()),
        description: Some("first".into()),
    };
    let published = ask(right).await.unwrap();
    assert_eq!(published.settings.description, "first");
    assert_eq!(published.qualified_arn().resource(), "function:f:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_aliases_live_through_a_restart_and_end_with_their_function() {
    let room = Room::new().await;
    three(&room).await;
    let change = AliasChange { version: Some(Version::Number(2)), ..Default::default() };
    room.functions.create_alias(&scope(), &name(), alias("live"), change).await.unwrap();
    room.functions.reserve(&scope(), &name(), Some(3)).await.unwrap();
    let again = room.reopened().await;
    let found = again.resolve(&scope(), &name(), Some(&named("live"))).unwrap();
    assert_eq!(found.version, Version::Number(2));
    assert_eq!(again.reserved(&scope(), &name()).unwrap(), Some(3));
    // A version that is gone takes its code with it, but not that of the others.
    let home = room.dir.join("000000000000/eu-central-1/f");
    let files = || room.env.fs.read_dir(&home).unwrap().len();
    assert_eq!(files(), 6);
    let held = room.functions.delete_version(&scope(), &name(), 2).await.unwrap_err();
    assert_eq!(held.kind(), ErrorKind::Conflict);
    assert!(held.to_string().contains("function:f:2") && held.to_string().ends_with(": live"), "{held}");
    room.functions.delete_version(&scope(), &name(), 1).await.unwrap();
    assert_eq!(files(), 4);
    assert_eq!(room.try_call("f:1", "{}").await.unwrap_err().kind, ErrorKind::NotFound);
    assert!(room.call("f:live", "{}").await.payload.starts_with(b"[\"two\""));
    room.functions.delete(&scope(), &name()).await.unwrap();
    room.until(|| (!room.env.fs.exists(&home).unwrap() || files() == 0).then_some(())).await;
    // A number is never used again, and nothing else of the old one is left.
    room.create("f", "python3.12", "app.handler", source("four"), |_| {}).await.unwrap();
    assert_eq!(room.functions.reserved(&scope(), &name()).unwrap(), None);
    assert_eq!(room.functions.aliases(&scope(), &name()).unwrap(), []);
    assert_eq!(publish(&room).await, Version::Number(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_stands_for_a_version_or_two_by_weight() {
    let room = Room::new().await;
    three(&room).await;
    let at = |n| Some(Version::Number(n));
    let put = async |alias_name: &str, change| {
        room.functions.create_alias(&scope(), &name(), alias(alias_name), change).await
    };
    let split = |version, weight| Some(Some(Weighted { version, weight }));
    let both = AliasChange { version: at(1), other: split(Version::Number(2), 0.5), ..Default::default() };
    let made = put("both", both).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        seen.insert(room.call("f:both", "{}").await.executed_version);
        if seen.len() == 2 {
            break;
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["1", "2"]);
    for (weight, expected) in [(0.0, "1"), (1.0, "2")] {
        let change = AliasChange { other: split(Version::Number(2), weight), ..Default::default() };
        room.functions.update_alias(&scope(), &name(), &alias("both"), change).await.unwrap();
        for _ in 0..8 {
            assert_eq!(room.call("f:both", "{}").await.executed_version, expected);
        }
    }
    let stale = AliasChange { revision: Some(made.revision.clone()), ..Default::default() };
    let stale = room.functions.update_alias(&scope(), &name(), &alias("both"), stale).await;
    assert!(matches!(stale, Err(FunctionError::RevisionMismatch { .. })));
    let plain = AliasChange { version: at(2), other: Some(None), ..Default::default() };
    let plain = room.functions.update_alias(&scope(), &name(), &alias("both"), plain).await.unwrap();
    assert_eq!((plain.version, plain.other), (Version::Number(2), None));
    for (change, kind, text) in [
        (AliasChange { version: at(9), ..Default::default() }, ErrorKind::NotFound, "function:f:9"),
        (
            AliasChange { version: at(1), other: split(Version::Number(1), 0.1), ..Default::default() },
            ErrorKind::Invalid,
            "already included",
        ),
        (
            AliasChange { other: split(Version::Number(1), 0.1), ..Default::default() },
            ErrorKind::Invalid,
            "$LATEST is not supported",
        ),
        (
            AliasChange { version: at(1), other: split(Version::Number(2), 1.5), ..Default::default() },
            ErrorKind::Invalid,
            "from 0.0 to 1.0",
        ),
    ] {
        let refused = put("bad", change).await.unwrap_err();
        assert_eq!(refused.kind(), kind);
        assert!(refused.to_string().contains(text), "{refused}");
    }
    let twice = put("both", AliasChange::default()).await.unwrap_err();
    assert!(twice.to_string().starts_with("Alias already exists: arn:aws:lambda:"), "{twice}");
    room.functions.delete_alias(&scope(), &name(), &alias("both")).await.unwrap();
    let gone = room.functions.alias(&scope(), &name(), &alias("both")).unwrap_err().to_string();
    assert!(gone.starts_with("Cannot find alias arn: ") && gone.ends_with("function:f:both"), "{gone}");
    let called = room.try_call("f:both", "{}").await.unwrap_err();
    assert_eq!((called.kind, called.message), (ErrorKind::NotFound, gone));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_bounds_a_function_and_leaves_a_tenth_to_the_others() {
    let room = Room::with(|c| c.max_environments = 20).await;
    room.python("f", "import time\ndef handler(e, c):\n    time.sleep(e)\n").await;
    room.python("g", "def handler(e, c): return 1\n").await;
    let reserve = async |n| room.functions.reserve(&scope(), &name(), n).await;
    assert!(reserve(Some(19)).await.unwrap_err().to_string().ends_with("below its minimum value of [2]."));
    reserve(Some(18)).await.unwrap();
    assert_eq!(room.functions.capacity().common, 2);
    reserve(Some(0)).await.unwrap();
    let throttled: InvokeError = room.try_call("f", "0").await.unwrap_err();
    assert_eq!(throttled.kind, ErrorKind::Throttled);
    assert!(throttled.message.contains("set aside for it"), "{}", throttled.message);
    assert_eq!(room.call("g", "{}").await.payload, "1");
    reserve(None).await.unwrap();
    assert_eq!(room.functions.capacity().common, 20);
    assert_eq!(room.call("f", "0").await.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_a_policy_are_kept_as_the_service_words_them() {
    let room = Room::new().await;
    three(&room).await;
    let permit = async |q: Option<&Qualifier>, p: Permission, r: Option<&str>| {
        room.functions.permit(&scope(), &name(), q, p, r).await
    };
    let topic = Permission {
        id: "topic".into(),
        action: "lambda:InvokeFunction".into(),
        principal: "sns.amazonaws.com".into(),
        source_arn: Some("arn:aws:sns:eu-central-1:000000000000:t".into()),
        source_account: Some("000000000000".into()),
        ..Default::default()
    };
    let shown = permit(None, topic.clone(), None).await.unwrap();
    let expected = r#"{"Action":"lambda:InvokeFunction","Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:sns:eu-central-1:000000000000:t"},"StringEquals":{"AWS:SourceAccount":"000000000000"}},"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Resource":"arn:aws:lambda:eu-central-1:000000000000:function:f","Sid":"topic"}"#;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
        serde_json::from_str::<serde_json::Value>(expected).unwrap()
    );
    assert_eq!(permit(None, topic.clone(), None).await.unwrap_err().kind(), ErrorKind::Conflict);
    let (document, revision) = room.functions.policy(&scope(), &name(), None).unwrap();
    assert!(document.contains("\"Version\":\"2012-10-17\"") && document.contains("\"Id\":\"default\""), "{document}");
    let account = Permission { id: "other".into(), principal: "111122223333".into(), ..topic.clone() };
    assert!(matches!(permit(None, account.clone(), Some("x")).await, Err(FunctionError::RevisionMismatch { .. })));
    let shown = permit(None, account.clone(), Some(&revision)).await.unwrap();
    assert!(shown.contains("arn:aws:iam::111122223333:root"), "{shown}");
    // A version's policy is its own.
    assert_eq!(room.functions.policy(&scope(), &name(), Some(&named("1"))).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(permit(Some(&named("1")), account.clone(), None).await.unwrap().contains("function:f:1"));
    assert_eq!(permit(Some(&named("$LATEST")), account.clone(), None).await.unwrap_err().kind(), ErrorKind::Invalid);
    let many = Permission { token: Some("t".repeat(20_000)), id: "many".into(), ..account };
    assert!(matches!(permit(None, many, None).await, Err(FunctionError::PolicyTooLong(_))));
    let forbid = async |id: &str| room.functions.forbid(&scope(), &name(), None, id, None).await;
    assert_eq!(forbid("nobody").await.unwrap_err().kind(), ErrorKind::NotFound);
    forbid("topic").await.unwrap();
    forbid("other").await.unwrap();
    assert_eq!(
        room.functions.policy(&scope(), &name(), None).unwrap_err().to_string(),
        "No policy is associated with the given resource."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_change_without_a_new_revision() {
    let room = Room::new().await;
    let made = room.python("f", "def handler(e, c): pass\n").await;
    let tags = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    room.functions.tag(&scope(), &name(), tags(&[("a", "1"), ("b", "2")]), &[]).await.unwrap();
    room.functions.tag(&scope(), &name(), tags(&[("b", "3")]), &["a".to_owned()]).await.unwrap();
    let now = room.functions.get(&scope(), &name()).unwrap();
    assert_eq!((&now.tags, &now.revision), (&tags(&[("b", "3")]), &made.revision));
    let many = (0..51).map(|n| (n.to_string(), String::new())).collect();
    assert_eq!(room.functions.tag(&scope(), &name(), many, &[]).await.unwrap_err().kind(), ErrorKind::Invalid);
    let bad = room.functions.tag(&scope(), &name(), tags(&[("aws:x", "")]), &[]).await.unwrap_err();
    assert!(bad.to_string().contains("aws:x"), "{bad}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_set_aside_stops_a_function_that_is_warm() {
    let room = Room::new().await;
    room.python("f", "def handler(e, c): return 1\n").await;
    assert_eq!(room.call("f", "0").await.payload, "1");
    room.functions.reserve(&scope(), &name(), Some(0)).await.unwrap();
    let error = room.try_call("f", "0").await.unwrap_err();
    assert_eq!((error.kind, error.limit), (ErrorKind::Throttled, Some(base::ConcurrencyLimit::Reserved)));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_set_aside_at_once_leaves_a_tenth_to_the_others() {
    let room = Room::with(|c| c.max_environments = 20).await;
    for name in ["f", "g", "h", "i"] {
        room.python(name, "def handler(e, c): return 1\n").await;
    }
    let all = ["f", "g", "h", "i"].map(|name| {
        let functions = room.functions.clone();
        tokio::spawn(async move { functions.reserve(&scope(), &name.parse().unwrap(), Some(9)).await.is_ok() })
    });
    let mut taken = 0;
    for reserved in all {
        taken += usize::from(reserved.await.unwrap());
    }
    assert_eq!((taken, room.functions.capacity().common), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_ends_with_its_alias_or_version() {
    let room = Room::new().await;
    three(&room).await;
    let permission = || Permission {
        id: "s".into(),
        action: "lambda:InvokeFunction".into(),
        principal: "sns.amazonaws.com".into(),
        ..Default::default()
    };
    let change = || AliasChange { version: Some(Version::Number(1)), ..Default::default() };
    room.functions.create_alias(&scope(), &name(), alias("live"), change()).await.unwrap();
    for qualifier in ["live", "2"].map(named) {
        room.functions.permit(&scope(), &name(), Some(&qualifier), permission(), None).await.unwrap();
    }
    room.functions.delete_alias(&scope(), &name(), &alias("live")).await.unwrap();
    room.functions.delete_version(&scope(), &name(), 2).await.unwrap();
    room.functions.create_alias(&scope(), &name(), alias("live"), change()).await.unwrap();
    let none = room.functions.policy(&scope(), &name(), Some(&named("live"))).unwrap_err().to_string();
    assert_eq!(none, "No policy is associated with the given resource.");
    let left = room.state.scan(Table("functions.policies"), b"", None, 10).unwrap();
    assert_eq!(left, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_not_deleted_while_an_alias_is_put_on_it() {
    let room = Room::new().await;
    three(&room).await;
    for round in 0..50 {
        let (version, of) = (publish(&room).await, alias(&format!("a{round}")));
        let Version::Number(number) = version else { panic!("{version}") };
        let (functions, put) = (room.functions.clone(), of.clone());
        let put = tokio::spawn(async move {
            let change = AliasChange { version: Some(version), ..Default::default() };
            functions.create_alias(&scope(), &name(), put, change).await.is_ok()
        });
        let functions = room.functions.clone();
        let deleted = tokio::spawn(async move { functions.delete_version(&scope(), &name(), number).await.is_ok() });
        assert_ne!(put.await.unwrap(), deleted.await.unwrap(), "one of both");
        if room.functions.delete_alias(&scope(), &name(), &of).await.is_ok() {
            code(&room, &round.to_string()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_or_changed_can_be_published_in_the_same_step() {
    let room = Room::new().await;
    let new = |publish| NewFunction {
        name: name(),
        settings: settings("python3.12", "app.handler"),
        tags: Default::default(),
        publish,
    };
    let made = room.functions.create(&scope(), new(true), source("one")).await.unwrap();
    assert_eq!(made.version, Version::Number(1));
    let change = |text| CodeChange { archive: source(text), revision: None, dry_run: false, publish: true };
    let changed = room.functions.update_code(&scope(), &name(), change("two")).await.unwrap();
    assert_eq!(changed.version, Version::Number(2));
    // The same again is no other version.
    let same = room.functions.update_code(&scope(), &name(), change("two")).await.unwrap();
    assert_eq!(same.version, Version::Number(2));
    // A function of that name that is refused leaves no version.
    assert!(room.functions.create(&scope(), new(true), source("three")).await.is_err());
    let versions = room.functions.versions(&scope(), &name()).unwrap();
    assert_eq!(versions.len(), 3);
    let again = room.reopened().await.versions(&scope(), &name()).unwrap();
    assert_eq!(again, versions);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_more_code_than_there_may_be() {
    let size = source("one").len() as u64;
    let room = Room::with(|c| c.code_storage_bytes = size * 2 + size / 2).await;
    room.create("f", "python3.12", "app.handler", source("one"), |_| {}).await.unwrap();
    publish(&room).await;
    assert_eq!(room.functions.code_bytes(), size * 2);
    let full = |result: Result<(), FunctionError>| matches!(result, Err(FunctionError::StorageFull(_)));
    // Other code of the same size takes the place of the old.
    code(&room, "two").await;
    assert!(full(room.functions.publish(&scope(), &name(), Publication::default()).await.map(drop)));
    assert!(full(room.create("g", "python3.12", "app.handler", source("one"), |_| {}).await.map(drop)));
    let layer = "l".to_owned().try_into().unwrap();
    let layer = room.functions.publish_layer(&scope(), &layer, NewLayer::default(), source("one")).await;
    assert!(full(layer.map(drop)));
    room.functions.delete_version(&scope(), &name(), 1).await.unwrap();
    assert_eq!(publish(&room).await, Version::Number(2));
}
