//! Events as bytes that are known to be JSON.
//!
//! Owns the check of an event at the edge. Promises that what passed it is a JSON object in UTF-8, nested at most 128
//! deep; and knows whether a path can come twice in it, on which depends whether a reader may stop early. Must not know
//! patterns.

use crate::json::MAX_DEPTH;
use crate::scan;

/// An event that was checked.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    bytes: &'a [u8],
    /// No object has a key twice, nor one with a dot or an escape.
    plain: bool,
}

/// Why bytes are no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event is not valid: {reason} at byte {at}")]
pub struct EventError {
    /// What is wrong.
    pub reason: &'static str,
    /// Where it was seen.
    pub at: usize,
}

impl base::Kinded for EventError {
    fn kind(&self) -> base::ErrorKind {
        base::ErrorKind::Invalid
    }
}

impl<'a> Event<'a> {
    /// Checks an event.
    ///
    /// # Errors
    /// The bytes are not UTF-8, not a JSON object, or nested deeper than 128 levels.
    pub fn check(bytes: &'a [u8]) -> Result<Self, EventError> {
        if let Err(error) = std::str::from_utf8(bytes) {
            return Err(EventError { reason: "it is not UTF-8", at: error.valid_up_to() });
        }
        let mut checker = Checker { text: bytes, at: 0, plain: true, keys: Vec::with_capacity(64) };
        checker.skip();
        if checker.peek() != Some(b'{') {
            return checker.fail("it is not a JSON object");
        }
        checker.value(0)?;
        checker.skip();
        if checker.at < bytes.len() {
            return checker.fail("something follows the object");
        }
        Ok(Self { bytes, plain: checker.plain })
    }

    /// The event as it was checked.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether every path comes once, arrays aside.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }
}

struct Checker<'a> {
    text: &'a [u8],
    at: usize,
    plain: bool,
    /// Hashes of the keys of the objects under way, outermost first.
    keys: Vec<u64>,
}

impl Checker<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self) {
        self.at = scan::next(self.text, self.at);
    }

    fn fail<T>(&self, reason: &'static str) -> Result<T, EventError> {
        Err(EventError { reason, at: self.at })
    }

    fn value(&mut self, depth: usize) -> Result<(), EventError> {
        if depth > MAX_DEPTH {
            return self.fail("it is nested too deep");
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.literal(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), EventError> {
        self.at += 1;
        self.skip();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let first = self.keys.len();
        loop {
            if self.peek() != Some(b'"') {
                return self.fail("a key is expected");
            }
            let start = self.at + 1;
            let escaped = self.string()?;
            if self.plain {
                self.note_key(start, escaped);
            }
            self.skip();
            if self.peek() != Some(b':') {
                return self.fail("a colon is expected");
            }
            self.at += 1;
            self.skip();
            self.value(depth + 1)?;
            self.skip();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.skip();
                }
                Some(b'}') => {
                    self.at += 1;
                    self.compare_keys(first);
                    return Ok(());
                }
                _ => return self.fail("a comma or the end of the object is expected"),
            }
        }
    }

    fn note_key(&mut self, start: usize, escaped: bool) {
        use std::hash::Hasher as _;
        let key = &self.text[start..self.at - 1];
        if escaped || key.contains(&b'.') {
            self.plain = false;
            return;
        }
        let mut hasher = rustc_hash::FxHasher::default();
        hasher.write(key);
        self.keys.push(hasher.finish());
    }

    /// Whether the keys from `first` on differ. Equal hashes count as equal keys: the event is then read to its end,
    /// which is only slower.
    fn compare_keys(&mut self, first: usize) {
        /// So many are compared each with each, more are sorted.
        const FEW: usize = 8;
        if !self.plain {
            return;
        }
        let keys = &mut self.keys[first..];
        let twice = if keys.len() <= FEW {
            keys.iter().enumerate().any(|(i, key)| keys[..i].contains(key))
        } else {
            keys.sort_unstable();
            keys.windows(2).any(|pair| pair[0] == pair[1])
        };
        self.plain = !twice;
        self.keys.truncate(first);
    }

    fn array(&mut self, depth: usize) -> Result<(), EventError> {
        self.at += 1;
        self.skip();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.skip();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.skip();
                }
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return self.fail("a comma or the end of the array is expected"),
            }
        }
    }

    /// Whether it had escapes.
    fn string(&mut self) -> Result<bool, EventError> {
        let start = self.at + 1;
        let (end, escaped) = scan::string_end(self.text, start);
        let Some(inner) = self.text.get(start..end).filter(|_| end < self.text.len()) else {
            return self.fail("a string has no end");
        };
        if scan::has_control(inner) {
            return self.fail("a string has a control character");
        }
        if escaped && unescape(inner, &mut Vec::new()).is_none() {
            return self.fail("a string has a wrong escape");
        }
        self.at = end + 1;
        Ok(escaped)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<(), EventError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return self.fail("a number has wrong digits");
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return self.fail("a number has no digits after its point");
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return self.fail("a number has no digits in its exponent");
            }
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<(), EventError> {
        for literal in [&b"true"[..], b"false", b"null"] {
            if self.text[self.at..].starts_with(literal) {
                self.at += literal.len();
                return Ok(());
            }
        }
        self.fail("a value is expected")
    }
}

