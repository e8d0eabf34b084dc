//! One operator of a pattern and one value of an event.

use std::net::IpAddr;

use crate::address::{self, Cidr};
use crate::number::{self, Double, Number, Range};
use crate::text::{Caseless, Wildcard};

/// A value without members or elements.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leaf<'a> {
    Text(&'a [u8]),
    /// As written.
    Number(&'a [u8]),
    /// `true`, `false` or `null`.
    Literal(&'static str),
}

/// What a field's value is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Matcher {
    Text(String),
    /// A string that is an address matches every writing of that address.
    Address(IpAddr),
    Number(Number),
    Literal(&'static str),
    Prefix(String),
    PrefixCaseless(Caseless),
    Suffix(String),
    SuffixCaseless(Caseless),
    Caseless(Caseless),
    Wildcard(Wildcard),
    Numeric(Range),
    Cidr(Cidr),
    /// Any value at all.
    Exists,
    /// No value: no leaf matches; the branch looks for it.
    Absent,
    /// Any value that none of these matches, of whatever type.
    AnythingBut(Vec<Matcher>),
}

impl Matcher {
    pub(crate) fn matches(&self, leaf: &Leaf<'_>) -> bool {
        match (self, leaf) {
            (Self::Exists, _) => true,
            (Self::AnythingBut(none_of), leaf) => !none_of.iter().any(|m| m.matches(leaf)),
            (Self::Number(wanted), Leaf::Number(text)) => match wanted {
                Number::Double(wanted) => exact(text) == Some(*wanted),
                Number::Text(wanted) => **wanted == **text,
            },
            (Self::Numeric(range), Leaf::Number(text)) => exact(text).is_some_and(|value| range.contains(value)),
            (Self::Literal(wanted), Leaf::Literal(literal)) => wanted == literal,
            (matcher, Leaf::Text(text)) => matcher.matches_text(text),
            _ => false,
        }
    }

    fn matches_text(&self, text: &[u8]) -> bool {
        match self {
            Self::Text(wanted) => wanted.as_bytes() == text,
            Self::Address(wanted) => address::parse(text) == Some(*wanted),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::PrefixCaseless(prefix) => prefix.starts(text),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
            Self::SuffixCaseless(suffix) => suffix.ends(text),
            Self::Caseless(wanted) => wanted.equals(text),
            Self::Wildcard(wildcard) => wildcard.matches(text),
            Self::Cidr(cidr) => address::parse(text).is_some_and(|address| cidr.contains(address)),
            Self::Number(_)
            | Self::Literal(_)
            | Self::Numeric(_)
            | Self::Exists
            | Self::Absent
            | Self::AnythingBut(_) => false,
        }
    }
}

fn exact(text: &[u8]) -> Option<Double> {
    std::str::from_utf8(text).ok().and_then(number::exact)
}
