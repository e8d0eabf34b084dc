//! Tokens of connections that authorize by OAuth client credentials.
//!
//! Owns the tokens that were fetched, in memory only. Promises that a token is used until shortly before it expires or
//! until it is refused, and that a connection's is fetched once at a time. Must not know what tokens are used for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::Destinations;
use super::authorization::{Credentials, Parameters, Secret};
use super::call::{TIMEOUT, encode_query, with_query};

/// A token whose answer does not say how long it holds is fetched again after this.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);
/// What an answer says of a token's life is believed up to a day.
const MOST_LIFE: Duration = Duration::from_secs(86_400);
/// A token is not used in the last moments of its life.
const MARGIN: Duration = Duration::from_secs(10);

struct Token {
    value: Secret,
    /// The instant from which it is not used.
    until: Duration,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Secret,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// See the module. By a connection's id.
pub(super) struct Tokens {
    known: Mutex<HashMap<String, Token>>,
    /// Each connection's token is fetched by one at a time; an endpoint that hangs holds up its own connection only.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Tokens {
    pub fn new() -> Self {
        Self { known: Mutex::default(), turns: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Token>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, connection: &str) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(connection.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }

    /// A connection is gone, or its authorization changed.
    pub fn forget(&self, connection: &str) {
        self.known().remove(connection);
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(connection);
    }

    /// This token was refused. One that was fetched meanwhile stays.
    pub fn refused(&self, connection: &str, token: Option<&Secret>) {
        let mut known = self.known();
        let is_it = |known: &Token| token.is_some_and(|token| token.reveal() == known.value.reveal());
        if known.get(connection).is_some_and(is_it) {
            known.remove(connection);
        }
    }

    fn get(&self, connection: &str, now: Duration) -> Option<Secret> {
        self.known().get(connection).filter(|token| now < token.until).map(|token| token.value.clone())
    }
}

impl Destinations {
    /// A connection's token, fetched unless it is known. An error says nothing secret.
    pub(super) async fn token(&self, connection: &str, credentials: &Credentials) -> Result<Secret, String> {
        let (clock, tokens) = (&self.inner.ports.env.clock, &self.inner.tokens);
        if let Some(token) = tokens.get(connection, clock.instant()) {
            return Ok(token);
        }
        let _turn = tokens.turn(connection).acquire_owned().await.map_err(|e| e.to_string())?;
        if let Some(token) = tokens.get(connection, clock.instant()) {
            return Ok(token);
        }
        let request = request(credentials)?;
        let answer = self.inner.ports.http.send(request, TIMEOUT).await.map_err(|e| e.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the authorization endpoint answered {}", answer.status()));
        }
        let answer: Answer = serde_json::from_slice(answer.body())
            .map_err(|_| "the authorization endpoint's answer has no access_token".to_owned())?;
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs).min(MOST_LIFE);
        let until = clock.instant() + life.saturating_sub(MARGIN);
        tokens.known().insert(connection.to_owned(), Token { value: answer.access_token.clone(), until });
        Ok(answer.access_token)
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
