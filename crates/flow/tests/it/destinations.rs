//! Events to HTTP endpoints, through API destinations and their connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::fs::sim::{Call, Fault};
use base::{Arn, Clock, StateStore, Table};
use flow::bus::{RuleState, RuleTarget, TargetRetry};
use flow::destinations::{
    ApiDestinationSpec, Authorization, ConnectionSpec, Credentials, Parameter, Parameters, Secret, api_destination_arn,
    connection_arn,
};

use crate::fakes::Reply;
use crate::world::{House, Outside, World, default_bus, event, scope, target};

const ALL: &str = r#"{"account":["000000000000"]}"#;
const HOOK: &str = "http://127.0.0.1:9/hook";

fn api_key() -> Authorization {
    let credentials = Credentials::ApiKey { name: "x-api-key".into(), value: Secret::new("hunter2".into()) };
    Authorization { credentials, parameters: Parameters::default() }
}

/// An API destination behind a connection; its ARN.
async fn destination(house: &House, authorization: &Authorization, rate: u32) -> Arn {
    let spec = ConnectionSpec { name: "c".into(), description: None };
    let rooms = &house.flow.destinations;
    let connection = rooms.create_connection(&scope(), spec, authorization).await.unwrap();
    let spec = ApiDestinationSpec {
        name: "d".into(),
        connection: Some(connection_arn(&scope(), &connection)),
        endpoint: Some(HOOK.into()),
        method: Some("POST".into()),
        rate: Some(rate),
        ..ApiDestinationSpec::default()
    };
    api_destination_arn(&scope(), &rooms.create_destination(&scope(), spec).await.unwrap())
}

