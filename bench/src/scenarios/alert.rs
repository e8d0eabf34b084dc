//! From intake to the webhook: PutEvents → rule → stream → warm Python function → topic → HTTP.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use base::{Clock, SystemClock};
use base64::Engine;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::contenders::{Contender, Server};
use crate::load::{Connection, REGION, Request, render};
use crate::options::Options;
use crate::quantiles::Quantiles;
use crate::report::{Better, Row};

const ACCOUNT: &str = "000000000000";

/// The handler as a user would write it for AWS.
const HANDLER: &str = r#"
import base64, json, os, boto3
sns = boto3.client("sns")
def handler(event, context):
    for record in event["Records"]:
        detail = json.loads(base64.b64decode(record["kinesis"]["data"]))["detail"]
        sns.publish(TopicArn=os.environ["TOPIC"], Message=str(detail["n"]))
"#;

/// One event at a time: milliseconds from the intake to the webhook.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let (server, duration) = (&Server::fresh(contender, options).await?, options.duration());
    let clock = Arc::new(SystemClock::new());
    let (arrived, mut arrivals) = mpsc::channel(1_024);
    let hook = TcpListener::bind("127.0.0.1:0").await?;
    let hook_url = format!("http://{}/hook", hook.local_addr()?);
    let (confirm, mut confirmations) = mpsc::channel(1);
    tokio::spawn(webhook(hook, Arc::clone(&clock), arrived, confirm));
    pipeline(server, &hook_url, &mut confirmations).await?;

    let mut connection = Connection::open(&server.address()).await?;
    let (mut samples, mut sent) = (Quantiles::default(), HashMap::new());
    let warm_up = 50;
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
        // The next event leaves when this one has arrived: latency without a queue of the benchmark's own making.
        loop {
            let arrival = tokio::time::timeout(Duration::from_secs(30), arrivals.recv()).await;
            let (got, at): (u64, Duration) =
                arrival.context("an alert did not arrive within 30 s")?.context("the webhook ended")?;
            if let Some(start) = sent.remove(&got)
                && n >= warm_up
            {
                samples.add(at.saturating_sub(start));
            }
            if got == n {
                break;
            }
        }
    }
    let name =
        "intake to webhook: PutEvents, rule, stream, warm Python function with boto3, topic, HTTP; one at a time";
    let mut row =
        Row::new(name, samples.millis([500])[0], "ms", Better::Less).note(format!("{} events", samples.count()));
    (row.latency, row.memory) = (Some(samples), Some(server.usage()));
    Ok(row)
}

async fn pipeline(server: &Server, hook_url: &str, confirmations: &mut mpsc::Receiver<String>) -> anyhow::Result<()> {
    let stream = format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/bench");
    let topic = format!("arn:aws:sns:{REGION}:{ACCOUNT}:bench");
    let json_call = async |service: &str, target: &str, body: Value| {
        call(server, &Request::json(service, target, body.to_string().as_bytes())).await
    };
    json_call("kinesis", "Kinesis_20131202.CreateStream", json!({"StreamName": "bench", "ShardCount": 1})).await?;
    call(server, &Request::query("sns", "Action=CreateTopic&Version=2010-03-31&Name=bench")).await?;
    let subscribe = format!("Action=Subscribe&Version=2010-03-31&TopicArn={topic}&Protocol=http&Endpoint={hook_url}");
    call(server, &Request::query("sns", &subscribe.replace("://", "%3A%2F%2F"))).await?;
    let url = confirmations.recv().await.context("no confirmation came")?;
    let path = url.splitn(4, '/').nth(3).context("the confirmation's URL has no path")?;
    let (status, _) = Connection::open(&server.address())
        .await?
        .call(format!("GET /{path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address()).as_bytes())
        .await
        .map(|(status, body)| (status, body.len()))?;
    ensure!(status == 200, "the subscription was not confirmed: {status}");
    let function = json!({
        "FunctionName": "bench", "Runtime": "python3.11", "Handler": "main.handler", "Timeout": 30,
        "Role": format!("arn:aws:iam::{ACCOUNT}:role/bench"), "Environment": {"Variables": {"TOPIC": topic}},
        "Code": {"ZipFile": base64::engine::general_purpose::STANDARD.encode(package(HANDLER)?)},
    });
    call(server, &Request::rest("lambda", "/2015-03-31/functions", function.to_string().as_bytes())).await?;
    let mapping = json!({"EventSourceArn": stream, "FunctionName": "bench", "StartingPosition": "TRIM_HORIZON"});
    call(server, &Request::rest("lambda", "/2015-03-31/event-source-mappings", mapping.to_string().as_bytes())).await?;
    json_call("events", "AWSEvents.PutRule", json!({"Name": "bench", "EventPattern": r#"{"source":["bench"]}"#}))
        .await?;
    json_call("events", "AWSEvents.PutTargets", json!({"Rule": "bench", "Targets": [{"Id": "1", "Arn": stream}]}))
        .await?;
    Ok(())
}

/// Makes one signed call; any error status is an error.
pub(super) async fn call(server: &Server, request: &Request<'_>) -> anyhow::Result<()> {
    let bytes = render(request, &server.address(), server.keys())?;
    let mut connection = Connection::open(&server.address()).await?;
    let (status, body) = connection.call(&bytes).await?;
    ensure!(status < 300, "{} answered {status}: {}", request.label(), String::from_utf8_lossy(body));
    Ok(())
}

pub(super) fn package(handler: &str) -> anyhow::Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("main.py", zip::write::SimpleFileOptions::default())?;
    std::io::Write::write_all(&mut zip, handler.as_bytes())?;
    Ok(zip.finish()?.into_inner())
}

/// Answers every POST with 200 and tells of confirmations and alerts.
pub(super) async fn webhook(
    listener: TcpListener,
    clock: Arc<SystemClock>,
    arrived: mpsc::Sender<(u64, Duration)>,
    confirm: mpsc::Sender<String>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (clock, arrived, confirm) = (Arc::clone(&clock), arrived.clone(), confirm.clone());
        tokio::spawn(async move {
            let mut stream = stream;
            while let Ok(Some(body)) = request_body(&mut stream).await {
                let at = clock.instant();
                if let Some(url) = body["SubscribeURL"].as_str() {
                    // The benchmark is over when nobody receives any more.
                    let _ = confirm.send(url.to_owned()).await;
                } else if let Some(n) = body["Message"].as_str().and_then(|m| m.parse().ok()) {
                    let _ = arrived.send((n, at)).await;
                }
            }
        });
    }
}

async fn request_body(stream: &mut TcpStream) -> anyhow::Result<Option<Value>> {
    let mut buffer = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(None);
        }
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = text.lines().find_map(|l| l.strip_prefix("content-length:")).context("no length")?;
            break (end + 4, length.trim().parse::<usize>()?);
        }
    };
    while buffer.len() < head + length {
        ensure!(stream.read_buf(&mut buffer).await? > 0, "the connection ended within a request");
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
    Ok(Some(serde_json::from_slice(&buffer[head..head + length])?))
}
