//! Secrets that callers hand in: shown to nobody, and on disk only sealed.
//!
//! Promises that a [`Secret`] is not in `Debug` output, and that what a [`Sealer`] makes is AES-256-GCM under a key of
//! its purpose alone, derived from the master key and bound to its owner.

use std::fmt;

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use base::{MasterKey, Rng};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::FlowError;

const NONCE: usize = 12;
const TAG: usize = 16;

/// A text that nobody is shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Of this text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// For the request that carries it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self::new)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// Seals what its owners keep secret.
pub(crate) struct Sealer {
    cipher: Aes256Gcm,
    /// What owners are called in errors.
    what: &'static str,
}

impl Sealer {
    /// For secrets of one purpose, whose owners are each a `what`.
    pub fn new(master: &MasterKey, purpose: &str, what: &'static str) -> Self {
        Self { cipher: Aes256Gcm::new((&*master.derive(purpose)).into()), what }
    }

    /// Base64 of nonce, sealed text and tag; opened only for the same owner.
    pub fn seal(&self, owner: &str, mut text: Zeroizing<Vec<u8>>, rng: &dyn Rng) -> Result<String, FlowError> {
        let mut nonce = [0; NONCE];
        rng.fill(&mut nonce);
        let of = Nonce::<U12>::from(nonce);
        let tag = self.cipher.encrypt_inout_detached(&of, owner.as_bytes(), text.as_mut_slice().into());
        let tag = tag.map_err(|_| FlowError::Invalid(format!("a {} is too large to be sealed", self.what)))?;
        Ok(BASE64.encode([&nonce[..], &text[..], &tag[..]].concat()))
    }

    /// What was sealed for an owner.
    pub fn open(&self, owner: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, FlowError> {
        let changed = || {
            FlowError::Unavailable(format!(
                "the secrets of {} {owner} cannot be opened: they were changed, or sealed under another master key",
                self.what
            ))
        };
        let mut bytes = Zeroizing::new(BASE64.decode(sealed).map_err(|_| changed())?);
        let end = bytes.len().checked_sub(TAG).filter(|end| *end >= NONCE).ok_or_else(changed)?;
        let (rest, tag) = bytes.split_at_mut(end);
        let (nonce, text) = rest.split_at_mut(NONCE);
        let nonce = Nonce::<U12>::try_from(&*nonce).map_err(|_| changed())?;
        let tag = <&Tag>::try_from(&*tag).map_err(|_| changed())?;
        let opened = self.cipher.decrypt_inout_detached(&nonce, owner.as_bytes(), (&mut *text).into(), tag);
        opened.map_err(|_| changed())?;
        Ok(Zeroizing::new(text.to_vec()))
    }
}
