//! Encryption at rest.
//!
//! Owns the keys of encrypted streams. Each has a key of its own, drawn at random when the stream is first encrypted
//! and kept in the catalogue, wrapped under a key that is derived from the master key. Promises that a record is
//! opened only as it was sealed, for the same stream and shard. Must not know how records are laid out.
//!
//! Records are sealed by AES-256-GCM, as frames of the AWS Encryption SDK are: every append draws a salt, HKDF-SHA256
//! makes the append's own key of it, and the records count on in the nonce. So no count has to survive crashes, and no
//! key ever sees two records with the same nonce, or more of them than GCM allows. With the processor's AES a record
//! of 200 bytes costs some 400 ns; XChaCha20-Poly1305, which needs no keys of appends, took six times as long.
//!
//! The shard and the stream are authenticated with each record, its position is not: it is not known yet when the
//! record is sealed on its producer's task. Whoever can write to the disk can exchange whole records of one shard, and
//! add ones that are not sealed, which readers are told of ([`Record::sealed`](crate::Record)).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use base::{MasterKey, Rng};
use hkdf::Hkdf;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{LogError, NewRecord, ShardRef, Stream, StreamId};

/// Random bytes from which an append's key is made.
const SALT: usize = 20;
/// The salt, and the record's number in its append: what a record keeps to be opened.
pub(crate) const NONCE: usize = SALT + 4;
/// Bytes that prove that sealed ones are unchanged.
pub(crate) const TAG: usize = 16;
const KEY: usize = 32;
const GCM_NONCE: usize = 12;
const WRAPPED: usize = GCM_NONCE + KEY + TAG;
const PURPOSE: &str = "tidegate log: keys of streams, version 1";

type GcmNonce = Nonce<U12>;

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
            *byte = digit(2 * n).ok_or_else(|| serde::de::Error::custom("a wrapped key is 120 hexadecimal digits"))?;
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
pub(crate) struct Keyring(Option<Arc<Aes256Gcm>>);

impl Keyring {
    /// Under a key of this master key's; without one nothing can be wrapped or unwrapped.
    pub fn new(master: Option<&MasterKey>) -> Self {
        Self(master.map(|master| Arc::new(Aes256Gcm::new((&*master.derive(PURPOSE)).into()))))
    }

    /// Draws the key of a stream that is encrypted for the first time.
    pub fn draw(&self, stream: &Stream, rng: &dyn Rng) -> Result<WrappedKey, LogError> {
        let mut wrapped = [0; WRAPPED];
        rng.fill(&mut wrapped[..GCM_NONCE + KEY]);
        let (nonce, rest) = wrapped.split_at_mut(GCM_NONCE);
        let (key, tag) = rest.split_at_mut(KEY);
        let nonce = GcmNonce::try_from(&*nonce).unwrap_or_default();
        tag.copy_from_slice(&seal(self.wrapping(stream)?, &nonce, &stream.id.0.to_le_bytes(), key)?);
        Ok(WrappedKey(wrapped))
    }

    /// The key that a stream's records are sealed with; none when it never was encrypted.
    pub fn unwrap(&self, stream: &Stream) -> Result<Option<RecordKey>, LogError> {
        let Some(WrappedKey(wrapped)) = &stream.record_key else { return Ok(None) };
        let (nonce, rest) = wrapped.split_at(GCM_NONCE);
        let (sealed, tag) = rest.split_at(KEY);
        let mut key = Zeroizing::new([0; KEY]);
        key.copy_from_slice(sealed);
        let nonce = GcmNonce::try_from(nonce).unwrap_or_default();
        open(self.wrapping(stream)?, &nonce, &stream.id.0.to_le_bytes(), &mut *key, tag)
            .map_err(|NotAuthentic| LogError::WrongMasterKey(stream.key.clone()))?;
        Ok(Some(RecordKey::new(&key, stream.id)))
    }

    fn wrapping(&self, stream: &Stream) -> Result<&Aes256Gcm, LogError> {
        self.0.as_deref().ok_or_else(|| LogError::NoMasterKey(stream.key.clone()))
    }
}

/// Makes the keys of appends to one stream.
pub(crate) struct RecordKey {
    keys: Hkdf<Sha256>,
    stream: StreamId,
}

impl RecordKey {
    pub fn new(key: &[u8; KEY], stream: StreamId) -> Self {
        Self { keys: Hkdf::new(None, key), stream }
    }

