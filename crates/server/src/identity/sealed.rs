//! The seal on secrets of access keys: AES-256-GCM under a key of its own, made of the master key.
//!
//! Promises that a sealed secret opens only for the key id that it was sealed for, so that rows cannot be exchanged.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use base::{MasterKey, Rng};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::IdentityError;

const PURPOSE: &str = "tidegate server: secrets of access keys, version 1";
const NONCE: usize = 12;
const TAG: usize = 16;

/// Seals and opens.
pub(super) struct Sealer(Aes256Gcm);

impl Sealer {
    pub fn new(master: &MasterKey) -> Self {
        Self(Aes256Gcm::new((&*master.derive(PURPOSE)).into()))
    }

    /// Base64 of nonce, sealed secret and tag.
    pub fn seal(&self, key_id: &str, secret: &str, rng: &dyn Rng) -> Result<String, IdentityError> {
        let mut nonce = [0; NONCE];
        rng.fill(&mut nonce);
        let mut text = Zeroizing::new(secret.as_bytes().to_vec());
        let of = Nonce::<U12>::from(nonce);
        let tag = self.0.encrypt_inout_detached(&of, key_id.as_bytes(), text.as_mut_slice().into());
        let tag = tag.map_err(|_| IdentityError::Sealed(key_id.to_owned()))?;
        Ok(BASE64.encode([&nonce[..], &text[..], &tag[..]].concat()))
    }

    /// The secret that was sealed for this key.
    pub fn open(&self, key_id: &str, sealed: &str) -> Result<Zeroizing<String>, IdentityError> {
        self.try_open(key_id, sealed).ok_or_else(|| IdentityError::Sealed(key_id.to_owned()))
    }

    fn try_open(&self, key_id: &str, sealed: &str) -> Option<Zeroizing<String>> {
        let mut bytes = Zeroizing::new(BASE64.decode(sealed).ok()?);
        let end = bytes.len().checked_sub(TAG).filter(|end| *end >= NONCE)?;
        let (rest, tag) = bytes.split_at_mut(end);
        let (nonce, text) = rest.split_at_mut(NONCE);
        let nonce = Nonce::<U12>::try_from(&*nonce).ok()?;
        let tag = <&Tag>::try_from(&*tag).ok()?;
        self.0.decrypt_inout_detached(&nonce, key_id.as_bytes(), (&mut *text).into(), tag).ok()?;
        std::str::from_utf8(text).ok().map(|text| Zeroizing::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use base::SeededRng;

    use super::*;

    #[test]
    fn a_secret_opens_for_its_key_and_under_its_master_key_only() {
        let (rng, sealer) = (SeededRng::new(1), Sealer::new(&MasterKey::new([7; 32])));
        let sealed = sealer.seal("AKIAONE", "hunter2", &rng).unwrap();
        assert_ne!(sealed, sealer.seal("AKIAONE", "hunter2", &rng).unwrap(), "a nonce each");
        assert_eq!(&**sealer.open("AKIAONE", &sealed).unwrap(), "hunter2");
        assert!(!BASE64.decode(&sealed).unwrap().windows(7).any(|part| part == b"hunter2"));
        let mut bytes = BASE64.decode(&sealed).unwrap();
        bytes[NONCE] ^= 1;
        for (key, text) in
            [("AKIATWO", &*sealed), ("AKIAONE", &*BASE64.encode(&bytes)), ("AKIAONE", "AAAA"), ("AKIAONE", "?")]
        {
            let error = sealer.open(key, text).unwrap_err();
            assert!(error.to_string().contains(key) && !error.to_string().contains("hunter2"), "{error}");
        }
        assert!(Sealer::new(&MasterKey::new([8; 32])).open("AKIAONE", &sealed).is_err());
    }
}
