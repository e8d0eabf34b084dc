//! An event that waits for its target, as it lies in an outbox.
//!
//! Must not know what becomes of it.
//!
//! ```text
//! data = {"v":1,"position":…,"born":…,"key":…,"payload":bytes of the payload, when the event follows,
//!         "end":why it is given up, when it is not to be attempted any more} LF payload event
//! ```

use base::{PartitionKey, Position, Timestamp};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::FlowError;
use crate::spool::End;

const VERSION: u32 = 1;

/// An event that waits for its target.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Where the event lies on its bus.
    pub position: Position,
    /// When it was put there.
    pub born: Timestamp,
    /// What the target gets.
    pub payload: Bytes,
    /// The event as it was put on the bus.
    pub event: Bytes,
    /// Places the record, where the target is sharded.
    pub key: Option<PartitionKey>,
    /// It is given up, and waits for its dead-letter queue.
    pub end: Option<End>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    v: u32,
    position: Position,
    born: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<PartitionKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

impl Waiting {
    /// As data of a record.
    pub fn encode(&self) -> Result<Bytes, FlowError> {
        let (position, born, key) = (self.position, self.born, self.key.clone());
        let payload = (self.payload != self.event).then_some(self.payload.len());
        let header = Header { v: VERSION, position, born, key, payload, end: self.end.clone() };
        let header =
            serde_json::to_vec(&header).map_err(|source| FlowError::Encode { what: "waiting event", source })?;
        let mut data = BytesMut::with_capacity(header.len() + 1 + self.payload.len() + self.event.len());
        data.put_slice(&header);
        data.put_u8(b'\n');
        data.put_slice(&self.payload);
        if payload.is_some() {
            data.put_slice(&self.event);
        }
        Ok(data.freeze())
    }

    /// Says what is wrong with data that is no waiting event's.
    pub fn decode(data: &Bytes) -> Result<Self, String> {
        let end = data.iter().position(|b| *b == b'\n').ok_or("it has no header line")?;
        let header: Header = serde_json::from_slice(&data[..end]).map_err(|e| e.to_string())?;
        if header.v != VERSION {
            return Err(format!("format version {} is not {VERSION}", header.v));
        }
        let rest = data.slice(end + 1..);
        let cut = header.payload.unwrap_or(rest.len());
        if cut > rest.len() {
            return Err("its payload is cut off".to_owned());
        }
        let payload = rest.slice(..cut);
        let event = if header.payload.is_some() { rest.slice(cut..) } else { payload.clone() };
        let Header { position, born, key, end, .. } = header;
        Ok(Self { position, born, payload, event, key, end })
    }
}
