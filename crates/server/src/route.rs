//! The table of routes: what a request is for, and how its caller must prove who they are.
//!
//! Promises that every request has exactly one route and every route says its requirement. The only public ones are
//! the health check, the links by which a subscriber confirms and ends its subscription, whose token and whose random
//! name are their proof, and the certificate that notifications are verified by. Must not read bodies.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::access::is_access;
use crate::signing::is_certificate;

/// How a caller proves who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// Not at all.
    Public,
    /// By a signature.
    Signed,
    /// By a signature, or by access key and secret as HTTP Basic.
    SignedOrBasic,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Whether the server is ready.
    Health,
    /// Prometheus text.
    Metrics,
    /// CloudTrail events in.
    IngestCloudTrail,
    /// A function's log.
    FunctionLog,
    /// What goes through a stream's shards.
    StreamTraffic,
    /// The way of an event.
    EventTrace,
    /// How event-source mappings get on, and what is done about what they are stuck on.
    Mappings,
    /// Why somebody may or may not do something.
    Access,
    /// Nothing, under the prefix that is reserved for Tidegate's own routes.
    Unknown,
    /// A subscription's confirmation.
    ConfirmationLink,
    /// A subscription's end.
    UnsubscribeLink,
    /// The certificate of what notifications are signed with.
    SigningCertificate,
    /// The search API, for clients that do not sign.
    Search,
    /// The service that the signature names.
    Aws,
}

/// One row.
pub(crate) struct Route {
    /// What it serves.
    pub destination: Destination,
    /// What it asks of the caller.
    pub requirement: Requirement,
    /// Whether its bodies may be as large as a function's package.
    pub large: bool,
    matches: fn(&Parts) -> bool,
    /// A request that takes this route when it comes without any proof, for the test that none but the public answers.
    #[cfg(test)]
    pub sample: (&'static str, &'static str, &'static [(&'static str, &'static str)]),
}

const CONSOLE: &str = "/_tidegate/";
/// Before a function's name.
pub(crate) const LOGS: &str = "/_tidegate/logs/";

macro_rules! routes {
    ($($destination:ident, $requirement:ident, $large:literal, $matches:expr, $sample:expr;)+) => {
        /// In order: the first that matches is taken, the last matches everything.
        pub(crate) static ROUTES: &[Route] = &[$(Route {
            destination: Destination::$destination,
            requirement: Requirement::$requirement,
            large: $large,
            matches: $matches,
            #[cfg(test)]
            sample: $sample,
        }),+];
    };
}

routes! {
    Health, Public, false, |r| is(r, &Method::GET, "/_tidegate/health"), ("GET", "/_tidegate/health", &[]);
    Metrics, SignedOrBasic, false, |r| is(r, &Method::GET, "/_tidegate/metrics"), ("GET", "/_tidegate/metrics", &[]);
    IngestCloudTrail, Signed, false, |r| is(r, &Method::POST, "/_tidegate/ingest/cloudtrail"),
        ("POST", "/_tidegate/ingest/cloudtrail", &[]);
    StreamTraffic, Signed, false, |r| r.method == Method::GET && traffic_of(r.uri.path()).is_some(),
        ("GET", "/_tidegate/streams/events/traffic", &[]);
    EventTrace, Signed, false, |r| r.method == Method::GET && traced_by(r.uri.path()).is_some(),
        ("GET", "/_tidegate/events/019ab0c5-7e1f-7b3a-9c41-5f0e7d2c8a11/trace", &[]);
    Mappings, Signed, false, |r| mapping_of(r.uri.path()).is_some(), ("POST", "/_tidegate/mappings/id/skip", &[]);
    Access, Signed, false, |r| r.method == Method::GET && is_access(r.uri.path()),
        ("GET", "/_tidegate/access/explain", &[]);
    FunctionLog, Signed, false, |r| r.method == Method::GET && r.uri.path().starts_with(LOGS),
        ("GET", "/_tidegate/logs/alert", &[]);
    Unknown, Signed, false, |r| r.uri.path().starts_with(CONSOLE), ("DELETE", "/_tidegate/anything", &[]);
    ConfirmationLink, Public, false, |r| is_link(r, "Action=ConfirmSubscription"),
        ("GET", "/?Action=ConfirmSubscription&TopicArn=a&Token=b", &[]);
    UnsubscribeLink, Public, false, |r| is_link(r, "Action=Unsubscribe"),
        ("GET", "/?Action=Unsubscribe&SubscriptionArn=a", &[]);
    SigningCertificate, Public, false, |r| r.method == Method::GET && is_certificate(r.uri.path()),
        ("GET", "/SimpleNotificationService-0.pem", &[]);
    Search, SignedOrBasic, false, |r| is_basic(&r.headers), ("POST", "/events/_search", &[("authorization", "Basic eDp5")]);
    Aws, Signed, true, |r| r.uri.path().starts_with("/2015-03-31/"), ("POST", "/2015-03-31/functions", &[]);
    Aws, Signed, true, |r| r.uri.path().starts_with("/2018-10-31/layers/"), ("POST", "/2018-10-31/layers/l/versions", &[]);
    Aws, Signed, false, |_| true, ("POST", "/", &[("x-amz-target", "Kinesis_20131202.ListStreams")]);
}

/// The stream whose traffic a path asks for.
pub(crate) fn traffic_of(path: &str) -> Option<&str> {
    path.strip_prefix("/_tidegate/streams/")?.strip_suffix("/traffic")
}

/// The event whose way a path asks for, percent-encoded.
pub(crate) fn traced_by(path: &str) -> Option<&str> {
    path.strip_prefix("/_tidegate/events/")?.strip_suffix("/trace").filter(|id| !id.is_empty())
}

/// The mapping that a path names, or none for all, and what is asked about it.
pub(crate) fn mapping_of(path: &str) -> Option<(Option<&str>, &str)> {
    let rest = path.strip_prefix("/_tidegate/mappings")?;
    let Some(rest) = rest.strip_prefix('/') else { return rest.is_empty().then_some((None, "")) };
    let (id, what) = rest.split_once('/').unwrap_or((rest, ""));
    Some((Some(id), what))
}

/// The route of a request.
pub(crate) fn route(head: &Parts) -> &'static Route {
    // The last row matches everything; were it lost, the strictest requirement would still hold for what is left.
    ROUTES.iter().find(|route| (route.matches)(head)).unwrap_or(&ROUTES[ROUTES.len() - 1])
}

