//! Numbers as patterns compare them: by value where a double holds the written number exactly, else by their text.

use zmij::Buffer;

/// A finite double in its order: a greater number has the greater key, and both zeroes have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Double(u64);

impl Double {
    pub(crate) fn new(value: f64) -> Self {
        // Adding zero turns -0 into 0.
        let bits = (value + 0.0).to_bits();
        Self(if bits >> 63 == 0 { bits | 1 << 63 } else { !bits })
    }

    /// The double that a JSON number is rounded to, unless it is out of range. Whether it is the number that was
    /// written, [`exact`] says.
    pub(crate) fn rounded(text: &[u8]) -> Option<Self> {
        let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        value.is_finite().then(|| Self::new(value))
    }

    pub(crate) fn key(self) -> u64 {
        self.0
    }

    /// Its shortest writing that is read as the same double.
    pub(crate) fn shortest(self) -> String {
        Buffer::new().format_finite(self.value()).to_owned()
    }

    fn value(self) -> f64 {
        f64::from_bits(if self.0 >> 63 == 0 { !self.0 } else { self.0 & !(1 << 63) })
    }
}

/// A number that can be compared with others of its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Number {
    /// The shortest writing of this double is the number that was written.
    Double(Double),
    /// More digits or a wider range than a double holds, such as some 20-digit identifiers: equal only to the same text.
    Text(Box<[u8]>),
}

impl Number {
    /// Reads a JSON number.
    pub(crate) fn of_text(text: &str) -> Self {
        exact(text).map_or_else(|| Self::Text(text.as_bytes().into()), Self::Double)
    }
}

/// The double of a JSON number, unless digits or range would be lost.
pub(crate) fn exact(text: &str) -> Option<Double> {
    Double::rounded(text.as_bytes()).filter(|double| is_exact(text.as_bytes(), *double))
}

/// Whether `double`, to which `text` was rounded, is the number that is written there: its shortest writing has the
/// same digits. So does Java's `BigDecimal.valueOf`, by which the service decides.
pub(crate) fn is_exact(text: &[u8], double: Double) -> bool {
    /// Decimal digits that every double keeps.
    const KEPT: usize = 15;
    // Zeroes in front count here, too: the long way decides then.
    if text.len() <= KEPT && !text.iter().any(|b| matches!(b, b'e' | b'E')) {
        return true;
    }
    let mut buffer = Buffer::new();
    let shortest = buffer.format_finite(double.value());
    shortest.as_bytes() == text
        || std::str::from_utf8(text)
            .is_ok_and(|text| Decimal::of(text).is_some_and(|d| Some(d) == Decimal::of(shortest)))
}

/// Whether a number is written so that it is a double exactly when it is written as that double's shortest: with a
/// point, without exponent, nothing superfluous, and neither great nor small enough that an exponent would be shorter.
pub(crate) fn is_plain(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let Some(point) = digits.iter().take(12).position(|b| *b == b'.') else { return false };
    let (whole, fraction) = (&digits[..point], &digits[point + 1..]);
    // A number that begins with 0 is left to those who read it.
    matches!(whole.first(), Some(b'1'..=b'9'))
        && matches!(fraction.last(), Some(b'1'..=b'9'))
        && fraction.iter().all(u8::is_ascii_digit)
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

/// The numbers from `low` to `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub(crate) low: u64,
    pub(crate) high: u64,
}

impl Range {
    /// Every number.
    pub(crate) const ALL: Self = Self { low: 0, high: u64::MAX };

    /// Without the numbers below `bound`, and without `bound` itself unless it is included.
    pub(crate) fn from(self, bound: Double, included: bool) -> Self {
        Self { low: bound.0 + u64::from(!included), ..self }
    }

    /// Without the numbers above `bound`, and without `bound` itself unless it is included.
    pub(crate) fn to(self, bound: Double, included: bool) -> Self {
        Self { high: bound.0 - u64::from(!included), ..self }
    }

    pub(crate) fn contains(self, value: Double) -> bool {
        (self.low..=self.high).contains(&value.0)
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
            "-122.41600944012424",
            "1.0",
            "12e0",
        ] {
            assert!(exact(text).is_some(), "{text}");
        }
        for text in [
            "1E309",
            "2.0e422",
            "1E-325",
            "9007199254740993",
            "0.30000000000000000001",
            "0.30000000000000001",
            "1e99999999999999999999",
        ] {
            assert_eq!(exact(text), None, "{text}");
        }
    }

    #[test]
    fn equal_numbers_are_equal_however_written() {
        assert_eq!(Number::of_text("300"), Number::of_text("3.00e2"));
        assert_eq!(Number::of_text("-0"), Number::of_text("0.0"));
        assert_ne!(Number::of_text("12345678901234567890"), Number::of_text("12345678901234567891"));
    }

    #[test]
    fn a_plain_number_is_exact_when_it_is_the_shortest() {
        for text in ["1.5", "-122.42916360922355", "37.7299002162173241", "99999999999.5", "3.10000000000000001"] {
            assert!(is_plain(text.as_bytes()), "{text}");
            let double = Double::rounded(text.as_bytes()).unwrap();
            assert_eq!(is_exact(text.as_bytes(), double), double.shortest() == text, "{text}");
        }
        for text in ["0.5", "1", "1.50", "1e0", "1.5e3", "-0.0", "123456789012.5"] {
            assert!(!is_plain(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn keys_are_ordered_as_the_numbers_are() {
        let numbers = [f64::MIN, -1e9, -1.5, -f64::MIN_POSITIVE, 0.0, 5e-324, 1.0, 1e300, f64::MAX];
        for pair in numbers.windows(2) {
            assert!(Double::new(pair[0]) < Double::new(pair[1]), "{pair:?}");
        }
        for number in numbers {
            assert_eq!(Double::new(number).value(), number);
        }
        assert_eq!(Double::new(-0.0), Double::new(0.0));
        let range = Range::ALL.from(Double::new(0.0), false).to(Double::new(5.0), true);
        assert!(range.contains(Double::new(5e-324)) && range.contains(Double::new(5.0)));
        assert!(!range.contains(Double::new(-0.0)) && !range.contains(Double::new(5.000_001)));
    }
}