async fn put(house: &House, count: usize) {
    let events: Vec<_> = (0..count).map(|n| event(&format!("e{n}"), "my.app", "{}")).collect();
    house.put_events(&events).await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_gets_each_event_no_faster_than_its_limit_and_what_failed_again() {
    let world = World::new(41);
    let house = world.open().await;
    let to = destination(&house, &api_key(), 10).await;
    house.rule("r", ALL, RuleState::Enabled, target(to)).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    // Every fourth call fails.
    world.web.answer(move |_| match counted.fetch_add(1, Ordering::Relaxed) % 4 {
        3 => Reply::Status(503),
        _ => Reply::Ok(String::new()),
    });
    let begun = world.clock.instant();
    put(&house, 60).await;
    for second in 1..=4 {
        world.pass(Duration::from_secs(1)).await;
        let made = calls.load(Ordering::Relaxed);
        assert!(made <= 10 * second + 1, "{made} calls in {second} s");
    }
    world.pass(Duration::from_secs(60)).await;
    let posts = world.web.posts();
    assert!(posts.iter().all(|post| post.header("x-api-key") == "hunter2" && post.url == HOOK));
    let bodies: std::collections::BTreeSet<&str> = posts.iter().map(|post| post.body.as_str()).collect();
    assert_eq!(bodies.len(), 60, "each was sent");
    assert_eq!(posts.len(), 60 + posts.len() / 4, "each that failed once more, by {:?}", world.clock.instant() - begun);
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_endpoint_does_not_take_ends_as_its_answer_says() {
    let world = World::new(42);
    let house = world.open().await;
    let to = destination(&house, &api_key(), 300).await;
    let retry = TargetRetry { max_attempts: Some(2), max_age_secs: Some(86_400) };
    house.rule("r", ALL, RuleState::Enabled, RuleTarget { retry, ..target(to) }).await;
    world.web.answer(|_| Reply::Status(400));
    put(&house, 1).await;
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.web.posts().len(), 1, "a client's error is final");
    world.web.answer(|_| Reply::Status(500));
    put(&house, 1).await;
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.web.posts().len(), 1 + 3, "one attempt and two retries");
    world.web.answer(|_| Reply::Never);
    put(&house, 1).await;
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.web.posts().len(), 1 + 3 + 3, "silence is given up after five seconds, and is tried again");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_and_again_when_it_is_refused_or_old() {
    let world = World::new(43);
    let house = world.open().await;
    let extra = Parameter { key: "audience".into(), value: Secret::new("soc".into()), is_secret: false };
    let credentials = Credentials::Oauth {
        client_id: "id".into(),
        client_secret: Secret::new("s&cret".into()),
        endpoint: "http://127.0.0.1:9/token".into(),
        method: "POST".into(),
        parameters: Parameters { body: vec![extra], ..Parameters::default() },
    };
    let to = destination(&house, &Authorization { credentials, parameters: Parameters::default() }, 300).await;
    house.rule("r", ALL, RuleState::Enabled, target(to)).await;
    let tokens = AtomicUsize::new(0);
    // The first token is good for nothing.
    world.web.answer(move |post| match (post.url.ends_with("/token"), post.headers.get("authorization")) {
        (true, _) => {
            let number = tokens.fetch_add(1, Ordering::Relaxed);
            Reply::Ok(format!(r#"{{"access_token":"t{number}","token_type":"bearer","expires_in":3600}}"#))
        }
        (false, Some(token)) if token != "Bearer t0" => Reply::Ok(String::new()),
        _ => Reply::Status(401),
    });
    put(&house, 3).await;
    world.pass(Duration::from_secs(30)).await;
    let asked = || world.web.posts().into_iter().filter(|p| p.url.ends_with("/token")).collect::<Vec<_>>();
    assert_eq!(asked().len(), 2);
    assert_eq!(asked()[0].body, "grant_type=client_credentials&client_id=id&client_secret=s%26cret&audience=soc");
    put(&house, 3).await;
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(asked().len(), 2, "it is known");
    world.pass(Duration::from_secs(3_600)).await;
    put(&house, 3).await;
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(asked().len(), 3, "it is old");
    let called = world.web.posts().iter().filter(|p| !p.url.ends_with("/token")).count();
    assert!((9 + 1..=9 + 3).contains(&called), "{called}: what was refused with the first token comes again");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_secret_is_not_on_disk_and_destinations_live_by_their_connection() {
    let world = World::new(44);
    let house = world.open().await;
    let to = destination(&house, &api_key(), 300).await;
    for (_, row) in house.state.scan(Table("flow.connections"), b"", None, 10).unwrap() {
        let row = String::from_utf8(row).unwrap();
        assert!(row.contains("x-api-key") && !row.contains("hunter2"), "{row}");
    }
    let rooms = &house.flow.destinations;
    let shown = rooms.destination(&scope(), "d").unwrap();
    assert!(rooms.is_active(&scope(), &shown));
    rooms.deauthorize(&scope(), "c").await.unwrap();
    assert!(!rooms.is_active(&scope(), &shown));
    let plain = |endpoint: &str| ApiDestinationSpec {
        name: "x".into(),
        connection: Some(shown.connection.clone()),
        endpoint: Some(endpoint.into()),
        method: Some("POST".into()),
        ..ApiDestinationSpec::default()
    };
    for endpoint in ["http://example.com/", "ftp://example.com/", "https://kim:pw@example.com/", "https://"] {
        assert!(rooms.create_destination(&scope(), plain(endpoint)).await.is_err(), "{endpoint}");
    }
    rooms.create_destination(&scope(), plain("https://example.com/a/*")).await.unwrap();
    rooms.delete_destination(&scope(), "d").await.unwrap();
    let failed = house.flow.buses.put_targets(&scope(), &default_bus(), &"r".parse().unwrap(), vec![target(to)]).await;
    assert!(failed.is_err(), "there is no such rule");
    house.stop().await;
}

#[test]
fn an_outbox_that_went_with_its_target_is_never_read_again() {
    const CHANGES: [Call; 5] = [Call::Write, Call::SyncData, Call::SetLen, Call::Rename, Call::SyncDir];
    let mut cuts = 0;
    for nth in 1..30 {
        let outside = Outside::new(66);
        let rule = "r".parse().unwrap();
        let mut to = None;
        outside.life(async |world| {
            let house = world.open().await;
            let arn = destination(&house, &api_key(), 300).await;
            house.rule("r", ALL, RuleState::Enabled, target(arn.clone())).await;
            put(&house, 5).await;
            world.pass(Duration::from_secs(10)).await;
            assert_eq!(world.web.posts().len(), 5);
            to = Some(arn.clone());
            world.fs.fail(&CHANGES, nth, Fault::Crash);
            let buses = &house.flow.buses;
            if buses.remove_targets(&scope(), &default_bus(), &rule, &["t".into()]).await.is_ok() {
                // It may come too late.
                drop(buses.put_targets(&scope(), &default_bus(), &rule, vec![target(arn)]).await);
            }
            world.pass(Duration::from_secs(10)).await;
        });
        cuts += u32::from(outside.fs.is_off());
        outside.fs.power_cut();
        outside.life(async |world| {
            let house = world.open().await;
            world.pass(Duration::from_secs(60)).await;
            assert_eq!(world.web.posts().len(), 5, "after {nth} changes");
            let targets = vec![target(to.clone().unwrap())];
            assert!(house.flow.buses.put_targets(&scope(), &default_bus(), &rule, targets).await.unwrap().is_empty());
            put(&house, 1).await;
            world.pass(Duration::from_secs(10)).await;
            assert_eq!(world.web.posts().len(), 6, "after {nth} changes");
            assert!(house.state.scan(Table("flow.spool"), b"outbox:", None, 10).unwrap().is_empty());
            house.stop().await;
        });
    }
    assert!(cuts > 10, "the script does something: {cuts}");
}

fn oauth(client_id: &str) -> Authorization {
    let credentials = Credentials::Oauth {
        client_id: client_id.into(),
        client_secret: Secret::new("secret".into()),
        endpoint: "http://127.0.0.1:9/token".into(),
        method: "POST".into(),
        parameters: Parameters::default(),
    };
    Authorization { credentials, parameters: Parameters::default() }
}

#[tokio::test(start_paused = true)]
async fn a_token_endpoint_that_fails_is_asked_ever_more_seldom() {
    let world = World::new(67);
    let house = world.open().await;
    let to = destination(&house, &oauth("id"), 300).await;
    house.rule("r", ALL, RuleState::Enabled, target(to)).await;
    let asked = || world.web.posts().iter().filter(|post| post.url.ends_with("/token")).count();
    for refuse_tokens in [false, true] {
        let before = asked();
        world.web.answer(move |post| match post.url.ends_with("/token") {
            true if refuse_tokens => Reply::Ok(r#"{"access_token":"t","expires_in":3600}"#.into()),
            true => Reply::Status(500),
            false => Reply::Status(401),
        });
        put(&house, 200).await;
        world.pass(Duration::from_secs(600)).await;
        assert!((8..=17).contains(&(asked() - before)), "{} times in ten minutes for 200 events", asked() - before);
    }
    world.web.answer(|post| match post.url.ends_with("/token") {
        true => Reply::Ok(r#"{"access_token":"t","expires_in":3600}"#.into()),
        false => Reply::Ok(String::new()),
    });
    let before = world.web.posts().len();
    world.pass(Duration::from_secs(3_600)).await;
    assert_eq!(world.web.posts().len() - before, 401, "one token for all that waited");
    house.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_authorization_that_was_replaced_meanwhile_is_not_used() {
    let world = World::new(68);
    let house = world.open().await;
    let to = destination(&house, &oauth("old"), 300).await;
    house.rule("r", ALL, RuleState::Enabled, target(to)).await;
    // The token of the old one is on its way when the connection is changed.
    world.web.answer(|post| match (post.url.ends_with("/token"), post.body.contains("client_id=old")) {
        (true, true) => Reply::Late(r#"{"access_token":"old","expires_in":3600}"#.into()),
        (true, false) => Reply::Ok(r#"{"access_token":"new","expires_in":3600}"#.into()),
        _ => Reply::Ok(String::new()),
    });
    put(&house, 1).await;
    world.pass(Duration::from_millis(500)).await;
    let spec = ConnectionSpec { name: "c".into(), description: None };
    house.flow.destinations.update_connection(&scope(), spec, |_| Ok(Some(oauth("new")))).await.unwrap();
    world.pass(Duration::from_secs(30)).await;
    put(&house, 3).await;
    world.pass(Duration::from_secs(30)).await;
    let posts = world.web.posts();
    let used: Vec<&str> = posts.iter().filter(|p| p.url == HOOK).map(|p| p.header("authorization")).collect();
    assert_eq!(used.len(), 4);
    assert_eq!(used[1..], ["Bearer new"; 3]);
    house.stop().await;
}
