//! What all batches share: how many entries, and what they may be called.

use std::collections::HashSet;

use wire::ServiceError;
use wire::sqs::BatchResultErrorEntry;

use super::SERVICE;

const MOST_ENTRIES: usize = 10;

/// Refuses a batch by its entries' ids. `kind` is what an entry is called.
pub(super) fn check<'a>(kind: &str, ids: impl ExactSizeIterator<Item = &'a str>) -> Result<(), ServiceError> {
    let count = ids.len();
    if count == 0 {
        let message = format!("There should be at least one {kind} in the request.");
        return Err(ServiceError::new("EmptyBatchRequest", message));
    }
    if count > MOST_ENTRIES {
        let message = format!("Maximum number of entries per request are {MOST_ENTRIES}. You have sent {count}.");
        return Err(ServiceError::new("TooManyEntriesInBatchRequest", message));
    }
    let mut seen = HashSet::new();
    for id in ids {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if id.is_empty() || id.len() > 80 || !id.bytes().all(allowed) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be \
                           at most 80 letters long.";
            return Err(ServiceError::new("InvalidBatchEntryId", message));
        }
        if !seen.insert(id) {
            return Err(ServiceError::new("BatchEntryIdsNotDistinct", format!("Id {id} repeated.")));
        }
    }
    Ok(())
}

/// An entry that failed on its own.
pub(super) fn entry_failed(id: String, error: &ServiceError) -> BatchResultErrorEntry {
    // An entry's code is that of the query protocol.
    let query = SERVICE.model().error(&error.code).and_then(|shape| shape.query);
    let code = query.map_or_else(|| error.code.to_string(), |(code, _)| code.to_owned());
    let sender_fault = error.status.is_none_or(|status| status < 500);
    BatchResultErrorEntry { id, sender_fault, code, message: Some(error.message.clone()), ..Default::default() }
}
