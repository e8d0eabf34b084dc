//! Finds the records in JSON text that arrives in pieces, holding no more than one record.
//!
//! Two forms are understood, also mixed: documents with an array of records under `Records` at their top, as CloudTrail
//! writes them to S3, and records one after the other, as in NDJSON. Only the structure is looked at here (strings,
//! brackets, depth); whether a record is good JSON is for its reader.
//!
//! A record that does not end is noticed where it can be: a raw line end inside a string, a line that starts with `{`
//! inside a record that has not ended, the end of the file. Reading goes on at the next line that starts with `{`.

/// The longest record; CloudTrail's are at most 1 MB ("Quotas in AWS CloudTrail").
const MAX_RECORD: usize = 1 << 20;

const RECORDS: &[u8] = b"Records";

/// Something found in the text.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A record.
    Record {
        /// Where it starts, in bytes of the decompressed text.
        offset: u64,
        /// The record, which may yet be no good JSON.
        text: Vec<u8>,
    },
    /// A place where a record should be and is none.
    Broken {
        /// Where it starts, in bytes of the decompressed text.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Where in the text the splitter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between documents or records.
    Between,
    /// In a record, or in the beginning of a document that may turn out to hold records.
    Object,
    /// In the array of a document, between records.
    Array,
    /// In a record of that array.
    Element,
    /// In a document, after its array.
    After,
    /// In something broken, until a line starts with `{`.
    Lost,
}

