//! One operator of a pattern and one value of an event.

use std::net::IpAddr;

use crate::address::{self, Cidr};
use crate::number::{Number, Range};
use crate::text::{Caseless, Wildcard};

/// A value without members or elements.
#[derive(Debug, Clone)]
pub(crate) enum Leaf<'a> {
    Text(&'a str),
    Number(Number),
    /// `true`, `false` or `null`.
    Literal(&'static str),
}

/// What a field's value is asked for.
#[derive(Debug, Clone, PartialEq)]
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
            (Self::Number(wanted), Leaf::Number(number)) => wanted == number,
            (Self::Numeric(range), Leaf::Number(number)) => number.double().is_some_and(|value| range.contains(value)),
            (Self::Literal(wanted), Leaf::Literal(literal)) => wanted == literal,
            (matcher, Leaf::Text(text)) => matcher.matches_text(text),
            _ => false,
        }
    }

    fn matches_text(&self, text: &str) -> bool {
        match self {
            Self::Text(wanted) => wanted == text,
            Self::Address(wanted) => address::parse(text) == Some(*wanted),
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::PrefixCaseless(prefix) => prefix.starts(text),
            Self::Suffix(suffix) => text.ends_with(suffix.as_str()),
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
