//! Tidegate's own routes, and what a start and a stop leave behind.

use base64::Engine;
use server::{Server, StartError};

use crate::fixture::{ACCESS_KEY, Fixture, SECRET, config, env, signed, text};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn health_needs_no_key_and_metrics_do() {
    let fixture = Fixture::start(&[]).await;
    let answer = fixture.send(fixture.request("GET", "/_tidegate/health", &[], "")).await;
    assert_eq!(answer.status(), 200);
    assert!(text(&answer).contains("\"ready\""));

    let metrics = |headers: &[(&str, &str)]| fixture.request("GET", "/_tidegate/metrics", headers, "");
    assert_eq!(fixture.send(metrics(&[])).await.status(), 403);
    let wrong = fixture.send(metrics(&[("authorization", &basic(ACCESS_KEY, "wrong"))])).await;
    assert_eq!(
        (wrong.status().as_u16(), wrong.headers()["www-authenticate"].to_str().unwrap()),
        (401, "Basic realm=\"tidegate\"")
    );
    assert_eq!(fixture.send(metrics(&[("authorization", &basic("wrong", SECRET))])).await.status(), 401);
    assert_eq!(fixture.send(metrics(&[("authorization", "Basic")])).await.status(), 403);

    let right = fixture.send(metrics(&[("authorization", &basic(ACCESS_KEY, SECRET))])).await;
    assert_eq!(right.status(), 200);
    for line in [
        "# HELP tidegate_requests_total",
        "tidegate_build_info",
        "tidegate_resident_memory_bytes",
        "tidegate_refused_requests_total",
    ] {
        assert!(text(&right).contains(line), "{line} in {}", text(&right));
    }
    for line in text(&right).lines() {
        let Some(name) = line.strip_prefix("# TYPE ").and_then(|l| l.split(' ').next()) else { continue };
        assert!(text(&right).contains(&format!("# HELP {name} ")), "{name} is not described");
    }
    assert_eq!(fixture.send(signed(metrics(&[]), "tidegate")).await.status(), 200);
}

#[tokio::test]
async fn unknown_routes_of_ours_are_not_found_by_the_known() {
    let fixture = Fixture::start(&[]).await;
    let request = || fixture.request("GET", "/_tidegate/nothing", &[], "");
    assert_eq!(fixture.send(request()).await.status(), 403);
    assert_eq!(fixture.send(signed(request(), "tidegate")).await.status(), 404);
}

#[tokio::test]
async fn a_folder_and_an_address_serve_one_at_a_time() {
    let fixture = Fixture::start(&[]).await;
    let second = Server::start(config(fixture.dir.path(), &[]), env()).await.map(|_| ());
    assert!(matches!(second, Err(StartError::DataDir(_))));
    let other = tempfile::tempdir().unwrap();
    let second = Server::start(config(other.path(), &[("listen", &fixture.address())]), env()).await.map(|_| ());
    assert!(matches!(second, Err(StartError::Listen { .. })));
}

#[tokio::test]
async fn after_a_stop_the_folder_can_be_taken_again() {
    let Fixture { server, dir, .. } = Fixture::start(&[]).await;
    server.stop().await.unwrap();
    let again = Server::start(config(dir.path(), &[]), env()).await.unwrap();
    again.stop().await.unwrap();
}
