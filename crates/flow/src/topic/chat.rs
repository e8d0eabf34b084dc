//! Messages in the words of those who show alerts to people: Slack, Microsoft Teams and PagerDuty.
//!
//! Owns the bodies that their webhooks take, and their bounds ("Sending messages using incoming webhooks" and "Block
//! Kit", Slack; "Create incoming webhooks with Workflows" and "Adaptive Cards", Microsoft Teams; "Send an Alert Event",
//! PagerDuty Events API v2). Promises that a body is never larger than its receiver takes, that what was cut off is
//! marked, that nothing required is empty, and that a message can neither mention people nor format itself. Pure. Must
//! not know how it is sent.
//!
//! None of these receivers can visit a link, so whoever reads the channel confirms: the question has a button, or a link
//! of the alert, that a person opens.

use base::{Arn, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::envelope::Envelope;
use super::message::Message;
use super::subscription::Subscription;

/// Characters of a Slack header, a section's text, and the text that notifications on phones show.
const SLACK_HEADER: usize = 150;
const SLACK_TEXT: usize = 3_000;
/// Bytes of a message to Teams.
const TEAMS_BYTES: usize = 28_000;
const TEAMS_TITLE: usize = 200;
/// Characters of an alert's summary, and bytes of an event.
const PAGER_SUMMARY: usize = 1_024;
const PAGER_BYTES: usize = 512_000;
/// What all these bodies are.
pub(super) const CONTENT_TYPE: &str = "application/json";
/// What stands for what was cut off.
const CUT: &str = " …";
/// What a message is called that has neither a subject nor a line of text.
const UNTITLED: &str = "Notification";
/// The attribute of a message that says how bad it is, and what it may say; without it an alert is an error.
const SEVERITY: &str = "severity";
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

/// `WebhookFormat` of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// Slack's incoming webhooks.
    Slack,
    /// Workflows of Microsoft Teams.
    Teams,
    /// PagerDuty's Events API, version 2.
    PagerDuty,
}

impl WebhookFormat {
    const ALL: [Self; 3] = [Self::Slack, Self::Teams, Self::PagerDuty];

    /// By the attribute's value.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The attribute's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::PagerDuty => "pagerduty",
        }
    }
}

/// What is to be shown.
pub(super) struct Notice<'a> {
    /// The same at every attempt.
    pub id: String,
    pub title: String,
    pub text: &'a str,
    /// Where it comes from.
    pub topic: String,
    pub at: String,
    pub severity: &'static str,
    /// What a reader may open: its name and address.
    pub link: Option<(&'static str, String)>,
}

impl<'a> Notice<'a> {
    /// A message, in the text that is for its protocol.
    pub fn of(message: &'a Message, text: &'a str, topic: &Arn, at: Timestamp) -> Self {
        let said = message.attributes.get(SEVERITY).map_or("", |attribute| attribute.value.as_str());
        let severity = SEVERITIES.into_iter().find(|severity| severity.eq_ignore_ascii_case(said)).unwrap_or("error");
        let first = text.lines().map(str::trim).find(|line| !line.is_empty());
        let title = message.subject.as_deref().map(str::trim).filter(|subject| !subject.is_empty()).or(first);
        Self {
            id: message.id.clone(),
            title: title.unwrap_or(UNTITLED).to_owned(),
            text,
            topic: topic.to_string(),
            at: at.to_iso_millis(),
            severity,
            link: None,
        }
    }

    /// The question whether a subscription is meant, or its end.
    pub fn asking(envelope: &Envelope, subscription: &Subscription, at: Timestamp) -> Self {
        let (title, text, name) = if subscription.left {
            ("This subscription has ended", "Open the link within two days if that was a mistake.", "Take it up again")
        } else {
            let text = "This channel was subscribed to the topic below. Open the link within two days to confirm that; \
                        do nothing if nobody here has asked for it.";
            ("Confirm this subscription", text, "Confirm subscription")
        };
        Self {
            id: format!("{}.{}", subscription.id, subscription.created.millis()),
            title: title.to_owned(),
            text,
            topic: envelope.topic.to_string(),
            at: at.to_iso_millis(),
            severity: "info",
            link: Some((name, envelope.confirm_url(subscription))),
        }
    }
}

/// The body for a receiver.
pub(super) fn body(format: WebhookFormat, notice: &Notice<'_>, routing_key: &str) -> String {
    let text = clean(notice.text);
    match format {
        WebhookFormat::Slack => slack(notice, &text).to_string(),
        WebhookFormat::Teams => bounded(&text, TEAMS_BYTES, |text| teams(notice, text)),
        WebhookFormat::PagerDuty => bounded(&text, PAGER_BYTES, |text| pager(notice, text, routing_key)),
    }
}

/// Without what cannot be shown, which some receivers refuse; a text of blanks counts as empty to them.
fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c };
    let text: String = text.replace("\r\n", "\n").chars().map(shown).collect();
    if text.trim().is_empty() { UNTITLED.to_owned() } else { text }
}

