//! A record as a line.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::merge::Record;

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// People: nothing in it can steer a terminal.
    Text,
    /// Programs: nothing is lost.
    Json,
}

impl Style {
    /// The record with a line's end.
    pub fn line(self, record: &Record) -> String {
        let Record { shard, arrival, key, data, .. } = record;
        match self {
            Self::Text => format!("{arrival} {shard} {} {}\n", escaped(key.as_bytes()), escaped(data)),
            Self::Json => format!("{}\n", json(record)),
        }
    }
}

fn json(record: &Record) -> serde_json::Value {
    let mut line = json!({
        "arrival": record.arrival.to_iso_millis(), "shard": record.shard, "sequence": record.sequence, "key": record.key,
    });
    match std::str::from_utf8(&record.data) {
        Ok(text) => line["data"] = text.into(),
        Err(_) => line["data_base64"] = STANDARD.encode(&record.data).into(),
    }
    line
}

/// Text as it is but for what a terminal obeys instead of showing it, and bytes that are no text: those as escapes.
fn escaped(bytes: &[u8]) -> String {
    let mut line = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => line += "\\n",
                '\r' => line += "\\r",
                '\t' => line += "\\t",
                // Writing to a String cannot fail.
                c if c.is_ascii_control() => _ = write!(line, "\\x{:02x}", u32::from(c)),
                c if c.is_control() || is_invisible(c) => _ = write!(line, "\\u{{{:x}}}", u32::from(c)),
                c => line.push(c),
            }
        }
        for byte in chunk.invalid() {
            _ = write!(line, "\\x{byte:02x}");
        }
    }
    line
}

/// What changes the order of other characters or the line, or is not seen ("Bidirectional Character Types" and "Format
/// Characters" of the Unicode Standard).
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use base::{ShardId, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn record(key: &str, data: &[u8]) -> Record {
        let arrival = Timestamp::from_millis(1_700_000_000_123);
        Record { shard: ShardId::new(3), arrival, sequence: "4957".into(), key: key.into(), data: data.into() }
    }

    #[test]
    fn people_see_a_line_that_is_safe_on_a_terminal() {
        let line = Style::Text.line(&record("k\u{1b}[2J", "größe \u{1b}]0;x\u{7} \u{9b}31m \u{202e}\r\n".as_bytes()));
        let place = "2023-11-14T22:13:20.123Z shardId-000000000003";
        assert_eq!(line, format!("{place} k\\x1b[2J größe \\x1b]0;x\\x07 \\u{{9b}}31m \\u{{202e}}\\r\\n\n"));
        assert!(Style::Text.line(&record("k", b"\x00\xff\xfeok")).ends_with(" k \\x00\\xff\\xfeok\n"));
    }

    #[test]
    fn programs_get_everything() {
        let line: serde_json::Value = serde_json::from_str(&Style::Json.line(&record("k", b"{\"a\": 1}\n"))).unwrap();
        assert_eq!((&line["data"], &line["sequence"]), (&"{\"a\": 1}\n".into(), &"4957".into()));
        let line: serde_json::Value = serde_json::from_str(&Style::Json.line(&record("k", b"\xff"))).unwrap();
        assert_eq!((&line["data_base64"], line.get("data")), (&"/w==".into(), None));
    }

    proptest! {
        #[test]
        fn no_bytes_reach_the_terminal_as_control(data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let line = Style::Text.line(&record("k", &data));
            prop_assert!(line.ends_with('\n') && !line[..line.len() - 1].contains(char::is_control));
        }
    }
}
