//! What is set for an account in a region: whether it has committed itself to a minimum of throughput.
//!
//! Nothing is billed here. The commitment is kept because the service ties features to it: warm throughput and more
//! consumers for on-demand streams. It lasts a day at least, as with the service.
//!
//! ```text
//! streams.accounts   account/region   {"v":1,"started":…,"ends":…}
//! ```

use std::sync::Arc;
use std::time::Duration;

use base::{Batch, Precondition, Scope, StateError, StateStore, Table, Timestamp};
use serde::{Deserialize, Serialize};

use super::table::{decode, encode};

const ACCOUNTS: Table = Table("streams.accounts");
const VERSION: u32 = 1;
/// How long a commitment lasts at least.
const LEAST: Duration = Duration::from_secs(24 * 3_600);

/// The commitment of an account in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commitment {
    /// When it began.
    pub started: Timestamp,
    /// When it ends or ended; none while nobody has asked for that.
    pub ends: Option<Timestamp>,
}

impl Commitment {
    /// The first moment at which it may end.
    pub fn earliest_end(&self) -> Timestamp {
        self.started + LEAST
    }

    /// Whether it holds at this moment.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }

    /// What becomes of the commitment when it is asked for, or its end is.
    pub fn step(before: Option<Self>, now: Timestamp, wanted: bool) -> Option<Self> {
        let holding = before.filter(|commitment| commitment.holds(now));
        match (holding, wanted) {
            (Some(commitment), true) => Some(Self { ends: None, ..commitment }),
            (Some(commitment), false) => Some(Self { ends: Some(now.max(commitment.earliest_end())), ..commitment }),
            (None, true) => Some(Self { started: now, ends: None }),
            (None, false) => before,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Row {
    v: u32,
    #[serde(flatten)]
    commitment: Commitment,
}

/// The commitments of all accounts. Asked for by few calls, so they are read from the state store each time.
#[derive(Clone)]
pub(crate) struct Accounts {
    state: Arc<dyn StateStore>,
}

impl Accounts {
    /// The commitments in a state store.
    pub fn new(state: Arc<dyn StateStore>) -> Self {
        Self { state }
    }

    /// The commitment, or the last one.
    pub fn commitment(&self, scope: &Scope) -> Result<Option<Commitment>, StateError> {
        let key = scope.to_string();
        let Some(bytes) = self.state.get(ACCOUNTS, key.as_bytes())? else { return Ok(None) };
        let Row { commitment, .. } = decode(ACCOUNTS, key.as_bytes(), &bytes)?;
        Ok(Some(commitment))
    }

    /// Begins or ends a commitment; what became of it.
    pub async fn commit_to(
        &self,
        scope: &Scope,
        now: Timestamp,
        wanted: bool,
    ) -> Result<Option<Commitment>, StateError> {
        let key = scope.to_string().into_bytes();
        loop {
            let before = self.state.get(ACCOUNTS, &key)?;
            let row = before.as_deref().map(|bytes| decode::<Row>(ACCOUNTS, &key, bytes)).transpose()?;
            let Some(commitment) = Commitment::step(row.map(|row| row.commitment), now, wanted) else {
                return Ok(None);
            };
            let condition = before.map_or(Precondition::Absent, Precondition::Equals);
            let batch = Batch::new().require(ACCOUNTS, key.clone(), condition);
            let batch = batch.put(ACCOUNTS, key.clone(), encode(&Row { v: VERSION, commitment })?);
            match self.state.commit(batch).await {
                Err(StateError::Conflict { .. }) => {}
                committed => return committed.map(|()| Some(commitment)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_commitment_lasts_a_day_at_least() {
        let start = Timestamp::from_millis(1_700_000_000_000);
        assert_eq!(Commitment::step(None, start, false), None);
        let begun = Commitment::step(None, start, true);
        assert_eq!(begun, Some(Commitment { started: start, ends: None }));
        let ending = Commitment::step(begun, start + HOUR, false).unwrap();
        assert_eq!(ending.ends, Some(start + 24 * HOUR));
        assert!(ending.holds(start + 23 * HOUR) && !ending.holds(start + 24 * HOUR));
        // Its end is called off; later it ends at once.
        assert_eq!(Commitment::step(Some(ending), start + 2 * HOUR, true), begun);
        let ended = Commitment::step(begun, start + 30 * HOUR, false);
        assert_eq!(ended.unwrap().ends, Some(start + 30 * HOUR));
        // A new one is a new one.
        let again = Commitment::step(ended, start + 40 * HOUR, true).unwrap();
        assert_eq!(again, Commitment { started: start + 40 * HOUR, ends: None });
    }
}
