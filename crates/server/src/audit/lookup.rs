//! Looking records up, the newest first.
//!
//! Promises that a lookup reads a bounded part of the stream, whatever it looks for: where it stops before its page is full,
//! it says where to go on. Must not know the wire.
//!
//! The stream is read in windows of positions, from its end towards its beginning. Positions are the journal's, so a window
//! has at most as many records as it has positions; one with few records makes the next one wider, one that cannot be
//! read at once is made narrower. So neither a quiet trail in a busy journal nor the other way round costs much.

use std::time::Duration;

use base::{ErrorKind, Kinded, Position, Timestamp};
use log::{LogError, ReadLimit, Record};
use serde::Deserialize;
use serde_json::Value;

use super::resources::named;
use super::trail::{Audit, Inner};

/// Records that one lookup reads, at most.
const MAX_READ: usize = 10_000;
/// Positions of the first window.
const FIRST_WINDOW: u64 = 256;
/// A window with fewer records than this is followed by one twice as wide.
const FEW: usize = 128;
/// Records in a window beyond which it is read no further.
const MAX_WINDOW: usize = 2_000;
/// What one read takes.
const LIMIT: ReadLimit = ReadLimit { records: 1_000, bytes: 8 << 20 };
/// By how much the time of a record's arrival may be behind or ahead of the time in it.
const SLACK: Duration = Duration::from_secs(3_600);
/// How far back events can be looked up ("LookupEvents").
const REACH: Duration = Duration::from_secs(90 * 86_400);

/// An attribute that events can be looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    EventId,
    EventName,
    ReadOnly,
    Username,
    ResourceType,
    ResourceName,
    EventSource,
    AccessKeyId,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// The region of the records.
    pub region: String,
    /// What they must have, if anything.
    pub attribute: Option<(Attribute, String)>,
    /// Not before this.
    pub start: Option<Timestamp>,
    /// Not after this.
    pub end: Option<Timestamp>,
    /// How many are wanted.
    pub limit: usize,
}

/// A record that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Found {
    pub event_id: String,
    pub event_name: String,
    pub read_only: bool,
    pub access_key_id: Option<String>,
    pub time: Timestamp,
    pub event_source: String,
    pub username: Option<String>,
    /// Type and name.
    pub resources: Vec<(&'static str, String)>,
    /// The record as it is in the stream.
    pub text: String,
}

/// Why nothing could be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("the audit trail cannot be read: {0}")]
    Log(#[from] LogError),
}

impl Kinded for LookupError {
    fn kind(&self) -> ErrorKind {
        let Self::Log(error) = self;
        error.kind()
    }
}

/// A part of what there is, and where it goes on; nowhere when there is no more.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub found: Vec<Found>,
    pub next: Option<Position>,
}

/// The fields that are looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(rename = "eventID")]
    event_id: String,
    event_name: String,
    event_source: String,
    event_time: String,
    aws_region: String,
    read_only: bool,
    management_event: bool,
    #[serde(default)]
    user_identity: Value,
    #[serde(default)]
    request_parameters: Value,
    #[serde(default)]
    response_elements: Value,
}

