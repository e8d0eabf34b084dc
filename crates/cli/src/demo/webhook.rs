//! Where alerts arrive: a small web server that a topic's HTTP subscription calls.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use base::{Clock, SystemClock};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Client;

/// How long a subscription's confirmation may take to come.
const CONFIRMATION_TIME: Duration = Duration::from_secs(30);

/// What a topic sends ("HTTP/HTTPS notification JSON format", SNS Developer Guide).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Notice {
    r#type: String,
    message: String,
    subject: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    #[serde(default)]
    message_attributes: std::collections::BTreeMap<String, Attribute>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    value: String,
}

/// An alert that has arrived.
#[derive(Debug)]
pub struct Alert {
    /// `medium`, `high` or `critical`.
    pub severity: String,
    /// What it says.
    pub text: String,
    /// The id of the event that it is about.
    pub event: Option<String>,
    /// When it arrived, by the clock that was handed in.
    pub arrived: Duration,
}

enum Arrival {
    Confirmation(String),
    Alert(Alert),
}

/// The receiver.
pub struct Webhook {
    address: SocketAddr,
    arrivals: mpsc::Receiver<Arrival>,
    clock: Arc<SystemClock>,
    server: JoinHandle<()>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Webhook {
    /// Listens on a free port.
    pub async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the webhook cannot listen")?;
        let address = listener.local_addr()?;
        let clock = Arc::new(SystemClock::new());
        let (sender, arrivals) = mpsc::channel(1_024);
        let server = tokio::spawn(serve(listener, sender, Arc::clone(&clock)));
        Ok(Self { address, arrivals, clock, server })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// The clock by which arrivals are timed.
    pub fn clock(&self) -> Arc<SystemClock> {
        Arc::clone(&self.clock)
    }

    /// Waits for the topic's question whether it may send, and says yes.
    pub async fn confirm(&mut self, client: &Client) -> anyhow::Result<()> {
        let arrival = tokio::time::timeout(CONFIRMATION_TIME, self.arrivals.recv()).await;
        match arrival.context("the topic did not ask for the subscription's confirmation")? {
            Some(Arrival::Confirmation(url)) => {
                let answer = client.send(Request::get(url).body(Bytes::new())?).await?;
                anyhow::ensure!(answer.status().is_success(), "the subscription's confirmation was refused");
                Ok(())
            }
            _ => Err(anyhow!("the webhook got an alert before its subscription was confirmed")),
        }
    }

    /// The next alert.
    pub async fn next(&mut self) -> Option<Alert> {
        loop {
            match self.arrivals.recv().await? {
                Arrival::Alert(alert) => return Some(alert),
                Arrival::Confirmation(_) => {}
            }
        }
    }
}

async fn serve(listener: TcpListener, sender: mpsc::Sender<Arrival>, clock: Arc<SystemClock>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (sender, clock) = (sender.clone(), Arc::clone(&clock));
        let service = service_fn(move |request: Request<Incoming>| {
            let (sender, arrived) = (sender.clone(), clock.instant());
            async move {
                let body = Limited::new(request.into_body(), 1 << 20).collect().await;
                let arrival = body.ok().and_then(|body| read(&body.to_bytes(), arrived));
                let taken = match arrival {
                    Some(arrival) => sender.send(arrival).await.is_ok(),
                    None => false,
                };
                let mut response = Response::new(Full::new(Bytes::new()));
                if !taken {
                    *response.status_mut() = http::StatusCode::BAD_REQUEST;
                }
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

fn read(body: &[u8], arrived: Duration) -> Option<Arrival> {
    let mut notice: Notice = serde_json::from_slice(body).ok()?;
    match notice.r#type.as_str() {
        "SubscriptionConfirmation" => notice.subscribe_url.map(Arrival::Confirmation),
        "Notification" => Some(Arrival::Alert(Alert {
            severity: notice.subject.unwrap_or_default(),
            text: notice.message,
            event: notice.message_attributes.remove("EventId").map(|attribute| attribute.value),
            arrived,
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_told_apart() {
        let body = br#"{"Type":"Notification","MessageId":"m","TopicArn":"t","Subject":"high","Message":"hello","Timestamp":"2026-01-01T00:00:00.000Z","MessageAttributes":{"EventId":{"Type":"String","Value":"e1"}}}"#;
        match read(body, Duration::from_millis(5)) {
            Some(Arrival::Alert(alert)) => {
                assert_eq!(
                    (alert.severity.as_str(), alert.text.as_str(), alert.event.as_deref()),
                    ("high", "hello", Some("e1"))
                );
            }
            _ => panic!("an alert"),
        }
        let body = br#"{"Type":"SubscriptionConfirmation","Message":"","SubscribeURL":"http://x/","Token":"t"}"#;
        assert!(matches!(read(body, Duration::ZERO), Some(Arrival::Confirmation(url)) if url == "http://x/"));
        assert!(read(b"{}", Duration::ZERO).is_none());
    }
}