/// Whether the request proves its caller by HTTP Basic.
pub(crate) fn is_basic(headers: &HeaderMap) -> bool {
    let value = headers.get(AUTHORIZATION).map(|v| v.as_bytes()).unwrap_or_default();
    value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Basic "))
}

fn is(head: &Parts, method: &Method, path: &str) -> bool {
    head.method == method && head.uri.path() == path
}

/// A link that a person or a webhook opens. Signed calls of the same operation take the way of all signed calls.
fn is_link(head: &Parts, action: &str) -> bool {
    let query = head.uri.query().unwrap_or_default();
    is(head, &Method::GET, "/")
        && !head.headers.contains_key(AUTHORIZATION)
        && query.split('&').any(|pair| pair == action)
        && !query.split('&').any(|pair| pair.starts_with("X-Amz-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn every_row_is_reached_by_its_sample_and_four_are_public() {
        for row in ROUTES {
            let (method, uri, headers) = row.sample;
            assert!(std::ptr::eq(route(&head(method, uri, headers)), row), "{uri}");
        }
        let public: Vec<_> =
            ROUTES.iter().filter(|r| r.requirement == Requirement::Public).map(|r| r.destination).collect();
        let links = [Destination::ConfirmationLink, Destination::UnsubscribeLink, Destination::SigningCertificate];
        assert_eq!((public[0], &public[1..]), (Destination::Health, &links[..]));
    }

    #[test]
    fn near_misses_are_not_public() {
        for (method, uri, headers) in [
            ("POST", "/_tidegate/health", &[][..]),
            ("GET", "/_tidegate/health/", &[]),
            ("GET", "/_tidegate//health", &[]),
            ("GET", "/?Action=ConfirmSubscriptionX", &[]),
            ("GET", "/?Action=ListTopics", &[]),
            ("POST", "/?Action=Unsubscribe", &[]),
            ("GET", "/?Action=Unsubscribe&X-Amz-Signature=1", &[]),
            ("GET", "/SimpleNotificationService-0.key", &[]),
            ("PUT", "/SimpleNotificationService-0.pem", &[]),
            ("POST", "/?Action=ConfirmSubscription", &[]),
            ("GET", "/x?Action=ConfirmSubscription", &[]),
            ("GET", "/?Action=ConfirmSubscription", &[("authorization", "AWS4-HMAC-SHA256 x")]),
            ("GET", "/?Action=ConfirmSubscription&X-Amz-Signature=1", &[]),
        ] {
            assert_ne!(route(&head(method, uri, headers)).requirement, Requirement::Public, "{method} {uri}");
        }
    }
}