impl Audit {
    /// The events of a query, the newest first, from before a position or from the end.
    pub async fn lookup(&self, query: &Query, before: Option<Position>) -> Result<Page, LookupError> {
        let Inner { env, log, shard, .. } = &*self.inner;
        let tail = log.tail(*shard)?;
        let oldest = query.start.unwrap_or(Timestamp::from_millis(0)).max(env.clock.now() - REACH);
        // Times in records have whole seconds.
        let oldest = Timestamp::from_millis(oldest.millis() - oldest.millis().rem_euclid(1_000));
        let mut high = before.unwrap_or(tail.next).min(tail.next);
        if let (None, Some(end)) = (before, query.end) {
            high = high.min(log.position_at(*shard, end + SLACK).await?);
        }
        let (mut page, mut window, mut left) = (Page::default(), FIRST_WINDOW, MAX_READ);
        while high > tail.trim && left > 0 {
            let low = Position::new(high.get().saturating_sub(window)).max(tail.trim);
            let (records, is_whole) = self.between(low, high).await?;
            left = left.saturating_sub(records.len().max(1));
            if !is_whole && window > 1 {
                // There is more in it than is read at once, and the newest is wanted first.
                window /= 2;
                continue;
            }
            for record in records.iter().rev() {
                if record.arrival < oldest - SLACK {
                    return Ok(page);
                }
                page.found.extend(found(query, oldest, &record.data));
                if page.found.len() >= query.limit {
                    page.next = Some(record.position).filter(|next| *next > tail.trim);
                    return Ok(page);
                }
            }
            high = low;
            if records.len() < FEW {
                window = window.saturating_mul(2);
            }
        }
        page.next = Some(high).filter(|next| *next > tail.trim);
        Ok(page)
    }
}

impl Audit {
    /// The records between two positions, and whether these are all.
    async fn between(&self, low: Position, high: Position) -> Result<(Vec<Record>, bool), LogError> {
        let Inner { log, shard, .. } = &*self.inner;
        let (mut records, mut from): (Vec<Record>, _) = (Vec::new(), low);
        while from < high && records.len() < MAX_WINDOW {
            let slice = log.read(*shard, from, LIMIT).await?;
            if slice.records.is_empty() {
                return Ok((records, true));
            }
            records.extend(slice.records.into_iter().filter(|record| record.position < high));
            from = slice.next;
        }
        Ok((records, from >= high))
    }
}

/// A record, if it is one that is looked for. What else is in the stream was not written by this server and is none.
fn found(query: &Query, oldest: Timestamp, data: &[u8]) -> Option<Found> {
    let fields: Fields = serde_json::from_slice(data).ok()?;
    let time: Timestamp = fields.event_time.parse().ok()?;
    let is_in_time = time >= oldest && query.end.is_none_or(|end| time <= end);
    if !fields.management_event || fields.aws_region != query.region || !is_in_time {
        return None;
    }
    let identity = |name: &str| Some(fields.user_identity.get(name)?.as_str()?.to_owned());
    let parts = [Some(&fields.request_parameters), Some(&fields.response_elements)];
    let resources = named(&fields.event_source, &fields.event_name, &parts);
    let found = Found {
        username: username(&fields.user_identity),
        access_key_id: identity("accessKeyId"),
        resources: resources.into_iter().map(|named| (named.kind, named.name)).collect(),
        event_id: fields.event_id,
        event_name: fields.event_name,
        read_only: fields.read_only,
        time,
        event_source: fields.event_source,
        text: String::from_utf8(data.to_vec()).ok()?,
    };
    query.attribute.as_ref().is_none_or(|(key, value)| found.has(*key, value)).then_some(found)
}

/// The caller's name: `root`, a user's, a session's.
fn username(identity: &Value) -> Option<String> {
    let text = |name: &str| identity.get(name)?.as_str();
    match text("type")? {
        "Root" => Some("root".to_owned()),
        "AssumedRole" => Some(text("arn")?.rsplit('/').next()?.to_owned()),
        _ => Some(text("userName")?.to_owned()),
    }
}

impl Found {
    fn has(&self, attribute: Attribute, value: &str) -> bool {
        match attribute {
            Attribute::EventId => self.event_id == value,
            Attribute::EventName => self.event_name == value,
            Attribute::ReadOnly => self.read_only.to_string() == value,
            Attribute::Username => self.username.as_deref() == Some(value),
            Attribute::ResourceType => self.resources.iter().any(|(kind, _)| *kind == value),
            Attribute::ResourceName => self.resources.iter().any(|(_, name)| name == value),
            Attribute::EventSource => self.event_source == value,
            Attribute::AccessKeyId => self.access_key_id.as_deref() == Some(value),
        }
    }
}
