//! CloudTrail: LookupEvents over the audit trail.
//!
//! Owns the translation between the wire and the trail, and the tokens of pages: one is good for the call that it
//! was given to, repeated as it was. Must not know how records are kept.
//!
//! Insights are refused by name. The service's rate of two lookups a second is not enforced: a lookup's work is bounded.

use async_trait::async_trait;
use base::{Position, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use wire::cloudtrail::*;
use wire::{Call, ServiceError, ServiceId, only};

use crate::audit::{Attribute, Audit, Found, Query};

const SERVICE: ServiceId = ServiceId::Cloudtrail;
/// Events on a page, at most and when nothing is said.
const MAX_RESULTS: i32 = 50;
/// Bytes of a token that say which call it is for.
const BOUND: usize = 16;

const ATTRIBUTES: [(&str, Attribute); 8] = [
    ("EventId", Attribute::EventId),
    ("EventName", Attribute::EventName),
    ("ReadOnly", Attribute::ReadOnly),
    ("Username", Attribute::Username),
    ("ResourceType", Attribute::ResourceType),
    ("ResourceName", Attribute::ResourceName),
    ("EventSource", Attribute::EventSource),
    ("AccessKeyId", Attribute::AccessKeyId),
];

/// The service.
pub(crate) struct Trail {
    audit: Audit,
}

impl Trail {
    /// Over this trail.
    pub fn new(audit: Audit) -> Self {
        Self { audit }
    }
}

#[async_trait]
impl Cloudtrail for Trail {
    async fn lookup_events(&self, call: &Call, input: LookupEventsInput) -> Result<LookupEventsOutput, ServiceError> {
        let known = ["LookupAttributes", "StartTime", "EndTime", "EventCategory", "MaxResults", "NextToken"];
        only(SERVICE, &input, &known)?;
        let query = query(call, &input)?;
        let bound = bound(&query);
        let before = input.next_token.as_deref().map(|token| before(token, bound)).transpose()?;
        let page = self.audit.lookup(&query, before).await;
        let page = page.map_err(|error| ServiceError::from_kinded(SERVICE, &error))?;
        Ok(LookupEventsOutput {
            events: Some(page.found.into_iter().map(event).collect()),
            next_token: page.next.map(|next| token(next, bound)),
        })
    }
}

fn query(call: &Call, input: &LookupEventsInput) -> Result<Query, ServiceError> {
    match input.event_category.as_deref() {
        None => {}
        Some("insight") => return Err(ServiceError::not_done(SERVICE, "EventCategory insight in LookupEvents")),
        Some(other) => {
            let message = format!("Event category {other} is not valid. The only one is insight.");
            return Err(ServiceError::new("InvalidEventCategoryException", message));
        }
    }
    let limit = input.max_results.unwrap_or(MAX_RESULTS);
    let limit = usize::try_from(limit).ok().filter(|limit| (1..=MAX_RESULTS as usize).contains(limit));
    let limit = limit.ok_or_else(|| {
        ServiceError::new("InvalidMaxResultsException", format!("MaxResults must be between 1 and {MAX_RESULTS}."))
    })?;
    if let (Some(start), Some(end)) = (input.start_time, input.end_time)
        && start > end
    {
        return Err(ServiceError::new("InvalidTimeRangeException", "The start time must not be after the end time."));
    }
    let attribute = attribute(input.lookup_attributes.as_deref().unwrap_or_default())?;
    let region = call.scope.region.to_string();
    Ok(Query { region, attribute, start: input.start_time, end: input.end_time, limit })
}

fn attribute(attributes: &[LookupAttribute]) -> Result<Option<(Attribute, String)>, ServiceError> {
    let refused = |message: String| ServiceError::new("InvalidLookupAttributesException", message);
    let [one] = attributes else {
        return match attributes.len() {
            0 => Ok(None),
            count => Err(refused(format!("{count} lookup attributes are given; the list can have one."))),
        };
    };
    let found = ATTRIBUTES.iter().find(|(name, _)| *name == one.attribute_key);
    let (_, attribute) = found.ok_or_else(|| {
        let names = ATTRIBUTES.map(|(name, _)| name).join(", ");
        refused(format!("{} is not a lookup attribute; expected one of {names}.", one.attribute_key))
    })?;
    if *attribute == Attribute::ReadOnly && !matches!(&*one.attribute_value, "true" | "false") {
        return Err(refused(format!("{} is not a value of ReadOnly; expected true or false.", one.attribute_value)));
    }
    Ok(Some((*attribute, one.attribute_value.clone())))
}

fn event(found: Found) -> Event {
    let resources = found
        .resources
        .into_iter()
        .map(|(kind, name)| Resource { resource_type: Some(kind.to_owned()), resource_name: Some(name) });
    Event {
        event_id: Some(found.event_id),
        event_name: Some(found.event_name),
        read_only: Some(found.read_only.to_string()),
        access_key_id: found.access_key_id,
        event_time: Some(found.time),
        event_source: Some(found.event_source),
        username: found.username,
        resources: Some(resources.collect()),
        cloud_trail_event: Some(found.text),
    }
}

/// What a token is bound to: everything but the number of results, which may change from page to page.
fn bound(query: &Query) -> [u8; BOUND] {
    let time = |time: Option<Timestamp>| time.map_or(String::new(), |time| time.millis().to_string());
    let (key, value) =
        query.attribute.as_ref().map_or_else(Default::default, |(key, value)| (format!("{key:?}"), &**value));
    let parts = [&*query.region, &time(query.start), &time(query.end), &key, value];
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut out = [0; BOUND];
    out.copy_from_slice(&digest.finalize()[..BOUND]);
    out
}

fn token(next: Position, bound: [u8; BOUND]) -> String {
    URL_SAFE_NO_PAD.encode([&next.get().to_be_bytes()[..], &bound].concat())
}

fn before(token: &str, bound: [u8; BOUND]) -> Result<Position, ServiceError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let place = bytes.strip_suffix(&bound[..]).and_then(|place| <[u8; 8]>::try_from(place).ok());
    let place = place.map(|place| Position::new(u64::from_be_bytes(place)));
    place.ok_or_else(|| {
        let message = "The token is not valid, or was given to a call with other parameters.";
        ServiceError::new("InvalidNextTokenException", message)
    })
}
