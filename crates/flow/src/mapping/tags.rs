//! Tags of mappings ("Using tags on event source mappings", Lambda Developer Guide).
//!
//! Promises that a change of tags leaves what runs alone. Must not know who reads them.

use std::collections::BTreeMap;

use base::Scope;

use super::settings::Mapping;
use super::{Mappings, config};
use crate::FlowError;
use crate::stored::{self, Change};

/// Tags of one resource, at most; characters of a tag's key and value.
const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;
/// What keys of the service's own begin with, in whatever case.
const RESERVED: &str = "aws:";

/// Whether a mapping may have all these tags.
pub(super) fn check(tags: &BTreeMap<String, String>) -> Result<(), FlowError> {
    if tags.len() > MAX_TAGS {
        let many = tags.len();
        return Err(FlowError::Invalid(format!("a mapping has at most {MAX_TAGS} tags, these are {many}")));
    }
    for (key, value) in tags {
        let is_reserved = key.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED));
        if is_reserved || !(1..=MAX_KEY).contains(&key.chars().count()) {
            return Err(FlowError::Invalid(format!(
                "'{key:.140}' is not the key of a tag: 1 to {MAX_KEY} characters that do not begin with {RESERVED}"
            )));
        }
        if value.chars().count() > MAX_VALUE {
            return Err(FlowError::Invalid(format!(
                "the value of the tag '{key}' has more than {MAX_VALUE} characters"
            )));
        }
    }
    Ok(())
}

impl Mappings {
    /// Sets tags of a mapping, and takes away others.
    pub async fn tag(
        &self,
        scope: &Scope,
        id: &str,
        set: &BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), FlowError> {
        stored::update(self.state(), Self::key(scope, id), "mapping", |old: Option<Mapping>| {
            let mut mapping = old.ok_or_else(config::not_found)?;
            mapping.tags.extend(set.clone());
            mapping.tags.retain(|key, _| !remove.contains(key));
            check(&mapping.tags)?;
            Ok((Change::Put(mapping, Vec::new()), ()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_their_limits() {
        let one = |key: &str, value: &str| check(&BTreeMap::from([(key.to_owned(), value.to_owned())])).is_ok();
        assert!(one("k", "") && one(&"ä".repeat(128), &"ä".repeat(256)) && one("aws", "x") && one("my:aws:", "x"));
        assert!(!one("", "x") && !one(&"k".repeat(129), "") && !one("k", &"v".repeat(257)));
        assert!(!one("aws:x", "") && !one("AWS:x", "") && one("äws:", ""));
        let many = |count: usize| (0..count).map(|n| (n.to_string(), String::new())).collect();
        assert!(check(&many(50)).is_ok() && check(&many(51)).is_err());
    }
}
