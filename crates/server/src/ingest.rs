//! `POST /_tidegate/ingest/cloudtrail`: log records in, events on the bus.
//!
//! Takes what CloudTrail writes (documents with `Records`, or a record a line, gzip or plain) and puts each record as an
//! event on the `default` bus of the call's account and region, where the rules of that region see it; the event keeps
//! the account and region of its record. So one server can watch the trails of many accounts and regions with one set
//! of rules.
//!
//! Promises: what the answer counts as accepted is durable; a record whose event id is on the bus already is counted as
//! a duplicate and adds nothing, so a call can be repeated; records that are none are named and cost the others nothing;
//! memory is bounded by a batch, not by the body. Must not know files.
//!
//! The answer is JSON:
//! `{"accepted":2,"duplicates":1,"rejected":1,"problems":[{"record":3,"offset":1874,"reason":"…"}]}`, where `record`
//! counts from 0 and `offset` is in bytes of the decompressed body. At most 1,000 problems are listed.

use base::{BusName, ErrorKind, Event, Kinded, Scope};
use bytes::Bytes;
use flow::{Buses, FlowError};
use http::StatusCode;
use serde::Serialize;
use sources::{Piece, Records, SourceError, cloudtrail};

use crate::metrics;
use crate::refusal::json;

/// Bytes of a body after decompression.
const MAX_TEXT_BYTES: u64 = 256 << 20;
/// Bytes of the body that are read before others get their turn; compressed, they hold at most a thousand times as many.
const STEP_BYTES: usize = 16 << 10;
/// Events that go onto the bus together.
const BATCH_EVENTS: usize = 500;
const MAX_PROBLEMS: usize = 1_000;

/// What became of the records of a body.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    /// Events that are on the bus now and were not before.
    accepted: usize,
    /// Events that were on the bus already.
    duplicates: usize,
    /// Records that are none.
    rejected: usize,
    /// Why, for the first of them.
    problems: Vec<Problem>,
}

/// A record that is none.
#[derive(Debug, Serialize)]
struct Problem {
    /// Its number in the body, from 0.
    record: usize,
    /// Where it starts.
    offset: u64,
    /// What is wrong with it.
    reason: String,
}

/// Why a body was not taken, or not to its end.
#[derive(Debug, thiserror::Error)]
enum IngestError {
    #[error("the body {0}")]
    Body(#[from] SourceError),
    #[error(transparent)]
    Bus(#[from] FlowError),
}

impl Kinded for IngestError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Body(error) => error.kind(),
            Self::Bus(error) => error.kind(),
        }
    }
}

/// Puts the records of `body` onto the default bus of `scope` and answers what became of them. On an error, what was
/// read before it may be on the bus; sending the body again adds only the rest.
pub(crate) async fn cloudtrail(buses: &Buses, scope: &Scope, body: &[u8]) -> http::Response<Bytes> {
    match take(buses, scope, body).await {
        Ok(outcome) => json(StatusCode::OK, &serde_json::json!(outcome)),
        Err(error) => {
            let status = match (&error, error.kind()) {
                (IngestError::Body(SourceError::TooLong(_)), _) => StatusCode::PAYLOAD_TOO_LARGE,
                (_, ErrorKind::Invalid) => StatusCode::BAD_REQUEST,
                (_, ErrorKind::Throttled) => StatusCode::TOO_MANY_REQUESTS,
                (_, ErrorKind::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            if status.is_server_error() {
                tracing::warn!(%error, %scope, "events could not be put on the bus");
            }
            json(status, &serde_json::json!({"message": error.to_string()}))
        }
    }
}

async fn take(buses: &Buses, scope: &Scope, body: &[u8]) -> Result<Outcome, IngestError> {
    let mut intake = Intake { outcome: Outcome::default(), pieces: 0, events: Vec::new() };
    let mut records = Records::new(MAX_TEXT_BYTES);
    for part in body.chunks(STEP_BYTES) {
        records.push(part, |piece| intake.piece(piece))?;
        if intake.events.len() >= BATCH_EVENTS {
            intake.put(buses, scope).await?;
        }
        // Reading is work without waiting; other calls must not wait for all of it.
        tokio::task::yield_now().await;
    }
    records.finish(|piece| intake.piece(piece))?;
    intake.put(buses, scope).await?;
    Ok(intake.outcome)
}

struct Intake {
    outcome: Outcome,
    /// How many records, good or not, have been found.
    pieces: usize,
    events: Vec<Event>,
}

impl Intake {
    fn piece(&mut self, piece: Piece) {
        let (offset, made) = match piece {
            Piece::Record { offset, text } => (offset, cloudtrail::event(&text).map_err(|error| error.to_string())),
            Piece::Broken { offset, reason } => (offset, Err(reason)),
        };
        match made {
            Ok(event) => self.events.push(event),
            Err(reason) => {
                self.outcome.rejected += 1;
                metrics::ingested("rejected", 1);
                if self.outcome.problems.len() < MAX_PROBLEMS {
                    self.outcome.problems.push(Problem { record: self.pieces, offset, reason });
                }
            }
        }
        self.pieces += 1;
    }

    async fn put(&mut self, buses: &Buses, scope: &Scope) -> Result<(), FlowError> {
        let bus: BusName = "default".parse().map_err(|error: base::InvalidId| FlowError::Invalid(error.to_string()))?;
        let events = std::mem::take(&mut self.events);
        for batch in events.chunks(BATCH_EVENTS) {
            let new = buses.put_new_events(scope, &bus, batch).await?;
            let accepted = new.iter().filter(|new| **new).count();
            self.outcome.accepted += accepted;
            self.outcome.duplicates += batch.len() - accepted;
            metrics::ingested("accepted", accepted);
            metrics::ingested("duplicate", batch.len() - accepted);
        }
        Ok(())
    }
}
