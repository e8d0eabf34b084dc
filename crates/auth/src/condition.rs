//! One condition: an operator, a key and values, and whether it holds of a request.
//!
//! "IAM JSON policy elements: Condition operators" and "Single-valued vs. multivalued context keys" (IAM User Guide).
//! Where a key of several values is tested without a set operator, which the guide forbids, the test has to hold of
//! every value.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::Context;
use crate::arn_pattern::{ArnParts, ArnPattern};
use crate::error::{PolicyError, shown};
use crate::operator::{Operator, Order, Set, Test};
use crate::pattern::{Dialect, Pattern};
use crate::place::Place;
use crate::value::{Network, number, time};

/// A compiled condition.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    /// As written.
    name: Box<str>,
    /// In lower case.
    key: Box<str>,
    operator: Operator,
    values: Values,
}

/// The policy's values, of which one has to match.
#[derive(Debug, Clone)]
enum Values {
    /// Exact or like.
    Texts(Box<[Pattern]>),
    /// Compared in lower case.
    TextsInAnyCase(Box<[Pattern]>),
    Numbers(Order, Box<[f64]>),
    Times(Order, Box<[i64]>),
    /// As texts, for there may be variables.
    Bools(Box<[Pattern]>),
    Bytes(Box<[Vec<u8>]>),
    Networks(Box<[Network]>),
    Arns(Box<[ArnPattern]>),
    /// Whether it must be absent.
    Absent(Box<[bool]>),
}

impl Condition {
    pub(crate) fn read(
        place: &Place<'_>,
        operator: Operator,
        name: &str,
        values: &[String],
        variables: bool,
    ) -> Result<Self, PolicyError> {
        if name.is_empty() {
            return Err(PolicyError::syntax(place, "a key has no name"));
        }
        if values.is_empty() {
            return Err(PolicyError::syntax(place, "it has no value to compare with"));
        }
        let values = Values::read(place, operator.test, values, variables)?;
        Ok(Self { name: name.into(), key: name.to_ascii_lowercase().into(), operator, values })
    }

    /// The keys that it looks at, as they are written.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let (texts, arns): (&[Pattern], &[ArnPattern]) = match &self.values {
            Values::Texts(texts) | Values::TextsInAnyCase(texts) | Values::Bools(texts) => (texts, &[]),
            Values::Arns(arns) => (&[], arns),
            _ => (&[], &[]),
        };
        let variables = texts.iter().flat_map(Pattern::variables).chain(arns.iter().flat_map(ArnPattern::variables));
        std::iter::once(&*self.name).chain(variables)
    }

    /// Whether it holds.
    pub(crate) fn holds(&self, context: &Context) -> bool {
        let found = context.values(&self.key);
        // An empty text is as good as nothing where the guide says so: for Null and for set operators.
        let is_null = found.is_none_or(|values| values.iter().all(String::is_empty));
        if let Values::Absent(wanted) = &self.values {
            return wanted.contains(&is_null);
        }
        let Operator { negated, if_exists, set, .. } = self.operator;
        let Some(values) = found else {
            return if_exists
                || match set {
                    Some(Set::All) => true,
                    Some(Set::Any) => false,
                    None => negated,
                };
        };
        let mut each = values.iter().map(|value| negated != self.values.match_one(value, context));
        match set {
            Some(Set::All) => is_null || each.all(|holds| holds),
            Some(Set::Any) => !is_null && each.any(|holds| holds),
            None => each.all(|holds| holds),
        }
    }
}

impl Values {
    fn read(place: &Place<'_>, test: Test, texts: &[String], variables: bool) -> Result<Self, PolicyError> {
        let wrong =
            |text: &str, expected: &str| PolicyError::legacy(place, format!("{} is not {expected}", shown(text)));
        let patterns = |wildcards| {
            let dialect = Dialect { wildcards, variables };
            let pattern =
                |text: &String| Pattern::read(text, dialect).map_err(|reason| PolicyError::syntax(place, reason));
            texts.iter().map(pattern).collect::<Result<Box<[_]>, _>>()
        };
        Ok(match test {
            Test::StringEquals => Self::Texts(patterns(false)?),
            Test::StringLike => Self::Texts(patterns(true)?),
            Test::StringEqualsIgnoreCase => Self::TextsInAnyCase(patterns(false)?),
            Test::Bool => {
                for text in texts.iter().filter(|text| !(variables && text.contains("${"))) {
                    boolean(text).ok_or_else(|| wrong(text, "true or false"))?;
                }
                Self::Bools(patterns(false)?)
            }
            Test::Numeric(order) => Self::Numbers(order, each(texts, number, |text| wrong(text, "a number"))?),
            Test::Date(order) => Self::Times(order, each(texts, time, |text| wrong(text, "a date or a time"))?),
            Test::Binary => Self::Bytes(each(texts, |text| STANDARD.decode(text).ok(), |text| wrong(text, "base64"))?),
            Test::Ip => {
                Self::Networks(each(texts, Network::read, |text| wrong(text, "an IP address or a range of them"))?)
            }
            Test::Null => Self::Absent(each(texts, boolean, |text| wrong(text, "true or false"))?),
            Test::Arn => {
                let arn = |text: &String| {
                    ArnPattern::read(text, variables, false)
                        .map_err(|reason| PolicyError::legacy(place, format!("{}: {reason}", shown(text))))
                };
                Self::Arns(texts.iter().map(arn).collect::<Result<_, _>>()?)
            }
        })
    }

    /// Whether a value of the request matches one of the policy's. What cannot be compared does not match, nor does a
    /// value whose variable stands for nothing.
    fn match_one(&self, value: &str, context: &Context) -> bool {
        let like = |pattern: &Pattern, value: &str| pattern.matches(value, context) == Some(true);
        match self {
            Self::Texts(patterns) => patterns.iter().any(|pattern| like(pattern, value)),
            Self::TextsInAnyCase(patterns) | Self::Bools(patterns) => {
                let value = value.to_lowercase();
                let same =
                    |pattern: &Pattern| pattern.resolve(context).is_some_and(|wanted| wanted.to_lowercase() == value);
                patterns.iter().any(same)
            }
            Self::Numbers(order, numbers) => {
                number(value).is_some_and(|value| numbers.iter().any(|wanted| order.holds(value.partial_cmp(wanted))))
            }
            Self::Times(order, times) => {
                time(value).is_some_and(|value| times.iter().any(|wanted| order.holds(Some(value.cmp(wanted)))))
            }
            Self::Bytes(all) => STANDARD.decode(value).is_ok_and(|value| all.contains(&value)),
            Self::Networks(networks) => {
                value.parse::<IpAddr>().is_ok_and(|value| networks.iter().any(|network| network.holds(value)))
            }
            Self::Arns(patterns) => {
                let arn = ArnParts::of(value);
                patterns.iter().any(|pattern| pattern.matches(value, arn.as_ref(), context) == Some(true))
            }
            // Asked of the key, not of its values.
            Self::Absent(_) => false,
        }
    }
}

fn each<T>(
    texts: &[String],
    read: impl Fn(&str) -> Option<T>,
    wrong: impl Fn(&str) -> PolicyError,
) -> Result<Box<[T]>, PolicyError> {
    texts.iter().map(|text| read(text).ok_or_else(|| wrong(text))).collect()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}