/// At most so many characters, of those beyond the basic plane each counted as two, as some receivers count.
fn cut(text: &str, max: usize) -> String {
    if text.encode_utf16().count() <= max {
        return text.to_owned();
    }
    let mut left = max.saturating_sub(CUT.chars().count());
    let fits = |c: &char| {
        let fits = c.len_utf16() <= left;
        left = if fits { left - c.len_utf16() } else { 0 };
        fits
    };
    text.chars().take_while(fits).chain(CUT.chars()).collect()
}

/// Cuts the text until the body fits.
fn bounded(text: &str, max: usize, write: impl Fn(&str) -> Value) -> String {
    let mut length = text.encode_utf16().count();
    loop {
        let body = write(&cut(text, length)).to_string();
        if body.len() <= max || length <= CUT.chars().count() {
            return body;
        }
        length = (length * max / body.len()).min(length - 1).max(CUT.chars().count());
    }
}

fn slack(notice: &Notice<'_>, text: &str) -> Value {
    let plain = |text: String| json!({"type": "plain_text", "text": text, "emoji": false});
    let title = clean(&notice.title);
    // "Escaping text", Slack: these three are all that has a meaning in a message's text.
    let escaped = cut(&title, SLACK_TEXT).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let origin = cut(&format!("{} · {}", notice.topic, notice.at), SLACK_TEXT);
    let mut blocks = vec![
        json!({"type": "header", "text": plain(cut(&title, SLACK_HEADER))}),
        json!({"type": "section", "text": plain(cut(text, SLACK_TEXT))}),
        json!({"type": "context", "elements": [plain(origin)]}),
    ];
    if let Some((name, url)) = &notice.link {
        let button = json!({"type": "button", "text": plain((*name).to_owned()), "url": url});
        blocks.push(json!({"type": "actions", "elements": [button]}));
    }
    json!({"text": escaped, "blocks": blocks})
}

fn teams(notice: &Notice<'_>, text: &str) -> Value {
    // A run of text has no Markdown, so that nothing in a message becomes a link.
    let run = |text: String, more: Value| {
        let mut run = json!({"type": "TextRun", "text": text});
        if let (Value::Object(run), Value::Object(more)) = (&mut run, more) {
            run.extend(more);
        }
        json!({"type": "RichTextBlock", "inlines": [run]})
    };
    let title = cut(&clean(&notice.title), TEAMS_TITLE);
    let origin = format!("{} · {}", notice.topic, notice.at);
    let links = notice.link.iter().map(|(name, url)| json!({"type": "Action.OpenUrl", "title": name, "url": url}));
    json!({"type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": null,
        "content": {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "body": [
                run(title, json!({"size": "Medium", "weight": "Bolder"})),
                run(text.to_owned(), json!({})),
                run(origin, json!({"size": "Small", "isSubtle": true})),
            ],
            "actions": links.collect::<Vec<_>>(),
        },
    }]})
}

