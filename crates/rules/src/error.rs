//! What is wrong with a pattern, in the words of the service.

use base::{ErrorKind, Kinded};

/// How much of a wrong pattern is shown back, in characters.
const SHOWN: usize = 500;

/// Why a pattern is refused. The display text is the message of EventBridge's `InvalidEventPatternException`, which
/// clients and their tests compare; so it does not follow the lower-case form of other messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// The pattern is not one.
    #[error(
        "Event pattern is not valid. Reason: {reason}\n at [Source: (String)\"{shown}\"; line: {line}, column: {column}]"
    )]
    Invalid {
        /// What is wrong.
        reason: String,
        /// The pattern, cut to 500 characters.
        shown: String,
        /// The line of the mistake, from 1.
        line: usize,
        /// The column after the last character read when the mistake was seen, from 1.
        column: usize,
    },
    /// Its wildcards would be too much work.
    #[error(
        "Event pattern is not valid. Reason: Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character"
    )]
    TooComplex,
    /// The pattern is not text at all.
    #[error("Event pattern is not valid. Reason: it is not UTF-8 from byte {offset} on")]
    NotText {
        /// The first byte that is no text.
        offset: usize,
    },
}

impl RulesError {
    /// The error for a mistake in `pattern` seen when everything before the byte `at` had been read.
    pub(crate) fn invalid(pattern: &str, at: usize, reason: impl Into<String>) -> Self {
        let before = pattern.get(..at.min(pattern.len())).unwrap_or(pattern);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let shown = match pattern.char_indices().nth(SHOWN) {
            Some((end, _)) => {
                format!("{}[truncated {} chars]", &pattern[..end], pattern[end..].chars().count())
            }
            None => pattern.to_owned(),
        };
        Self::Invalid {
            reason: reason.into(),
            shown,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl Kinded for RulesError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
