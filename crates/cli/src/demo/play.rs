//! The day, played: records go in at the pace of the demo's clock, alerts are shown as they come.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use base::{Clock, SystemClock, Timestamp};
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use sources::generate::{Day, Occurrence, Story};

use super::screen::Screen;
use super::stage::Stage;
use super::webhook::{Alert, Webhook};
use crate::client::{Client, Target};

/// How often records are sent.
const TICK: Duration = Duration::from_millis(40);
/// Records in one call.
const BATCH: usize = 1_000;
/// How long after the last record alerts may still come.
const LAST_ALERT_TIME: Duration = Duration::from_secs(20);
/// How long without an alert means that all are there.
const QUIET_TIME: Duration = Duration::from_millis(1_500);

const DAY: Duration = Duration::from_secs(86_400);

/// The day and its state.
pub struct Play<'a> {
    client: &'a Client,
    start: Timestamp,
    waiting: std::iter::Peekable<Box<dyn Iterator<Item = Occurrence> + Send + 'a>>,
    length: Duration,
    clock: &'a SystemClock,
    told: HashSet<&'static str>,
    /// When each record of a story went in, by the webhook's clock.
    sent_at: HashMap<String, Duration>,
    score: Score,
}

/// How it went.
#[derive(Default)]
pub struct Score {
    /// Records sent.
    pub sent: u64,
    /// Those that are not read-only.
    pub writes: u64,
    /// How long it took.
    pub took: Duration,
    /// From intake to webhook, for each alert.
    pub alerts: Vec<Duration>,
}

impl Score {
    /// Percentiles, as text.
    pub fn latency(&self) -> Option<String> {
        let mut sorted = self.alerts.clone();
        sorted.sort_unstable();
        let at = |share: f64| sorted.get(((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
        let (median, most, slowest) = (at(0.5)?, at(0.99)?, at(1.0)?);
        Some(format!("half within {}, 99 % within {}, the slowest {}", millis(median), millis(most), millis(slowest)))
    }
}

/// `7.3 ms`.
pub fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

impl<'a> Play<'a> {
    /// A day that takes `length` to play.
    pub fn new(stage: &'a Stage, day: &Day, length: Duration, clock: &'a SystemClock) -> Self {
        let occurrences: Box<dyn Iterator<Item = Occurrence> + Send + 'a> = Box::new(day.occurrences());
        Self {
            client: stage.client(),
            start: day.start,
            waiting: occurrences.peekable(),
            length,
            clock,
            told: HashSet::new(),
            sent_at: HashMap::new(),
            score: Score::default(),
        }
    }

    /// Plays to the end and waits for the last alerts.
    pub async fn run(mut self, webhook: &mut Webhook, screen: &mut Screen) -> anyhow::Result<Score> {
        screen.section("The day begins");
        let (arrivals, started) = (webhook.clock(), self.clock.instant());
        loop {
            let elapsed = self.clock.instant().saturating_sub(started);
            let share = (elapsed.as_secs_f64() / self.length.as_secs_f64()).min(1.0);
            let now = DAY.mul_f64(share);
            self.send_until(self.start + now, &arrivals, screen).await?;
            screen.status(share, now, self.score.sent, self.score.writes, self.score.alerts.len());
            if self.waiting.peek().is_none() {
                break;
            }
            let tick = self.clock.sleep(TICK);
            tokio::pin!(tick);
            loop {
                tokio::select! {
                    () = &mut tick => break,
                    alert = webhook.next() => self.alert(alert, screen)?,
                }
            }
        }
        self.score.took = self.clock.instant().saturating_sub(started);
        let deadline = self.clock.instant() + LAST_ALERT_TIME;
        while self.clock.instant() < deadline {
            match tokio::time::timeout(QUIET_TIME, webhook.next()).await {
                Ok(alert) => self.alert(alert, screen)?,
                Err(_) if !self.score.alerts.is_empty() => break,
                Err(_) => {}
            }
        }
        screen.end_status();
        if self.score.alerts.is_empty() {
            bail!("no alert arrived: look at the function's log with TIDEGATE_LOGGING_LEVEL=info");
        }
        Ok(self.score)
    }

    /// Sends what has happened before `now`.
    async fn send_until(
        &mut self,
        now: Timestamp,
        arrivals: &Arc<SystemClock>,
        screen: &mut Screen,
    ) -> anyhow::Result<()> {
        loop {
            let mut body = String::new();
            let mut stories = Vec::new();
            let mut count = 0;
            while count < BATCH
                && let Some(occurrence) = self.waiting.next_if(|occurrence| occurrence.time <= now)
            {
                count += 1;
                self.score.writes += u64::from(occurrence.record.contains("\"readOnly\":false"));
                if let Some(story) = occurrence.story {
                    self.tell(story, occurrence.time, screen);
                    stories.push(occurrence.id);
                }
                body += &occurrence.record;
                body.push('\n');
            }
            if count == 0 {
                return Ok(());
            }
            let intake = arrivals.instant();
            self.sent_at.extend(stories.into_iter().map(|id| (id, intake)));
            self.send(Bytes::from(body)).await?;
            self.score.sent += count as u64;
        }
    }

    async fn send(&self, body: Bytes) -> anyhow::Result<()> {
        let target = Target {
            service: "tidegate",
            method: Method::POST,
            path: "/_tidegate/ingest/cloudtrail",
            headers: &[("content-type", "application/x-ndjson")],
        };
        let answer = self.client.call(&target, body).await?;
        let outcome: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if !answer.status().is_success() || outcome["rejected"] != 0 {
            bail!("the server did not take the day: {}", String::from_utf8_lossy(answer.body()));
        }
        Ok(())
    }

    fn tell(&mut self, story: Story, time: Timestamp, screen: &mut Screen) {
        if self.told.insert(story.title()) {
            screen.story(&time.to_iso_secs()[11..16], story.title());
        }
    }

    fn alert(&mut self, alert: Option<Alert>, screen: &mut Screen) -> anyhow::Result<()> {
        let Some(alert) = alert else { bail!("the webhook has ended") };
        let sent = alert.event.as_ref().and_then(|id| self.sent_at.get(id));
        let took = sent.map(|sent| alert.arrived.saturating_sub(*sent));
        self.score.alerts.extend(took);
        screen.alert(&alert.severity, &alert.text, took);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let alerts = (1..=100).rev().map(Duration::from_millis).collect();
        let score = Score { alerts, ..Score::default() };
        assert_eq!(score.latency().unwrap(), "half within 50.0 ms, 99 % within 99.0 ms, the slowest 100.0 ms");
        assert_eq!(Score::default().latency(), None);
    }
}
