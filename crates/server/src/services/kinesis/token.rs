//! Opaque tokens: shard iterators and the next tokens of listings, which only this server can make.
//!
//! Promises that a token read back is one that was given out, unchanged, by this data folder, also before a restart, and
//! that a listing cannot be gone on with later than five minutes after its last page.
//! Must not know what a token says.
//!
//! ```text
//! token = base64url( first 16 bytes of HMAC-SHA256(key, content) | content as JSON )
//! ```

use std::sync::Arc;
use std::time::Duration;

use base::{Batch, Precondition, Rng, StateError, StateStore, Table, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::sync::OnceCell;
use wire::ServiceError;

use super::{SERVICE, invalid};

const TABLE: Table = Table("kinesis.keys");
const NAME: &[u8] = b"tokens";
const TAG: usize = 16;
/// A next token is of no use afterwards.
const NEXT_LIFE: Duration = Duration::from_secs(300);

/// What a next token says: the rest of a listing.
#[derive(Serialize, Deserialize)]
pub(super) struct Next<T> {
    issued: Timestamp,
    pub rest: T,
}

/// Makes and reads tokens.
pub(super) struct Seal {
    state: Arc<dyn StateStore>,
    rng: Arc<dyn Rng>,
    key: OnceCell<Vec<u8>>,
}

impl Seal {
    pub fn new(state: Arc<dyn StateStore>, rng: Arc<dyn Rng>) -> Self {
        Self { state, rng, key: OnceCell::new() }
    }

    /// Gives out a token.
    pub async fn seal(&self, content: &impl Serialize) -> Result<String, ServiceError> {
        let internal =
            |e: serde_json::Error| ServiceError::new("InternalFailureException", e.to_string()).with_status(500);
        let content = serde_json::to_vec(content).map_err(internal)?;
        let mut token = self.tag(&content).await?;
        token.extend_from_slice(&content);
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Reads a token, `None` when it is not one of ours.
    pub async fn open<T: DeserializeOwned>(&self, token: &str) -> Result<Option<T>, ServiceError> {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else { return Ok(None) };
        let Some((tag, content)) = bytes.split_at_checked(TAG) else { return Ok(None) };
        let is_ours: bool = self.tag(content).await?.ct_eq(tag).into();
        Ok(if is_ours { serde_json::from_slice(content).ok() } else { None })
    }

    /// What a token says, whoever made it: good for asking who may, and for nothing else.
    pub fn unproven<T: DeserializeOwned>(token: &str) -> Option<T> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        serde_json::from_slice(bytes.get(TAG..)?).ok()
    }

    /// Gives out a next token: what is to be listed yet.
    pub async fn seal_next(&self, now: Timestamp, rest: impl Serialize) -> Result<String, ServiceError> {
        self.seal(&Next { issued: now, rest }).await
    }

    /// Reads a next token of the same listing.
    pub async fn open_next<T: DeserializeOwned>(&self, now: Timestamp, token: &str) -> Result<T, ServiceError> {
        let next: Option<Next<T>> = self.open(token).await?;
        let Next { issued, rest } = next.ok_or_else(|| invalid("Invalid NextToken."))?;
        if now.since(issued) > NEXT_LIFE {
            let message = "the next token is older than 300 seconds; begin the listing again";
            return Err(ServiceError::new("ExpiredNextTokenException", message));
        }
        Ok(rest)
    }

    async fn tag(&self, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
        let key = self.key.get_or_try_init(|| self.load()).await;
        let key = key.map_err(|error| ServiceError::from_kinded(SERVICE, &error))?;
        // A MAC takes keys of every length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
            return Err(ServiceError::new("InternalFailureException", "the token key cannot be used").with_status(500));
        };
        mac.update(content);
        Ok(mac.finalize().into_bytes()[..TAG].to_vec())
    }

    /// The key, made at its first use and kept.
    async fn load(&self) -> Result<Vec<u8>, StateError> {
        if let Some(key) = self.state.get(TABLE, NAME)? {
            return Ok(key);
        }
        let mut key = vec![0; 32];
        self.rng.fill(&mut key);
        self.state
            .commit(Batch::new().require(TABLE, NAME, Precondition::Absent).put(TABLE, NAME, key.clone()))
            .await?;
        Ok(key)
    }
}
