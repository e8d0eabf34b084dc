//! Where a subscriber is told: its protocol, and the address that goes with it.
//!
//! Owns which endpoints are valid. Whether a host may be called is for the HTTP client to decide, which alone sees the
//! address that a name stands for. Must not know how anything is sent.

use base::{Arn, Scope};
use http::Uri;
use serde::{Deserialize, Serialize};

use crate::FlowError;

/// Characters of a mail address (RFC 5321, section 4.5.3.1.3, without the angle brackets).
const MAX_ADDRESS: usize = 254;

/// How a subscriber is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A POST.
    Http,
    /// A POST over TLS.
    Https,
    /// A message in a queue of the account.
    Sqs,
    /// An asynchronous invocation of a function of the account.
    Lambda,
    /// A record on a delivery stream of the account.
    Firehose,
    /// A mail for people.
    Email,
    /// A mail for programs.
    EmailJson,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Http, Self::Https, Self::Sqs, Self::Lambda, Self::Firehose, Self::Email, Self::EmailJson];

    /// As the service names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Sqs => "sqs",
            Self::Lambda => "lambda",
            Self::Firehose => "firehose",
            Self::Email => "email",
            Self::EmailJson => "email-json",
        }
    }

    /// By its name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// The protocol of subscriptions that were stored before there was another than HTTP.
    pub(super) fn of_url(url: &str) -> Self {
        let is_secure = url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        if is_secure { Self::Https } else { Self::Http }
    }

    /// Whether it is a web endpoint, the only kind whose delivery policy can be set.
    pub fn is_web(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Whether it is a mail.
    pub fn is_mail(self) -> bool {
        matches!(self, Self::Email | Self::EmailJson)
    }

    /// Whether the subscriber is of this server, which makes its confirmation.
    pub fn is_local(self) -> bool {
        matches!(self, Self::Sqs | Self::Lambda | Self::Firehose)
    }
}

fn invalid(why: &str) -> FlowError {
    FlowError::Invalid(format!("Invalid parameter: {why}"))
}

/// Whether an endpoint can be told by a protocol. Whether it exists is another question.
pub(super) fn check(protocol: Protocol, endpoint: &str, topic: (&Scope, bool)) -> Result<(), FlowError> {
    let (scope, is_fifo) = topic;
    if is_fifo && protocol != Protocol::Sqs {
        let text = format!("Invalid protocol type: {}", protocol.name());
        return Err(invalid(&format!("{text} Reason: only queues can be subscribed to FIFO topics")));
    }
    match protocol {
        Protocol::Http | Protocol::Https => {
            let scheme = endpoint.split(':').next().unwrap_or_default();
            if !scheme.eq_ignore_ascii_case(protocol.name()) {
                return Err(invalid("Endpoint must match the specified protocol"));
            }
            parse_url(endpoint).map(drop)
        }
        Protocol::Sqs => {
            let queue = local_arn(endpoint, scope, "sqs").ok_or_else(|| invalid("SQS endpoint ARN"))?;
            if queue.resource().ends_with(".fifo") && !is_fifo {
                return Err(invalid(
                    "Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics",
                ));
            }
            Ok(())
        }
        Protocol::Lambda => {
            let function = local_arn(endpoint, scope, "lambda").filter(|arn| arn.resource_of("function").is_some());
            function.map(drop).ok_or_else(|| invalid("Lambda endpoint ARN"))
        }
        Protocol::Firehose => {
            let stream =
                local_arn(endpoint, scope, "firehose").filter(|arn| arn.resource_of("deliverystream").is_some());
            stream.map(drop).ok_or_else(|| invalid("Firehose endpoint ARN"))
        }
        Protocol::Email | Protocol::EmailJson if is_address(endpoint) => Ok(()),
        Protocol::Email | Protocol::EmailJson => Err(invalid("Email address")),
    }
}

/// Whether a text is one address of a mailbox: a dot-atom and a host name (RFC 5321, section 4.1.2), so that nothing in
/// it has a meaning to a mail's header or to a mail server.
fn is_address(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else { return false };
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.len() <= MAX_ADDRESS
        && (1..=64).contains(&local.len())
        && local.split('.').all(|part| !part.is_empty() && part.bytes().all(atom))
        && host.split('.').all(label)
}

/// An ARN of a service of the topic's own account and region.
fn local_arn(endpoint: &str, scope: &Scope, service: &str) -> Option<Arn> {
    let arn: Arn = endpoint.parse().ok()?;
    (arn.service() == service && arn.scope().as_ref() == Some(scope)).then_some(arn)
}

/// Reads a web endpoint, refusing what cannot be called.
pub(super) fn parse_url(endpoint: &str) -> Result<Uri, FlowError> {
    let invalid = |why: &str| invalid(&format!("Endpoint Reason: {why}"));
    let uri: Uri = endpoint.parse().map_err(|_| invalid("it is not a URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(invalid("it must start with http:// or https://")),
    }
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.ok_or_else(|| invalid("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(invalid("user and password in the URL are not supported"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_goes_with_its_protocol_and_its_topic() {
        let scope: Scope = Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() };
        let ok = |name: &str, endpoint: &str, is_fifo| {
            check(Protocol::of_name(name).unwrap(), endpoint, (&scope, is_fifo)).is_ok()
        };
        let queue = "arn:aws:sqs:us-east-1:000000000000:q";
        for (name, endpoint) in [
            ("http", "http://h:1/x?y"),
            ("https", "HTTPS://h/"),
            ("sqs", queue),
            ("lambda", "arn:aws:lambda:us-east-1:000000000000:function:f:live"),
            ("firehose", "arn:aws:firehose:us-east-1:000000000000:deliverystream/d"),
            ("email", "first.last+alerts@mail.example.com"),
            ("email-json", "root@localhost"),
        ] {
            assert!(ok(name, endpoint, false), "{name} {endpoint}");
            assert_eq!(ok(name, endpoint, true), name == "sqs", "{name}");
        }
        assert!(ok("sqs", &format!("{queue}.fifo"), true) && !ok("sqs", &format!("{queue}.fifo"), false));
        for (name, endpoint) in [
            ("http", "https://h/"),
            ("https", "h"),
            ("http", "http://user:secret@h/"),
            ("http", "http://:80/"),
            ("sqs", "q"),
            ("sqs", "arn:aws:sqs:eu-west-1:000000000000:q"),
            ("sqs", "arn:aws:sqs:us-east-1:111111111111:q"),
            ("lambda", queue),
            ("firehose", queue),
            ("firehose", "arn:aws:firehose:us-east-1:111111111111:deliverystream/d"),
        ] {
            assert!(!ok(name, endpoint, false), "{name} {endpoint}");
        }
    }
    #[test]
    fn an_address_is_one_mailbox_and_nothing_else() {
        for bad in [
            "",
            "a",
            "@h",
            "a@",
            "a@b@c",
            "a@h, b@h",
            "a b@h",
            "a@h\r\nBcc: b@h",
            "\"a\"@h",
            "<a@h>",
            "a.@h",
            "a..b@h",
            "a@-h",
            "a@h_h",
            "a@[127.0.0.1]",
            "\u{e4}@h",
            "a@b\u{fc}cher.example",
            "a@h;b",
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
        assert!(is_address(&format!("{}@h", "a".repeat(64))) && !is_address(&format!("{}@h", "a".repeat(65))));
        assert!(!is_address(&format!("a@{}", "b.".repeat(127) + "bcd")));
    }
}
