//! Mails out: to a mail server where one is configured, else into a folder that people can read.
//!
//! Owns the form of a mail (RFC 5322) and the choice. Promises that what a mail says cannot become a header of it, and
//! that a mail which was taken is durable or with the mail server. Must not know what mails say.

mod outbox;
mod relay;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use base::{Env, ErrorKind, Kinded};
use flow::topic::{Mail, MailError, Mailer};
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message};
use lettre::{Address, message};

use crate::{config, metrics};
use outbox::Outbox;
use relay::Relay;

/// Bytes of a mail's line (RFC 5322, section 2.1.1).
const MAX_LINE: usize = 998;

/// The settings of section `mail` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("mail.{key}: {why}")]
pub(crate) struct MailSettingError {
    key: &'static str,
    why: String,
}

impl MailSettingError {
    fn new(key: &'static str, why: impl Display) -> Self {
        Self { key, why: why.to_string() }
    }
}

impl Kinded for MailSettingError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// The [`Mailer`] of the server.
pub(crate) struct Mails {
    sender: Address,
    way: Way,
}

enum Way {
    Relay(Box<Relay>),
    Outbox(Arc<Outbox>),
}

impl Mails {
    /// As configured; without a mail server, mails are kept in `dir`/mail-outbox.
    pub fn new(env: &Env, dir: &Path, config: &config::Mail) -> Result<Self, MailSettingError> {
        let sender: Address = config.sender.parse().map_err(|e| MailSettingError::new("sender", e))?;
        let way = match Relay::new(&*env.fs, config, &sender)? {
            Some(relay) => Way::Relay(Box::new(relay)),
            None => Way::Outbox(Arc::new(Outbox::new(Arc::clone(&env.fs), dir.join("mail-outbox")))),
        };
        Ok(Self { sender, way })
    }

    fn write(&self, mail: &Mail) -> Result<Message, MailError> {
        let refused = |why: &dyn Display| MailError::Refused(format!("the mail cannot be written: {why}"));
        let to: Address = mail.to.parse().map_err(|e| refused(&e))?;
        let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(mail.at.millis()).unwrap_or_default());
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        Message::builder()
            .from(Mailbox::new(Some(one_line(&mail.sender)), self.sender.clone()))
            .to(Mailbox::new(None, to))
            .subject(one_line(&mail.subject))
            .date(at)
            .message_id(Some(format!("<{}@{}>", one_line(&mail.id), self.sender.domain())))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(self.body(&mail.text))
            .map_err(|e| refused(&e))
    }

    /// A text as it is carried: so that every mail server takes it, or so that a person can read the file.
    fn body(&self, text: &str) -> message::Body {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        match &self.way {
            Way::Outbox(_) if text.lines().all(|line| line.len() <= MAX_LINE) => {
                let lines = text.replace('\n', "\r\n").into_bytes();
                Body::dangerous_pre_encoded(lines, ContentTransferEncoding::EightBit)
            }
            _ => Body::new(text),
        }
    }
}

/// A header's text: whoever writes a message to a topic chooses it.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[async_trait]
impl Mailer for Mails {
    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let message = self.write(&mail)?;
        let (sent, done) = match &self.way {
            Way::Relay(relay) => (relay.send(message).await, "sent"),
            Way::Outbox(outbox) => (outbox.keep(mail.at, &mail.id, message.formatted()).await, "kept"),
        };
        metrics::mailed(match &sent {
            Ok(()) => done,
            Err(MailError::Refused(_)) => "refused",
            Err(MailError::Failed(_)) => "failed",
        });
        sent
    }
}

#[cfg(test)]
mod tests {
    use base::fs::sim::SimFs;
    use base::{SeededRng, TestClock, Timestamp};

    use super::*;
    use crate::config::Config;

    fn mail(subject: &str, text: &str) -> Mail {
        Mail {
            id: "i.s".into(),
            at: Timestamp::from_millis(1_700_000_000_000),
            to: "ops@example.com".into(),
            sender: "Alerts".into(),
            subject: subject.into(),
            text: text.into(),
        }
    }

    fn env() -> Env {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        Env { clock, rng: Arc::new(SeededRng::new(1)), fs: Arc::new(SimFs::new(1)) }
    }

