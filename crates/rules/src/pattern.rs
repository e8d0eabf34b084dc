//! A pattern, ready to match.

use serde_json::Value;

use crate::branch::{self, Branch};
use crate::fields::Wanted;
use crate::{Event, Explanation, RulesError, compile, explain, json};

/// An event pattern.
///
/// ```
/// let pattern = rules::Pattern::parse(r#"{"detail":{"eventName":["TerminateInstances"]}}"#)?;
/// assert!(pattern.matches(&serde_json::json!({"detail": {"eventName": "TerminateInstances"}})));
/// # Ok::<(), rules::RulesError>(())
/// ```
#[derive(Debug)]
pub struct Pattern {
    text: String,
    /// The event matches when one of them does.
    branches: Vec<Branch>,
    wanted: Wanted,
}

impl Pattern {
    /// Reads a pattern, from text or bytes.
    ///
    /// # Errors
    /// Every rule of the language that the pattern breaks is an [`RulesError::Invalid`]; the first mistake is named.
    pub fn parse(pattern: impl AsRef<[u8]>) -> Result<Self, RulesError> {
        let text = std::str::from_utf8(pattern.as_ref())
            .map_err(|error| RulesError::NotText { offset: error.valid_up_to() })?;
        let branches = compile::compile(text, &json::read(text)?)?;
        let mut wanted = Wanted::default();
        for path in branches.iter().flat_map(|branch| branch.keys()) {
            wanted.add(path);
        }
        Ok(Self { text: text.to_owned(), branches, wanted })
    }

    /// The alternatives of the pattern.
    pub(crate) fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// Whether a checked event matches, by reading all of it: for one pattern and one event, and to compare with.
    pub fn matches_event(&self, event: Event<'_>) -> bool {
        let event = tree(event);
        let fields = self.wanted.fields(&event);
        self.branches.iter().any(|branch| branch::matches(branch, &fields))
    }

    /// Why a checked event matches or does not, field by field.
    pub fn explain(&self, event: Event<'_>) -> Explanation {
        let event = tree(event);
        explain::explain(&self.text, &self.branches, &self.wanted.fields(&event))
    }

    /// Whether the event matches. An event is a JSON object; anything else has no fields.
    pub fn matches(&self, event: &Value) -> bool {
        let event = json::Node::of(event);
        let fields = self.wanted.fields(&event);
        self.branches.iter().any(|branch| branch::matches(branch, &fields))
    }
}

/// The event as a tree. What was checked is text and JSON, so it is never the empty tree.
fn tree(event: Event<'_>) -> json::Node {
    let text = std::str::from_utf8(event.bytes()).unwrap_or_default();
    json::read(text).unwrap_or_else(|_| json::Node::of(&Value::Null))
}

#[cfg(test)]
mod tests;
