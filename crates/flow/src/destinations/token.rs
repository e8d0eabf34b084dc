//! Tokens of connections that authorize by OAuth client credentials.
//!
//! Owns the tokens that were fetched, in memory only. Promises that a token is used until shortly before it expires or
//! until it is refused, and only for the authorization that it was fetched by; that a connection's is fetched once at a
//! time; and that after failures, as after a token that is refused, the next is not fetched before a wait that grows.
//! Must not know what tokens are used for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::Destinations;
use super::authorization::{Credentials, Parameters};
use super::call::{TIMEOUT, encode_query, with_query};
use crate::sealed::Secret;

/// A token whose answer does not say how long it holds is fetched again after this.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);
/// What an answer says of a token's life is believed up to a day.
const MOST_LIFE: Duration = Duration::from_secs(86_400);
/// A token is not used in the last moments of its life.
const MARGIN: Duration = Duration::from_secs(10);

/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What a token is fetched by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    /// The connection's id.
    pub connection: String,
    /// Of its authorization as it lies sealed: another one has another token.
    pub mark: u128,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoToken {
    /// Says nothing secret.
    pub reason: String,
    /// None is fetched sooner than this.
    pub wait: Duration,
}

/// What is known of a connection's token. Instants are of the monotonic clock.
#[derive(Default)]
struct Known {
    token: Option<Secret>,
    /// From when on it is not used.
    until: Duration,
    /// When it was fetched.
    fetched: Duration,
    /// Failures in a row, tokens that were refused among them.
    failures: u32,
    /// None is fetched before.
    again: Duration,
    reason: String,
}

impl Known {
    fn failed(&mut self, now: Duration, reason: String) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
        (self.token, self.again, self.reason) = (None, now + wait, reason);
        self.failures += 1;
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// See the module.
pub(super) struct Tokens {
    known: Mutex<HashMap<TokenKey, Known>>,
    /// Each connection's token is fetched by one at a time; an endpoint that hangs holds up its own connection only.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Tokens {
    pub fn new() -> Self {
        Self { known: Mutex::default(), turns: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TokenKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, connection: &str) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(connection.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }

    /// A connection is gone, or its authorization changed.
    pub fn forget(&self, connection: &str) {
        self.known().retain(|key, _| key.connection != connection);
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
    }

    /// This token was refused. One that was fetched meanwhile stays.
    pub fn refused(&self, key: &TokenKey, token: Option<&Secret>, now: Duration) {
        let mut known = self.known();
        let is_it = |known: &&mut Known| {
            token.is_some_and(|token| known.token.as_ref().is_some_and(|known| token.reveal() == known.reveal()))
        };
        if let Some(known) = known.get_mut(key).filter(is_it) {
            if now.saturating_sub(known.fetched) > LONGEST_WAIT {
                // It was good for a while.
                known.failures = 0;
            }
            known.failed(now, "the endpoint refused the token that it was fetched for".to_owned());
        }
    }

    /// An endpoint took this token: what failed before is over.
    pub fn accepted(&self, key: &TokenKey, token: Option<&Secret>) {
        let mut known = self.known();
        let (Some(known), Some(token)) = (known.get_mut(key), token) else { return };
        if known.token.as_ref().is_some_and(|known| known.reveal() == token.reveal()) {
            known.failures = 0;
        }
    }

    /// The token, or why none is to be fetched yet; nothing when one is to be fetched.
    fn get(&self, key: &TokenKey, now: Duration) -> Option<Result<Secret, NoToken>> {
        let known = self.known();
        let known = known.get(key)?;
        match &known.token {
            Some(token) if now < known.until => Some(Ok(token.clone())),
            None if now < known.again => {
                Some(Err(NoToken { reason: known.reason.clone(), wait: known.again.saturating_sub(now) }))
            }
            _ => None,
        }
    }

    /// Keeps what came of fetching one.
    fn keep(
        &self,
        key: &TokenKey,
        fetched: Result<(Secret, Duration), String>,
        now: Duration,
    ) -> Result<Secret, NoToken> {
        let mut known = self.known();
        // What belongs to an authorization of before, and came too late to be forgotten with it.
        known.retain(|other, known| {
            *other == *key || other.connection != key.connection || now < known.until.max(known.again)
        });
        let known = known.entry(key.clone()).or_default();
        match fetched {
            Ok((token, life)) => {
                (known.token, known.until, known.fetched) =
                    (Some(token.clone()), now + life.saturating_sub(MARGIN), now);
                Ok(token)
            }
            Err(reason) => {
                known.failed(now, reason.clone());
                Err(NoToken { reason, wait: known.again.saturating_sub(now) })
            }
        }
    }
}

impl Destinations {
    /// A connection's token, fetched unless it is known.
    pub(super) async fn token(&self, key: &TokenKey, credentials: &Credentials) -> Result<Secret, NoToken> {
        let (clock, tokens) = (&self.inner.ports.env.clock, &self.inner.tokens);
        if let Some(known) = tokens.get(key, clock.instant()) {
            return known;
        }
        // The semaphore is never closed.
        let turn = tokens.turn(&key.connection);
        let _turn = turn.acquire().await;
        if let Some(known) = tokens.get(key, clock.instant()) {
            return known;
        }
        let fetched = self.fetch(credentials).await;
        tokens.keep(key, fetched, clock.instant())
    }

