//! What search finds of the day.

use base::Clock;
use http::Method;
use serde_json::{Value, json};

use super::aws;
use super::pipeline::{Pipeline, until};
use super::play::millis;
use super::screen::Screen;
use super::stage::Stage;
use crate::figures::thousands;

/// Questions that somebody would ask after such a day.
const QUESTIONS: [(&str, &str); 4] = [
    ("detail.eventName:TerminateInstances", "who destroyed servers?"),
    ("detail.sourceIPAddress:203.0.113.66", "what else did the address of the night do?"),
    ("detail.eventName:ConsoleLogin AND detail.userIdentity.userName:lena", "when did lena sign in?"),
    ("detail.errorCode:AccessDenied", "who was denied?"),
];

/// Waits until everything is searchable, asks the questions and shows the answers.
pub async fn show(stage: &Stage, expected: u64, clock: &dyn Clock, screen: &mut Screen) -> anyhow::Result<()> {
    until("every event is searchable", async || Ok(count(stage).await? >= expected)).await?;
    screen.section("What search finds");
    let found = count(stage).await?;
    screen.line(&format!("{} documents, each write once", thousands(found)));
    for (query, question) in QUESTIONS {
        let input = json!({
            "query": {"query_string": {"query": query}}, "sort": [{"time": "asc"}], "size": 3, "track_total_hits": true,
        });
        let started = clock.instant();
        let answer =
            aws::rest(stage.client(), "es", Method::POST, &format!("/{}/_search", Pipeline::INDEX), Some(&input))
                .await?;
        let took = clock.instant().saturating_sub(started);
        let hits = &answer["hits"];
        screen.question(question, query, hits["total"]["value"].as_u64().unwrap_or_default(), &millis(took));
        for hit in hits["hits"].as_array().into_iter().flatten() {
            screen.hit(&describe(&hit["_source"]));
        }
    }
    Ok(())
}

async fn count(stage: &Stage) -> anyhow::Result<u64> {
    let answer = aws::rest(stage.client(), "es", Method::GET, &format!("/{}/_count", Pipeline::INDEX), None).await;
    // Until the first delivery there is no index.
    Ok(answer.ok().and_then(|answer| answer["count"].as_u64()).unwrap_or_default())
}

fn describe(event: &Value) -> String {
    let detail = &event["detail"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let user = text(&detail["userIdentity"]["arn"]);
    let user = user.rsplit([':', '/']).next().unwrap_or_default();
    format!(
        "{}  {:<20} {:<15} from {}",
        event["time"].as_str().and_then(|time| time.get(11..19)).unwrap_or("-"),
        text(&detail["eventName"]),
        user,
        text(&detail["sourceIPAddress"]),
    )
}
