//! Users of environments, where the server is root: numbers that nobody else on the machine has, one an environment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The numbers from the first on that are in use.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    first: u32,
    taken: Arc<Mutex<BTreeSet<u32>>>,
}

/// A number that nobody else has while this is held.
#[derive(Debug)]
pub(crate) struct User {
    number: u32,
    taken: Arc<Mutex<BTreeSet<u32>>>,
}

impl Users {
    pub fn new(first: u32) -> Self {
        Self { first, taken: Arc::default() }
    }

    /// The lowest number that is free. There are as many as environments at once.
    pub fn take(&self) -> User {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (self.first..).find(|number| !taken.contains(number)).unwrap_or(self.first);
        taken.insert(number);
        User { number, taken: Arc::clone(&self.taken) }
    }
}

impl User {
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_only_when_it_is_free() {
        let users = Users::new(10);
        let (first, second) = (users.take(), users.take());
        assert_eq!((first.number(), second.number()), (10, 11));
        drop(first);
        assert_eq!(users.take().number(), 10);
        assert_eq!(second.number(), 11);
    }
}
