//! The context of a request: the values that conditions and policy variables see.

use base::Timestamp;

use crate::Principal;

/// Keys and their values. Names of keys are not case-sensitive, tag keys in them included.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Names in lower case. A request has some twenty: looking through them is quicker than hashing.
    entries: Vec<(Box<str>, Vec<String>)>,
}

impl Context {
    pub(crate) const EMPTY: Self = Self { entries: Vec::new() };

    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known of the caller: `aws:PrincipalArn`, `aws:PrincipalTag/…`, `aws:userid`, `aws:username` and so on
    /// ("AWS global condition context keys", "Principal key values").
    pub fn of(principal: &Principal) -> Self {
        let mut context = Self { entries: Vec::with_capacity(24) };
        principal.tell(&mut context);
        context
    }

    /// Sets `aws:CurrentTime` and `aws:EpochTime`.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        self.set("aws:CurrentTime", now.to_iso_secs());
        self.set("aws:EpochTime", now.millis().div_euclid(1_000).to_string());
        self
    }

    /// Gives a key one value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.set_all(key, [value.into()]);
    }

    /// Gives a key several values, or none: it is then as if absent, but for `ForAllValues`.
    pub fn set_all(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let key = key.to_ascii_lowercase().into_boxed_str();
        let values = values.into_iter().collect();
        match self.entries.iter_mut().find(|(name, _)| *name == key) {
            Some((_, held)) => *held = values,
            None => self.entries.push((key, values)),
        }
    }

    /// Adds a tag: `prefix` is such as `aws:ResourceTag`. Two tags whose keys differ in case only become one key of two
    /// values, which matches only what matches both.
    pub fn add_tag(&mut self, prefix: &str, key: &str, value: &str) {
        let name = format!("{prefix}/{key}").to_ascii_lowercase().into_boxed_str();
        match self.entries.iter_mut().find(|(held, _)| *held == name) {
            Some((_, values)) => values.push(value.to_owned()),
            None => self.entries.push((name, vec![value.to_owned()])),
        }
    }

    /// The values of a key, in any case; none when it is absent.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        let entry = self.entries.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        Some(&entry.1)
    }

    /// The values of a key that is in lower case already.
    pub(crate) fn values(&self, key: &str) -> Option<&[String]> {
        let entry = self.entries.iter().find(|(name, _)| **name == *key)?;
        (!entry.1.is_empty()).then_some(&*entry.1)
    }

    /// What a policy variable stands for: the one value of its key, unless that is empty.
    pub(crate) fn variable(&self, key: &str) -> Option<&str> {
        match self.values(key)? {
            [value] if !value.is_empty() => Some(value),
            _ => None,
        }
    }
}
