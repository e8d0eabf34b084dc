//! A JSON document as a policy needs it: where each value stands, and members that come twice.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value and its place in the text. What is inside is read when it is asked for, so nesting costs no stack.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    whole: &'a str,
    raw: &'a str,
}

impl<'a> Node<'a> {
    /// Reads a whole document; the error says where it is none.
    pub(crate) fn read(whole: &'a str) -> Result<Self, String> {
        let raw: &RawValue = serde_json::from_str(whole).map_err(|error| error.to_string())?;
        Ok(Self { whole, raw: raw.get() })
    }

    fn inner(&self, raw: &'a RawValue) -> Self {
        Self { whole: self.whole, raw: raw.get() }
    }

    /// The members in order, those that come twice included; none if this is no object.
    pub(crate) fn members(&self) -> Option<Vec<(String, Self)>> {
        let members: Members<'a> = self.opens('{').then(|| serde_json::from_str(self.raw).ok())??;
        Some(members.0.into_iter().map(|(name, raw)| (name, self.inner(raw))).collect())
    }

    /// The elements; none if this is no array.
    pub(crate) fn elements(&self) -> Option<Vec<Self>> {
        let elements: Vec<&'a RawValue> = self.opens('[').then(|| serde_json::from_str(self.raw).ok())??;
        Some(elements.into_iter().map(|raw| self.inner(raw)).collect())
    }

    /// The text; none if this is no string.
    pub(crate) fn text(&self) -> Option<String> {
        self.opens('"').then(|| serde_json::from_str(self.raw).ok())?
    }

    /// A string, a number or a boolean as text: quotation marks are optional around the last two.
    pub(crate) fn scalar(&self) -> Option<String> {
        match self.raw.as_bytes().first()? {
            b'"' => self.text(),
            b't' | b'f' | b'-' | b'0'..=b'9' => Some(self.raw.to_owned()),
            _ => None,
        }
    }

    fn opens(&self, first: char) -> bool {
        self.raw.starts_with(first)
    }

    /// What it is, for messages.
    pub(crate) fn what(&self) -> &'static str {
        match self.raw.as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    /// Line and column, from 1, behind its first character and behind its last one: where a reader stands.
    pub(crate) fn span(&self) -> [(usize, usize); 2] {
        let start = self.raw.as_ptr() as usize - self.whole.as_ptr() as usize;
        [self.position(start + 1), self.position(start + self.raw.len())]
    }

    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.whole.get(..at).unwrap_or(self.whole);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_come_twice_are_seen() {
        let node = Node::read(r#" {"a": 1, "\u0061": [true, "x"]} "#).unwrap();
        let members = node.members().unwrap();
        assert_eq!(members.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "a"]);
        assert_eq!(members[0].1.scalar().as_deref(), Some("1"));
        let elements = members[1].1.elements().unwrap();
        assert_eq!((elements[0].scalar().as_deref(), elements[1].text().as_deref()), (Some("true"), Some("x")));
        assert!(Node::read("{} {}").is_err() && Node::read("").is_err());
    }

    #[test]
    fn a_place_is_line_and_column() {
        let node = Node::read("{\n \"é\": {}\n}").unwrap();
        assert_eq!(node.span(), [(1, 2), (3, 2)]);
        assert_eq!(node.members().unwrap()[0].1.span(), [(2, 8), (2, 9)]);
    }

    #[test]
    fn nesting_without_end_needs_no_stack() {
        let deep = "[".repeat(100_000);
        assert!(Node::read(&deep).is_err());
        let whole = format!("{deep}{}", "]".repeat(100_000));
        assert!(Node::read(&whole).unwrap().elements().unwrap()[0].what() == "an array");
    }
}
