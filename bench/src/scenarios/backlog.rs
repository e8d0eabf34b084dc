//! What gathers while a webhook is away, and how fast it is told when it is back, while more keeps coming.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use base::{Clock, SystemClock};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::latency::{ACCOUNT, answer, call, confirm, request_body};
use crate::contenders::{Contender, Server};
use crate::load::{Connection, REGION, Request, render};
use crate::options::Options;
use crate::report::{Better, Row};

/// Messages published in a second, in batches of ten.
const LIVE: u64 = 100;
const BATCH: u64 = 10;
/// How long the webhook takes for each message: ten calls under way are enough for what is live.
const LATENCY: Duration = Duration::from_millis(100);
/// Retries after two seconds each, long enough for none to be given up.
const POLICY: &str = r#"{"healthyRetryPolicy":{"numRetries":100,"minDelayTarget":2,"maxDelayTarget":2}}"#;
/// How long the backlog may take to be told.
const PATIENCE: Duration = Duration::from_secs(300);

/// A webhook that is away at will.
struct Webhook {
    clock: SystemClock,
    away: AtomicBool,
    /// Messages before this one gathered while it was away.
    backlog: AtomicU64,
    /// Of these, how many it was told; messages come once each, as the webhook never fails after it took one.
    told: AtomicU64,
    told_live: AtomicU64,
}

/// The rate at which a backlog is told, in live rates.
pub async fn measure(contender: &'static Contender, options: &Options) -> anyhow::Result<Row> {
    let server = Arc::new(Server::fresh(contender, options).await?);
    let webhook = Arc::new(Webhook {
        clock: SystemClock::new(),
        away: AtomicBool::new(false),
        backlog: AtomicU64::new(u64::MAX),
        told: AtomicU64::new(0),
        told_live: AtomicU64::new(0),
    });
    subscribe(&server, &webhook).await?;
    let published = Arc::new(AtomicU64::new(0));
    let live = tokio::spawn(publish(Arc::clone(&server), Arc::clone(&published)));
    // All that is published until the webhook is back counts as backlog; this was told before and is taken off.
    let clock = SystemClock::new();
    clock.sleep(options.duration() / 2).await;
    webhook.away.store(true, Ordering::SeqCst);
    let before = webhook.told.load(Ordering::SeqCst);
    let away = 4 * options.duration();
    clock.sleep(away).await;
    let (backlog, peak) = (published.load(Ordering::SeqCst), server.usage().peak);
    webhook.backlog.store(backlog, Ordering::SeqCst);
    webhook.away.store(false, Ordering::SeqCst);
    let back = clock.instant();
    while webhook.told.load(Ordering::SeqCst) < backlog {
        ensure!(!live.is_finished(), "publishing ended: {:?}", live.await);
        ensure!(clock.instant() - back < PATIENCE, "{} of {backlog} were told", webhook.told.load(Ordering::SeqCst));
        clock.sleep(Duration::from_millis(5)).await;
    }
    let took = (clock.instant() - back).as_secs_f64();
    let gathered = backlog - before;
    let meanwhile = published.load(Ordering::SeqCst) - backlog;
    live.abort();
    let name = format!(
        "backlog of a webhook that was away for {} s, told while {LIVE} signed messages/s go on; {} ms a call",
        away.as_secs(),
        LATENCY.as_millis()
    );
    let rate = gathered as f64 / took;
    let row = Row::new(name, rate / LIVE as f64, "x live", Better::More).note(format!(
        "{gathered} messages in {took:.1} s, {rate:.0}/s; of {meanwhile} published meanwhile {} were told; {} MiB at most while it was away",
        webhook.told_live.load(Ordering::SeqCst),
        peak >> 20
    ));
    Ok(Row { memory: Some(server.usage()), ..row })
}

async fn subscribe(server: &Server, webhook: &Arc<Webhook>) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (confirmations, mut confirmation) = mpsc::channel(1);
    tokio::spawn(listen(listener, Arc::clone(webhook), confirmations));
    call(server, &Request::query("sns", "Action=CreateTopic&Version=2010-03-31&Name=bench")).await?;
    let policy: String = POLICY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let subscribe = format!(
        "Action=Subscribe&Version=2010-03-31&TopicArn={}&Protocol=http&Endpoint=http%3A%2F%2F{address}%2Fhook\
         &Attributes.entry.1.key=DeliveryPolicy&Attributes.entry.1.value={policy}",
        topic()
    );
    call(server, &Request::query("sns", &subscribe)).await?;
    confirm(server, &confirmation.recv().await.context("no confirmation came")?).await
}

fn topic() -> String {
    format!("arn:aws:sns:{REGION}:{ACCOUNT}:bench")
}

/// Publishes at the live rate until it is ended.
async fn publish(server: Arc<Server>, published: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut connection = Connection::open(&server.address()).await?;
    let (clock, pause) = (SystemClock::new(), Duration::from_secs(1) * BATCH as u32 / LIVE as u32);
    for batch in 0.. {
        let entries: String = (1..=BATCH)
            .map(|n| {
                let (entry, number) = (format!("&PublishBatchRequestEntries.member.{n}"), batch * BATCH + n - 1);
                format!("{entry}.Id={n}{entry}.Message={number}")
            })
            .collect();
        let body = format!("Action=PublishBatch&Version=2010-03-31&TopicArn={}{entries}", topic());
        let request = render(&Request::query("sns", &body), &server.address(), server.keys())?;
        let (status, answer) = connection.call(&request).await?;
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(answer));
        published.store((batch + 1) * BATCH, Ordering::SeqCst);
        clock.sleep((pause * (batch as u32 + 1)).saturating_sub(clock.instant())).await;
    }
    Ok(())
}

async fn listen(listener: TcpListener, webhook: Arc<Webhook>, confirmations: mpsc::Sender<String>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (webhook, confirmations) = (Arc::clone(&webhook), confirmations.clone());
        tokio::spawn(async move {
            let mut stream = stream;
            while let Ok(Some(body)) = request_body(&mut stream).await {
                if webhook.hear(&mut stream, &body, &confirmations).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Webhook {
    async fn hear(
        &self,
        stream: &mut TcpStream,
        body: &Value,
        confirmations: &mpsc::Sender<String>,
    ) -> anyhow::Result<()> {
        if let Some(url) = body["SubscribeURL"].as_str() {
            confirmations.send(url.to_owned()).await?;
            return answer(stream, 200).await;
        }
        if self.away.load(Ordering::SeqCst) {
            return answer(stream, 503).await;
        }
        self.clock.sleep(LATENCY).await;
        let number: u64 = body["Message"].as_str().context("no message")?.parse()?;
        let is_backlog = number < self.backlog.load(Ordering::SeqCst);
        let count = if is_backlog { &self.told } else { &self.told_live };
        count.fetch_add(1, Ordering::SeqCst);
        answer(stream, 200).await
    }
}