    fn of_append(&self, salt: [u8; SALT]) -> AppendKey {
        let mut key = Zeroizing::new([0; KEY]);
        // It refuses only more than 255 blocks of output; this is one.
        let _ = self.keys.expand(&salt, &mut *key);
        AppendKey { cipher: Aes256Gcm::new((&*key).into()), salt, stream: self.stream }
    }
}

/// Seals and opens the records of one append to one stream.
pub(crate) struct AppendKey {
    cipher: Aes256Gcm,
    salt: [u8; SALT],
    stream: StreamId,
}

impl AppendKey {
    /// What the append's record of this number keeps to be opened.
    pub fn nonce(&self, record: u32) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce[..SALT].copy_from_slice(&self.salt);
        nonce[SALT..].copy_from_slice(&record.to_le_bytes());
        nonce
    }

    /// Seals bytes of the append's record of this number in place; what proves them unchanged.
    pub fn seal(&self, shard: ShardRef, record: u32, bytes: &mut [u8]) -> Result<[u8; TAG], LogError> {
        seal(&self.cipher, &counted(&record.to_le_bytes()), &self.belongs(shard), bytes)
    }

    fn belongs(&self, shard: ShardRef) -> [u8; 8] {
        (u64::from(self.stream.0) | u64::from(shard.0) << 32).to_le_bytes()
    }
}

/// The nonce of a record within its append, of whose key it is the only use.
fn counted(record: &[u8]) -> GcmNonce {
    let mut nonce = GcmNonce::default();
    nonce[..record.len()].copy_from_slice(record);
    nonce
}

/// Opens the records of one stream, which mostly follow each other as they were appended.
pub(crate) struct Opener {
    key: Arc<RecordKey>,
    last: Option<AppendKey>,
}

impl Opener {
    pub fn new(key: Arc<RecordKey>) -> Self {
        Self { key, last: None }
    }

    /// Opens bytes in place.
    pub fn open(
        &mut self,
        shard: ShardRef,
        nonce: &[u8; NONCE],
        bytes: &mut [u8],
        tag: &[u8],
    ) -> Result<(), NotAuthentic> {
        let mut salt = [0; SALT];
        salt.copy_from_slice(&nonce[..SALT]);
        let key = match self.last.take() {
            Some(last) if last.salt == salt => last,
            _ => self.key.of_append(salt),
        };
        let key = self.last.insert(key);
        open(&key.cipher, &counted(&nonce[SALT..]), &key.belongs(shard), bytes, tag)
    }
}

/// Which records of one append are sealed, and by what.
#[derive(Default)]
pub(crate) struct Sealing(HashMap<ShardRef, Arc<AppendKey>>);

impl Sealing {
    /// The records of an append to be sealed, by what `key` says of their shards.
    pub fn new<'a>(
        records: &[NewRecord],
        rng: &dyn Rng,
        mut key: impl FnMut(ShardRef) -> Result<Option<&'a RecordKey>, LogError>,
    ) -> Result<Self, LogError> {
        let (mut keys, mut streams) = (HashMap::new(), Vec::<Arc<AppendKey>>::new());
        for shard in records.iter().map(|record| record.shard) {
            if keys.contains_key(&shard) {
                continue;
            }
            let Some(key) = key(shard)? else { continue };
            let known = streams.iter().find(|known| known.stream == key.stream).cloned();
            let of_append = known.unwrap_or_else(|| {
                let mut salt = [0; SALT];
                rng.fill(&mut salt);
                streams.push(Arc::new(key.of_append(salt)));
                Arc::clone(&streams[streams.len() - 1])
            });
            keys.insert(shard, of_append);
        }
        Ok(Self(keys))
    }

    /// The key for records of a shard; none when they are not to be sealed.
    pub fn key(&self, shard: ShardRef) -> Option<&AppendKey> {
        if self.0.is_empty() { None } else { self.0.get(&shard).map(|key| &**key) }
    }
}

fn seal(cipher: &Aes256Gcm, nonce: &GcmNonce, aad: &[u8], bytes: &mut [u8]) -> Result<[u8; TAG], LogError> {
    // It refuses more than 64 GiB, which no batch has.
    let refused = |_| LogError::Invalid("a record is too large to be sealed".into());
    cipher.encrypt_inout_detached(nonce, aad, bytes.into()).map(Into::into).map_err(refused)
}

fn open(cipher: &Aes256Gcm, nonce: &GcmNonce, aad: &[u8], bytes: &mut [u8], tag: &[u8]) -> Result<(), NotAuthentic> {
    let tag = <&Tag>::try_from(tag).map_err(|_| NotAuthentic)?;
    cipher.decrypt_inout_detached(nonce, aad, bytes.into(), tag).map_err(|_| NotAuthentic)
}
