//! Receipt handles: what a consumer shows to delete a message or to keep it longer.
//!
//! Promises that only this data folder makes them, and that each is for one message of one queue at one receive. Must
//! not know whether the receive is still the message's last.
//!
//! ```text
//! handle = base64url( content | first 16 bytes of HMAC-SHA256(key, content) ), content little-endian:
//!    0  version   1   2
//!    1  queue     4   the number of its log
//!    5  message   8
//!   13  receives  4   this one included
//! ```
//!
//! So a handle begins with a letter, as programs want it that take one as an argument. In version 1 the content came
//! last, and handles began with anything, a hyphen too; those that were given out stay good.

use base::{Batch, Env, Position, Precondition, StateStore, Table};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use log::StreamId;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::FlowError;

const TABLE: Table = Table("flow.queue_keys");
const NAME: &[u8] = b"receipts";
const TAG: usize = 16;
const CONTENT: usize = 17;
const VERSION: u8 = 2;
const CONTENT_LAST: u8 = 1;

/// What a handle says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    /// The message.
    pub message: Position,
    /// How often it had been received.
    pub receives: u32,
}

/// Makes and reads handles.
pub(super) struct Handles {
    mac: Hmac<Sha256>,
}

impl Handles {
    /// With the key that is kept, which is made at the first start.
    pub async fn open(env: &Env, state: &dyn StateStore) -> Result<Self, FlowError> {
        let key = match state.get(TABLE, NAME)? {
            Some(key) => key,
            None => {
                let mut key = vec![0; 32];
                env.rng.fill(&mut key);
                let batch = Batch::new().require(TABLE, NAME, Precondition::Absent).put(TABLE, NAME, key.clone());
                state.commit(batch).await?;
                key
            }
        };
        // A MAC takes keys of every length.
        let mac = Hmac::new_from_slice(&key).map_err(|e| FlowError::Invalid(format!("the key of receipts: {e}")))?;
        Ok(Self { mac })
    }

    /// The handle of a receipt.
    pub fn write(&self, queue: StreamId, receipt: Receipt) -> String {
        let mut content = [0; CONTENT];
        content[0] = VERSION;
        content[1..5].copy_from_slice(&queue.number().to_le_bytes());
        content[5..13].copy_from_slice(&receipt.message.get().to_le_bytes());
        content[13..].copy_from_slice(&receipt.receives.to_le_bytes());
        let mut handle = content.to_vec();
        handle.extend_from_slice(&self.tag(&content));
        URL_SAFE_NO_PAD.encode(handle)
    }

    /// The receipt of a handle of this queue; none when it is not one.
    pub fn read(&self, queue: StreamId, handle: &str) -> Option<Receipt> {
        let bytes = URL_SAFE_NO_PAD.decode(handle).ok()?;
        let (first, last) = (bytes.split_at_checked(CONTENT)?, bytes.split_at_checked(TAG)?);
        let now = self.receipt(queue, VERSION, first.0, first.1);
        now.or_else(|| self.receipt(queue, CONTENT_LAST, last.1, last.0))
    }

    fn receipt(&self, queue: StreamId, version: u8, content: &[u8], tag: &[u8]) -> Option<Receipt> {
        let content: &[u8; CONTENT] = content.try_into().ok()?;
        let ours: bool = self.tag(content).ct_eq(tag).into();
        let (number, rest) = content[1..].split_first_chunk::<4>()?;
        let (message, receives) = rest.split_first_chunk::<8>()?;
        let receives = receives.try_into().ok()?;
        let of_queue = content[0] == version && u32::from_le_bytes(*number) == queue.number();
        (ours && of_queue).then(|| Receipt {
            message: Position::new(u64::from_le_bytes(*message)),
            receives: u32::from_le_bytes(receives),
        })
    }

    fn tag(&self, content: &[u8; CONTENT]) -> [u8; TAG] {
        let mut mac = self.mac.clone();
        mac.update(content);
        let full = mac.finalize().into_bytes();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&full[..TAG]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of version 1, for message 1258 of queue 5 at its second receive.
    const GIVEN_OUT: &str = "-_U3MEN4u2VmJsenUkKNBQEFAAAA6gQAAAAAAAACAAAA";

    fn handles(key: u8) -> Handles {
        Handles { mac: Hmac::new_from_slice(&[key; 32]).unwrap() }
    }

    fn queue(number: u32) -> StreamId {
        serde_json::from_value(number.into()).unwrap()
    }

    #[test]
    fn a_handle_begins_with_a_letter_and_is_for_one_queue_of_one_server() {
        let (of, ours) = (queue(5), handles(7));
        for message in 0..2_000 {
            let receipt = Receipt { message: Position::new(message), receives: 3 };
            let handle = ours.write(of, receipt);
            assert!(handle.starts_with('A'), "{handle}");
            assert_eq!(ours.read(of, &handle), Some(receipt));
            assert_eq!(ours.read(queue(6), &handle), None);
            assert_eq!(handles(8).read(of, &handle), None);
            assert_eq!(ours.read(of, &handle[1..]), None);
        }
    }

    #[test]
    fn what_was_given_out_before_stays_good() {
        let receipt = Receipt { message: Position::new(1258), receives: 2 };
        assert_eq!(handles(7).read(queue(5), GIVEN_OUT), Some(receipt));
        assert_eq!(handles(7).read(queue(6), GIVEN_OUT), None);
        assert_eq!(handles(8).read(queue(5), GIVEN_OUT), None);
    }
}
