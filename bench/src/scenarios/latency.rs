//! The time an event takes from its call to the benchmark's own ear.
//!
//! Owns the measuring of events put one at a time, the receiver that hears of them and what scenarios of events have in
//! common. Must not know what lies between the call and the receiver.

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

use crate::contenders::Server;
use crate::load::{Connection, Request, render};
use crate::quantiles::Quantiles;
use crate::report::{Better, Row};

/// The account of a fresh server.
pub(super) const ACCOUNT: &str = "000000000000";
/// Events before the first that counts.
const WARM_UP: u64 = 50;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An HTTP server that notes when an event's number comes, and the confirmations that topics ask for.
pub(super) struct Receiver {
    /// Host and port.
    pub address: String,
    clock: Arc<SystemClock>,
    arrivals: mpsc::Receiver<(u64, Duration)>,
    confirmations: mpsc::Receiver<String>,
}

impl Receiver {
    pub(super) async fn listen() -> anyhow::Result<Self> {
        let clock = Arc::new(SystemClock::new());
        let (arrived, arrivals) = mpsc::channel(1_024);
        let (confirm, confirmations) = mpsc::channel(1);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        tokio::spawn(webhook(listener, Arc::clone(&clock), arrived, confirm));
        Ok(Self { address, clock, arrivals, confirmations })
    }

    /// The URL by which a subscription of this receiver is confirmed.
    pub(super) async fn confirmation(&mut self) -> anyhow::Result<String> {
        self.confirmations.recv().await.context("no confirmation came")
    }

    /// Puts one event at a time for `duration`: milliseconds from the call of PutEvents until its number comes back. The
    /// next event leaves when this one has arrived: latency without a queue of the benchmark's own making.
    pub(super) async fn one_at_a_time(
        mut self,
        server: &Server,
        duration: Duration,
        name: &str,
    ) -> anyhow::Result<Row> {
        let mut connection = Connection::open(&server.address()).await?;
        let (mut samples, mut sent) = (Quantiles::default(), HashMap::new());
        let end = self.clock.instant() + duration + duration / 5;
        for n in 0.. {
            if self.clock.instant() >= end && samples.count() > 0 {
                break;
            }
            let request = put_event(server, n)?;
            sent.insert(n, self.clock.instant());
            let (status, answer) = connection.call(&request).await?;
            ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(answer));
            loop {
                let arrival = tokio::time::timeout(PATIENCE, self.arrivals.recv()).await;
                let (got, at) =
                    arrival.context("an event did not arrive within 30 s")?.context("the receiver ended")?;
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
        let mut row =
            Row::new(name, samples.millis([500])[0], "ms", Better::Less).note(format!("{} events", samples.count()));
        (row.latency, row.memory) = (Some(samples), Some(server.usage()));
        Ok(row)
    }
}

/// PutEvents of one event, numbered.
pub(super) fn put_event(server: &Server, n: u64) -> anyhow::Result<Vec<u8>> {
    let detail = json!({"n": n}).to_string();
    let body = json!({"Entries": [{"Source": "bench", "DetailType": "event", "Detail": detail}]}).to_string();
    render(&Request::json("events", "AWSEvents.PutEvents", body.as_bytes()), &server.address(), server.keys())
}

/// Makes the Python function `bench` of this source, with one variable in its environment.
pub(super) async fn create_function(server: &Server, source: &str, variable: (&str, &str)) -> anyhow::Result<()> {
    let (name, value) = variable;
    let role = role(server).await?;
    let function = json!({
        "FunctionName": "bench", "Runtime": "python3.11", "Handler": "main.handler", "Timeout": 30,
        "Role": role, "Environment": {"Variables": {name: value}},
        "Code": {"ZipFile": base64::engine::general_purpose::STANDARD.encode(package("main.py", source.as_bytes())?)},
    });
    call(server, &Request::rest("lambda", "/2015-03-31/functions", function.to_string().as_bytes())).await
}

/// Makes the role of the benchmark's functions, which may everything; its ARN.
pub(super) async fn role(server: &Server) -> anyhow::Result<String> {
    let services = ["events.amazonaws.com", "lambda.amazonaws.com"];
    let statement = json!({"Effect": "Allow", "Principal": {"Service": services}, "Action": "sts:AssumeRole"});
    let trust = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let trust = percent_encoding::utf8_percent_encode(&trust, percent_encoding::NON_ALPHANUMERIC).to_string();
    let version = "Version=2010-05-08&RoleName=bench";
    let made = format!("Action=CreateRole&{version}&AssumeRolePolicyDocument={trust}");
    call(server, &Request::query("iam", &made)).await?;
    let policy = "arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2FAdministratorAccess";
    call(server, &Request::query("iam", &format!("Action=AttachRolePolicy&{version}&PolicyArn={policy}"))).await?;
    Ok(role_arn())
}

fn role_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/bench")
}

/// A rule that sends the benchmark's events to a target, by the benchmark's role, which has to be there.
pub(super) async fn rule(server: &Server, target: &str) -> anyhow::Result<()> {
    let pattern = json!({"Name": "bench", "EventPattern": r#"{"source":["bench"]}"#});
    json_call(server, "events", "AWSEvents.PutRule", pattern).await?;
    let targets = json!({"Rule": "bench", "Targets": [{"Id": "1", "Arn": target, "RoleArn": role_arn()}]});
    json_call(server, "events", "AWSEvents.PutTargets", targets).await
}

/// Makes one signed call of an awsJson service.
pub(super) async fn json_call(server: &Server, service: &str, target: &str, body: Value) -> anyhow::Result<()> {
    call(server, &Request::json(service, target, body.to_string().as_bytes())).await
}

/// Makes one signed call; any error status is an error.
pub(super) async fn call(server: &Server, request: &Request<'_>) -> anyhow::Result<()> {
    let bytes = render(request, &server.address(), server.keys())?;
    let mut connection = Connection::open(&server.address()).await?;
    let (status, body) = connection.call(&bytes).await?;
    ensure!(status < 300, "{} answered {status}: {}", request.label(), String::from_utf8_lossy(body));
    Ok(())
}

/// Confirms a subscription by its link.
pub(super) async fn confirm(server: &Server, url: &str) -> anyhow::Result<()> {
    let path = url.splitn(4, '/').nth(3).context("the confirmation's URL has no path")?;
    let mut connection = Connection::open(&server.address()).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    let (status, _) = connection.call(request.as_bytes()).await?;
    ensure!(status == 200, "the subscription was not confirmed: {status}");
    Ok(())
}

/// Answers a request with nothing but a status.
pub(super) async fn answer(stream: &mut TcpStream, status: u16) -> anyhow::Result<()> {
    Ok(stream.write_all(format!("HTTP/1.1 {status} -\r\nContent-Length: 0\r\n\r\n").as_bytes()).await?)
}

/// A function's package of one executable file.
pub(super) fn package(name: &str, content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file(name, zip::write::SimpleFileOptions::default().unix_permissions(0o755))?;
    std::io::Write::write_all(&mut zip, content)?;
    Ok(zip.finish()?.into_inner())
}

/// Answers every POST with 200 and tells of confirmations and alerts.
async fn webhook(
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
                if answer(&mut stream, 200).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The body of the next request as JSON; none at the connection's end.
pub(super) async fn request_body(stream: &mut TcpStream) -> anyhow::Result<Option<Value>> {
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
    Ok(Some(serde_json::from_slice(&buffer[head..head + length])?))
}
