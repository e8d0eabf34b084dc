//! Which messages of a batch a function reports as failed ("Configuring partial batch response", Lambda Developer Guide).
//! Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    batch_item_failures: Option<Vec<Item>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    item_identifier: Option<String>,
}

/// The ids of the messages that failed, of those in the batch. An answer that cannot be understood, or that names what
/// is not in the batch, fails all of them.
pub(super) fn failures<'a>(answer: &[u8], batch: impl Iterator<Item = &'a str>) -> Result<BTreeSet<&'a str>, String> {
    if matches!(answer.trim_ascii(), b"" | b"null") {
        return Ok(BTreeSet::new());
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|e| format!("its answer is not understood: {e}"))?;
    let (ids, mut failed): (BTreeSet<&str>, _) = (batch.collect(), BTreeSet::new());
    for item in answer.batch_item_failures.into_iter().flatten() {
        let id = item.item_identifier.unwrap_or_default();
        match ids.get(id.as_str()) {
            Some(id) => failed.insert(*id),
            None => return Err(format!("it reports an unknown item '{id:.60}'")),
        };
    }
    Ok(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str) -> Result<Vec<&'static str>, String> {
        failures(answer.as_bytes(), ["a", "b", "c"].into_iter()).map(|failed| failed.into_iter().collect())
    }

    #[test]
    fn nothing_named_is_a_success() {
        for answer in ["", " ", "null", "{}", r#"{"batchItemFailures":null}"#, r#"{"batchItemFailures":[]}"#] {
            assert_eq!(of(answer), Ok(vec![]), "{answer}");
        }
    }

    #[test]
    fn what_is_named_failed() {
        let answer = r#"{"batchItemFailures":[{"itemIdentifier":"c"},{"itemIdentifier":"a"},{"itemIdentifier":"c"}]}"#;
        assert_eq!(of(answer), Ok(vec!["a", "c"]));
    }

    #[test]
    fn what_is_not_understood_fails_the_batch() {
        let items = |item: &str| format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"a"}},{item}]}}"#);
        let wrong =
            [r#"{"itemIdentifier":""}"#, r#"{"itemIdentifier":null}"#, r#"{"id":"b"}"#, r#"{"itemIdentifier":"x"}"#];
        for item in wrong {
            assert!(of(&items(item)).is_err(), "{item}");
        }
        for answer in ["x", "[", r#""ok""#, r#"{"batchItemFailures":"a"}"#] {
            assert!(of(answer).is_err(), "{answer}");
        }
    }
}
