//! From PutEvents to the first line of a function: PutEvents → rule → warm Python function, which tells of it by one
//! request to the benchmark.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use base::{Clock, SystemClock};
use base64::Engine;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::alert::{call, package, webhook};
use crate::contenders::{Contender, Server};
use crate::load::{Connection, REGION, Request, render};
use crate::options::Options;
use crate::quantiles::Quantiles;
use crate::report::{Better, Row};

const ACCOUNT: &str = "000000000000";
/// Events before the first that counts.
const WARM_UP: u64 = 50;

/// It tells at once, over a connection that stays.
const HANDLER: &str = r#"
import http.client, json, os
hook = http.client.HTTPConnection(os.environ["HOOK"])
def handler(event, context):
    hook.request("POST", "/hook", json.dumps({"Message": str(event["detail"]["n"])}))
    hook.getresponse().read()
"#;

/// One event at a time: milliseconds from the call of PutEvents until the benchmark hears of the function.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let (server, duration) = (&Server::fresh(contender, options).await?, options.duration());
    let clock = Arc::new(SystemClock::new());
    let (arrived, mut arrivals) = mpsc::channel(1_024);
    let hook = TcpListener::bind("127.0.0.1:0").await?;
    prepare(server, &hook.local_addr()?.to_string()).await?;
    // No subscription asks for a confirmation here.
    let (confirm, _confirmations) = mpsc::channel(1);
    tokio::spawn(webhook(hook, Arc::clone(&clock), arrived, confirm));
    let mut connection = Connection::open(&server.address()).await?;
    let (mut samples, mut sent) = (Quantiles::default(), HashMap::new());
    let end = clock.instant() + duration + duration / 5;
    for n in 0.. {
        if clock.instant() >= end && samples.count() > 0 {
            break;
        }
        let detail = json!({"n": n}).to_string();
        let body = json!({"Entries": [{"Source": "bench", "DetailType": "event", "Detail": detail}]}).to_string();
        let request =
            render(&Request::json("events", "AWSEvents.PutEvents", body.as_bytes()), &server.address(), server.keys())?;
        sent.insert(n, clock.instant());
        let (status, answer) = connection.call(&request).await?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(answer));
        loop {
            let arrival = tokio::time::timeout(Duration::from_secs(30), arrivals.recv()).await;
            let (got, at): (u64, Duration) =
                arrival.context("the function was not entered within 30 s")?.context("the webhook ended")?;
            if let Some(start) = sent.remove(&got)
                && n >= WARM_UP
            {
                samples.add(at.saturating_sub(start));
            }
            if got == n {
                break;
            }
        }
    }
    let name = "PutEvents to function entered: rule, warm Python function, heard of by its HTTP request; one at a time";
    let mut row =
        Row::new(name, samples.millis([500])[0], "ms", Better::Less).note(format!("{} events", samples.count()));
    (row.latency, row.memory) = (Some(samples), Some(server.usage()));
    Ok(row)
}

async fn prepare(server: &Server, hook: &str) -> anyhow::Result<()> {
    let function = json!({
        "FunctionName": "bench", "Runtime": "python3.11", "Handler": "main.handler", "Timeout": 30,
        "Role": format!("arn:aws:iam::{ACCOUNT}:role/bench"), "Environment": {"Variables": {"HOOK": hook}},
        "Code": {"ZipFile": base64::engine::general_purpose::STANDARD.encode(package(HANDLER)?)},
    });
    call(server, &Request::rest("lambda", "/2015-03-31/functions", function.to_string().as_bytes())).await?;
    let json_call = async |target: &str, body: Value| {
        call(server, &Request::json("events", target, body.to_string().as_bytes())).await
    };
    json_call("AWSEvents.PutRule", json!({"Name": "bench", "EventPattern": r#"{"source":["bench"]}"#})).await?;
    let arn = format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:bench");
    json_call("AWSEvents.PutTargets", json!({"Rule": "bench", "Targets": [{"Id": "1", "Arn": arn}]})).await
}
