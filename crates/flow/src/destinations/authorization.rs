//! How an endpoint is told who calls, and how that is kept.
//!
//! Owns the forms of authorization. Promises that what is secret is on disk only sealed, bound to its connection.

use base::{MasterKey, Rng};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::FlowError;
use crate::sealed::Secret;

const PURPOSE: &str = "tidegate flow: secrets of connections, version 1";

/// A value that a connection adds to calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name.
    pub key: String,
    /// Its value; empty where a secret one is shown.
    pub value: Secret,
    /// Whether the value is shown to nobody.
    pub is_secret: bool,
}

impl Parameter {
    /// The value, unless it is secret.
    pub fn shown(&self) -> Option<&str> {
        (!self.is_secret).then(|| self.value.reveal())
    }
}

/// What a connection adds to calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Headers.
    #[serde(default)]
    pub headers: Vec<Parameter>,
    /// Of the query string.
    #[serde(default)]
    pub query: Vec<Parameter>,
    /// Members of the body, which is a JSON object; of a token's request, fields of its form.
    #[serde(default)]
    pub body: Vec<Parameter>,
}

/// By what a caller is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Credentials {
    /// HTTP Basic.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A header.
    ApiKey {
        /// Its name.
        name: String,
        /// Its value.
        value: Secret,
    },
    /// A token by the client credentials grant (RFC 6749, section 4.4).
    Oauth {
        /// The client.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// Who gives tokens.
        endpoint: String,
        /// `GET`, `POST` or `PUT`.
        method: String,
        /// What is added to the token's request.
        #[serde(default)]
        parameters: Parameters,
    },
}

/// Credentials, and what else calls carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// By what the caller is known.
    pub credentials: Credentials,
    /// What is added to each call.
    #[serde(default)]
    pub parameters: Parameters,
}

impl Parameters {
    fn without_secrets(&self) -> Self {
        let strip = |list: &[Parameter]| {
            let one = |p: &Parameter| match p.is_secret {
                true => Parameter { value: Secret::default(), ..p.clone() },
                false => p.clone(),
            };
            list.iter().map(one).collect()
        };
        Self { headers: strip(&self.headers), query: strip(&self.query), body: strip(&self.body) }
    }
}

impl Authorization {
    /// What may be shown of it.
    pub(super) fn without_secrets(&self) -> Self {
        let credentials = match self.credentials.clone() {
            Credentials::Basic { username, .. } => Credentials::Basic { username, password: Secret::default() },
            Credentials::ApiKey { name, .. } => Credentials::ApiKey { name, value: Secret::default() },
            Credentials::Oauth { client_id, endpoint, method, parameters, .. } => Credentials::Oauth {
                client_id,
                client_secret: Secret::default(),
                endpoint,
                method,
                parameters: parameters.without_secrets(),
            },
        };
        Self { credentials, parameters: self.parameters.without_secrets() }
    }
}

/// Seals what connections keep secret.
pub(super) struct Sealer(crate::sealed::Sealer);

impl Sealer {
    pub fn new(master: &MasterKey) -> Self {
        Self(crate::sealed::Sealer::new(master, PURPOSE, "connection"))
    }

    /// Sealed JSON; opened only for the same connection.
    pub fn seal(&self, connection: &str, whole: &Authorization, rng: &dyn Rng) -> Result<String, FlowError> {
        let encoded = serde_json::to_vec(whole);
        let text = Zeroizing::new(encoded.map_err(|source| FlowError::Encode { what: "connection", source })?);
        self.0.seal(connection, text, rng)
    }

    pub fn open(&self, connection: &str, sealed: &str) -> Result<Authorization, FlowError> {
        let text = self.0.open(connection, sealed)?;
        let what = format!("connection {connection}");
        serde_json::from_slice(&text).map_err(|source| FlowError::Corrupt { what, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::SeededRng;

    #[test]
    fn secrets_are_sealed_and_not_shown() {
        let sealer = Sealer::new(&MasterKey::new([7; 32]));
        let secret = |text: &str| Secret::new(text.into());
        let extra = Parameter { key: "k".into(), value: secret("hidden"), is_secret: true };
        let whole = Authorization {
            credentials: Credentials::Basic { username: "kim".into(), password: secret("hunter2") },
            parameters: Parameters { headers: vec![extra], ..Parameters::default() },
        };
        let sealed = sealer.seal("a", &whole, &SeededRng::new(1)).unwrap();
        assert_eq!(sealer.open("a", &sealed).unwrap(), whole);
        assert!(sealer.open("b", &sealed).is_err(), "it is another connection's");
        assert!(Sealer::new(&MasterKey::new([8; 32])).open("a", &sealed).is_err());
        let shown = format!("{whole:?}{}", serde_json::to_string(&whole.without_secrets()).unwrap());
        assert!(shown.contains("kim") && !shown.contains("hunter2") && !shown.contains("hidden"), "{shown}");
    }
}