    fn settings(change: impl FnOnce(&mut config::Mail)) -> config::Mail {
        let mut settings = Config::load(&base::RealFs, None, vec![], vec![]).unwrap().mail;
        change(&mut settings);
        settings
    }

    fn written(mails: &Mails, mail: &Mail) -> String {
        String::from_utf8(mails.write(mail).unwrap().formatted()).unwrap()
    }

    #[test]
    fn a_mail_is_readable_and_nothing_it_says_is_a_header() {
        let mails = Mails::new(&env(), "/data".as_ref(), &settings(|_| {})).unwrap();
        let link = format!("http://h/?a=b&c={}", "d".repeat(200));
        let text = written(&mails, &mail("Grüße", &format!("zähle\r\nauf\rmich: {link}\n")));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, format!("zähle\r\nauf\r\nmich: {link}\r\n"), "as it is, for whoever opens the file");
        for line in [
            "From: Alerts <tidegate@localhost>",
            "To: ops@example.com",
            "Message-ID: <i.s@localhost>",
            "Date: Tue, 14 Nov 2023 22:13:20 +0000",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(head.lines().any(|l| l == line), "{line} in {head}");
        }
        assert!(head.contains("Subject: =?utf-8?b?"), "{head}");

        let long = written(&mails, &mail("s", &"x".repeat(5_000)));
        assert!(long.split("\r\n").all(|line| line.len() <= MAX_LINE), "still a mail");

        let evil = "x\r\nBcc: evil@example.com\r\n\r\nbody";
        let one = Mail { sender: evil.into(), id: evil.into(), ..mail(evil, "t") };
        let text = written(&mails, &one);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.to_ascii_lowercase().starts_with("bcc")) && body == "t", "{text}");
        for to in ["a@h\r\nBcc: b@h", "a@h, b@h", "nobody", ""] {
            let refused = mails.write(&Mail { to: to.into(), ..mail("s", "t") });
            assert!(matches!(refused, Err(MailError::Refused(_))), "{to}");
        }
    }

    #[test]
    fn every_mail_server_takes_what_is_sent() {
        let mails = Mails::new(&env(), "/data".as_ref(), &settings(|mail| mail.host = "127.0.0.1".into())).unwrap();
        let long = "ä".repeat(2_000) + "\n.\n" + &"x".repeat(262_144);
        let text = written(&mails, &mail("s", &long));
        assert!(text.is_ascii() && text.split("\r\n").all(|line| line.len() <= MAX_LINE), "7 bits, short lines");
    }

    #[test]
    fn settings_that_cannot_be_used_are_refused_by_name() {
        let refused = |change: fn(&mut config::Mail)| {
            Mails::new(&env(), "/data".as_ref(), &settings(change)).map(|_| ()).unwrap_err().to_string()
        };
        for (change, key) in [
            ((|m| m.sender = "nobody".into()) as fn(&mut config::Mail), "mail.sender"),
            (|m| (m.user, m.password) = ("u".into(), "p".to_owned().into()), "mail.host"),
            (|m| m.port = 25, "mail.host"),
            (|m| m.tls = config::MailTls::StartTls, "mail.host"),
            (|m| (m.host, m.user) = ("h".into(), "u".into()), "mail.password"),
            (|m| (m.host, m.password) = ("h".into(), "p".to_owned().into()), "mail.user"),
            (|m| (m.host, m.password_file) = ("h".into(), Some("/none".into())), "mail.password_file"),
            (|m| (m.host, m.ca_file) = ("h".into(), Some("/none".into())), "mail.ca_file"),
            (
                |m| {
                    (m.host, m.user, m.password) = ("mail.example.com".into(), "u".into(), "p".to_owned().into());
                    m.tls = config::MailTls::Off;
                },
                "mail.tls",
            ),
            (|m| (m.host, m.tls, m.ca_file) = ("h".into(), config::MailTls::Off, Some("/none".into())), "mail.ca_file"),
        ] {
            let error = refused(change);
            assert!(error.starts_with(&format!("{key}: ")), "{key}: {error}");
        }
    }
}
