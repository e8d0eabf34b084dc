//! Locks between the users of one directory in this process. The data folder as a whole is locked by the server.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Names that are held.
#[derive(Default)]
pub struct Locks {
    held: Mutex<HashSet<PathBuf>>,
    released: Condvar,
}

/// Holds a name until dropped.
pub struct Guard {
    locks: Arc<Locks>,
    name: PathBuf,
}

impl Locks {
    /// Takes `name`. When it is held: waits if `wait`, else answers `None`.
    pub fn acquire(self: &Arc<Self>, name: &Path, wait: bool) -> Option<Guard> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.contains(name) {
            if !wait {
                return None;
            }
            held = self.released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.insert(name.to_owned());
        Some(Guard { locks: Arc::clone(self), name: name.to_owned() })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.locks.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
        self.locks.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_once_at_a_time() {
        let locks = Arc::new(Locks::default());
        let guard = locks.acquire(Path::new("a"), false);
        assert!(guard.is_some());
        assert!(locks.acquire(Path::new("a"), false).is_none());
        assert!(locks.acquire(Path::new("b"), false).is_some());
        drop(guard);
        assert!(locks.acquire(Path::new("a"), true).is_some());
    }
}
