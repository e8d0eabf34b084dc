//! Notifications as mails.
//!
//! Owns what a mail to a subscriber says, and when it is tried again: for six hours, as the service does. Promises that
//! every notification tells how the subscription is ended, and that a notification is the same mail at every attempt. Must not know
//! how mails are sent: that is the [`Mailer`]'s.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::{Arn, Rng, Timestamp};
use log::Record;
use serde_json::{Map, Value};

use super::WEB_AGE;
use super::deliver::{Live, gave_up, jittered, put_away, retried};
use super::endpoint::Protocol;
use super::envelope::{Envelope, Published};
use super::letter::Letters;
use super::retry::HealthyRetry;
use super::subscription::Subscription;
use crate::metrics;
use crate::spool::{Attempt, Attempted, End};

/// The subject of a notification that has none.
const NO_SUBJECT: &str = "Notification Message";
/// The sender of confirmations, and of notifications of topics without display name.
const SENDER: &str = "Tidegate Notifications";

/// A mail to one reader.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Letters, digits, `-` and `.`; of this mail alone. A notification has the same at every attempt.
    pub id: String,
    /// When what it says was said.
    pub at: Timestamp,
    /// The reader's address.
    pub to: String,
    /// The sender's name: one line.
    pub sender: String,
    /// One line.
    pub subject: String,
    /// Plain text.
    pub text: String,
}

impl std::fmt::Debug for Mail {
    /// Without the text, which may have a link that confirms.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mail({} to {})", self.id, self.to)
    }
}

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailError {
    /// It never will be.
    Refused(String),
    /// It may be another time.
    Failed(String),
}

/// Sends mails.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands a mail over; `Ok` means that it is durably somebody else's to deliver. Bounded in time.
    async fn send(&self, mail: Mail) -> Result<(), MailError>;
}

/// What sending came to.
pub(super) fn judged(sent: Result<(), MailError>) -> Attempted {
    match sent {
        Ok(()) => Attempted::Done,
        Err(MailError::Refused(reason)) => Attempted::Refused(reason),
        Err(MailError::Failed(reason)) => Attempted::Failed(reason),
    }
}

/// The mail that asks a reader to confirm, or whether they meant to end their subscription. `json` is what it says to
/// programs.
pub(super) fn confirmation(
    envelope: &Envelope,
    subscription: &Subscription,
    at: Timestamp,
    json: Option<Map<String, Value>>,
) -> Mail {
    let link = envelope.confirm_url(subscription);
    let (subject, text) = if subscription.left {
        let arn = subscription.arn(&envelope.topic);
        let text = format!(
            "Your subscription below has been deactivated. You will no longer receive messages from this topic.\n\
             {arn}\n\n\
             If this was in error, open the link below within two days to take the subscription up again:\n{link}\n"
        );
        ("Notification - Unsubscribe Confirmation", text)
    } else {
        let text = format!(
            "You have chosen to subscribe to the topic:\n{}\n\n\
             To confirm this subscription, open the link below within two days. If this was in error, do nothing.\n\
             {link}\n",
            envelope.topic
        );
        ("Notification - Subscription Confirmation", text)
    };
    Mail {
        id: format!("{}.{}", subscription.id, at.millis()),
        at,
        to: subscription.endpoint.clone(),
        sender: SENDER.to_owned(),
        subject: subject.to_owned(),
        text: json.map_or(text, |json| Value::Object(json).to_string()),
    }
}

/// Sends messages to a subscription's reader.
pub(super) struct Mailing {
    pub live: Arc<Live>,
    pub mailer: Arc<dyn Mailer>,
    pub letters: Letters,
}

impl Mailing {
    fn topic(&self) -> &Arn {
        &self.letters.envelope.topic
    }
}

#[async_trait]
impl Attempt for Mailing {
    async fn attempt(&self, record: &Record) -> Attempted {
        let (current, envelope) = (self.live.current(), &self.letters.envelope);
        let subscription = &current.subscription;
        let Some(message) = current.wanted(self.topic().resource(), record) else { return Attempted::Done };
        let text = if subscription.protocol() == Protocol::EmailJson {
            let published = Published { message: &message, at: record.arrival, position: record.position };
            match envelope.notification(&published, subscription, current.version).await {
                Ok(body) => Value::Object(body).to_string(),
                Err(reason) => return Attempted::Later(reason),
            }
        } else {
            let (text, link) = (message.text_for(subscription.protocol()), envelope.unsubscribe_url(subscription));
            format!("{text}\n\n--\nTo stop receiving notifications from this topic, open the link below:\n{link}\n")
        };
        let sender = Some(&current.display_name).filter(|name| !name.is_empty()).map_or(SENDER, String::as_str);
        let mail = Mail {
            id: format!("{}.{}", message.id, subscription.id),
            at: record.arrival,
            to: subscription.endpoint.clone(),
            sender: sender.to_owned(),
            subject: message.subject.unwrap_or_else(|| NO_SUBJECT.to_owned()),
            text,
        };
        let outcome = judged(self.mailer.send(mail).await);
        if matches!(outcome, Attempted::Done) {
            metrics::notified(self.topic().resource(), "delivered");
        }
        outcome
    }

    fn delay(&self, attempts: u32, rng: &dyn Rng) -> Option<Duration> {
        HealthyRetry::MAIL.delay(attempts).map(|delay| jittered(delay, rng))
    }

    fn max_age(&self) -> Duration {
        WEB_AGE
    }

    fn retried(&self, record: &Record, reason: &str) {
        retried(self.topic(), &self.live, record, reason);
    }

    fn gave_up(&self, record: &Record, reason: &str) {
        gave_up(self.topic(), &self.live, record, reason);
    }

    async fn give_up(&self, record: &Record, end: &End) -> Result<(), String> {
        self.gave_up(record, &end.reason);
        put_away(&self.letters, &self.live, record).await
    }
}
