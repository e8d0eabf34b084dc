//! A JSON reader that keeps what a pattern needs and `serde_json` drops: where each value stands, keys that come twice,
//! and numbers as they are written.

use crate::RulesError;

/// Patterns and events nest a handful of levels; the bound keeps hostile text from the stack.
pub(crate) const MAX_DEPTH: usize = 128;

/// A value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// The byte of its first character.
    start: usize,
    /// The byte after its last character.
    end: usize,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// In the order written, keys that come twice included.
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    Text(String),
    /// As written.
    Number(String),
    /// `true`, `false` or `null`.
    Literal(&'static str),
}

impl Node {
    /// Where the service's reader stands when it has seen what this value is, but has not read through it.
    pub(crate) fn seen(&self) -> usize {
        match self.value {
            Value::Object(_) | Value::Array(_) | Value::Text(_) => self.start + 1,
            Value::Number(_) | Value::Literal(_) => self.end,
        }
    }

    /// The value as written in the text that was read.
    pub(crate) fn span(&self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    /// A value that was read by others and stands nowhere.
    pub(crate) fn of(value: &serde_json::Value) -> Self {
        let value = match value {
            serde_json::Value::Object(members) => {
                Value::Object(members.iter().map(|(name, value)| (name.clone(), Self::of(value))).collect())
            }
            serde_json::Value::Array(elements) => Value::Array(elements.iter().map(Self::of).collect()),
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Number(number) => Value::Number(number.to_string()),
            serde_json::Value::Bool(true) => Value::Literal("true"),
            serde_json::Value::Bool(false) => Value::Literal("false"),
            serde_json::Value::Null => Value::Literal("null"),
        };
        Self { value, start: 0, end: 0 }
    }

    /// Where the reader stands when it has read this value.
    pub(crate) fn read(&self) -> usize {
        self.end
    }
}

/// Reads a whole document.
pub(crate) fn read(text: &str) -> Result<Node, RulesError> {
    let mut reader = Reader { text, at: 0 };
    let node = reader.value(0)?;
    reader.skip_whitespace();
    if reader.at < text.len() {
        return Err(reader.unexpected("expected the end of the pattern"));
    }
    Ok(node)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, RulesError> {
        Err(RulesError::invalid(self.text, self.at, reason))
    }

    fn unexpected(&self, expected: &str) -> RulesError {
        match self.text[self.at..].chars().next() {
            Some(c) => RulesError::invalid(
                self.text,
                self.at + c.len_utf8(),
                format!("Unexpected character ('{c}' (code {})): {expected}", u32::from(c)),
            ),
            None => RulesError::invalid(self.text, self.at, format!("Unexpected end-of-input: {expected}")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, RulesError> {
        self.skip_whitespace();
        if depth > MAX_DEPTH {
            return self.fail(format!("The pattern is nested deeper than {MAX_DEPTH} levels"));
        }
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => Value::Object(self.object(depth)?),
            Some(b'[') => Value::Array(self.array(depth)?),
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            _ => Value::Literal(self.literal()?),
        };
        Ok(Node { value, start, end: self.at })
    }

    fn object(&mut self, depth: usize) -> Result<Vec<(String, Node)>, RulesError> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(members);
        }
        loop {
            self.skip_whitespace();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("was expecting double-quote to start field name"));
            }
            let name = self.string()?;
            self.skip_whitespace();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("was expecting a colon to separate field name and value"));
            }
            self.at += 1;
            members.push((name, self.value(depth + 1)?));
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(members);
                }
                _ => return Err(self.unexpected("was expecting comma to separate Object entries")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Node>, RulesError> {
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(elements);
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(elements);
                }
                _ => return Err(self.unexpected("was expecting comma to separate Array entries")),
            }
        }
    }

    fn literal(&mut self) -> Result<&'static str, RulesError> {
        for literal in ["true", "false", "null"] {
            if self.text[self.at..].starts_with(literal) {
                self.at += literal.len();
                return Ok(literal);
            }
        }
        Err(self.unexpected(
            "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
        ))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<String, RulesError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        match self.digits() {
            0 => return Err(self.unexpected("expected digit (0-9) to follow minus sign, for valid numeric value")),
            n if n > 1 && leading_zero => return self.fail("Invalid numeric value: Leading zeroes not allowed"),
            _ => {}
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.unexpected("decimal point must be followed by a digit"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.unexpected("exponent indicator must be followed by a digit"));
            }
        }
        Ok(self.text[start..self.at].to_owned())
    }

    fn string(&mut self) -> Result<String, RulesError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.text[self.at..].chars().next() else {
                return self.fail("Unexpected end-of-input: was expecting closing quote for a string value");
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                c if c < ' ' => {
                    return self.fail(format!(
                        "Illegal unquoted character ((CTRL-CHAR, code {})): has to be escaped using backslash to be included in string value",
                        u32::from(c)
                    ));
                }
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, RulesError> {
        let Some(c) = self.text[self.at..].chars().next() else {
            return self.fail("Unexpected end-of-input in character escape sequence");
        };
        self.at += c.len_utf8();
        Ok(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode(),
            c => return self.fail(format!("Unrecognized character escape '{c}' (code {})", u32::from(c))),
        })
    }

    fn unicode(&mut self) -> Result<char, RulesError> {
        let high = self.hex4()?;
        if let Some(c) = char::from_u32(high) {
            return Ok(c);
        }
        if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                if let Some(c) = char::from_u32(code) {
                    return Ok(c);
                }
            }
        }
        self.fail("A \\u escape is half of a surrogate pair")
    }

    fn hex4(&mut self) -> Result<u32, RulesError> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(code) = digits.and_then(|d| u32::from_str_radix(d, 16).ok()) else {
            return self.fail("expected a hex-digit for character escape sequence");
        };
        self.at += 4;
        Ok(code)
    }
}
