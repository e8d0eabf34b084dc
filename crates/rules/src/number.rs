//! Numbers as patterns compare them: by value where a double holds the written number exactly, else by their text.

use std::cmp::Ordering;

/// A number that can be compared with others of its kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Number {
    /// The shortest writing of this double is the number that was written.
    Double(f64),
    /// More digits or a wider range than a double holds, such as some 20-digit identifiers: equal only to the same text.
    Text(String),
}

impl Number {
    /// Reads a JSON number.
    pub(crate) fn of_text(text: &str) -> Self {
        exact(text).map_or_else(|| Self::Text(text.to_owned()), Self::Double)
    }

    /// The number of an event. `serde_json` holds what is no 64-bit integer as a double already.
    pub(crate) fn of_json(number: &serde_json::Number) -> Self {
        /// Every integer up to here is a double.
        const SAFE: u64 = 1 << 53;
        if number.is_f64() || number.as_i64().is_some_and(|n| n.unsigned_abs() <= SAFE) {
            return number.as_f64().map_or_else(|| Self::Text(number.to_string()), Self::Double);
        }
        Self::of_text(&number.to_string())
    }

    /// The number as a double, when it is exactly one.
    pub(crate) fn double(&self) -> Option<f64> {
        match self {
            Self::Double(value) => Some(*value),
            Self::Text(_) => None,
        }
    }
}

/// The double of a JSON number, unless digits or range would be lost.
pub(crate) fn exact(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    (value.is_finite() && Decimal::of(text)? == Decimal::of(&format!("{value:e}"))?).then_some(value)
}

/// A decimal number without leading and trailing zeroes: `0.digits · 10^exponent`.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let stripped = all.trim_start_matches('0');
        if stripped.is_empty() {
            // Every zero is the same, -0 and 0e5 too.
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let leading = i64::try_from(all.len() - stripped.len()).ok()?;
        let point = i64::try_from(whole.len()).ok()?.checked_sub(leading)?;
        let exponent = exponent.parse::<i64>().ok()?.checked_add(point)?;
        Some(Self { negative, digits: stripped.trim_end_matches('0').to_owned(), exponent })
    }
}

/// A bound of a range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    pub(crate) value: f64,
    pub(crate) inclusive: bool,
}

/// The numbers between two bounds; a bound that is absent does not bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Range {
    pub(crate) low: Option<Bound>,
    pub(crate) high: Option<Bound>,
}

impl Range {
    pub(crate) fn contains(&self, value: f64) -> bool {
        let within = |bound: &Option<Bound>, side: Ordering| {
            bound.as_ref().is_none_or(|bound| match value.partial_cmp(&bound.value) {
                Some(Ordering::Equal) => bound.inclusive,
                order => order == Some(side),
            })
        };
        within(&self.low, Ordering::Greater) && within(&self.high, Ordering::Less)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_exact_when_a_double_prints_as_it() {
        for text in [
            "0",
            "-0.0",
            "0e99999",
            "301.8",
            "3.018e2",
            "-4e-6",
            "0.000033",
            "1E-320",
            "9007199254740992",
            "1.0",
            "12e0",
        ] {
            assert!(exact(text).is_some(), "{text}");
        }
        for text in
            ["1E309", "2.0e422", "1E-325", "9007199254740993", "0.30000000000000000001", "1e99999999999999999999"]
        {
            assert_eq!(exact(text), None, "{text}");
        }
    }

    #[test]
    fn equal_numbers_are_equal_however_written() {
        assert_eq!(Number::of_text("300"), Number::of_text("3.00e2"));
        assert_eq!(Number::of_text("-0"), Number::of_text("0.0"));
        assert_eq!(Number::of_text("12345678901234567890"), Number::of_json(&12_345_678_901_234_567_890_u64.into()));
        assert_ne!(Number::of_text("12345678901234567890"), Number::of_text("12345678901234567891"));
    }
}
