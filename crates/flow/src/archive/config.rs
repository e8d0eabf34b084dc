//! Archives as configured.

use std::time::Duration;

use base::{ArchiveName, Arn, BusName, Position, Scope, StateStore, Table, Timestamp};
use log::{StreamKey, StreamKind};
use rules::{Engine, Event, Pattern, Scratch};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{FlowError, stored};

pub(super) const ARCHIVES: Table = Table("flow.archives");
/// Quota "event pattern size" of the service, in characters.
const MAX_PATTERN: usize = 4_096;
/// What stands for a retention without end, in the log that wants one.
const FOREVER: Duration = Duration::from_secs(1_000 * 366 * 86_400);

/// What an archive is created with, or changed to.
#[derive(Debug, Clone)]
pub struct ArchiveSpec {
    /// Free text.
    pub description: Option<String>,
    /// Which events it takes, JSON; all when absent.
    pub pattern: Option<String>,
    /// How long it keeps them; 0 is for ever.
    pub retention_days: u32,
}

/// An archive as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Archive {
    /// Its name in its account and region.
    pub name: ArchiveName,
    /// The bus whose events it takes.
    pub bus: BusName,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which events it takes; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// How long it keeps them; 0 is for ever.
    pub retention_days: u32,
    /// When it was created.
    pub created: Timestamp,
    /// It takes events from this position of the bus on.
    pub(super) since: Position,
    /// The number of its log.
    pub(super) stream: u32,
}

/// The ARN of an archive.
pub fn archive_arn(scope: &Scope, archive: &ArchiveName) -> Arn {
    Arn::new("events", scope, format!("archive/{archive}"))
}

pub(super) fn key(scope: &Scope, archive: &ArchiveName) -> Vec<u8> {
    stored::key(scope, &[archive.as_str()])
}

pub(super) fn find(state: &dyn StateStore, scope: &Scope, archive: &ArchiveName) -> Result<Archive, FlowError> {
    stored::get(state, ARCHIVES, &key(scope, archive))?.ok_or_else(|| no_archive(archive))
}

pub(super) fn no_archive(archive: &ArchiveName) -> FlowError {
    FlowError::NotFound(format!("Archive {archive} does not exist."))
}

/// Whether a bus has archives.
pub(crate) fn has_archives(state: &dyn StateStore, scope: &Scope, bus: &BusName) -> Result<bool, FlowError> {
    let archives: Vec<Archive> = stored::list(state, ARCHIVES, &stored::scope_prefix(scope))?;
    Ok(archives.iter().any(|archive| archive.bus == *bus))
}

pub(super) fn stream_key(scope: &Scope, archive: &ArchiveName) -> StreamKey {
    StreamKey { kind: StreamKind::Archive, scope: scope.clone(), name: archive.to_string() }
}

pub(super) fn retention(days: u32) -> Duration {
    if days == 0 { FOREVER } else { Duration::from_secs(u64::from(days) * 86_400).min(FOREVER) }
}

/// The matcher of an archive that is created or changed: a pattern that asks for replayed events is refused.
pub(super) fn check(pattern: Option<&str>) -> Result<Pattern, FlowError> {
    let compiled = compile(pattern)?;
    let asked: Option<Value> = pattern.and_then(|text| serde_json::from_str(text).ok());
    if let Some(replay) = asked.as_ref().and_then(|asked| asked.get("replay-name")) {
        let condition = Pattern::parse(json!({ "replay-name": replay }).to_string());
        let mut engine = Engine::default();
        engine.insert((), &condition.map_err(|error| FlowError::Invalid(error.to_string()))?);
        let takes_others =
            Event::check(b"{}").is_ok_and(|event| engine.matches(event, &mut Scratch::default()).next().is_some());
        if !takes_others {
            let message = "an archive takes no event of a replay: its pattern cannot ask for a replay-name";
            return Err(FlowError::Invalid(message.to_owned()));
        }
    }
    Ok(compiled)
}

/// The matcher of an archive: its pattern, and no replayed events.
pub(super) fn compile(pattern: Option<&str>) -> Result<Pattern, FlowError> {
    let invalid = |error: &dyn std::fmt::Display| FlowError::Invalid(error.to_string());
    let mut members = Map::new();
    if let Some(text) = pattern {
        if text.len() > MAX_PATTERN {
            return Err(FlowError::Invalid(format!("an event pattern has at most {MAX_PATTERN} characters")));
        }
        // Its own errors first: the text is not looked at again.
        Pattern::parse(text).map_err(|error| invalid(&error))?;
        match serde_json::from_str(text).map_err(|error| invalid(&error))? {
            Value::Object(object) => members = object,
            _ => return Err(FlowError::Invalid("an event pattern is a JSON object".to_owned())),
        }
    }
    members.insert("replay-name".to_owned(), json!([{"exists": false}]));
    Pattern::parse(Value::Object(members).to_string()).map_err(|error| invalid(&error))
}