fn pager(notice: &Notice<'_>, text: &str, routing_key: &str) -> Value {
    let links = notice.link.iter().map(|(name, url)| json!({"href": url, "text": name}));
    json!({
        "routing_key": routing_key,
        "event_action": "trigger",
        // An attempt that is repeated is the same alert.
        "dedup_key": notice.id,
        "payload": {
            "summary": cut(&clean(&notice.title), PAGER_SUMMARY),
            "source": notice.topic,
            "severity": notice.severity,
            "timestamp": notice.at,
            "custom_details": {"message": text},
        },
        "links": links.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::Attribute;
    use super::*;

    const FORMATS: [WebhookFormat; 3] = WebhookFormat::ALL;

    fn message(subject: Option<&str>, text: &str, severity: &str) -> Message {
        let attribute = Attribute { data_type: "String".into(), value: severity.into() };
        let attributes = [(SEVERITY.to_owned(), attribute)].into();
        Message {
            id: "i".into(),
            subject: subject.map(Into::into),
            text: text.into(),
            attributes,
            ..Message::default()
        }
    }

    fn written(format: WebhookFormat, message: &Message, link: Option<(&'static str, String)>) -> (usize, Value) {
        let (topic, at) = ("arn:aws:sns:us-east-1:000000000000:t".parse().unwrap(), Timestamp::from_millis(0));
        let notice = Notice { link, ..Notice::of(message, &message.text, &topic, at) };
        let body = body(format, &notice, "key");
        (body.len(), serde_json::from_str(&body).unwrap())
    }

    #[test]
    fn bodies_are_what_their_receivers_read() {
        let message = message(Some("<!channel> & more"), "a\r\nb\u{0} [x](http://h)", "Critical");
        let slack = written(WebhookFormat::Slack, &message, None).1;
        assert_eq!(slack["text"], "&lt;!channel&gt; &amp; more", "nobody is called");
        assert_eq!(
            (&slack["blocks"][0]["type"], &slack["blocks"][0]["text"]["text"]),
            (&"header".into(), &"<!channel> & more".into())
        );
        assert_eq!(
            slack["blocks"][1]["text"],
            json!({"type": "plain_text", "text": "a\nb  [x](http://h)", "emoji": false})
        );
        assert_eq!(slack["blocks"].as_array().unwrap().len(), 3);

        let teams = written(WebhookFormat::Teams, &message, None).1;
        let card = &teams["attachments"][0]["content"];
        assert_eq!(
            (&teams["type"], &card["type"], &card["version"]),
            (&"message".into(), &"AdaptiveCard".into(), &"1.4".into())
        );
        let runs: Vec<_> = card["body"].as_array().unwrap().iter().map(|block| &block["inlines"][0]).collect();
        assert!(runs.iter().all(|run| run["type"] == "TextRun"), "no Markdown");
        assert_eq!(runs[1]["text"], "a\nb  [x](http://h)");

        let pager = written(WebhookFormat::PagerDuty, &message, None).1;
        assert_eq!(
            (&pager["routing_key"], &pager["event_action"], &pager["dedup_key"]),
            (&"key".into(), &"trigger".into(), &"i".into())
        );
        assert_eq!(
            (&pager["payload"]["severity"], &pager["payload"]["summary"]),
            (&"critical".into(), &"<!channel> & more".into())
        );
        assert_eq!(pager["payload"]["timestamp"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_person_is_given_the_link() {
        let link = Some(("Confirm", "https://h/?x".to_owned()));
        let of = |format| written(format, &message(None, "t", ""), link.clone()).1;
        let button = &of(WebhookFormat::Slack)["blocks"][3]["elements"][0];
        assert_eq!((&button["type"], &button["url"]), (&"button".into(), &"https://h/?x".into()));
        let action = &of(WebhookFormat::Teams)["attachments"][0]["content"]["actions"][0];
        assert_eq!((&action["type"], &action["url"]), (&"Action.OpenUrl".into(), &"https://h/?x".into()));
        assert_eq!(of(WebhookFormat::PagerDuty)["links"], json!([{"href": "https://h/?x", "text": "Confirm"}]));
    }

    #[test]
    fn no_body_is_too_large_and_what_was_cut_off_is_marked() {
        let units = |value: &Value| value.as_str().unwrap().encode_utf16().count();
        for text in ["\"\u{1F30A}".repeat(200_000), "\u{1}".repeat(600_000), "x".repeat(262_144)] {
            let slack = written(WebhookFormat::Slack, &message(None, &text, ""), None).1;
            assert!(
                units(&slack["blocks"][0]["text"]["text"]) <= 150
                    && units(&slack["blocks"][1]["text"]["text"]) <= 3_000
            );
            for (format, max) in [(WebhookFormat::Teams, TEAMS_BYTES), (WebhookFormat::PagerDuty, PAGER_BYTES)] {
                let (bytes, body) = written(format, &message(Some("s"), &text, ""), None);
                assert!(bytes <= max, "{format:?}: {bytes}");
                assert!(
                    bytes >= max / 2 || !body.to_string().contains('…'),
                    "{format:?}: {bytes}: not more is cut than must be"
                );
            }
            assert!(
                written(WebhookFormat::Teams, &message(None, &text, ""), None).1.to_string().contains(" …")
                    || text.starts_with('\u{1}')
            );
        }
    }

    #[test]
    fn nothing_that_must_be_there_is_empty() {
        for text in [" \n\t", "\u{0}", "\n\nsecond"] {
            for format in FORMATS {
                let body = written(format, &message(Some("  "), text, "fatal"), None).1;
                let (title, shown) = match format {
                    WebhookFormat::Slack => (&body["blocks"][0]["text"]["text"], &body["blocks"][1]["text"]["text"]),
                    WebhookFormat::Teams => {
                        let blocks = &body["attachments"][0]["content"]["body"];
                        (&blocks[0]["inlines"][0]["text"], &blocks[1]["inlines"][0]["text"])
                    }
                    WebhookFormat::PagerDuty => {
                        (&body["payload"]["summary"], &body["payload"]["custom_details"]["message"])
                    }
                };
                let expected = if text.contains("second") { "second" } else { UNTITLED };
                assert_eq!(
                    (title.as_str().unwrap(), shown.as_str().unwrap().trim()),
                    (expected, expected),
                    "{text:?} {format:?}"
                );
            }
        }
        assert_eq!(
            written(WebhookFormat::PagerDuty, &message(None, "t", "fatal"), None).1["payload"]["severity"],
            "error"
        );
        assert!(FORMATS.into_iter().all(|format| WebhookFormat::of_name(format.name()) == Some(format)));
        assert_eq!(WebhookFormat::of_name("Slack"), None);
    }
}