/// The state of the search.
#[derive(Debug)]
pub(crate) struct Splitter {
    place: Place,
    /// Whether the surroundings, to which a lost splitter returns, are a document's array.
    in_array: bool,
    offset: u64,
    /// The record so far.
    held: Vec<u8>,
    /// Where it started.
    started: u64,
    /// Brackets open since then.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Whether the last string at depth 1 of an object is its member `Records`, and how far its value is seen.
    key: Key,
    line_start: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Other,
    /// In a string at depth 1; it started at this index of `held`.
    Name(usize),
    Records,
    RecordsColon,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self {
            place: Place::Between,
            in_array: false,
            offset: 0,
            held: Vec::new(),
            started: 0,
            depth: 0,
            in_string: false,
            escaped: false,
            key: Key::Other,
            line_start: true,
        }
    }

    /// Takes the next bytes and gives what ends in them.
    pub(crate) fn push(&mut self, bytes: &[u8], found: &mut Vec<Piece>) {
        for &byte in bytes {
            self.byte(byte, found);
            self.offset += 1;
            self.line_start = byte == b'\n';
        }
    }

    /// Says that the text has ended.
    pub(crate) fn finish(self, found: &mut Vec<Piece>) {
        match self.place {
            Place::Between | Place::Lost => {}
            Place::Object | Place::Element => {
                found.push(Piece::Broken {
                    offset: self.started,
                    reason: "the text ends within this record".to_owned(),
                });
            }
            Place::Array | Place::After => {
                let reason = "the text ends within the document: its list of records is not closed".to_owned();
                found.push(Piece::Broken { offset: self.offset, reason });
            }
        }
    }

    fn byte(&mut self, byte: u8, found: &mut Vec<Piece>) {
        match self.place {
            Place::Object | Place::Element => self.in_object(byte, found),
            Place::Between | Place::Array => self.between(byte, found),
            Place::After => self.after(byte),
            Place::Lost if self.line_start && byte == b'{' => {
                self.place = if self.in_array { Place::Array } else { Place::Between };
                self.between(byte, found);
            }
            Place::Lost => {}
        }
    }

    fn between(&mut self, byte: u8, found: &mut Vec<Piece>) {
        match byte {
            b'{' => {
                self.place = if self.in_array { Place::Element } else { Place::Object };
                self.started = self.offset;
                self.depth = 1;
                self.in_string = false;
                self.key = Key::Other;
                self.held.clear();
                self.held.push(byte);
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b',' if self.in_array => {}
            b']' if self.in_array => {
                self.place = Place::After;
                self.depth = 1;
                self.in_string = false;
            }
            _ => {
                self.started = self.offset;
                self.lose("expected '{', the start of a record; what follows is passed over up to a line that starts with one", found);
            }
        }
    }

    /// Passes over what a document has after its records.
    fn after(&mut self, byte: u8) {
        self.brackets(byte);
        if self.depth == 0 {
            self.place = Place::Between;
            self.in_array = false;
        }
    }

    fn in_object(&mut self, byte: u8, found: &mut Vec<Piece>) {
        if byte == b'\n' && self.in_string {
            return self.lose("a line ends within a string of this record", found);
        }
        if byte == b'{' && self.line_start {
            self.lose("a new record starts before this one ends", found);
            return self.byte(byte, found);
        }
        if self.held.len() >= MAX_RECORD {
            return self.lose("the record is longer than 1 MiB", found);
        }
        let was_in_string = self.in_string;
        self.held.push(byte);
        self.brackets(byte);
        if self.place == Place::Object {
            self.watch_key(byte, was_in_string);
        }
        if self.depth == 0 {
            found.push(Piece::Record { offset: self.started, text: std::mem::take(&mut self.held) });
            self.place = if self.in_array { Place::Array } else { Place::Between };
        }
    }

    /// Follows strings and brackets.
    fn brackets(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Notices `"Records": [` at the top of a document, and turns from the document to its records.
    fn watch_key(&mut self, byte: u8, was_in_string: bool) {
        self.key = match (self.key, byte) {
            (Key::Other | Key::Records | Key::RecordsColon, b'"') if !was_in_string && self.depth == 1 => {
                Key::Name(self.held.len())
            }
            (Key::Name(start), b'"') if was_in_string && !self.in_string => {
                let is_records = self.held.get(start..self.held.len() - 1) == Some(RECORDS);
                if is_records { Key::Records } else { Key::Other }
            }
            (key @ Key::Name(_), _) => key,
            (Key::Records, b':') => Key::RecordsColon,
            (key @ (Key::Records | Key::RecordsColon), b' ' | b'\t' | b'\r' | b'\n') => key,
            (Key::RecordsColon, b'[') => {
                self.place = Place::Array;
                self.in_array = true;
                self.held.clear();
                Key::Other
            }
            _ => Key::Other,
        };
    }

    fn lose(&mut self, reason: &str, found: &mut Vec<Piece>) {
        found.push(Piece::Broken { offset: self.started, reason: reason.to_owned() });
        self.place = Place::Lost;
        self.held.clear();
        self.escaped = false;
        self.in_string = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The records, and for each broken place its offset as text.
    fn split(text: &str, step: usize) -> Vec<String> {
        let (mut splitter, mut found) = (Splitter::new(), Vec::new());
        for bytes in text.as_bytes().chunks(step.max(1)) {
            splitter.push(bytes, &mut found);
        }
        splitter.finish(&mut found);
        found
            .into_iter()
            .map(|piece| match piece {
                Piece::Record { offset, text: record } => {
                    let record = String::from_utf8(record).unwrap();
                    assert!(text[usize::try_from(offset).unwrap()..].starts_with(&record));
                    record
                }
                Piece::Broken { offset, .. } => format!("broken at {offset}"),
            })
            .collect()
    }

    #[test]
    fn finds_records_in_documents_and_lines() {
        for text in [
            r#"{"Records":[{"a":1},{"b":{"c":[{}]}}]}"#,
            "{ \"Records\" :\n [ {\"a\":1} ,\n  {\"b\":{\"c\":[{}]}} ] , \"more\": [\"}\"] }\n",
            "{\"x\":\"Records\",\"Records\":[{\"a\":1}]}\n{\"Records\":[{\"b\":{\"c\":[{}]}}]}",
            "{\"a\":1}\r\n\n{\"b\":{\"c\":[{}]}}",
            "{\"a\":1}\n{\"Records\":[{\"b\":{\"c\":[{}]}}]}\n",
        ] {
            assert_eq!(split(text, 1), [r#"{"a":1}"#, r#"{"b":{"c":[{}]}}"#], "{text}");
        }
        assert_eq!(split(r#"{"a":"\\\"}{","Record":[{}]}"#, 3), [r#"{"a":"\\\"}{","Record":[{}]}"#]);
        assert!(split("", 1).is_empty() && split(" \n", 1).is_empty() && split("{\"Records\":[]}", 1).is_empty());
    }

    #[test]
    fn names_what_is_broken_and_goes_on() {
        assert_eq!(split("{\"a\":1}\nxyz\n{\"b\":2}\n", 4), ["{\"a\":1}", "broken at 8", "{\"b\":2}"]);
        assert_eq!(split("{\"a\":\n{\"b\":2}\n", 4), ["broken at 0", "{\"b\":2}"]);
        assert_eq!(split("{\"a\":\"x\n{\"b\":2}\n", 4), ["broken at 0", "{\"b\":2}"]);
        assert_eq!(
            split("{\"Records\":[{\"a\":\"x\n{\"b\":2},\n{\"c\":3}]}", 4),
            ["broken at 12", "{\"b\":2}", "{\"c\":3}"]
        );
        assert_eq!(split("{\"Records\":[{\"a\":1},{\"b\":", 4), ["{\"a\":1}", "broken at 20"]);
        assert_eq!(split("{\"Records\":[{\"a\":1},", 4), ["{\"a\":1}", "broken at 20"]);
        assert_eq!(split("{\"Records\":[7,{\"a\":1}]}", 4), ["broken at 12"]);
        let long = format!("{{\"a\":\"{}\"}}\n{{\"b\":2}}", "x".repeat(MAX_RECORD));
        assert_eq!(split(&long, 4096), ["broken at 0", "{\"b\":2}"]);
    }

    proptest! {
        #[test]
        fn holds_one_record_and_never_panics_however_the_text_is_cut(text in "[\\[\\]{}\",: \\\\\nRecords]{0,60}", step in 1_usize..8) {
            prop_assert_eq!(split(&text, 1), split(&text, step));
        }

        #[test]
        fn finds_every_record(
            texts in prop::collection::vec(".{0,12}", 0..6), form in 0..3, step in 1_usize..40,
        ) {
            let records: Vec<_> = texts.iter().map(|text| serde_json::json!({"text": text, "in": [{"x": text}]}).to_string()).collect();
            let whole = match form {
                0 => records.join("\n"),
                1 => format!("{{\"Records\":[{}]}}", records.join(",")),
                _ => format!("{{\"v\":{{\"Records\":[1]}},\"Records\": [{}]\n}}\n", records.join(",\n")),
            };
            prop_assert_eq!(split(&whole, step), records);
        }
    }
}
