//! The directory's rows in the state store.
//!
//! Layout: table `identity.entities`, key `ACCOUNT/CLASS/NAME`, and table `identity.policies`, key `ACCOUNT/NAME`; names
//! in lower case, values JSON with a format version `v`. Promises that the rows of one step become durable together.

use auth::directory::{Change, Class, EntityName};
use base::{AccountId, Batch, Entry, StateStore, Table};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::IdentityError;

const ENTITIES: Table = Table("identity.entities");
const POLICIES: Table = Table("identity.policies");
const FORMAT: u32 = 1;
const LOAD_ENTRIES: usize = 500;

#[derive(Serialize)]
struct Stored<T> {
    v: u32,
    #[serde(flatten)]
    row: T,
}

/// Read by itself: a row that is flattened beside it could not have numbers as keys.
#[derive(Deserialize)]
struct Format {
    v: u32,
}

fn entity_key(account: &AccountId, class: Class, name: &EntityName) -> String {
    format!("{account}/{class}/{}", name.key())
}

fn policy_key(account: &AccountId, name: &EntityName) -> String {
    format!("{account}/{}", name.key())
}

fn corrupt(key: &[u8], reason: impl ToString) -> IdentityError {
    IdentityError::Corrupt { key: String::from_utf8_lossy(key).into_owned(), reason: reason.to_string() }
}

pub(super) fn encode(key: &str, row: &impl Serialize) -> Result<Vec<u8>, IdentityError> {
    serde_json::to_vec(&Stored { v: FORMAT, row }).map_err(|error| corrupt(key.as_bytes(), error))
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, IdentityError> {
    let Format { v } = serde_json::from_slice(value).map_err(|error| corrupt(key, error))?;
    if v != FORMAT {
        return Err(corrupt(key, format!("its format is {v}, this version reads {FORMAT}")));
    }
    serde_json::from_slice(value).map_err(|error| corrupt(key, error))
}

/// The batch that makes a step's changes durable.
pub(super) fn batch(account: &AccountId, changes: &[Change]) -> Result<Batch, IdentityError> {
    changes.iter().try_fold(Batch::new(), |batch, change| {
        Ok(match change {
            Change::Put(entity) => {
                let key = entity_key(account, entity.class(), &entity.name);
                let value = encode(&key, entity)?;
                batch.put(ENTITIES, key, value)
            }
            Change::Remove(class, name) => batch.delete(ENTITIES, entity_key(account, *class, name)),
            Change::PutPolicy(policy) => {
                let key = policy_key(account, &policy.name);
                let value = encode(&key, policy)?;
                batch.put(POLICIES, key, value)
            }
            Change::RemovePolicy(name) => batch.delete(POLICIES, policy_key(account, name)),
        })
    })
}

/// All rows of an account, as the changes that make its directory.
pub(super) fn load(store: &dyn StateStore, account: &AccountId) -> Result<Vec<Change>, IdentityError> {
    let mut changes = Vec::new();
    for (key, value) in all(store, POLICIES, account)? {
        changes.push(Change::PutPolicy(decode(&key, &value)?));
    }
    for (key, value) in all(store, ENTITIES, account)? {
        changes.push(Change::Put(decode(&key, &value)?));
    }
    Ok(changes)
}

/// The rows of a table and an account.
pub(super) fn all(store: &dyn StateStore, table: Table, account: &AccountId) -> Result<Vec<Entry>, IdentityError> {
    let (prefix, mut found) = (format!("{account}/"), Vec::<Entry>::new());
    loop {
        let after = found.last().map(|(key, _)| key.as_slice());
        let page = store.scan(table, prefix.as_bytes(), after, LOAD_ENTRIES)?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

#[cfg(test)]
mod tests {
    use auth::directory::{CustomerPolicy, Entity};

    use super::*;

    /// As the first release wrote them: to be read for ever.
    const FIRST_USER: &str = r#"{"v":1,"name":"Bob","path":"/team/","id":"AIDAAAAAAAAAAAAAAAAAA","created":1795407905221,"inline":{"own":"{}"},"attached":["arn:aws:iam::aws:policy/ReadOnlyAccess"],"boundary":null,"tags":{"k":"v"},"kind":{"class":"user","groups":["devs"],"keys":[{"id":"AKIAAAAAAAAAAAAAAAAA","sealed_secret":"c2VhbGVk","active":true,"created":1795407905221}]}}"#;
    const FIRST_ROLE: &str = r#"{"v":1,"name":"worker","path":"/","id":"AROAAAAAAAAAAAAAAAAAA","created":1795407905221,"inline":{},"attached":[],"boundary":null,"tags":{},"kind":{"class":"role","trust":"{}","max_session_seconds":3600,"description":null}}"#;
    const FIRST_POLICY: &str = r#"{"v":1,"name":"reads","path":"/","id":"ANPAAAAAAAAAAAAAAAAAA","created":1795407905221,"updated":1795407905221,"description":"d","default":1,"next":2,"versions":{"1":{"document":"{}","created":1795407905221}},"tags":{}}"#;

    #[test]
    fn the_first_format_is_read_and_written() {
        for text in [FIRST_USER, FIRST_ROLE] {
            let entity: Entity = decode(b"key", text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(encode("key", &entity).unwrap()).unwrap(), text);
        }
        let policy: CustomerPolicy = decode(b"key", FIRST_POLICY.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(encode("key", &policy).unwrap()).unwrap(), FIRST_POLICY);
    }

    #[test]
    fn another_format_is_corrupt_and_named_without_its_content() {
        for (from, to) in
            [("\"v\":1", "\"v\":2"), ("\"class\":\"user\"", "\"class\":\"robot\""), ("\"keys\":[", "\"keys\":[1,")]
        {
            let error =
                decode::<Entity>(b"000000000000/user/bob", FIRST_USER.replace(from, to).as_bytes()).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("000000000000/user/bob") && !text.contains("c2VhbGVk"), "{text}");
        }
    }
}