    /// A token from its endpoint, and how long it holds. An error says nothing secret.
    async fn fetch(&self, credentials: &Credentials) -> Result<(Secret, Duration), String> {
        let request = request(credentials)?;
        let answer = self.inner.ports.http.send(request, TIMEOUT).await.map_err(|e| e.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the authorization endpoint answered {}", answer.status()));
        }
        let answer: Answer = serde_json::from_slice(answer.body())
            .map_err(|_| "the authorization endpoint's answer has no access_token".to_owned())?;
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).min(MOST_LIFE);
        Ok((answer.access_token, life))
    }
}

fn request(credentials: &Credentials) -> Result<Request<Bytes>, String> {
    let Credentials::Oauth { client_id, client_secret, endpoint, method, parameters } = credentials else {
        return Err("the connection does not authorize by OAuth".to_owned());
    };
    let Parameters { headers, query, body } = parameters;
    let mut fields: Vec<(&str, &str)> =
        vec![("grant_type", "client_credentials"), ("client_id", client_id), ("client_secret", client_secret.reveal())];
    fields.extend(body.iter().map(|field| (field.key.as_str(), field.value.reveal())));
    let mut query: Vec<(&str, &str)> = query.iter().map(|field| (field.key.as_str(), field.value.reveal())).collect();
    let form = if method == "GET" {
        query.extend(fields);
        String::new()
    } else {
        encode_query(&fields)
    };
    let mut request = Request::builder()
        .method(method.as_str())
        .uri(with_query(endpoint, &query))
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    for header in headers {
        request = request.header(header.key.as_str(), header.value.reveal());
    }
    // What is wrong with it may quote a secret.
    request.body(Bytes::from(form)).map_err(|_| "the request for a token cannot be made of its parameters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_failures_in_a_row_and_a_token_that_is_taken_ends_the_row() {
        let (tokens, key) = (Tokens::new(), TokenKey { connection: "c".into(), mark: 1 });
        let at = Duration::from_secs;
        let wait = |now| tokens.keep(&key, Err("away".into()), now).map(drop).unwrap_err().wait.as_secs();
        let fetched = |now| tokens.keep(&key, Ok((Secret::new("t".into()), at(300))), now).unwrap();
        assert_eq!([wait(at(0)), wait(at(10)), wait(at(20))], [1, 2, 4]);
        // That one was fetched says nothing: the endpoint may refuse it.
        let token = fetched(at(30));
        tokens.refused(&key, Some(&token), at(31));
        assert!(tokens.get(&key, at(38)).unwrap().is_err(), "a wait of eight seconds");
        let token = fetched(at(40));
        tokens.accepted(&key, Some(&Secret::new("another".into())));
        tokens.refused(&key, Some(&token), at(41));
        assert!(tokens.get(&key, at(56)).unwrap().is_err(), "of sixteen");
        let token = fetched(at(60));
        tokens.accepted(&key, Some(&token));
        assert_eq!(wait(at(400)), 1, "the first in a row");
    }
}
