//! Derived signing keys, and the bounded cache that holds nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::authorization::{CredentialScope, TERMINATOR};

/// Keys kept. A key is good for one day, region and service, so few are in use at a time.
const CACHED_KEYS: usize = 1_024;
/// HMAC's block for SHA-256 (RFC 2104).
const BLOCK_BYTES: usize = 64;

/// A key that signs for one date, region and service, with what of it can be hashed beforehand.
#[derive(Clone)]
pub(super) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    pub(super) fn derive(secret: &str, scope: &CredentialScope) -> Self {
        let first = hmac(format!("AWS4{secret}").as_bytes(), scope.date.as_bytes());
        let parts = [scope.region.as_str(), scope.service.as_str(), TERMINATOR];
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

/// Keys of callers that were verified, by scope and a digest of the secret: a changed secret finds no old key.
#[derive(Default)]
pub(super) struct KeyCache(Mutex<HashMap<Entry, SigningKey>>);

type Entry = (String, String, [u8; 32]);

impl KeyCache {
    /// The key from the cache, or derived; whether it was there.
    pub(super) fn get(&self, secret: &str, scope: &CredentialScope) -> (SigningKey, bool) {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = keys.get(&entry(secret, scope)).cloned();
        drop(keys);
        found.map_or_else(|| (SigningKey::derive(secret, scope), false), |key| (key, true))
    }

    /// Keeps the key of a verified caller; one who only knows a key's id cannot fill the cache.
    pub(super) fn keep(&self, secret: &str, scope: &CredentialScope, key: SigningKey) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= CACHED_KEYS {
            keys.clear();
        }
        keys.insert(entry(secret, scope), key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn entry(secret: &str, scope: &CredentialScope) -> Entry {
    (scope.access_key.clone(), scope.text(), Sha256::digest(secret.as_bytes()).into())
}
