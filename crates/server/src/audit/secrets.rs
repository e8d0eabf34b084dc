//! What of a request or an answer is never in a record.
//!
//! Owns the list. Left out or hidden are: everything that a model marks as sensitive, every blob (records, code,
//! payloads), what [`LISTED`] names, and text of a name in [`NAMES`] whatever service it is of. So a service that is added
//! shows no credential even before somebody has looked at it, and a test finds members whose names smell of secrets
//! and of which nobody has said what they are.

use wire::ServiceId;
use wire::model::{Kind, Member, Shape};

/// What CloudTrail writes in place of a secret.
pub(super) const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// How much of a member is in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// All of it.
    Whole,
    /// That it was there.
    Hidden,
    /// Nothing.
    Omitted,
    /// Of a URL its scheme and host: what follows is often a secret, as with chat webhooks. Else all.
    Host,
}

/// Members by service and name, in whatever structure they are.
const LISTED: &[(ServiceId, &str, Shown)] = &[
    (ServiceId::Events, "AuthParameters", Shown::Hidden),
    (ServiceId::Events, "Detail", Shown::Hidden),
    (ServiceId::Events, "Event", Shown::Hidden),
    (ServiceId::Events, "HeaderParameters", Shown::Hidden),
    (ServiceId::Events, "Input", Shown::Hidden),
    (ServiceId::Events, "InputTemplate", Shown::Hidden),
    (ServiceId::Events, "InvocationEndpoint", Shown::Host),
    (ServiceId::Events, "PathParameterValues", Shown::Hidden),
    (ServiceId::Events, "QueryStringParameters", Shown::Hidden),
    (ServiceId::Firehose, "ClusterJDBCURL", Shown::Hidden),
    (ServiceId::Firehose, "Records", Shown::Omitted),
    (ServiceId::Kinesis, "ExplicitHashKey", Shown::Hidden),
    (ServiceId::Kinesis, "PartitionKey", Shown::Hidden),
    (ServiceId::Kinesis, "Records", Shown::Omitted),
    (ServiceId::Lambda, "ClientContext", Shown::Hidden),
    (ServiceId::Lambda, "Location", Shown::Hidden),
    (ServiceId::Lambda, "LogResult", Shown::Omitted),
    (ServiceId::Scheduler, "Input", Shown::Hidden),
    (ServiceId::Sns, "Endpoint", Shown::Host),
    (ServiceId::Sns, "Message", Shown::Hidden),
    (ServiceId::Sns, "MessageAttributes", Shown::Hidden),
    (ServiceId::Sns, "Subject", Shown::Hidden),
    (ServiceId::Sqs, "Body", Shown::Hidden),
    (ServiceId::Sqs, "MessageAttributes", Shown::Hidden),
    (ServiceId::Sqs, "MessageBody", Shown::Hidden),
    (ServiceId::Sqs, "MessageSystemAttributes", Shown::Hidden),
    (ServiceId::Sqs, "ReceiptHandle", Shown::Hidden),
];

/// Names of text that is a secret in every service.
const NAMES: &[&str] = &[
    "AccessKey",
    "ApiKeyValue",
    "AuthenticationCode",
    "AuthenticationCode1",
    "AuthenticationCode2",
    "ClientSecret",
    "EventSourceToken",
    "HECToken",
    "KeyPassphrase",
    "NewPassword",
    "OldPassword",
    "Password",
    "PrivateKey",
    "SAMLAssertion",
    "SecretAccessKey",
    "ServicePassword",
    "SessionToken",
    "Token",
    "TokenCode",
    "WebIdentityToken",
];

/// Keys of maps of attributes whose values are secrets, and names of attributes that are set one by one.
const ATTRIBUTES: &[&str] = &["WebhookRoutingKey"];

/// How much of a member is shown.
pub(super) fn shown(service: ServiceId, member: &Member) -> Shown {
    if let Some((_, _, shown)) = LISTED.iter().find(|(of, name, _)| *of == service && *name == member.name) {
        return *shown;
    }
    if any(member.shape, &|shape| matches!(shape.kind, Kind::Blob)) {
        return Shown::Omitted;
    }
    if any(member.shape, &|shape| shape.sensitive) {
        // As the service leaves out a function's variables, of which even the names are secret.
        return if service == ServiceId::Lambda { Shown::Omitted } else { Shown::Hidden };
    }
    if NAMES.contains(&member.name) && matches!(member.shape.kind, Kind::String) { Shown::Hidden } else { Shown::Whole }
}

/// Whether the value of an attribute is a secret, by the attribute's name.
pub(super) fn is_secret_attribute(name: &str) -> bool {
    ATTRIBUTES.contains(&name)
}

/// Whether something holds of a shape or of what a list or map of it has in it.
fn any(shape: &Shape, holds: &dyn Fn(&Shape) -> bool) -> bool {
    holds(shape)
        || match &shape.kind {
            Kind::List { member, .. } => any(member.shape, holds),
            Kind::Map { key, value, .. } => any(key.shape, holds) || any(value.shape, holds),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What members are called that may be secrets.
    const SMELLS: &[&str] = &["secret", "password", "passphrase", "token", "credential", "private", "auth", "apikey"];
    /// Texts of such names that are none.
    const HARMLESS: &[&str] = &[
        "ApiKeyName",
        "AuthenticateOnUnsubscribe",
        "AuthorizationEndpoint",
        "AuthorizationType",
        "ClientToken",
        "FunctionUrlAuthType",
        "NextToken",
        "PrivateLinkVpceId",
        "SecretARN",
        "SecretArn",
        "SecretManagerArn",
        "ServiceSpecificCredentialId",
    ];

    fn members() -> impl Iterator<Item = (ServiceId, &'static Shape, &'static Member)> {
        let shapes = ServiceId::ALL.iter().flat_map(|service| service.model().shapes.iter().map(|s| (*service, *s)));
        shapes.flat_map(|(service, shape)| {
            let members: &'static [Member] = match &shape.kind {
                Kind::Structure(members) => members,
                _ => &[],
            };
            members.iter().map(move |member| (service, shape, member))
        })
    }

    #[test]
    fn of_every_member_whose_name_smells_of_a_secret_it_is_said_what_it_is() {
        // Structures show their own members, and neither numbers nor truths nor times are secrets.
        let is_text =
            |member: &Member| matches!(member.shape.kind, Kind::String | Kind::List { .. } | Kind::Map { .. });
        for (service, shape, member) in members().filter(|(_, _, member)| is_text(member)) {
            let name = member.name.to_lowercase();
            if SMELLS.iter().any(|smell| name.contains(smell)) && !HARMLESS.contains(&member.name) {
                assert_ne!(shown(service, member), Shown::Whole, "{service:?} {}.{}", shape.name, member.name);
            }
        }
    }

    #[test]
    fn every_row_is_of_a_member_that_there_is() {
        for (service, name, _) in LISTED {
            assert!(members().any(|(of, _, member)| of == *service && member.name == *name), "{service:?} {name}");
        }
    }

    #[test]
    fn blobs_and_what_is_sensitive_are_not_shown() {
        for (service, shape, member) in members() {
            if matches!(member.shape.kind, Kind::Blob) || member.shape.sensitive {
                assert_ne!(shown(service, member), Shown::Whole, "{service:?} {}.{}", shape.name, member.name);
            }
        }
    }
}
