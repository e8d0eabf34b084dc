//! The tokens of calls about what is deleted since, so that one whose answer was lost can be repeated.
//!
//! Promises that a call which comes again is known among the last [`REMEMBERED`] ones since the start. Must not know
//! what was deleted.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

const REMEMBERED: usize = 1_000;

/// What was deleted, and the tokens of the calls, the last ones.
#[derive(Default)]
pub(super) struct Deletions(Mutex<VecDeque<(Vec<u8>, String)>>);

impl Deletions {
    /// Remembers a deletion that has a token.
    pub fn note(&self, what: Vec<u8>, token: Option<String>) {
        let Some(token) = token else { return };
        let mut deleted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        deleted.push_back((what, token));
        if deleted.len() > REMEMBERED {
            deleted.pop_front();
        }
    }

    /// Whether this very call deleted it before.
    pub fn knows(&self, what: &[u8], token: Option<&String>) -> bool {
        let deleted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        token.is_some_and(|token| deleted.iter().any(|(key, of)| key == what && of == token))
    }
}
