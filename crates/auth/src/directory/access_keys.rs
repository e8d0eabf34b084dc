//! Users' long-term keys: two at most, so that one can be replaced while the other is in use.

use super::{AccessKey, Change, Class, Directory, DirectoryError, EntityName, Kind};

/// "IAM object quotas" (IAM User Guide).
const KEYS_PER_USER: usize = 2;

impl Directory {
    /// Adds a key as it is handed in.
    pub fn add_key(&self, user: &EntityName, key: AccessKey) -> Result<Vec<Change>, DirectoryError> {
        self.change_keys(user, |keys| {
            if keys.len() >= KEYS_PER_USER {
                return Err(DirectoryError::quota("AccessKeysPerUser", KEYS_PER_USER));
            }
            keys.push(key);
            Ok(())
        })
    }

    /// Lets a key be used, or not.
    pub fn set_key_active(&self, user: &EntityName, id: &str, active: bool) -> Result<Vec<Change>, DirectoryError> {
        self.change_keys(user, |keys| {
            let key = keys.iter_mut().find(|key| key.id == id).ok_or_else(|| missing(id))?;
            key.active = active;
            Ok(())
        })
    }

    /// Removes a key.
    pub fn delete_key(&self, user: &EntityName, id: &str) -> Result<Vec<Change>, DirectoryError> {
        self.change_keys(user, |keys| {
            let at = keys.iter().position(|key| key.id == id).ok_or_else(|| missing(id))?;
            keys.remove(at);
            Ok(())
        })
    }

    fn change_keys(
        &self,
        user: &EntityName,
        change: impl FnOnce(&mut Vec<AccessKey>) -> Result<(), DirectoryError>,
    ) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(Class::User, user)?;
        if let Kind::User { keys, .. } = &mut entity.kind {
            change(keys)?;
        }
        Ok(vec![Change::Put(entity)])
    }
}

fn missing(id: &str) -> DirectoryError {
    DirectoryError::NoSuchEntity(format!("The Access Key with id {id:.128} cannot be found."))
}
