//! The one secret from which all keys for data at rest come.
//!
//! Owns the derivation of a key for a purpose. Promises that the secret is neither shown nor left in memory that was
//! given back, and that keys of different purposes say nothing of each other. Must not know what is encrypted.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// 32 secret bytes, drawn at random once for an installation. Whoever loses them loses what was encrypted.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// The key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key for a purpose, by HKDF-SHA256 (RFC 5869) without a salt: the same one every time, and a different one
    /// for every other purpose. A purpose is a phrase of the program's, such as "log: keys of streams".
    pub fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        // It refuses only more than 255 blocks of output; this is one.
        let _ = Hkdf::<Sha256>::new(None, &*self.0).expand(purpose.as_bytes(), &mut *key);
        key
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_standard_and_differ_by_purpose() {
        let key = MasterKey::new([0x0b; 32]);
        // By Python: hmac(hmac(bytes(32), b"\x0b" * 32), b"purpose\x01").
        let expected = "a91633b5045e34a21acc75c1689d0a3539fbd0f43375c96cfab5fb7e85096df0";
        let hex: String = key.derive("purpose").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, expected);
        assert_ne!(*key.derive("a"), *key.derive("b"));
        assert_ne!(*key.derive("a"), *MasterKey::new([1; 32]).derive("a"));
        assert_eq!(*key.derive("a"), *key.clone().derive("a"));
    }

    #[test]
    fn it_is_not_shown() {
        assert_eq!(format!("{:?}", MasterKey::new([0xab; 32])), "MasterKey(not shown)");
    }
}