/// Appends a string's content to `out`, its escapes replaced. `None` when an escape is wrong, half of a surrogate pair
/// included.
pub(crate) fn unescape(mut text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    while let Some(at) = memchr::memchr(b'\\', text) {
        out.extend_from_slice(&text[..at]);
        let c = match *text.get(at + 1)? {
            c @ (b'"' | b'\\' | b'/') => c,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (c, length) = unescape_unicode(&text[at..])?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                text = &text[at + length..];
                continue;
            }
            _ => return None,
        };
        out.push(c);
        text = &text[at + 2..];
    }
    out.extend_from_slice(text);
    Some(())
}

/// The character of a `\u` escape or a pair of them, and the bytes it takes.
fn unescape_unicode(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
    };
    let high = unit(0)?;
    if let Some(c) = char::from_u32(high) {
        return Some((c, 6));
    }
    let low = unit(6).filter(|low| (0xdc00..0xe000).contains(low) && high < 0xdc00)?;
    Some((char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?, 12))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_event_is_plain_when_no_path_can_come_twice() {
        let plain = |text: &str| Event::check(text.as_bytes()).unwrap().is_plain();
        assert!(plain(r#"{"a":{"a":[{"a":1},{"a":2}]},"b":{"a":1}}"#));
        assert!(plain(r#"{"a":"x.y\u0041"}"#));
        assert!(!plain(r#"{"a":1,"b":2,"a":3}"#));
        assert!(!plain(r#"{"x":[{"a":1,"a":3}]}"#));
        assert!(!plain(r#"{"a.b":1}"#));
        assert!(!plain(r#"{"\u0061":1}"#));
        let many: Vec<String> = (0..20).map(|i| format!("\"k{}\":0", i % 19)).collect();
        assert!(!plain(&format!("{{{}}}", many.join(","))));
        assert!(plain(&format!("{{{}}}", many[..19].join(","))));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for text in [
            "",
            "[]",
            "1",
            "{",
            "{}x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":[1,]}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":1e}",
            "{\"a\":tru}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"",
            "{a:1}",
        ] {
            assert!(Event::check(text.as_bytes()).is_err(), "{text}");
        }
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(Event::check(deep(MAX_DEPTH).as_bytes()).is_ok());
        assert!(Event::check(deep(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(Event::check(&[b'{', 0xff, b'}']).is_err());
    }

    proptest! {
        #[test]
        fn an_event_is_what_serde_reads_too(text in "[{}\\[\\]\":,a1.\\\\u0e\\-ntrul ]{0,24}") {
            let wrapped = format!("{{\"a\":{text}}}");
            for text in [&text, &wrapped] {
                let read = serde_json::from_str::<serde_json::Map<String, Value>>(text);
                // serde_json refuses numbers out of range; they are JSON.
                let out_of_range = read.as_ref().is_err_and(|e| e.to_string().starts_with("number out of range"));
                prop_assert!(out_of_range || Event::check(text.as_bytes()).is_ok() == read.is_ok(), "{text}");
            }
        }

        #[test]
        fn escapes_are_replaced(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let mut out = Vec::new();
            unescape(&json.as_bytes()[1..json.len() - 1], &mut out).unwrap();
            prop_assert_eq!(out, text.as_bytes());
        }
    }
}
