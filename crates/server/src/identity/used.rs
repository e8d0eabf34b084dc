//! When keys and roles were used last: in memory to the minute, and written now and then.
//!
//! Layout: table `identity.used`, key `ACCOUNT/KEY ID` or `ACCOUNT/role/PATH/NAME`, value JSON with a format version `v`. Promises
//! nothing of the last minutes before a crash: nobody is answered by what is noted here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{AccountId, Batch, StateError, StateStore, Table, Timestamp};
use serde::{Deserialize, Serialize};

use super::{IdentityError, rows};

const TABLE: Table = Table("identity.used");
/// What is noted is as exact as this.
const EXACT: Duration = Duration::from_secs(60);
/// More keys and roles than an account may have.
const MOST: usize = 20_000;

/// A use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastUse {
    /// When.
    pub at: Timestamp,
    /// The service that was called, such as `kinesis`.
    pub service: String,
    /// The region of it.
    pub region: String,
}

struct Noted {
    last: LastUse,
    is_written: bool,
}

/// The last use of each.
pub(super) struct Used(Mutex<HashMap<String, Noted>>);

impl Used {
    /// What was written.
    pub fn load(store: &dyn StateStore, account: &AccountId) -> Result<Self, IdentityError> {
        let prefix = format!("{account}/");
        let mut held = HashMap::new();
        for (key, value) in rows::all(store, TABLE, account)? {
            let what = String::from_utf8_lossy(&key).strip_prefix(&prefix).unwrap_or_default().to_owned();
            held.insert(what, Noted { last: rows::decode(&key, &value)?, is_written: true });
        }
        Ok(Self(Mutex::new(held)))
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Noted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a use of a key, by its id, or of a role, by what its ARN ends with.
    pub fn note(&self, what: &str, now: Timestamp, service: &str, region: &str) {
        let use_now = || LastUse { at: now, service: service.to_owned(), region: region.to_owned() };
        let mut held = self.held();
        let has_room = held.len() < MOST;
        match held.get_mut(what) {
            Some(noted) if noted.last.at + EXACT > now => {}
            Some(noted) => *noted = Noted { last: use_now(), is_written: false },
            None if has_room => _ = held.insert(what.to_owned(), Noted { last: use_now(), is_written: false }),
            None => {}
        }
    }

    /// The last use, if one is known.
    pub fn last(&self, what: &str) -> Option<LastUse> {
        self.held().get(what).map(|noted| noted.last.clone())
    }

    /// Writes what is new and forgets what is gone.
    pub async fn write(
        &self,
        store: &dyn StateStore,
        account: &AccountId,
        is_there: impl Fn(&str) -> bool,
    ) -> Result<(), IdentityError> {
        let (mut batch, mut written) = (Batch::new(), Vec::new());
        self.held().retain(|what, noted| {
            let (key, stays) = (format!("{account}/{what}"), is_there(what));
            match rows::encode(&key, &noted.last) {
                _ if !stays => batch.writes.push(base::Write::Delete(TABLE, key.into_bytes())),
                Ok(value) if !noted.is_written => {
                    batch.writes.push(base::Write::Put(TABLE, key.into_bytes(), value));
                    written.push((what.clone(), noted.last.at));
                }
                _ => {}
            }
            stays
        });
        if batch.writes.is_empty() {
            return Ok(());
        }
        store.commit(batch).await.map_err(|error: StateError| IdentityError::State(error))?;
        let mut held = self.held();
        for (what, at) in written {
            if let Some(noted) = held.get_mut(&what).filter(|noted| noted.last.at == at) {
                noted.is_written = true;
            }
        }
        Ok(())
    }
}
