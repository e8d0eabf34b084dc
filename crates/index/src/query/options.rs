//! Reading the options of a query's JSON, so that none is passed over unread.

use serde_json::{Map, Value};

use super::ast::Minimum;

/// A request's body does not say something that can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Elasticsearch's type of the error.
    pub kind: &'static str,
    /// The message.
    pub reason: String,
}

impl ParseError {
    /// A `parsing_exception`.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { kind: "parsing_exception", reason: reason.into() }
    }
}

/// The options of one query or section; what is taken is known.
pub struct Options<'a> {
    what: &'a str,
    map: &'a Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Options<'a> {
    /// The options of `what`.
    pub fn new(what: &'a str, value: &'a Value) -> Result<Self, ParseError> {
        match value {
            Value::Object(map) => Ok(Self { what, map, known: Vec::new() }),
            _ => Err(ParseError::new(format!("[{what}] must be an object"))),
        }
    }

    /// An option's value; null counts as absent.
    pub fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// An option that is a string.
    pub fn text(&mut self, key: &'static str) -> Result<Option<&'a str>, ParseError> {
        let what = self.what;
        self.get(key).map(|v| v.as_str().ok_or_else(|| wrong(what, key, "a string", v))).transpose()
    }

    /// An option that is `true` or `false`, as itself or as text.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, ParseError> {
        let what = self.what;
        let read = |v: &Value| match v {
            Value::Bool(b) => Ok(*b),
            Value::String(s) if s == "true" => Ok(true),
            Value::String(s) if s == "false" => Ok(false),
            other => Err(wrong(what, key, "true or false", other)),
        };
        self.get(key).map(read).transpose()
    }

    /// An option that is a number from 0.
    pub fn count(&mut self, key: &'static str) -> Result<Option<u32>, ParseError> {
        let what = self.what;
        let read = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        self.get(key).map(|v| read(v).ok_or_else(|| wrong(what, key, "a number from 0", v))).transpose()
    }

    /// The option `boost`.
    pub fn boost(&mut self) -> Result<Option<f32>, ParseError> {
        let what = self.what;
        let read = |v: &Value| v.as_f64().filter(|b| b.is_finite() && *b >= 0.0).map(|b| b as f32);
        self.get("boost").map(|v| read(v).ok_or_else(|| wrong(what, "boost", "a number from 0", v))).transpose()
    }

    /// The option `minimum_should_match`.
    pub fn minimum(&mut self) -> Result<Option<Minimum>, ParseError> {
        let what = self.what;
        let refused = |v: &Value| wrong(what, "minimum_should_match", "a number or a percentage", v);
        let Some(value) = self.get("minimum_should_match") else { return Ok(None) };
        let text = match value {
            Value::String(s) => s.clone(),
            other => other.to_string(),
        };
        let (number, percent) = match text.strip_suffix('%') {
            Some(number) => (number, true),
            None => (text.as_str(), false),
        };
        let number: i32 = number.trim().parse().map_err(|_| refused(value))?;
        let size = number.unsigned_abs();
        Ok(Some(match (percent, number < 0) {
            (true, _) if size > 100 => return Err(refused(value)),
            (false, false) => Minimum::Count(size),
            (false, true) => Minimum::AllBut(size),
            (true, false) => Minimum::Percent(size),
            (true, true) => Minimum::AllButPercent(size),
        }))
    }

    /// Refuses options that were not asked for.
    pub fn finish(self) -> Result<(), ParseError> {
        match self.map.keys().find(|key| !self.known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(ParseError::new(format!(
                "[{}] does not support [{key}]: supported are {}",
                self.what,
                self.known.join(", ")
            ))),
        }
    }
}

fn wrong(what: &str, key: &str, expected: &str, value: &Value) -> ParseError {
    let shown: String = value.to_string().chars().take(100).collect();
    ParseError::new(format!("[{what}] option [{key}] must be {expected} but is {shown}"))
}
