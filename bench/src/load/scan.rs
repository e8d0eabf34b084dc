//! Answers to `GetRecords`, counted without being parsed.

use anyhow::{Context, ensure};
use memchr::memmem;

/// What matters of one answer.
pub struct Page {
    /// Records in it.
    pub records: u64,
    /// Where to go on, as it stands in JSON; `None` at a closed shard's end.
    pub next: Option<String>,
    /// The last sequence number in it.
    pub last: Option<String>,
}

impl Page {
    /// Counts the records and checks that their sequence numbers grow, also against the page before.
    pub fn read(body: &[u8], before: Option<&str>) -> anyhow::Result<Self> {
        let (mut records, mut last) = (0, before.unwrap_or_default().as_bytes());
        for at in memmem::find_iter(body, br#""SequenceNumber""#) {
            let number = text_after(&body[at + 16..]).context("a sequence number is no text")?;
            let grows = (last.len(), last) < (number.len(), number);
            ensure!(
                grows,
                "out of order: {:?} after {:?}",
                String::from_utf8_lossy(number),
                String::from_utf8_lossy(last)
            );
            (records, last) = (records + 1, number);
        }
        // Records hold base64 and hexadecimal digits only, so that the member's name occurs once.
        let next = member(body, br#""NextShardIterator""#);
        let last = (!last.is_empty()).then(|| String::from_utf8_lossy(last).into_owned());
        Ok(Self { records, next, last })
    }

    /// The iterator in an answer to `GetShardIterator`, as it stands in JSON.
    pub fn first_iterator(body: &[u8]) -> Option<String> {
        member(body, br#""ShardIterator""#)
    }
}

/// The text of the first member of this quoted name.
fn member(body: &[u8], name: &[u8]) -> Option<String> {
    let at = memmem::find(body, name)?;
    text_after(&body[at + name.len()..]).map(|text| String::from_utf8_lossy(text).into_owned())
}

/// The JSON text behind a member's name: after a colon, between quotes.
fn text_after(rest: &[u8]) -> Option<&[u8]> {
    let from = rest.iter().take(4).position(|byte| *byte == b'"')? + 1;
    let length = memchr::memchr(b'"', &rest[from..])?;
    Some(&rest[from..from + length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_records_and_checks_their_order() {
        let body = br#"{"NextShardIterator": "abc", "Records":[{"SequenceNumber":"99"},{"SequenceNumber" : "100"}]}"#;
        let page = Page::read(body, Some("98")).unwrap();
        assert_eq!((page.records, page.next.as_deref(), page.last.as_deref()), (2, Some("abc"), Some("100")));
        assert!(Page::read(body, Some("99")).is_err());
    }

    #[test]
    fn a_closed_shard_has_no_next_iterator() {
        let page = Page::read(br#"{"NextShardIterator":null,"Records":[]}"#, None).unwrap();
        assert_eq!((page.records, page.next, page.last), (0, None, None));
    }
}
