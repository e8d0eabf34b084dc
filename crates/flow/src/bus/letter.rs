//! The dead letter that an event becomes when a target does not get it.
//!
//! Owns what the letter says ("Using dead-letter queues to process undelivered events", EventBridge User Guide): the
//! event as it was put on the bus is its text, whatever the target's input would have been. Must not know how attempts
//! are made.

use std::collections::BTreeMap;

use base::{ErrorKind, Kinded, Position, ProducerId};
use bytes::Bytes;

use super::rule::{ActiveTarget, SERVICE};
use super::trace::Fate;
use crate::dead_letter::{DeadLetters, Letter, text};
use crate::producer::{producer_id, stable_uuid};
use crate::queue::Attribute;
use crate::roles::Denial;
use crate::spool::{End, Why};

/// Characters of an error message that a letter keeps.
const MAX_MESSAGE: usize = 1_024;

/// The code that dead letters have for a target's kind of error.
pub(super) fn error_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "NO_RESOURCE",
        ErrorKind::Invalid => "INVALID_PARAMETER",
        ErrorKind::Denied => "NO_PERMISSIONS",
        ErrorKind::Throttled => "THROTTLING",
        ErrorKind::Unavailable => "ERROR_FROM_TARGET",
        ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::Internal => "INTERNAL_ERROR",
    }
}

/// The reason of what a target's role does not permit. It is no reason to try again: only its owner can change it.
pub(super) fn denied(denial: &Denial) -> String {
    let code = if denial.unassumed { "FAILED_TO_ASSUME_ROLE" } else { error_code(ErrorKind::Denied) };
    coded(code, &denial.message)
}

/// A reason with its code before it, as it is kept of an attempt.
pub(super) fn coded(code: &str, message: &str) -> String {
    format!("{code}: {message}")
}

/// The code of a reason, and what is behind it.
fn split(reason: &str) -> (&str, &str) {
    let is_code = |code: &&str| code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    match reason.split_once(": ").filter(|(code, _)| is_code(code)) {
        Some(coded) => coded,
        None => ("INTERNAL_ERROR", reason),
    }
}

fn attributes(target: &ActiveTarget, end: &End) -> BTreeMap<String, Attribute> {
    let (code, message) = split(&end.reason);
    let message = message.chars().take(MAX_MESSAGE).collect::<String>();
    let condition = match end.why {
        Why::Attempts => Some("MaximumRetryAttempts"),
        Why::Age => Some("MaximumEventAgeInSeconds"),
        Why::Refused => None,
    };
    let said = [
        ("RULE_ARN", Some(target.rule_arn.to_string())),
        ("TARGET_ARN", Some(target.arn.to_string())),
        ("ERROR_CODE", Some(code.to_owned())),
        ("ERROR_MESSAGE", Some(message)),
        ("EXHAUSTED_RETRY_CONDITION", condition.map(str::to_owned)),
        ("RETRY_ATTEMPTS", Some(end.attempts.saturating_sub(1).to_string())),
    ];
    said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), text(value?)))).collect()
}

/// An event that is given up.
pub(super) struct Lost {
    /// Its place in the order of its producer.
    pub at: Position,
    /// Its position on the bus.
    pub position: Position,
    pub event: Bytes,
}

/// The id of an event's letter: the same whichever way it takes.
fn id(target: &ActiveTarget, position: Position) -> String {
    let rule = target.rule_arn.to_string();
    stable_uuid(producer_id(&[b"dead letter", rule.as_bytes(), target.id.as_bytes()]), position)
}

/// Writes events to the target's dead-letter queue, if it has one, all in one append, and says what came of them: each
/// is there once, however often its producer tries. A queue that does not take all of them now is an error; one that
/// never will, or whose policy does not let the bus in, is logged, and they are given up.
pub(super) async fn put_away(
    letters: &DeadLetters,
    target: &ActiveTarget,
    producer: ProducerId,
    lost: Vec<Lost>,
    end: &End,
) -> Result<Fate, String> {
    let Some(queue) = &target.dead_letter else { return Ok(Fate::GivenUp) };
    if let Err(error) = letters.permit(SERVICE, &target.rule_arn, queue) {
        tracing::error!(rule = %target.rule_arn, target = target.id, %queue, %error, "a dead letter is lost");
        return Ok(Fate::GivenUp);
    }
    let said = attributes(target, end);
    let letter = |lost: Lost| {
        let (id, attributes) = (id(target, lost.position), said.clone());
        (lost.at, Letter { id, body: lost.event, attributes, order: None })
    };
    match letters.send_once(queue, producer, lost.into_iter().map(letter).collect()).await {
        Err(error) if error.kind().is_transient() => Err(format!("{queue} cannot take a dead letter now: {error}")),
        Err(error) => {
            tracing::error!(rule = %target.rule_arn, target = target.id, %queue, %error, "a dead letter is lost");
            Ok(Fate::GivenUp)
        }
        Ok(()) => Ok(Fate::DeadLettered),
    }
}
