//! Encryption at rest.
//!
//! Owns the keys of encrypted streams. Each has a key of its own, drawn at random when the stream is first encrypted
//! and kept in the catalogue, wrapped under a key that is derived from the master key. Promises that a record is
//! opened only as it was sealed, for the same stream and shard. Must not know how records are laid out.
//!
//! The cipher is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): its nonce of 192 bits can be drawn at random for every
//! record without a count that would have to survive crashes, and it is quick without help of the processor.
//! The shard and the stream are authenticated with each record, its position is not: it is not known yet when the
//! record is sealed on its producer's task. Whoever can write to the disk can exchange whole records of one shard.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base::{MasterKey, Rng};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{LogError, ShardRef, Stream, StreamId};

/// Bytes of the random number that is used with a key once.
pub(crate) const NONCE: usize = 24;
/// Bytes that prove that sealed ones are unchanged.
pub(crate) const TAG: usize = 16;
const KEY: usize = 32;
const WRAPPED: usize = NONCE + KEY + TAG;
const PURPOSE: &str = "tidegate log: keys of streams, version 1";

/// Bytes were not sealed by this key, or were changed since.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// A stream's key as it may be stored: nonce, sealed key, tag.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WrappedKey([u8; WRAPPED]);

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappedKey")
    }
}

impl Serialize for WrappedKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&Hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for WrappedKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let mut wrapped = [0; WRAPPED];
        for (n, byte) in wrapped.iter_mut().enumerate() {
            *byte = digit(2 * n).ok_or_else(|| serde::de::Error::custom("a wrapped key is 144 hexadecimal digits"))?;
        }
        Ok(Self(wrapped))
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Wraps and unwraps the keys of streams.
#[derive(Clone)]
pub(crate) struct Keyring(Option<Arc<XChaCha20Poly1305>>);

impl Keyring {
    /// Under a key of this master key's; without one nothing can be wrapped or unwrapped.
    pub fn new(master: Option<&MasterKey>) -> Self {
        Self(master.map(|master| Arc::new(cipher(&master.derive(PURPOSE)))))
    }

    /// Draws the key of a stream that is encrypted for the first time.
    pub fn draw(&self, stream: &Stream, rng: &dyn Rng) -> Result<WrappedKey, LogError> {
        let wrapping = self.0.as_ref().ok_or_else(|| LogError::NoMasterKey(stream.key.clone()))?;
        let mut wrapped = [0; WRAPPED];
        rng.fill(&mut wrapped[..NONCE + KEY]);
        let (nonce, rest) = wrapped.split_at_mut(NONCE);
        let (key, tag) = rest.split_at_mut(KEY);
        tag.copy_from_slice(&seal(wrapping, nonce, &stream.id.0.to_le_bytes(), key)?);
        Ok(WrappedKey(wrapped))
    }

    /// The key that a stream's records are sealed with; none when it never was encrypted.
    pub fn unwrap(&self, stream: &Stream) -> Result<Option<RecordKey>, LogError> {
        let Some(WrappedKey(wrapped)) = &stream.record_key else { return Ok(None) };
        let wrapping = self.0.as_ref().ok_or_else(|| LogError::NoMasterKey(stream.key.clone()))?;
        let (nonce, rest) = wrapped.split_at(NONCE);
        let (sealed, tag) = rest.split_at(KEY);
        let mut key = Zeroizing::new([0; KEY]);
        key.copy_from_slice(sealed);
        open(wrapping, nonce, &stream.id.0.to_le_bytes(), &mut *key, tag)
            .map_err(|NotAuthentic| LogError::WrongMasterKey(stream.key.clone()))?;
        Ok(Some(RecordKey::new(&key, stream.id)))
    }
}

/// Seals and opens the records of one stream.
pub(crate) struct RecordKey {
    cipher: XChaCha20Poly1305,
    stream: StreamId,
}

impl RecordKey {
    pub fn new(key: &[u8; KEY], stream: StreamId) -> Self {
        Self { cipher: cipher(key), stream }
    }

    /// Seals bytes in place; what proves them unchanged.
    pub fn seal(&self, shard: ShardRef, nonce: &[u8], bytes: &mut [u8]) -> Result<[u8; TAG], LogError> {
        seal(&self.cipher, nonce, &self.belongs(shard), bytes)
    }

    /// Opens bytes in place.
    pub fn open(&self, shard: ShardRef, nonce: &[u8], bytes: &mut [u8], tag: &[u8]) -> Result<(), NotAuthentic> {
        open(&self.cipher, nonce, &self.belongs(shard), bytes, tag)
    }

    fn belongs(&self, shard: ShardRef) -> [u8; 8] {
        (u64::from(self.stream.0) | u64::from(shard.0) << 32).to_le_bytes()
    }
}

/// Which records of one append are sealed, and by what.
#[derive(Default)]
pub(crate) struct Sealing {
    keys: HashMap<ShardRef, Arc<RecordKey>>,
    /// Of the first record.
    nonce: [u8; NONCE],
}

impl Sealing {
    /// With these keys; the nonces start at a random one.
    pub fn new(keys: HashMap<ShardRef, Arc<RecordKey>>, rng: &dyn Rng) -> Self {
        let mut nonce = [0; NONCE];
        if !keys.is_empty() {
            rng.fill(&mut nonce);
        }
        Self { keys, nonce }
    }

    /// The key for records of a shard; none when they are not to be sealed.
    pub fn key(&self, shard: ShardRef) -> Option<&RecordKey> {
        if self.keys.is_empty() { None } else { self.keys.get(&shard).map(|key| &**key) }
    }

    /// The nonce of the append's record of this number: the first one's, counted on in its last 64 bits. The 128 before
    /// them are random, so that no two appends ever meet.
    pub fn nonce(&self, record: u32) -> [u8; NONCE] {
        let mut nonce = self.nonce;
        let (_, count) = nonce.split_at_mut(NONCE - 8);
        let mut raw = [0; 8];
        raw.copy_from_slice(count);
        count.copy_from_slice(&u64::from_le_bytes(raw).wrapping_add(u64::from(record)).to_le_bytes());
        nonce
    }
}

fn cipher(key: &[u8; KEY]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

fn seal(cipher: &XChaCha20Poly1305, nonce: &[u8], aad: &[u8], bytes: &mut [u8]) -> Result<[u8; TAG], LogError> {
    let mut whole = XNonce::default();
    whole.copy_from_slice(nonce);
    // It refuses more than 256 GiB, which no batch has.
    let refused = |_| LogError::Invalid("a record is too large to be sealed".into());
    cipher.encrypt_inout_detached(&whole, aad, bytes.into()).map(Into::into).map_err(refused)
}

fn open(
    cipher: &XChaCha20Poly1305,
    nonce: &[u8],
    aad: &[u8],
    bytes: &mut [u8],
    tag: &[u8],
) -> Result<(), NotAuthentic> {
    let (Ok(nonce), Ok(tag)) = (<&XNonce>::try_from(nonce), <&Tag>::try_from(tag)) else { return Err(NotAuthentic) };
    cipher.decrypt_inout_detached(nonce, aad, bytes.into(), tag).map_err(|_| NotAuthentic)
}
