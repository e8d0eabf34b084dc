//! A secret key, and the signing keys that were derived from it.
//!
//! Promises that a derived key lives no longer than its secret and is found by nobody who has another one, and that
//! there are few.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::authorization::{CredentialScope, TERMINATOR};

/// Keys kept of one secret. A key is good for one day, region and service, so few are in use at a time.
const KEPT_KEYS: usize = 16;
/// HMAC's block for SHA-256 (RFC 2104).
const BLOCK_BYTES: usize = 64;

/// A key that signs for one date, region and service, with what of it can be hashed beforehand.
pub(super) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    pub(super) fn derive(secret: &str, scope: &CredentialScope<'_>) -> Self {
        let first = hmac(format!("AWS4{secret}").as_bytes(), scope.date.as_bytes());
        let parts = [&*scope.region, &*scope.service, TERMINATOR];
        Self(keyed(&parts.iter().fold(first, |key, part| hmac(&key, part.as_bytes()))))
    }

    pub(super) fn sign(&self, text: &str) -> [u8; 32] {
        finish(self.0.clone(), text.as_bytes())
    }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    finish(keyed(key), text)
}

fn finish(mut mac: Hmac<Sha256>, text: &[u8]) -> [u8; 32] {
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// HMAC-SHA-256. Keys are brought to the block's length here, as RFC 2104 says, so that no length can be refused.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    Hmac::new(&block.into())
}

/// A secret access key. Clones share the keys that were derived from it.
#[derive(Clone)]
pub struct SigningSecret(Arc<Shared>);

struct Shared {
    secret: String,
    /// Of callers that were verified, the oldest first.
    derived: Mutex<Vec<Derived>>,
}

struct Derived {
    scope: CredentialScope<'static>,
    key: Arc<SigningKey>,
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl From<&str> for SigningSecret {
    fn from(secret: &str) -> Self {
        Self(Arc::new(Shared { secret: secret.to_owned(), derived: Mutex::default() }))
    }
}

impl SigningSecret {
    /// The key for a scope, kept or derived; whether it was kept.
    pub(super) fn key(&self, scope: &CredentialScope<'_>) -> (Arc<SigningKey>, bool) {
        let known = self.derived().iter().rev().find(|known| known.is_for(scope)).map(|known| Arc::clone(&known.key));
        match known {
            Some(key) => (key, true),
            None => (Arc::new(SigningKey::derive(&self.0.secret, scope)), false),
        }
    }

    /// Keeps the key of a verified caller; one who only knows a key's id can keep none here.
    pub(super) fn keep(&self, scope: CredentialScope<'_>, key: Arc<SigningKey>) {
        let mut derived = self.derived();
        if derived.iter().any(|known| known.is_for(&scope)) {
            return;
        }
        if derived.len() >= KEPT_KEYS {
            derived.remove(0);
        }
        derived.push(Derived { scope: scope.into_owned(), key });
    }

    fn derived(&self) -> MutexGuard<'_, Vec<Derived>> {
        // Only whole keys are put in: a poisoned lock still guards such.
        self.0.derived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn kept_keys(&self) -> usize {
        self.derived().len()
    }
}

impl Derived {
    /// The access key id has no part in the derivation.
    fn is_for(&self, scope: &CredentialScope<'_>) -> bool {
        self.scope.service == scope.service && self.scope.region == scope.region && self.scope.date == scope.date
    }
}
